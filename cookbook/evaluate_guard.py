"""How good is a guard? Labelled rows, every verdict on disk, figures and a report; runs offline.

    python cookbook/evaluate_guard.py [FOLDER]

The report stays where FOLDER is named. The rows are a sample in the package and the guard is the demo guard; in real
life `data` is a benchmark or your own file, and `guards` are yours. `qwen3guard eval` does the same from the command
line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.evaluation import evaluate, load_rows, summarise, write_report
from qwen3guard_integrations.evaluation.summary import Group


def main(folder: Path) -> None:
    data = load_rows("sample:xstest")  # or "xstest" from the hub, or load_rows("mine.csv", fields={...})
    guards = {"demo": load_guard("demo")}

    # Stop it at any moment: run it again with the same folder, and it goes on where it was.
    run = evaluate(data, guards, folder)
    summary = summarise(data.name, data.digest, run.results, latencies=run.latencies())
    write_report(folder, summary, data, run.results)

    demo = summary.guards[0]
    f1, recall = demo.readings.strict.f1, demo.readings.strict.recall
    print(f"{summary.data}: {summary.rows} rows, {sum(demo.failed.values())} without a verdict")
    print(f"F1 {f1.value:.2f} (95 % interval {f1.low:.2f} to {f1.high:.2f})")
    print(f"recall {recall.value:.2f}, harmless rows blocked {demo.over_blocking['strict'].value:.2f}")
    print("where it is wrong most:")
    for source in sorted(demo.sources, key=lambda source: -wrong(source))[:3]:
        print(f"  {source.name}: {wrong(source)} of {source.strict.rows}")
    print(f"report: {folder / 'report.html'}")


def wrong(group: Group) -> int:
    """Rows of a group that were misjudged, Controversial counting as unsafe."""
    return group.strict.false_positives + group.strict.false_negatives


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as temporary:
            main(Path(temporary))
