"""What the tools of one step return, judged with one question to the guard.

An agent runs the tool calls of a step side by side, each in a task of its own, and goes on when all are done. So a
result waits for the others: until every call of the step has one, or until none has come for a moment. Then whoever
is there asks for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Hashable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from ..core.decision import Decision
from ..core.errors import GuardError, GuardUnavailableError
from ..core.flow import arun, run
from ..core.screening import Item, screening
from .screener import Screener

PATIENCE: Final = 0.02
"""Seconds without another result after which those that are there are judged. A slow tool keeps nobody waiting: what
came before is judged while it still runs."""


@dataclass(eq=False, slots=True)
class _Result:
    """What one call returned, and the decisions about it once they are made."""

    items: Sequence[Item]
    decided: Future[list[Decision]] = field(default_factory=Future)


@dataclass(slots=True)
class _Step:
    """The calls of one step.

    Attributes:
        missing: The ids of calls that have no result yet.
        waiting: Results that nobody has asked about yet.
        inside: How many calls are under way.
        due: When those that wait are judged without the others.
    """

    missing: set[str]
    waiting: list[_Result] = field(default_factory=list)
    inside: int = 0
    due: float = 0.0


class Gathering:
    """Brings the results of the tool calls of a step together."""

    def __init__(self, screener: Screener) -> None:
        self._screener = screener
        self._steps: dict[Hashable, _Step] = {}
        self._lock = Lock()

    @contextmanager
    def call(self, step: Hashable, call_id: str, calls: Collection[str]) -> Iterator[Place]:
        """The place of one call among those of its step.

        Args:
            step: What the calls of one step have in common, and no others.
            call_id: Of this call.
            calls: The ids of all calls of the step.
        """
        with self._lock:
            place = self._steps.setdefault(step, _Step(set(calls)))
            place.inside += 1
        try:
            yield Place(self, place, call_id)
        finally:
            with self._lock:
                place.missing.discard(call_id)
                place.inside -= 1
                if not place.inside and self._steps.get(step) is place:
                    del self._steps[step]


@dataclass(slots=True)
class Place:
    """Where one call waits for the others of its step."""

    gathering: Gathering
    step: _Step
    call_id: str

    def decide(self, items: Sequence[Item]) -> list[Decision]:
        """Decisions about what the call returned, made together with those about the other calls' results.

        Raises:
            GuardError: The guard gave no verdict, and the policy's `on_guard_error` is "raise".
        """
        screener = self.gathering._screener
        result, together = self._arrive(items)
        while together is None:
            if wait([result.decided], timeout=self._patience(result)).done:
                break
            together = self._claim(result)
        else:
            with _answering(together, result) as asked:
                asked.give(run(screening(asked.items, screener.policy), screener.guard.check_many))
        decisions = result.decided.result()
        screener.report.tell(decisions)
        return decisions

    async def adecide(self, items: Sequence[Item]) -> list[Decision]:
        """As `decide`, without blocking the event loop."""
        screener = self.gathering._screener
        result, together = self._arrive(items)
        decided = asyncio.wrap_future(result.decided)
        while together is None:
            if (await asyncio.wait({decided}, timeout=self._patience(result)))[0]:
                break
            together = self._claim(result)
        else:
            with _answering(together, result) as asked:
                asked.give(await arun(screening(asked.items, screener.policy), screener.guard.acheck_many))
        decisions = await decided
        await screener.report.atell(decisions)
        return decisions

    def _patience(self, result: _Result) -> float | None:
        """Seconds until it is time to ask without the others; None when somebody has asked."""
        with self.gathering._lock:
            return max(0.0, self.step.due - time.monotonic()) if result in self.step.waiting else None

    def _arrive(self, items: Sequence[Item]) -> tuple[_Result, list[_Result] | None]:
        """Put the result with the others; all of them, if this is the last one."""
        result = _Result(items)
        with self.gathering._lock:
            self.step.missing.discard(self.call_id)
            self.step.waiting.append(result)
            self.step.due = time.monotonic() + PATIENCE
            return result, None if self.step.missing else self._take()

    def _claim(self, result: _Result) -> list[_Result] | None:
        """All results that wait, if it is time and `result` is still one of them."""
        with self.gathering._lock:
            if result in self.step.waiting and time.monotonic() >= self.step.due:
                return self._take()
        return None

    def _take(self) -> list[_Result]:
        waiting, self.step.waiting = self.step.waiting, []
        return waiting


@dataclass(slots=True)
class _Question:
    """The results that are judged together."""

    results: Sequence[_Result]

    @property
    def items(self) -> list[Item]:
        return [item for result in self.results for item in result.items]

    def give(self, decisions: Sequence[Decision]) -> None:
        """Hand every result its decisions."""
        rest = iter(decisions)
        for result in self.results:
            own = [next(rest) for _ in result.items]
            if result.decided.set_running_or_notify_cancel():
                result.decided.set_result(own)


@contextmanager
def _answering(results: Sequence[_Result], own: _Result) -> Iterator[_Question]:
    """Nobody is left waiting: an error of the guard is everybody's, and so is it when this call is cancelled."""
    try:
        yield _Question(results)
    except GuardError as error:
        _fail(results, error)
    except BaseException:
        others = [result for result in results if result is not own]
        _fail(others, GuardUnavailableError("the tool call that asked the guard for the whole step was cancelled"))
        raise


def _fail(results: Sequence[_Result], error: GuardError) -> None:
    for result in results:
        if not result.decided.done() and result.decided.set_running_or_notify_cancel():
            result.decided.set_exception(error)
