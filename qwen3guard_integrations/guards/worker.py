"""One thread for one model: requests of many callers wait together and are answered together."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

Ask = TypeVar("Ask")
Reply = TypeVar("Reply")


@dataclass(slots=True)
class _Job(Generic[Ask, Reply]):
    asks: tuple[Ask, ...]
    future: Future[list[Reply]] = field(default_factory=Future)


class BatchingWorker(Generic[Ask, Reply]):
    """Calls `answer` in a thread of its own, with everything that has been asked for since the last call.

    A caller who comes while the thread is busy costs the others nothing: their requests go into the next batch.
    The thread starts with the first request (again after a fork) and ends when the worker is garbage-collected.

    Args:
        answer: Gets requests, returns as many replies in the same order. Must not refer to the worker.
        most: Requests that are put into one batch at most, unless one caller alone brings more.
        name: Of the thread, as debuggers show it.
    """

    def __init__(self, answer: Callable[[list[Ask]], list[Reply]], *, most: int, name: str) -> None:
        self._answer = answer
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._process = -1
        self._jobs: queue.SimpleQueue[_Job[Ask, Reply] | None] = queue.SimpleQueue()

    def submit(self, asks: Sequence[Ask]) -> Future[list[Reply]]:
        """The replies to `asks`, soon. Cancelling the future spares the work if it has not begun."""
        job: _Job[Ask, Reply] = _Job(tuple(asks))
        self._running_queue().put(job)
        return job.future

    def _running_queue(self) -> queue.SimpleQueue[_Job[Ask, Reply] | None]:
        with self._lock:
            if self._process != os.getpid():  # first use, or a child process, in which threads do not live on
                self._process = os.getpid()
                self._jobs = queue.SimpleQueue()
                thread = threading.Thread(
                    target=_work, args=(self._jobs, self._answer, self._most), name=self._name, daemon=True
                )
                thread.start()
                _threads[thread] = self._jobs
                weakref.finalize(self, self._jobs.put, None).atexit = False
            return self._jobs


# The running threads and their queues. A daemon thread that is inside torch when the interpreter goes away aborts the
# process, so they are ended before.
_threads: weakref.WeakKeyDictionary[threading.Thread, queue.SimpleQueue[Any]] = weakref.WeakKeyDictionary()
_GRACE: Final = 5.0  # seconds that a thread gets at exit to finish its batch


@atexit.register
def _end_threads() -> None:
    for thread, jobs in list(_threads.items()):
        jobs.put(None)
        if thread.is_alive():
            thread.join(_GRACE)


def _work(
    jobs: queue.SimpleQueue[_Job[Ask, Reply] | None], answer: Callable[[list[Ask]], list[Reply]], most: int
) -> None:
    while (first := jobs.get()) is not None:
        batch, size, last = [first], len(first.asks), False
        while size < most and not jobs.empty():
            if (job := jobs.get()) is None:
                last = True
                break
            batch.append(job)
            size += len(job.asks)
        _answer_batch([job for job in batch if job.future.set_running_or_notify_cancel()], answer)
        if last:
            return
        del first, batch  # a job holds screened text: keep none while waiting


def _answer_batch(batch: list[_Job[Ask, Reply]], answer: Callable[[list[Ask]], list[Reply]]) -> None:
    if not batch:
        return
    try:
        replies = iter(answer([ask for job in batch for ask in job.asks]))
    except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to the callers
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for job in batch:  # one caller's trouble is not the others'
            _answer_batch([job], answer)
        return
    for job in batch:
        job.future.set_result([next(replies) for _ in job.asks])
