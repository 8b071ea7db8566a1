"""Screened text stays out of exceptions, traces and logs, whatever stops it and wherever it stands."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.schemas import Run

from qwen3guard_integrations import GuardTimeoutError
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import VIOLENT, ChunkModel, Recorder, screen

CANARY = "canary7f3a"

VALUES: dict[str, Any] = {
    "string": CANARY,
    "message": HumanMessage(CANARY, id="1"),
    "answer": AIMessage("x", tool_calls=[{"name": "f", "args": {"q": CANARY}, "id": "1"}]),
    "state": {"messages": [("user", CANARY)], "docs": [Document(CANARY, metadata={"title": CANARY})]},
    "key": {CANARY + " and more": 1},
    "unknown type": {"a": CANARY, "b": object()},
    "unknown type under a key of words": {CANARY + " and more": object()},
    "role": {"role": CANARY, "content": object()},
    "broken message": {"role": "user", "content": {CANARY + " and more": object()}},
    "broken call": [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": CANARY}, "x": b""}]}
    ],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "block": {},
    "refuse": {"on_block": "refuse"},
    "redact": {"policy": {"unsafe": "redact"}},
    "flag": {"policy": {"unsafe": "flag"}},
    "guard down": {"guard": FakeGuard(error=GuardTimeoutError("late"))},
    "guard down, block": {"guard": FakeGuard(error=GuardTimeoutError("late")), "policy": {"on_guard_error": "block"}},
    "missing entry": {"input_key": "other"},
}


def traced_words(run: Run) -> str:
    """Everything that a run itself has recorded; its children are others' runs."""
    return repr([run.inputs, run.outputs, run.error, run.events, run.extra, run.tags, run.serialized])


async def said_by_error_of(run: Awaitable[Any]) -> str:
    """Everything that the exception of `run`, if there is one, shows of itself and of those it came from."""
    try:
        await run
    except Exception as error:  # noqa: BLE001
        return f"{error}{error!r}{error.args}{vars(error)}{''.join(traceback.format_exception(error))}"
    return ""


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("method", ["invoke", "batch", "stream", "transform"])
async def test_the_step_repeats_nothing(
    settings: dict[str, Any], value: Any, method: str, lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    recorder = Recorder()
    step = screen(**{"guard": FakeGuard({CANARY: VIOLENT}), **settings})
    # A function in front makes a sequence, whose second step gets a stream.
    runnable = RunnableLambda(lambda _: value) | step if method == "transform" else step
    name = "stream" if method == "transform" else method
    arguments = [[value]] if method == "batch" else [value]
    collect = lane.collect if name == "stream" else lane
    said = await said_by_error_of(collect(runnable, name, *arguments, {"callbacks": [recorder]}))
    assert CANARY not in said
    own = recorder.of("Qwen3GuardRunnable")
    assert len(own) == 1
    assert CANARY not in traced_words(own[0])
    assert CANARY not in caplog.text


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("canary_in", ["question", "answer"])
@pytest.mark.parametrize("method", ["invoke", "batch", "stream"])
async def test_a_wrapped_chain_repeats_nothing(
    settings: dict[str, Any], canary_in: str, method: str, lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    recorder = Recorder()
    model = ChunkModel.of("fine", CANARY if canary_in == "answer" else "day")
    wrapped = screen(**{"guard": FakeGuard({CANARY: VIOLENT}), **settings}).wrap(model)
    value: Any = CANARY if canary_in == "question" else "fine"
    value = [value] if method == "batch" else value
    collect = lane.collect if method == "stream" else lane
    said = await said_by_error_of(collect(wrapped, method, value, {"callbacks": [recorder]}))
    assert CANARY not in said
    own = recorder.of("GuardedChain")
    assert len(own) == 1
    assert CANARY not in traced_words(own[0])
    assert CANARY not in caplog.text
