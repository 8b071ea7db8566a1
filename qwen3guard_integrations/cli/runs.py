"""What `qwen3guard tune` reads: the results of one guard, from the folders of runs or from results files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..evaluation.results import Result
from ..evaluation.store import Run, load_run, read_results
from .terminal import CommandError

Results = Mapping[str, Sequence[Result]]


def results_of(runs: Sequence[str], guard: str | None) -> tuple[Results, str | None]:
    """The results by the names of their data sets, and the name of the guard where a run tells it.

    Args:
        runs: `PATH` or `NAME=PATH`, of the folder of a run or of a results file.
        guard: Which one; None where the runs have only one.

    Raises:
        CommandError: A guard is missing, or is not the same in all runs; or two data sets have the same name.
        RunError: A run cannot be read, or is not done.
    """
    results: dict[str, Sequence[Result]] = {}
    guards: set[str] = set()
    for run in runs:
        name, path = _named(run)
        if path.is_file():
            name, found = name or path.name.removesuffix(".jsonl").removesuffix(".results"), read_results(path)
        else:
            done = load_run(path)
            judge = _guard_of(done, guard, path)
            guards.add(judge)
            name, found = name or done.info.data, done.results[judge]
        if name in results:
            raise CommandError(f"two runs are of {name}: give them names, NAME={path}")
        results[name] = found
    if len(guards) > 1:
        raise CommandError(f"the runs are of different guards ({', '.join(sorted(guards))}): choose with --guard")
    return results, guard or next(iter(guards), None)


def _named(run: str) -> tuple[str, Path]:
    """The name that a run is given, if it is, and its path."""
    name, equals, path = run.partition("=")
    return (name, Path(path)) if equals and not Path(run).exists() else ("", Path(run))


def _guard_of(run: Run, guard: str | None, path: Path) -> str:
    names = list(run.results)
    if guard is None and len(names) > 1:
        raise CommandError(f"{path} is of several guards: choose with --guard, one of {', '.join(names)}")
    if guard is not None and guard not in names:
        raise CommandError(f"{path} has no guard {guard!r}: --guard is one of {', '.join(names)}")
    return guard or names[0]
