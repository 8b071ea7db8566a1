"""Results of one step are judged with one question, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from qwen3guard_integrations import Conversation, GuardUnavailableError, Point
from qwen3guard_integrations.core.screening import Item
from qwen3guard_integrations.langchain.gathering import Gathering
from qwen3guard_integrations.langchain.screener import Screener
from qwen3guard_integrations.testing import FakeGuard

CALLS = ["a", "b", "c"]


def item(text: str) -> Item:
    return Item(Point.TOOL_OUTPUT, Conversation.of_prompt(text))


def run_all(*works: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)


def test_threads_are_judged_together_and_get_their_own() -> None:
    gathering = Gathering(Screener(guard := FakeGuard({"bomb": "Unsafe"})))
    found: dict[str, list[bool]] = {}

    def work(name: str, *texts: str) -> None:
        with gathering.call("step", name, CALLS) as place:
            found[name] = [decision.passes for decision in place.decide([item(text) for text in texts])]

    run_all(lambda: work("a", "x"), lambda: work("b", "bomb", "y"), lambda: work("c"))
    assert found == {"a": [True], "b": [False, True], "c": []}
    assert len(guard.calls) == 1


async def test_tasks_are_judged_together_and_get_their_own() -> None:
    gathering = Gathering(Screener(guard := FakeGuard({"bomb": "Unsafe"}, delay=0.01)))

    async def work(name: str, text: str) -> bool:
        with gathering.call("step", name, CALLS) as place:
            return all(decision.passes for decision in await place.adecide([item(text)]))

    found = await asyncio.gather(work("a", "x"), work("b", "bomb"), work("c", "y"))
    assert list(found) == [True, False, True]
    assert len(guard.calls) == 1


async def test_one_that_never_comes_keeps_nobody_waiting() -> None:
    gathering = Gathering(Screener(guard := FakeGuard()))

    async def work(name: str) -> None:
        with gathering.call("step", name, CALLS) as place:
            await place.adecide([item(name)])

    start = time.monotonic()
    await asyncio.gather(work("a"), work("b"))
    assert time.monotonic() - start < 5
    assert len(guard.calls) == 1
    await work("c")
    assert len(guard.calls) == 2


async def test_one_that_fails_does_not_count() -> None:
    gathering = Gathering(Screener(guard := FakeGuard()))

    async def fails() -> None:
        with gathering.call("step", "a", CALLS):
            raise ValueError

    async def work(name: str) -> None:
        with gathering.call("step", name, CALLS) as place:
            await asyncio.sleep(0)
            await place.adecide([item(name)])

    await asyncio.gather(fails(), work("b"), work("c"), return_exceptions=True)
    assert len(guard.calls) == 1


async def test_an_error_of_the_guard_is_everybody_s() -> None:
    gathering = Gathering(Screener(FakeGuard(error=GuardUnavailableError("down"))))

    async def work(name: str) -> None:
        with gathering.call("step", name, CALLS) as place:
            await place.adecide([item(name)])

    results = await asyncio.gather(*map(work, CALLS), return_exceptions=True)
    assert [type(result) for result in results] == [GuardUnavailableError] * 3


async def test_when_who_asks_is_cancelled_the_others_fail_closed() -> None:
    gathering = Gathering(Screener(FakeGuard(delay=5)))

    async def work(name: str) -> None:
        with gathering.call("step", name, CALLS) as place:
            await place.adecide([item(name)])

    tasks = [asyncio.create_task(work(name)) for name in CALLS]
    await asyncio.sleep(0.1)
    tasks[-1].cancel()  # the last to come asks for all
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [GuardUnavailableError] * 2 + [asyncio.CancelledError]


async def test_a_waiting_one_can_be_cancelled() -> None:
    gathering = Gathering(Screener(guard := FakeGuard(delay=0.05)))

    async def work(name: str) -> str:
        with gathering.call("step", name, CALLS) as place:
            await place.adecide([item(name)])
        return name

    first = asyncio.create_task(work("a"))
    await asyncio.sleep(0)
    first.cancel()
    assert set(await asyncio.gather(work("b"), work("c"))) == {"b", "c"}
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(guard.calls) == 1


def test_nothing_is_left_behind() -> None:
    gathering = Gathering(Screener(FakeGuard()))
    with gathering.call("step", "a", ["a"]) as place:
        place.decide([item("x")])
    assert not gathering._steps
