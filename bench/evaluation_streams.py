"""Responses judged token by token: many at once against one at a time.

    OMP_NUM_THREADS=1 python bench/evaluation_streams.py

The demo Stream guard on all responses of the samples in the package, rendered in its own chat template. CPU seconds of
the process, both ways in turns, the best round of each: on a shared machine the others tell about the neighbours.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

from qwen3guard_integrations import Policy, load_guard
from qwen3guard_integrations.evaluation import judge_stream, judge_streams, load_rows


def cpu_seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    guard, policy = load_guard("demo-stream"), Policy()
    responses = [row for row in load_rows("sample:all").rows if row.is_response]
    rows = [row.model_copy(update={"input_ids": None}) for row in responses]
    tokens = sum(len(result.tokens) for result in judge_streams(guard, rows, policy))

    def one_by_one() -> None:
        for row in rows:
            judge_stream(guard, row, policy)

    def together() -> None:
        judge_streams(guard, rows, policy)

    alone, many = (
        min(times)
        for times in zip(*((cpu_seconds(one_by_one), cpu_seconds(together)) for _ in range(rounds)), strict=True)
    )
    print(f"{len(rows)} responses, {tokens} tokens judged, CPU seconds:")
    print(f"  one at a time {alone:.2f}, at once {many:.2f}: {alone / many:.1f} times cheaper")


if __name__ == "__main__":
    main()
