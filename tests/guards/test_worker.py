"""One worker thread, many callers."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from qwen3guard_integrations.guards.worker import BatchingWorker


class Doubler:
    """Doubles numbers once `gate` is open; raises on 13; remembers its batches."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[int]] = []

    def __call__(self, numbers: list[int]) -> list[int]:
        self.gate.wait(10)
        self.batches.append(numbers)
        if 13 in numbers:
            raise ValueError("thirteen")
        return [2 * number for number in numbers]


def submit_while_busy(
    worker: BatchingWorker[int, int], doubler: Doubler, asks: list[list[int]]
) -> list[Future[list[int]]]:
    """Futures of `asks` that all came while the worker was busy with 0."""
    doubler.gate.clear()
    first = worker.submit([0])
    while not worker._jobs.empty():
        pass
    futures = [worker.submit(ask) for ask in asks]
    doubler.gate.set()
    assert first.result(10) == [0]
    return futures


def test_who_waits_together_is_answered_together() -> None:
    doubler = Doubler()
    worker = BatchingWorker(doubler, most=100, name="test")
    futures = submit_while_busy(worker, doubler, [[1], [2, 3], [4]])
    assert [future.result(10) for future in futures] == [[2], [4, 6], [8]]
    assert doubler.batches == [[0], [1, 2, 3, 4]]


def test_a_batch_has_a_limit_but_one_caller_may_go_over_it() -> None:
    doubler = Doubler()
    worker = BatchingWorker(doubler, most=2, name="test")
    futures = submit_while_busy(worker, doubler, [[1], [2], [3, 4, 5]])
    assert [future.result(10) for future in futures] == [[2], [4], [6, 8, 10]]
    assert doubler.batches == [[0], [1, 2], [3, 4, 5]]


def test_an_error_belongs_to_the_caller_who_caused_it() -> None:
    doubler = Doubler()
    worker = BatchingWorker(doubler, most=100, name="test")
    good, bad, other = submit_while_busy(worker, doubler, [[1], [13], [2]])
    assert (good.result(10), other.result(10)) == ([2], [4])
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(10)


def test_a_cancelled_request_is_not_worked_on() -> None:
    doubler = Doubler()
    worker = BatchingWorker(doubler, most=100, name="test")
    doubler.gate.clear()
    worker.submit([0])
    unwanted = worker.submit([7])
    assert unwanted.cancel()
    doubler.gate.set()
    assert worker.submit([1]).result(10) == [2]
    assert 7 not in [number for batch in doubler.batches for number in batch]


def ask_in_child(worker: BatchingWorker[int, int], queue: multiprocessing.Queue[list[int]]) -> None:
    queue.put(worker.submit([21]).result(10))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_it_works_in_a_forked_child() -> None:
    worker = BatchingWorker(Doubler(), most=10, name="test")
    assert worker.submit([1]).result(10) == [2]
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[list[int]] = context.Queue()
    child = context.Process(target=ask_in_child, args=(worker, queue))
    child.start()
    assert queue.get(timeout=20) == [42]
    child.join(10)


def test_the_interpreter_ends_cleanly_while_the_thread_is_at_work() -> None:
    code = """
from qwen3guard_integrations import Conversation, load_guard
guard = load_guard("demo", timeout=0.01)
try:
    guard.check_many([Conversation.of_prompt(f"question {n} " * 20) for n in range(200)])
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "GuardTimeoutError\n"), done.stderr
