"""`guard_tool`: arguments before the tool runs, results before anybody gets them; everything else as it was."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, Tool, ToolException, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware, guard_tool
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import VIOLENT, Recorder, asked

CANARY = "canary7f3a"
REMOVED = "[removed: Violent]"
WITHHELD = "withheld by the safety policy (Violent)"


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: VIOLENT}, **settings)


def call(text: str, name: str = "echo") -> Any:
    return {"name": name, "args": {"q": text}, "id": "c1", "type": "tool_call"}


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def echo_of(q: str) -> str:
    """Say it again."""
    ran.append(q)
    return f"a {CANARY}" if q == "leak" else f"echo {q}"


async def aecho_of(q: str) -> str:
    """Say it again."""
    return echo_of(q)


class Echo(BaseTool):
    """A tool with a class of its own."""

    name: str = "echo"
    description: str = "Say it again."

    def _run(self, q: str) -> str:
        return echo_of(q)


class AsyncEcho(Echo):
    """A tool with two ways of its own."""

    async def _arun(self, q: str) -> str:
        return echo_of(q)


TOOLS: dict[str, BaseTool] = {
    "decorated": tool("echo")(echo_of),
    "both ways": StructuredTool.from_function(echo_of, aecho_of, name="echo"),
    "class": Echo(),
    "class with both": AsyncEcho(),
}


@pytest.mark.parametrize("kind", TOOLS)
async def test_safe_calls_are_untouched_and_judged_once(kind: str, lane: Lane) -> None:
    judge = guard()
    bare, guarded = TOOLS[kind], guard_tool(TOOLS[kind], judge)
    assert isinstance(guarded, type(bare))
    assert (guarded.name, guarded.description, guarded.args) == (bare.name, bare.description, bare.args)
    assert await lane(guarded, "invoke", {"q": "x"}) == "echo x"
    message = await lane(guarded, "invoke", call("y"))
    assert message == await lane(bare, "invoke", call("y"))
    assert asked(judge) == ['echo({"q": "x"})', "echo x", 'echo({"q": "y"})', "echo y"]


@pytest.mark.parametrize("kind", TOOLS)
async def test_a_call_that_may_not_pass_does_not_run(kind: str, lane: Lane) -> None:
    guarded = guard_tool(TOOLS[kind], guard())
    message = await lane(guarded, "invoke", call(f"a {CANARY}"))
    assert (message.status, message.tool_call_id, message.name) == ("error", "c1", "echo")
    assert WITHHELD in message.content
    assert WITHHELD in await lane(guarded, "invoke", {"q": CANARY})
    with pytest.raises(BlockedError):
        await lane(guard_tool(TOOLS[kind], guard(), on_block="raise"), "invoke", call(CANARY))
    assert not ran


@pytest.mark.parametrize("kind", TOOLS)
async def test_callbacks_and_traces_get_the_clean_result(kind: str, lane: Lane) -> None:
    recorder = Recorder()
    guarded = guard_tool(TOOLS[kind], guard())
    message = await lane(guarded, "invoke", call("leak"), {"callbacks": [recorder]})
    assert (message.status, message.content, message.tool_call_id) == ("error", REMOVED, "c1")
    assert await lane(guarded, "invoke", {"q": "leak"}, {"callbacks": [recorder]}) == REMOVED
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events, run.extra] for run in recorder.runs])
    assert len(recorder.runs) == 2


async def test_an_artifact_is_kept_with_what_passes_and_goes_with_what_does_not(lane: Lane) -> None:
    @tool(response_format="content_and_artifact")
    def find(q: str) -> Any:
        """Find documents."""
        return f"found {q}", [Document(q)]

    guarded = guard_tool(find, guard())
    kept = await lane(guarded, "invoke", call("x", "find"))
    assert (kept.content, kept.artifact) == ("found x", [Document("x")])

    @tool("find", response_format="content_and_artifact")
    def leak(q: str) -> Any:
        """Find documents."""
        return f"found {CANARY}", [Document(CANARY)]

    gone = await lane(guard_tool(leak, guard()), "invoke", call("x", "find"))
    assert (gone.content, gone.artifact, gone.status) == (REMOVED, None, "error")


async def test_messages_and_commands_that_a_tool_returns_are_judged(lane: Lane) -> None:
    @tool
    def message(q: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer by a message."""
        return ToolMessage(q * 2, tool_call_id=tool_call_id, id="m1", artifact="x")

    @tool
    def command(q: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer by a command."""
        return Command(update={"messages": [ToolMessage("x" + q[::-1], tool_call_id=tool_call_id)], "note": q[::-1]})

    guarded = guard_tool([message, command], FakeGuard({CANARY * 2: VIOLENT, "bmob"[::-1]: VIOLENT}))
    found = await lane(guarded[0], "invoke", call(CANARY, "message"))
    assert (found.content, found.id, found.artifact, found.status) == (REMOVED, "m1", None, "error")
    found = await lane(guarded[1], "invoke", call("bmob", "command"))
    assert found.update["note"] == REMOVED
    assert [(one.content, one.tool_call_id) for one in found.update["messages"]] == [(REMOVED, "c1")]
    untouched = await lane(guarded[1], "invoke", call("x", "command"))
    assert untouched.update["note"] == "x"


async def test_injected_state_is_not_the_model_s_words(lane: Lane) -> None:
    @tool
    def count(q: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Count the messages."""
        return f"{len(state['messages'])} messages"

    judge = guard()
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([guard_tool(count, judge)]))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    messages = [HumanMessage(CANARY), AIMessage("", tool_calls=[call("x", "count")])]
    result = await lane(graph.compile(), "invoke", {"messages": messages})
    assert result["messages"][-1].content == "2 messages"
    assert asked(judge) == ['count({"q": "x"})', "2 messages"]


async def test_the_words_of_a_tool_exception_are_judged(lane: Lane) -> None:
    @tool("echo")
    def fail(q: str) -> str:
        """Fail."""
        raise ToolException(f"cannot {q[::-1]}")

    fail.handle_tool_error = True
    guarded = guard_tool(fail, guard())
    message = await lane(guarded, "invoke", call("x"))
    assert (message.content, message.status) == ("cannot x", "error")
    message = await lane(guarded, "invoke", call(CANARY[::-1]))
    assert (message.content, message.status) == (REMOVED, "error")


async def test_a_plain_tool_of_one_argument(lane: Lane) -> None:
    plain = Tool("echo", echo_of, "Say it again.")
    judge = guard()
    assert await lane(guard_tool(plain, judge), "invoke", "x") == "echo x"
    assert asked(judge) == ['echo({"input": "x"})', "echo x"]


async def test_a_dead_guard_lets_nothing_run(lane: Lane) -> None:
    dead = guard_tool(TOOLS["decorated"], guard(error=GuardUnavailableError("down")))
    with pytest.raises(GuardUnavailableError):
        await lane(dead, "invoke", call("x"))
    assert not ran


async def test_two_guards_both_judge(lane: Lane) -> None:
    strict, other = guard(), FakeGuard({"other": VIOLENT})
    guarded = guard_tool(guard_tool(TOOLS["decorated"], strict), other)
    assert (await lane(guarded, "invoke", call("x"))).content == "echo x"
    assert asked(strict) == asked(other) == ['echo({"q": "x"})', "echo x"]
    assert (await lane(guarded, "invoke", call("other"))).status == "error"
    assert (await lane(guarded, "invoke", call(CANARY))).status == "error"
    assert ran == ["x"]


async def test_a_tool_node_without_an_agent(lane: Lane) -> None:
    middleware = Qwen3GuardMiddleware(guard())
    wrappers: Any = {"wrap_tool_call": middleware.wrap_tool_call, "awrap_tool_call": middleware.awrap_tool_call}
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([TOOLS["decorated"]], **wrappers))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    written = AIMessage("", tool_calls=[call(CANARY), call("leak") | {"id": "c2"}, call("x") | {"id": "c3"}])
    result = await lane(graph.compile(), "invoke", {"messages": [HumanMessage("q"), written]})
    withheld, removed, fine = result["messages"][2:]
    assert WITHHELD in withheld.content
    assert (removed.content, fine.content) == (REMOVED, "echo x")
    assert ran == ["leak", "x"]


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(GuardConfigurationError, match="takes tools"):
        guard_tool(echo_of, guard())  # type: ignore[call-overload]
    with pytest.raises(GuardConfigurationError, match="on_block"):
        guard_tool(TOOLS["class"], guard(), on_block="ignore")  # type: ignore[call-overload]
