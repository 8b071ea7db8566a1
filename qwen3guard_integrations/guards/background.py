"""One event loop in a thread of its own, on which the synchronous methods run the asynchronous ones.

So there is one implementation, and one pool of connections for all threads; a synchronous call works inside a
running event loop too (it blocks that loop, as any synchronous call does). The same arrangement as in fsspec.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

_GRACE: Final = 1.0  # seconds for closing idle connections when the process ends


def run_in_background(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What `coroutine` returns or raises. An interrupt (Ctrl-C) of the waiting thread cancels it.

    Raises:
        RuntimeError: This is the loop's own thread, which would wait for itself for ever.
    """
    if _background.is_current_thread:
        coroutine.close()
        raise RuntimeError("a synchronous check inside an asynchronous one on the guards' own loop: await acheck_many")
    future = submit_in_background(coroutine)
    try:
        return future.result()
    finally:
        future.cancel()  # of no effect when it is done


def submit_in_background(coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
    """What `coroutine` returns or raises, once it is there. Cancelling the future cancels it."""
    return asyncio.run_coroutine_threadsafe(coroutine, _background.running())


class _Background:
    """The loop, started when it is first needed; in a child process (fork) that is again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_current_thread(self) -> bool:
        return self._thread is threading.current_thread()

    def running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=loop.run_forever, name="qwen3guard event loop", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def close(self) -> None:
        """End what is under way and close what is open on the loop, then the loop."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(Exception):  # the process is ending: what could not be closed, the system closes
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(_GRACE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_GRACE)
        if not thread.is_alive():
            loop.close()


async def _end_all() -> None:
    """First the tasks, then the asynchronous generators, which keep the connections, as `asyncio.run` does.

    What was cancelled by its caller ends by itself, and with it the tasks that it has begun; only what is left then is
    cancelled here.
    """
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=_GRACE / 4)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


_background = _Background()


def _forget() -> None:
    """In a child process: the thread has not come along, and the lock may have been held by one that has not."""
    global _background
    _background = _Background()


atexit.register(lambda: _background.close())
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
