"""A screened stream on either lane, without a model: a source and a session that note what happens, in its order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from qwen3guard_integrations import GuardError, GuardUnavailableError, Point, Policy, Severity, Verdict
from qwen3guard_integrations.core.course import Course
from qwen3guard_integrations.core.gate import Gate, Judgement, Piece
from qwen3guard_integrations.guards.streaming import ascreened, screened
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane

SAFE, UNSAFE = Verdict(severity=Severity.SAFE), Verdict(severity=Severity.UNSAFE)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread or task does; if it does not, the assertions of the test say so."""
    give_up = time.monotonic() + 5
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.001)


async def auntil(condition: Callable[[], bool]) -> None:
    """As `until`, without blocking the event loop: conditions are looked at again and again, like any thread's."""
    give_up = time.monotonic() + 5
    while not condition() and time.monotonic() < give_up:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


class Source:
    """Gives `items`, each when `ready` says so; notes in `log` what is read, and that it was closed."""

    def __init__(
        self,
        items: Sequence[str],
        log: list[str],
        *,
        ready: Callable[[str], bool] = lambda _: True,
        error: Exception | None = None,
    ) -> None:
        self.items, self.log, self.ready, self.error = items, log, ready, error

    @property
    def read(self) -> int:
        return sum(entry.startswith("read") for entry in self.log)

    def sync(self) -> Iterator[str]:
        try:
            for item in self.items:
                self.log.append(f"read {item}")
                until(lambda item=item: self.ready(item))  # type: ignore[misc]
                yield item
            if self.error:
                raise self.error
        finally:
            self.log.append("closed")

    async def asynchronous(self) -> AsyncIterator[str]:
        try:
            for item in self.items:
                self.log.append(f"read {item}")
                await auntil(lambda item=item: self.ready(item))  # type: ignore[misc]
                yield item
            if self.error:
                raise self.error
        finally:
            self.log.append("closed")


class Session:
    """Judges everything it is given, "x" as unsafe, when `ready` says so; fails from its `fails_at`-th judgement on."""

    def __init__(
        self,
        *,
        ready: Callable[[], bool] | None = None,
        patience: float = 0.0,
        fails_at: int | None = None,
    ) -> None:
        self._ready, self._patience, self._fails_at = ready, patience, fails_at
        self.asked: list[str] = []
        self.text = ""

    def patience(self, pieces: Sequence[Piece], /) -> float:
        return self._patience

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        future: Future[list[Judgement]] = Future()

        def answer() -> None:
            try:
                if self._ready is not None:
                    until(self._ready)
                future.set_result(self._judgements(pieces))
            except GuardError as error:
                future.set_exception(error)

        answer() if self._ready is None else threading.Thread(target=answer, daemon=True).start()
        return future

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        if self._ready is not None:
            await auntil(self._ready)
        return self._judgements(pieces)

    def _judgements(self, pieces: Sequence[Piece]) -> list[Judgement]:
        self.asked.append("".join(piece.text for piece in pieces))
        if self._fails_at is not None and len(self.asked) >= self._fails_at:
            raise GuardUnavailableError("down")
        self.text += self.asked[-1]
        verdict = UNSAFE if "x" in self.text else SAFE
        return [Judgement(Point.RESPONSE, len(self.text), verdict, settled=True)]

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free."""


class Stream:
    """One screened stream on a lane; what leaves is noted in the log of its source."""

    def __init__(
        self, lane: Lane, source: Source, session: Any, policy: Policy | None = None, guard: Any = None
    ) -> None:
        self.log, policy = source.log, policy or Policy()
        self.gate: Gate[str] = Gate(policy)
        self.course: Course[str] = Course(
            gate=self.gate,
            pieces=lambda item: [Piece(Point.RESPONSE, item)],
            patience=session.patience,
            without=lambda item, _: item,
            clock=time.monotonic,
        )
        # Kept here, so that it is closed by the driver and not by the garbage collector.
        self.source: Any = source.asynchronous() if lane.is_async else source.sync()
        driver: Any = ascreened if lane.is_async else screened
        self.items = driver(self.source, self.course, session, guard or FakeGuard(), policy)
        self.is_async = lane.is_async

    async def next(self) -> str:
        item: str = await anext(self.items) if self.is_async else next(self.items)
        self.log.append(f"left {item}")
        return item

    async def run(self) -> str:
        """All that leaves."""
        try:
            while True:
                await self.next()
        except (StopIteration, StopAsyncIteration):
            return self.out
        except RuntimeError as error:  # what Python makes of a StopIteration in a coroutine
            if not isinstance(error.__cause__, StopIteration):
                raise
            return self.out

    async def close(self) -> None:
        await self.items.aclose() if self.is_async else self.items.close()

    @property
    def out(self) -> str:
        return "".join(entry.removeprefix("left ") for entry in self.log if entry.startswith("left"))
