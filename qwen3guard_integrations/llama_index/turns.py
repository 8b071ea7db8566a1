"""Many queries at once take turns on their event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

# Between two awaits an engine of LlamaIndex goes on for half a millisecond to one and a half (spans, retrieval, a
# prompt), and what comes from outside can have to wait for the end of two turns of the loop. One at a time would do,
# but where each turn is long for other reasons, queries would wait for each other longer.
_AT_ONCE: Final = 2


async def turn() -> None:
    """Go on at once, or in a later turn of the event loop when too many have gone on in this one; first come first.

    A guard answers many callers at the same time, who would otherwise all go on in one turn of the loop.
    """
    loop = asyncio.get_running_loop()
    if (turns := _turns.known.get(loop)) is None:
        turns = _turns.known[loop] = _Turns()
    await turns.come(loop)


class _Turns:
    """Those who wait on one event loop."""

    def __init__(self) -> None:
        self._room = _AT_ONCE
        self._under_way = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def come(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait, if there is no room in this turn."""
        if not self._under_way:
            self._under_way = True
            loop.call_soon(self._next, loop)
        if self._room and not self._waiting:
            self._room -= 1
            return
        waiting = loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """The next turn: let as many go on as may; one more follows when somebody has."""
        self._room = _AT_ONCE
        while self._waiting and self._room:
            waiting = self._waiting.popleft()
            if not waiting.done():  # else its task was cancelled
                waiting.set_result(None)
                self._room -= 1
        self._under_way = self._room < _AT_ONCE
        if self._under_way:
            loop.call_soon(self._next, loop)


class _OfThread(threading.local):
    """By event loop, in the thread that runs it."""

    def __init__(self) -> None:
        self.known: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


_turns: Final = _OfThread()
