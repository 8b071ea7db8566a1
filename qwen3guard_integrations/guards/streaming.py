"""A stream of items, screened while it goes on: the two drivers of `core.course`.

Whatever ends the stream (its own end, a block, an error, a consumer who has had enough), the source is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from ..core.conversation import Turn
from ..core.course import Ask, Came, Course, Decided, Ended, Event, Failed, Leave, Look, Replied, TimePassed, Wait
from ..core.decision import Decision
from ..core.errors import GuardError
from ..core.flow import arun, run
from ..core.gate import Judgement
from ..core.policy import Policy
from ..core.screening import screening
from .protocol import Guard, StreamGuard, StreamSession

T = TypeVar("T")
_END: Final = object()


def open_stream(guard: Guard, context: Sequence[Turn], policy: Policy) -> StreamSession:
    """A session of `guard` for one answer; a guard that only judges whole texts judges it window by window."""
    from .windowed import WindowedStreamGuard

    streaming = guard if isinstance(guard, StreamGuard) else WindowedStreamGuard(guard)
    return streaming.open_stream(context, policy)


def screened(
    source: Iterator[T], course: Course[T], session: StreamSession, guard: Guard, policy: Policy
) -> Generator[T, None, None]:
    """The items of `source` that may leave, each as soon as it may. Afterwards `course.gate` tells what was decided.

    The source is read in the caller's thread while nothing is under way, and otherwise in a helper thread, always in
    one and the same context. On a block nothing waits for an item that is still being read: the source is closed
    when that item has come.

    Raises:
        GuardError: The guard gave no judgement, and the policy says "raise".
    """
    lane = _Lane(source)
    try:
        with closing(course.run()) as flow:
            event: Event[T] | None = None
            while True:
                try:
                    wish = flow.send(event)
                except StopIteration:
                    return
                event = None
                match wish:
                    case Leave(item):
                        yield item
                    case Ask(pieces, final):
                        lane.judging = session.judge(pieces, final=final)
                        event = lane.done()
                    case Look(items):
                        flow_of_look = partial(run, screening(items, policy), guard.check_many)
                        lane.looking = lane.in_thread(flow_of_look)
                    case Wait(seconds, read):
                        event = lane.next_event(seconds, read=read)
    finally:
        lane.close()


class _Lane:
    """What is under way in the sync lane: reading, judging and looking, each at most once."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.judging: Future[list[Any]] | None = None
        self.looking: Future[list[Decision]] | None = None
        self._source = source
        self._reading: Future[Any] | None = None
        self._ended = False
        self._context = copy_context()
        self._threads: ThreadPoolExecutor | None = None

    def in_thread(self, call: Any) -> Future[Any]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="qwen3guard-stream")
        return self._threads.submit(call)

    def next_event(self, seconds: float | None, *, read: bool) -> Event[Any]:
        """What happens next; reading happens here when nobody else is at work."""
        while (event := self.done()) is None:
            alone = self._reading is None and self.judging is None and self.looking is None
            if alone and read and seconds is None:
                return self._came(self._read())
            if read and self._reading is None and not self._ended:
                self._reading = self.in_thread(self._read)
            under_way = [future for future in (self._reading, self.judging, self.looking) if future is not None]
            if not under_way or not wait(under_way, timeout=seconds, return_when=FIRST_COMPLETED).done:
                return TimePassed()
        return event

    def done(self) -> Event[Any] | None:
        """What has happened by now."""
        if self.judging is not None and self.judging.done():
            judging, self.judging = self.judging, None
            try:
                return Replied(judging.result())
            except GuardError as error:
                return Failed(error)
        if self.looking is not None and self.looking.done():
            looking, self.looking = self.looking, None
            return Decided(looking.result())
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            return self._came(reading.result())
        return None

    def _read(self) -> Any:
        return self._context.run(next, self._source, _END)

    def _came(self, item: Any) -> Event[Any]:
        self._ended = item is _END
        return Ended() if self._ended else Came(item)

    def close(self) -> None:
        for future in (self.judging, self.looking):
            if future is not None:
                future.cancel()
        if self._reading is None or self._reading.cancel():
            _close(self._source)
        else:
            self._reading.add_done_callback(lambda _: _close(self._source))
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def _close(source: Any) -> None:
    if callable(close := getattr(source, "close", None)):
        close()


async def ascreened(
    source: AsyncIterator[T], course: Course[T], session: StreamSession, guard: Guard, policy: Policy
) -> AsyncGenerator[T, None]:
    """The items of `source` that may leave, each as soon as it may. Afterwards `course.gate` tells what was decided.

    The source is read, and closed, in one task of its own. On a block what is being read is cancelled.

    Raises:
        GuardError: The guard gave no judgement, and the policy says "raise".
    """
    lane = _AsyncLane(source)
    try:
        with closing(course.run()) as flow:
            event: Event[T] | None = None
            while True:
                try:
                    wish = flow.send(event)
                except StopIteration:
                    return
                event = None
                match wish:
                    case Leave(item):
                        yield item
                    case Ask(pieces, final):
                        event = await lane.ask(session.ajudge(pieces, final=final))
                    case Look(items):
                        lane.look(arun(screening(items, policy), guard.acheck_many))
                    case Wait(seconds, read):
                        event = await lane.next_event(seconds, read=read)
    finally:
        await lane.close()


class _AsyncLane:
    """What is under way in the async lane: reading, judging and looking, each at most once.

    The source is read in one task from its beginning to its end, since what it enters (a timeout, a cancel scope, a
    context variable) it has to leave in the same one; and only when it is told to.
    """

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source
        self._reader: asyncio.Task[None] | None = None
        self._judging: asyncio.Task[list[Judgement]] | None = None
        self._looking: asyncio.Task[list[Decision]] | None = None
        self._loop = asyncio.get_running_loop()
        self._read = self._loop.create_future()  # done: the source is to be read
        self._woken = self._loop.create_future()  # done: something has happened
        self._item: Any = _END
        self._ended = False

    async def ask(self, judgement: Coroutine[Any, Any, list[Judgement]]) -> Event[Any] | None:
        """Begin a judgement. It is returned if it comes at once: then nothing is read before its text has left."""
        self._judging = asyncio.create_task(judgement)
        await asyncio.sleep(0)
        if not self._judging.done():
            self._judging.add_done_callback(self._wake)
        return self._done()

    def look(self, decisions: Coroutine[Any, Any, list[Decision]]) -> None:
        """Begin to decide about whole texts."""
        self._looking = asyncio.create_task(decisions)
        self._looking.add_done_callback(self._wake)

    async def next_event(self, seconds: float | None, *, read: bool) -> Event[Any]:
        """What happens next."""
        if (event := self._done()) is not None:
            return event
        if read and not self._ended:
            if not self._read.done():
                self._read.set_result(None)
            if self._reader is None:
                self._reader = asyncio.create_task(self._read_on())
                self._reader.add_done_callback(self._wake)
        self._woken = self._loop.create_future()
        if self._read.done() or self._judging is not None or self._looking is not None:
            timer = self._loop.call_later(seconds, self._wake, None) if seconds is not None else None
            try:
                await self._woken
            finally:
                if timer is not None:
                    timer.cancel()
        return self._done() or TimePassed()

    def _done(self) -> Event[Any] | None:
        if self._judging is not None and self._judging.done():
            judging, self._judging = self._judging, None
            try:
                return Replied(judging.result())
            except GuardError as error:
                return Failed(error)
        if self._looking is not None and self._looking.done():
            looking, self._looking = self._looking, None
            return Decided(looking.result())
        if self._item is not _END:
            item, self._item = self._item, _END
            return Came(item)
        if self._reader is not None and self._reader.done() and not self._ended:
            self._ended = True
            self._read = self._loop.create_future()
            self._reader.result()
            return Ended()
        return None

    async def _read_on(self) -> None:
        try:
            async for item in self._source:
                self._item = item
                self._read = self._loop.create_future()
                self._wake()
                if self._ended:  # a source that does not let itself be cancelled
                    return
                await self._read
        finally:
            await _aclose(self._source)

    def _wake(self, _: Any = None) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    async def close(self) -> None:
        self._ended = True
        under_way = [task for task in (self._reader, self._judging, self._looking) if task is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await _aclose(self._source)  # which was perhaps never read


async def _aclose(source: Any) -> None:
    if callable(close := getattr(source, "aclose", None)):
        await close()


async def from_threads(source: Iterator[T]) -> AsyncIterator[T]:
    """The items of a blocking `source`, read in helper threads; the source is closed when this is."""
    loop, context = asyncio.get_running_loop(), copy_context()
    reading: asyncio.Future[Any] | None = None
    try:
        while True:
            reading = loop.run_in_executor(None, partial(context.run, next, source, _END))
            if (item := await asyncio.shield(reading)) is _END:
                return
            yield item
    finally:
        if reading is None or reading.done():
            _close(source)
        else:  # closed while an item is being read
            reading.add_done_callback(lambda _: _close(source))
