"""What the source of a screened stream may rely on, and the blocking source on the async lane."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from qwen3guard_integrations.guards.streaming import from_threads

from ..conftest import Lane
from .streams import Session, Source, Stream, auntil, until

SPEAKER: ContextVar[str] = ContextVar("SPEAKER", default="nobody")


async def test_a_source_is_read_in_one_context(lane: Lane) -> None:
    """What it sets before an item it finds after it, and can take back; the caller does not see it."""
    seen: list[str] = []

    def speaking() -> Iterator[str]:
        token = SPEAKER.set("source")
        for item in "abc":
            seen.append(SPEAKER.get())
            yield item
        SPEAKER.reset(token)  # a ValueError in any other context
        seen.append("end")

    async def aspeaking() -> AsyncIterator[str]:
        for item in speaking():
            await asyncio.sleep(0)
            yield item

    source = Source([], [])
    source.sync, source.asynchronous = speaking, aspeaking  # type: ignore[method-assign]
    session = Session(ready=lambda: len(seen) > min(len(session.text) + 1, 3))  # the next item is read meanwhile
    assert await Stream(lane, source, session).run() == "abc"
    assert seen == ["source"] * 3 + ["end"]
    assert SPEAKER.get() == "nobody"


@pytest.mark.parametrize("how", ["to the end", "block", "enough"])
async def test_an_asynchronous_source_is_read_and_closed_in_one_task(how: str) -> None:
    """A timeout, or a cancel scope of anyio, must be left in the task that entered it."""
    tasks: set[Any] = set()

    async def timed() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(60):
                for item in "abx" if how == "block" else "abc":
                    tasks.add(asyncio.current_task())
                    yield item
        finally:
            tasks.add(asyncio.current_task())

    source = Source([], [])
    source.asynchronous = timed  # type: ignore[method-assign]
    stream = Stream(Lane("async"), source, Session())
    if how == "enough":
        await stream.next()
        await stream.close()
    else:
        await stream.run()
    assert len(tasks) == 1
    assert tasks != {asyncio.current_task()}
    assert all(task.done() for task in tasks)


async def test_a_source_that_does_not_let_itself_be_cancelled_is_not_read_on() -> None:
    log: list[str] = []

    async def stubborn() -> AsyncIterator[str]:
        try:
            yield "x"
            log.append("read")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                log.append("cancelled")
            yield "b"
            log.append("read on")
        finally:
            log.append("closed")

    source = Source([], [])
    source.asynchronous = stubborn  # type: ignore[method-assign]
    stream = Stream(Lane("async"), source, Session(ready=lambda: "read" in log))
    async with asyncio.timeout(10):
        assert await stream.run() == ""
    assert log == ["read", "cancelled", "closed"]


# --- a blocking source on the async lane ---


async def test_from_threads_gives_the_items_and_closes() -> None:
    source = Source("abc", [])
    threads: set[int] = set()
    items = [item async for item in from_threads(_noting_threads(source.sync(), threads))]
    assert items == ["a", "b", "c"]
    assert source.log[-1] == "closed"
    assert threading.get_ident() not in threads


def _noting_threads(items: Iterator[str], threads: set[int]) -> Iterator[str]:
    try:
        for item in items:
            threads.add(threading.get_ident())
            yield item
    finally:
        items.close()  # type: ignore[attr-defined]


async def test_from_threads_passes_errors_on() -> None:
    source = Source("a", [], error=ConnectionError("gone"))
    items: Any = from_threads(source.sync())
    assert await anext(items) == "a"
    with pytest.raises(ConnectionError):
        await anext(items)
    assert source.log == ["read a", "closed"]


async def test_from_threads_closed_early_closes_the_source() -> None:
    source = Source("abc", [])
    items: Any = from_threads(source.sync())
    assert await anext(items) == "a"
    await items.aclose()
    assert source.log == ["read a", "closed"]


async def test_from_threads_cancelled_while_it_reads_closes_the_source_when_the_item_has_come() -> None:
    go_on = threading.Event()
    source = Source("ab", [], ready=lambda _: go_on.is_set())
    items: Any = from_threads(source.sync())
    reading = asyncio.ensure_future(anext(items))
    await auntil(lambda: source.read == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.log == ["read a"]
    go_on.set()
    await auntil(lambda: "closed" in source.log)
    assert source.log == ["read a", "closed"]


async def test_a_screened_source_in_threads_is_stopped_by_a_block() -> None:
    source, log = Source([], []), Source("abxcd", [])
    source.asynchronous = lambda: from_threads(log.sync())  # type: ignore[method-assign]
    assert await Stream(Lane("async"), source, Session()).run() == "ab"
    until(lambda: "closed" in log.log)
    assert log.log == ["read a", "read b", "read x", "closed"]
