"""Faults that were seen in other guards, one test each: ours does not have them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda

from qwen3guard_integrations import BlockedError, GuardUnavailableError, Point
from tests.conftest import Lane

from .helpers import BAD, REFUSAL, ChunkModel, asked, fake_guard, screen

SAFE = "hello"


async def test_two_human_turns_in_a_row_bypass_the_guard(lane: Lane) -> None:
    with pytest.raises(BlockedError):
        await lane(screen(), "invoke", [HumanMessage(BAD), HumanMessage(SAFE)])


async def test_supplied_history_is_never_screened(lane: Lane) -> None:
    with pytest.raises(BlockedError) as caught:
        await lane(screen(), "invoke", [HumanMessage(SAFE), AIMessage(BAD), HumanMessage(SAFE)])
    assert caught.value.point is Point.RESPONSE


async def test_a_message_that_holds_only_tool_calls_raises(lane: Lane) -> None:
    message = AIMessage("", tool_calls=[{"name": "f", "args": {"q": SAFE}, "id": "1"}])
    assert await lane(screen(), "invoke", message) is message


async def test_tool_calls_and_tool_results_are_not_screened(lane: Lane) -> None:
    call = AIMessage("", tool_calls=[{"name": "f", "args": {"q": BAD}, "id": "1"}])
    for message, point in ((call, Point.TOOL_CALL), (ToolMessage(BAD, tool_call_id="1"), Point.TOOL_OUTPUT)):
        with pytest.raises(BlockedError) as caught:
            await lane(screen(), "invoke", message)
        assert caught.value.point is point


async def test_structured_content_is_corrupted(lane: Lane) -> None:
    message = HumanMessage([{"type": "text", "text": SAFE}, {"type": "image_url", "image_url": {"url": "data:,"}}])
    before = message.model_dump()
    assert await lane(screen(), "invoke", message) is message
    assert message.model_dump() == before


async def test_one_guard_call_after_another(lane: Lane) -> None:
    guard = fake_guard()
    await lane(screen(guard=guard), "invoke", [ToolMessage(f"{SAFE} {n}", tool_call_id=str(n)) for n in range(8)])
    assert len(guard.calls) == 1


async def test_a_chain_that_contains_it_cannot_stream(lane: Lane) -> None:
    chain = ChunkModel.of("one ", "two ", "three") | screen() | StrOutputParser()
    assert (await lane.collect(chain, "stream", "x"))[:3] == ["one ", "two ", "three"]


async def test_the_verdict_arrives_as_text_in_the_stream(lane: Lane) -> None:
    chain = ChunkModel.of("a ", BAD) | screen(on_block="refuse") | StrOutputParser()
    assert "".join(await lane.collect(chain, "stream", "x")) == REFUSAL


async def test_one_request_s_policy_leaks_into_others() -> None:
    strict, loose = screen("strict"), screen("loose")
    results = await asyncio.gather(*(step.ainvoke("a salary") for step in (strict, loose) * 20), return_exceptions=True)
    assert [isinstance(result, BlockedError) for result in results] == [True, False] * 20


def test_piping_mutates_the_shared_object() -> None:
    step = screen()
    before = dict(step.__dict__)
    assert (RunnableLambda(str) | step | StrOutputParser()).invoke("x") == "x"
    assert step.__dict__ == before


async def test_only_the_first_ten_thousand_characters_are_screened(lane: Lane) -> None:
    with pytest.raises(BlockedError):
        await lane(screen(), "invoke", "fine words " * 2_000 + BAD)


async def test_a_dead_guard_lets_everything_through(lane: Lane) -> None:
    dead = fake_guard(error=GuardUnavailableError("connection refused"))
    with pytest.raises(GuardUnavailableError):
        await lane(screen(guard=dead), "invoke", SAFE)


async def test_a_sync_call_inside_a_running_loop_fails() -> None:
    assert screen().invoke(SAFE) == SAFE


async def test_the_caller_s_callbacks_see_nothing_of_the_model_run(lane: Lane) -> None:
    seen: list[str] = []
    model: Any = ChunkModel.of(SAFE).with_config(run_name="my model")
    chain = screen().wrap(model).with_listeners(on_end=lambda run: seen.extend(child.name for child in run.child_runs))
    await lane(chain, "invoke", "x")
    assert seen == ["my model"]


async def test_the_same_text_is_judged_again_and_again(lane: Lane) -> None:
    guard = fake_guard()
    await lane(screen(guard=guard), "batch", [SAFE] * 10)
    assert asked(guard) == [SAFE]


async def test_the_exception_text_shows_what_was_blocked(lane: Lane) -> None:
    with pytest.raises(BlockedError) as caught:
        await lane(screen(), "invoke", BAD)
    assert BAD not in repr(caught.value) + str(caught.value)


def test_importing_it_costs_seconds() -> None:
    code = (
        "import sys, qwen3guard_integrations; sys.exit(bool({'torch', 'langchain_core', 'openai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
