"""CPU time that `Qwen3GuardRunnable` adds to a call, against a no-op RunnableLambda in the same place.

    python bench/runnable_overhead.py --check

The chain is a fake chat model that gives 200 words, and the step behind it; the guard says Safe at once. All three
chains (bare, lambda, guard) run in turns in one process; of each the best round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import Runnable, RunnableLambda

from qwen3guard_integrations import Conversation, Severity, Verdict
from qwen3guard_integrations.langchain import Qwen3GuardRunnable

BARS = {"invoke": 0.25, "ainvoke": 0.35}  # milliseconds more than the lambda
REPLY = " ".join(["word"] * 200)


class NoOpGuard:
    """Says Safe and does nothing else."""

    safe = Verdict(severity=Severity.SAFE)

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return [self.safe for _ in conversations]

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self.check_many(conversations)


def chains() -> dict[str, Runnable[Any, Any]]:
    model = FakeListChatModel(responses=[REPLY])
    return {
        "bare": model,
        "lambda": model | RunnableLambda(lambda message: message, afunc=_same),
        "guard": model | Qwen3GuardRunnable(NoOpGuard()),
    }


async def _same(message: Any) -> Any:
    return message


def milliseconds(call: Callable[[], object], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        call()
    return 1000 * (time.process_time() - start) / calls


def measure(name: str, rounds: int, calls: int) -> dict[str, float]:
    """Least milliseconds of CPU per call for each chain."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for kind, chain in chains().items():
            if name == "invoke":
                spent = milliseconds(lambda chain=chain: chain.invoke("x"), calls)  # type: ignore[misc]
            else:
                spent = asyncio.run(_amilliseconds(chain, calls))
            best[kind] = min(spent, best.get(kind, spent))
    return best


async def _amilliseconds(chain: Runnable[Any, Any], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        await chain.ainvoke("x")
    return 1000 * (time.process_time() - start) / calls


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds in turns (default 9)")
    parser.add_argument("--calls", type=int, default=200, help="calls in each round (default 200)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is missed")
    options = parser.parse_args()
    missed = False
    for name, bar in BARS.items():
        best = measure(name, options.rounds, options.calls)
        more = best["guard"] - best["lambda"]
        missed |= more > bar
        print(
            f"{name:8} bare {best['bare']:.3f} ms, + lambda {best['lambda']:.3f} ms, + guard {best['guard']:.3f} ms: "
            f"{more:+.3f} ms against the lambda (bar {bar} ms)"
        )
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
