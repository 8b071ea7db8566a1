"""CPU seconds of `import qwen3guard_integrations` in a fresh process, beside those of an empty process.

python bench/import_time.py --check
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

BAR = 0.3  # seconds of CPU, the interpreter's own start included
HEAVY = ("langchain", "langchain_core", "llama_index", "openai", "transformers", "torch")


def cpu_seconds(code: str, rounds: int) -> float:
    """The least CPU time of `rounds` processes that run `code`."""
    times = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="processes of each kind (default 7)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if the bar is missed")
    options = parser.parse_args()
    bare = cpu_seconds("pass", options.rounds)
    ours = cpu_seconds(
        f"import sys, qwen3guard_integrations; assert not set({HEAVY!r}) & set(sys.modules)", options.rounds
    )
    values = cpu_seconds("from qwen3guard_integrations import Policy, Verdict, Conversation", options.rounds)
    print(f"empty process {bare:.3f} s; import {ours:.3f} s; with policy and verdicts {values:.3f} s; bar {BAR} s")
    return int(ours > BAR and options.check)


if __name__ == "__main__":
    sys.exit(main())
