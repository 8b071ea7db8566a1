"""How long the event loop stands still while 64 `ainvoke`s wait for a slow guard.

    python bench/event_loop.py --check

A ticker sleeps for a millisecond at a time; what it comes late is time in which nothing else could run. Beside it
stands the CPU time of the loop's own thread between two ticks at worst: what a stall would be without neighbours.
Guards: a scripted one with a pause, an `OpenAIGuard` on a slow server in another process, and the demo model in its
thread. The bar is for the least of the rounds: on a shared machine the others tell about the neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.langchain import Qwen3GuardRunnable
from qwen3guard_integrations.testing import FakeGuard

BAR = 10.0  # milliseconds
CALLS = 64
PAUSE = 0.1  # seconds that a verdict takes


class SlowServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Handler(BaseHTTPRequestHandler):
    """Says Safe after a pause."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(PAUSE)
        message = {"role": "assistant", "content": "Safety: Safe\nCategories: None"}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def serve(port: multiprocessing.Queue[int]) -> None:
    server = SlowServer(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


@contextmanager
def slow_server() -> Iterator[str]:
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=30)}/v1"
    finally:
        process.terminate()


async def longest_stall(guard: Any) -> tuple[float, float]:
    """Milliseconds that the ticker came late at worst while `CALLS` runs were under way, and of CPU between ticks."""
    step = Qwen3GuardRunnable(guard)
    worst = busiest = 0.0

    async def tick() -> None:
        nonlocal worst, busiest
        while True:
            before, spent = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - before - 0.001)
            busiest = max(busiest, time.thread_time() - spent)

    await step.ainvoke("warm up")
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    worst = busiest = 0.0
    await asyncio.gather(*(step.ainvoke(f"What is {number} and {number}?") for number in range(CALLS)))
    ticker.cancel()
    return 1000 * worst, 1000 * busiest


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each kind (default 7)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if the bar is missed")
    options = parser.parse_args()
    missed = False
    with slow_server() as base_url:
        guards: dict[str, Callable[[], Any]] = {
            "scripted guard, 100 ms": lambda: FakeGuard(delay=PAUSE),
            "OpenAIGuard, 100 ms server": lambda: load_guard("openai:any", base_url=base_url),
            "demo model in its thread": lambda: load_guard("demo"),
        }
        for name, make in guards.items():
            guard = make()
            rounds = [asyncio.run(longest_stall(guard)) for _ in range(options.rounds)]
            stalls, busy = zip(*rounds, strict=True)
            missed |= min(stalls) > BAR
            print(
                f"{name:28} longest stall {min(stalls):.1f} ms at best, {median(stalls):.1f} ms in the median round; "
                f"CPU in it {min(busy):.1f} and {median(busy):.1f} ms"
            )
    print(f"bar {BAR} ms: {'MISSED' if missed else 'kept'}")
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
