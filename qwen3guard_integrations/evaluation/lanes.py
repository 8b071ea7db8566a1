"""In which order batches are asked about, and how many at once: their outcomes come in the order of the batches.

A batch is a flow (`core.flow`): it yields what it asks and is sent the reply, so that nothing of it knows which of the
two lanes it is on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from ..core.flow import arun, run
from ..guards.background import submit_in_background
from ..guards.worker import BatchingWorker

Ask = TypeVar("Ask")
Reply = TypeVar("Reply")
Result = TypeVar("Result")

# Batches that may be under way or done while an earlier one is not: enough that one slow batch stops nobody, and so few
# that what a kill loses, and what memory holds, stays small.
_AHEAD: Final = 4


def in_process(guard: object) -> bool:
    """Whether a model in this process answers, also behind a cache or windows.

    Such a guard puts what many callers ask at once into one batch. Its verdicts on two batches would then depend on
    which came first, in the last digits of the scores, and nothing would be faster.
    """
    inside: Any = guard
    while not hasattr(inside, "_worker") and hasattr(inside, "guard"):
        inside = inside.guard
    return isinstance(getattr(inside, "_worker", None), BatchingWorker)


def in_turn(flows: Iterable[Generator[Ask, Reply, Result]], answer: Callable[[Ask], Reply]) -> Generator[Result]:
    """One after the other, in this thread."""
    for flow in flows:
        yield run(flow, answer)


def at_once(
    flows: Iterable[Generator[Ask, Reply, Result]], answer: Callable[[Ask], Awaitable[Reply]], concurrency: int
) -> Generator[Result]:
    """At most `concurrency` at once, on the guards' own event loop.

    Those that are under way are cancelled, which closes their connections, when one fails, and when the iterator is
    closed or interrupted (Ctrl-C).
    """
    places = asyncio.Semaphore(concurrency)

    async def one(flow: Generator[Ask, Reply, Any]) -> Any:
        async with places:
            return await arun(flow, answer)

    waiting: deque[Future[Result]] = deque()
    try:
        for flow in flows:
            waiting.append(submit_in_background(one(flow)))
            if len(waiting) == _AHEAD * concurrency:
                yield waiting[0].result()
                waiting.popleft()
        while waiting:
            yield waiting[0].result()
            waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()
