"""The two drivers do the same: one flow, both lanes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from qwen3guard_integrations import GuardTimeoutError
from qwen3guard_integrations.core import flow

from ..conftest import Lane

Answer = Callable[[int], int]


def adding(log: list[str]) -> Generator[int, int, int]:
    """Asks 1, 2, 3 and returns the sum of the answers; a guard error counts as 100."""
    total = 0
    try:
        for ask in (1, 2, 3):
            try:
                total += yield ask
            except GuardTimeoutError:
                total += 100
    finally:
        log.append("closed")
    return total


async def drive(lane: Lane, steps: Generator[Any, Any, Any], answer: Answer) -> Any:
    async def later(ask: int) -> int:
        return answer(ask)

    return await lane(flow, "run", steps, later if lane.is_async else answer)


def failing(error: Exception) -> Answer:
    def answer(ask: int) -> int:
        if ask == 2:
            raise error
        return ask * 10

    return answer


async def test_each_ask_is_answered_in_order_and_the_result_returned(lane: Lane) -> None:
    log: list[str] = []
    assert await drive(lane, adding(log), lambda ask: ask * 10) == 60
    assert log == ["closed"]


async def test_a_flow_that_asks_nothing_returns_at_once(lane: Lane) -> None:
    def silent() -> Generator[int, int, str]:
        yield from ()
        return "done"

    assert await drive(lane, silent(), failing(AssertionError())) == "done"


async def test_a_guard_error_is_thrown_into_the_flow_which_may_go_on(lane: Lane) -> None:
    assert await drive(lane, adding([]), failing(GuardTimeoutError("late"))) == 10 + 100 + 30


async def test_a_guard_error_that_the_flow_does_not_take_comes_out(lane: Lane) -> None:
    def helpless() -> Generator[int, int, None]:
        yield 2

    error = GuardTimeoutError("late")
    with pytest.raises(GuardTimeoutError) as raised:
        await drive(lane, helpless(), failing(error))
    assert raised.value is error


async def test_any_other_error_ends_the_flow_and_closes_it(lane: Lane) -> None:
    log: list[str] = []
    with pytest.raises(ZeroDivisionError):
        await drive(lane, adding(log), failing(ZeroDivisionError()))
    assert log == ["closed"]
