"""Nothing that was blocked is in a checkpoint: not even what the user said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from qwen3guard_integrations import GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware, guard_checkpointer
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .agents import RUNS, THREAD, agent, asking, calls, search_tool
from .helpers import REFUSAL, VIOLENT, asked

CANARY = "canary7f3a"


def answered(text: str = "done") -> AIMessage:
    return AIMessage(text)


SCRIPTS: dict[str, Any] = {
    "prompt": (f"a {CANARY}", [answered()]),
    "response": ("q", [answered(f"a {CANARY}")]),
    "tool call": ("q", [calls(CANARY), answered()]),
    "tool output": ("q", [calls("leak"), answered()]),
}


@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("kind", SCRIPTS)
async def test_memory_holds_nothing_that_was_blocked(kind: str, way: str) -> None:
    text, script = SCRIPTS[kind]
    middleware = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}))
    saver = guard_checkpointer(InMemorySaver(), middleware.screener)
    search, _ = search_tool({"leak": CANARY})
    made, _ = agent(script, middleware, tools=[search], checkpointer=saver)
    async for _ in RUNS[way](made, asking(text)):
        pass
    assert CANARY not in repr(list(made.get_state_history(THREAD)))
    assert CANARY.encode() not in repr([saver.storage, saver.blobs, saver.writes]).encode()
    assert made.get_state(THREAD).values["messages"]


@pytest.mark.parametrize("kind", SCRIPTS)
async def test_a_database_holds_nothing_that_was_blocked(kind: str, lane: Lane, tmp_path: Path) -> None:
    text, script = SCRIPTS[kind]
    middleware = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}))
    search, _ = search_tool({"leak": CANARY})
    file = tmp_path / "checkpoints.db"
    if lane.is_async:
        async with AsyncSqliteSaver.from_conn_string(str(file)) as asaver:
            made, _ = agent(
                script, middleware, tools=[search], checkpointer=guard_checkpointer(asaver, middleware.screener)
            )
            await made.ainvoke(asking(text), THREAD)
            result = await made.ainvoke(asking("more"), THREAD)
    else:
        with SqliteSaver.from_conn_string(str(file)) as saver:
            made, _ = agent(
                script, middleware, tools=[search], checkpointer=guard_checkpointer(saver, middleware.screener)
            )
            made.invoke(asking(text), THREAD)
            result = made.invoke(asking("more"), THREAD)
    stored = _bytes_in(tmp_path)
    assert b"more" in stored
    assert CANARY.encode() not in stored
    assert len(result["messages"]) >= 4


def _bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_a_safe_conversation_is_stored_as_it_is_and_judged_once(lane: Lane) -> None:
    middleware = Qwen3GuardMiddleware(judge := FakeGuard({CANARY: VIOLENT}))
    saver = guard_checkpointer(InMemorySaver(), middleware.screener)
    assert isinstance(saver, InMemorySaver)
    made, _ = agent([calls("a"), answered()], middleware, tools=[search_tool()[0]], checkpointer=saver)
    result = await lane(made, "invoke", {"messages": [HumanMessage("q", id="h1")]}, THREAD)
    assert made.get_state(THREAD).values["messages"] == result["messages"]
    assert sorted(asked(judge)) == sorted(["q", "I will look. ", 'search({"q": "a"})', "found a", "done"])


async def test_what_a_person_decides_is_stored_for_the_person(lane: Lane) -> None:
    middleware = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}), {"points": {"prompt": "review"}})
    saver = guard_checkpointer(InMemorySaver(), middleware.screener)
    made, _ = agent([answered()], middleware, checkpointer=saver)
    assert "__interrupt__" in await lane(made, "invoke", asking(CANARY), THREAD)
    result = await lane(made, "invoke", Command(resume={"decisions": [{"type": "reject"}]}), THREAD)
    assert result["messages"][-1].text == REFUSAL
    assert CANARY not in repr(made.get_state(THREAD).values)


async def test_a_dead_guard_stores_nothing(lane: Lane) -> None:
    saver = guard_checkpointer(InMemorySaver(), FakeGuard(error=GuardUnavailableError("down")))
    made, _ = agent([answered()], checkpointer=saver)
    with pytest.raises(GuardUnavailableError):
        await lane(made, "invoke", asking(CANARY), THREAD)
    assert CANARY not in repr(list(made.get_state_history(THREAD)))


def test_what_is_no_checkpointer_is_refused() -> None:
    with pytest.raises(GuardConfigurationError, match="takes a checkpointer"):
        guard_checkpointer("memory", FakeGuard())  # type: ignore[type-var]
