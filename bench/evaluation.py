"""What the runner of evaluations adds to the guard's own work, against a bare loop over the same batches.

    OMP_NUM_THREADS=1 python bench/evaluation.py --check

1. The demo guard on every third row of the samples in the package, in batches of 32: `evaluate` (results and times on
   disk, batch by batch) against a loop that calls `check_many` and keeps what it returns. CPU time of the process, both
   in turns in each round, and of each the best round: on a shared machine the others tell about the neighbours, and
   rounds are short to find a quiet moment. The bar is for that.
2. A scripted guard that answers at once, on both lanes: what a row costs besides the guard, in microseconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from qwen3guard_integrations import Conversation, Guard, Severity, Verdict, load_guard
from qwen3guard_integrations.evaluation import DataSet, Row, evaluate, load_rows

BAR = 5.0  # per cent
BATCH = 32


class InstantGuard:
    """Says Safe and does nothing else."""

    safe = Verdict(severity=Severity.SAFE)

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return [self.safe] * len(conversations)

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self.check_many(conversations)


def bare(guard: Guard, rows: Sequence[Row]) -> None:
    """The loop that one would write by hand."""
    verdicts: list[Verdict] = []
    for start in range(0, len(rows), BATCH):
        verdicts += guard.check_many([row.conversation for row in rows[start : start + BATCH]])
    assert len(verdicts) == len(rows)


def run(guard: Guard, data: DataSet, concurrency: int = 1) -> None:
    with tempfile.TemporaryDirectory() as folder:
        evaluate(data, {"guard": guard}, Path(folder), batch_size=BATCH, concurrency=concurrency)


def cpu_seconds(call: Callable[[], None]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def best(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The least CPU seconds of each call, all of them in turns in each round."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        order = list(calls.items())
        for name, call in order if number % 2 else reversed(order):
            spent[name].append(cpu_seconds(call))
    return {name: min(seconds) for name, seconds in spent.items()}


def demo(rounds: int) -> float:
    """By how many per cent `evaluate` takes longer than the bare loop."""
    samples = load_rows("sample:all")
    data = DataSet(samples.name, samples.rows[::3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guard = load_guard("demo")
    bare(guard, data.rows)  # the first pass fills caches
    spent = best({"bare": lambda: bare(guard, data.rows), "evaluate": lambda: run(guard, data)}, rounds)
    more = 100 * (spent["evaluate"] / spent["bare"] - 1)
    print(
        f"demo guard, {len(data)} rows: bare loop {1000 * spent['bare']:.0f} ms of CPU, "
        f"evaluate {1000 * spent['evaluate']:.0f} ms: {more:+.1f} %"
    )
    return more


def instant(rounds: int) -> None:
    rows = load_rows("sample:all").rows
    data = DataSet("many", tuple(row.model_copy(update={"id": f"{n}"}) for n, row in enumerate(rows * 20)))
    guard = InstantGuard()
    digest = data.digest  # hashed once, as in every run
    spent = best(
        {
            "bare": lambda: bare(guard, data.rows),
            "one by one": lambda: run(guard, data),
            "four at once": lambda: run(guard, data, concurrency=4),
        },
        rounds,
    )
    assert digest == data.digest
    per_row = {name: 1e6 * seconds / len(data) for name, seconds in spent.items()}
    print(
        f"instant guard, {len(data):,} rows, microseconds of CPU for a row: "
        + ", ".join(f"{name} {microseconds:.1f}" for name, microseconds in per_row.items())
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds in turns (default 15)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if the bar is missed")
    options = parser.parse_args()
    more = demo(options.rounds)
    instant(options.rounds)
    missed = more > BAR
    print(f"runner over the bare loop: {more:+.1f} %, bar {BAR:g} %: {'MISSED' if missed else 'kept'}")
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
