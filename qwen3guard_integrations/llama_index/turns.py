"""Many queries at once take turns on their event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary


async def turn() -> None:
    """Go on at once, or, when somebody else has gone on in this turn of the event loop, in a later one of one's own.

    A guard answers many callers at the same time, who would otherwise all go on in one turn of the loop: an engine of
    LlamaIndex for one or two milliseconds each (spans, retrieval, a prompt), in which nothing else runs. First come,
    first served.
    """
    loop = asyncio.get_running_loop()
    if (turns := _turns.known.get(loop)) is None:
        turns = _turns.known[loop] = _Turns()
    await turns.come(loop)


class _Turns:
    """Those who wait on one event loop."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def come(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take this turn, or wait for another one."""
        if not self._taken:
            self._taken = True
            loop.call_soon(self._next, loop)
            return
        waiting = loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """The next turn, which goes to who waits longest."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # else its task was cancelled
                waiting.set_result(None)
                loop.call_soon(self._next, loop)
                return
        self._taken = False


class _OfThread(threading.local):
    """By event loop, in the thread that runs it."""

    def __init__(self) -> None:
        self.known: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


_turns: Final = _OfThread()
