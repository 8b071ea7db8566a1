"""What has changed between two runs: figure by figure, and whether it got worse by more than chance explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..core.errors import Qwen3GuardError
from ..core.verdict import Value
from .catalogue import (
    GROUP_KINDS,
    LEAKS,
    READINGS,
    REFUSALS,
    SCORES,
    SPEED,
    STREAMS,
    Better,
    Figure,
    Unit,
    group_figures,
)
from .readings import confusion
from .results import Result
from .summary import Estimate, GuardSummary, Summary
from .summary_file import SummaryError, summary_path

Results = Mapping[str, Sequence[Result]]
Test = Literal["mcnemar", "interval"]
Mark = Literal["regression", "missing", "improvement", "chance", "same", "changed", "new"]

SIGNIFICANT: Final = 0.1
"""The p-value below which chance explains no change. It counts both directions and only one is asked about here, so
this is one in twenty; and it is on the safe side: five more misses, and nothing else, are a regression."""
_ROUNDING: Final = 1e-9  # 0.91 - 0.9 is a little more than 0.01


class Change(Value):
    """One figure of one guard, before and after.

    Attributes:
        guard: Whose it is.
        figure: Its name: "recall.strict".
        unit: What it counts in.
        better: Which way is better; None where neither is.
        before: None where the earlier run does not have it.
        after: None where the later run does not have it.
        difference: After less before, where both have it.
        test: What told whether chance explains the change: McNemar's exact test on the rows that the figure rests
            on, or the interval of the earlier run; None where there was neither.
        p_value: Of McNemar's test.
        mark: "regression" or "improvement" where it changed by more than the tolerance and than chance explains;
            "missing" where only the earlier run has it, which counts as a regression; "chance"; "same" within the
            tolerance; "changed" where neither way is better; "new" where only the later run has it.
    """

    guard: str
    figure: str
    unit: Unit
    better: Better | None
    before: Estimate | None
    after: Estimate | None
    difference: float | None = None
    test: Test | None = None
    p_value: float | None = None
    mark: Mark

    @property
    def is_regression(self) -> bool:
        """Whether something got worse, or is not measured any more."""
        return self.mark in {"regression", "missing"}


class Diff(Value):
    """Two runs side by side.

    Attributes:
        before: Name of the earlier run's data.
        after: Name of the later run's data.
        same_rows: Whether both are of the same rows.
        tolerance: By how much a figure may get worse.
        changes: Every figure that one of the runs has, guard by guard.
        added: Guards that only the later run has.
    """

    before: str
    after: str
    same_rows: bool
    tolerance: float
    changes: tuple[Change, ...]
    added: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What got worse."""
        return tuple(change for change in self.changes if change.is_regression)


@dataclass(frozen=True, slots=True)
class Judging:
    """By what a change is judged.

    Attributes:
        tolerance: By how much a share may get worse, such as 0.01; by what part of itself any other figure may.
        speed_tolerance: By what part of itself latency and throughput may get worse; None leaves them out, since they
            are the machine's as much as the guard's.
        groups: Whether single categories, languages and sources are compared too.
        chance: Whether a change that chance explains is no regression; False counts every change beyond the tolerance.
    """

    tolerance: float = 0.01
    speed_tolerance: float | None = None
    groups: bool = False
    chance: bool = True

    def __post_init__(self) -> None:
        if self.tolerance < 0 or (self.speed_tolerance or 0) < 0:
            raise SummaryError("a tolerance cannot be negative")


USUAL: Final = Judging()


def diff(
    before: Summary,
    after: Summary,
    judging: Judging = Judging(),  # frozen
    *,
    results: tuple[Results, Results] | None = None,
    force: bool = False,
) -> Diff:
    """What changed from the run `before` to the run `after`; guards are matched by their names.

    Args:
        before: The earlier run.
        after: The later one.
        judging: By what a change is judged.
        results: What the guards said in each run, row by row: figures that rest on rows are then tested on these.
        force: Compare runs on different rows too; `results` are then of no use.

    Raises:
        SummaryError: The runs are not on the same rows, and `force` is off; or a guard of the earlier one is missing.
    """
    same_rows = before.digest == after.digest
    if not same_rows and not force:
        raise SummaryError(
            f"the runs are not on the same rows: {before.data} with digest {before.digest}, and {after.data} with "
            f"{after.digest} (--force compares them anyway)"
        )
    old, new = ({guard.guard: guard for guard in run.guards} for run in (before, after))
    if missing := [name for name in old if name not in new]:
        raise SummaryError(
            f"the later run has no guard {', '.join(map(repr, missing))}; its guards are {', '.join(map(repr, new))} "
            "(guards are matched by name: give them the same one in both runs)"
        )
    rows = results if same_rows else None
    return Diff(
        before=before.data,
        after=after.data,
        same_rows=same_rows,
        tolerance=judging.tolerance,
        changes=tuple(
            change for name in old for change in _changes(old[name], new[name], judging, _rows_of(name, rows))
        ),
        added=tuple(name for name in new if name not in old),
    )


_Pair = tuple[Sequence[Result], Sequence[Result]]


def _rows_of(guard: str, results: tuple[Results, Results] | None) -> _Pair | None:
    """The results of a guard in both runs, where both have them for the same rows."""
    if results is None or any(guard not in run for run in results):
        return None
    old, new = (run[guard] for run in results)
    same = [result.id for result in old] == [result.id for result in new]
    return (old, new) if same else None


def _changes(before: GuardSummary, after: GuardSummary, judging: Judging, rows: _Pair | None) -> Iterator[Change]:
    for figure in _figures(before, after, judging):
        old, new = figure.of(before), figure.of(after)
        if old is None and new is None:
            continue
        test, p_value, explained = _tested(figure, old, new, rows)
        yield Change(
            guard=before.guard,
            figure=figure.key,
            unit=figure.unit,
            better=figure.better,
            before=old,
            after=new,
            difference=new.value - old.value if old and new else None,
            test=test,
            p_value=p_value,
            mark=_mark(figure, old, new, judging, explained=explained and judging.chance),
        )


def _figures(before: GuardSummary, after: GuardSummary, judging: Judging) -> Iterator[Figure]:
    yield from (*READINGS, *SCORES, *REFUSALS, *STREAMS, *LEAKS)
    if judging.speed_tolerance is not None:
        yield from SPEED
    if judging.groups:
        for kind in GROUP_KINDS:
            names = dict.fromkeys(group.name for guard in (before, after) for group in getattr(guard, kind))
            for name in names:
                yield from group_figures(kind, name)


def _mark(
    figure: Figure, before: Estimate | None, after: Estimate | None, judging: Judging, *, explained: bool
) -> Mark:
    if before is None or after is None:
        return "new" if before is None else "missing" if figure.better else "changed"
    change = after.value - before.value
    if abs(change) <= _allowed(figure, before.value, judging) + _ROUNDING:
        return "same"
    if figure.better is None:
        return "changed"
    if explained:
        return "chance"
    return "improvement" if (change > 0) == (figure.better == "higher") else "regression"


def _allowed(figure: Figure, before: float, judging: Judging) -> float:
    if figure in SPEED:
        return (judging.speed_tolerance or 0.0) * abs(before)
    return judging.tolerance if figure.unit == "share" else judging.tolerance * abs(before)


def _tested(
    figure: Figure, before: Estimate | None, after: Estimate | None, rows: _Pair | None
) -> tuple[Test | None, float | None, bool]:
    """By what the change was tested, the p-value, and whether chance explains the change."""
    if before is None or after is None or before.value == after.value:
        return None, None, False
    p_value = _by_rows(figure, after.value > before.value, rows) if rows else None
    if p_value is not None:
        return "mcnemar", p_value, p_value >= SIGNIFICANT
    if before.low is not None and before.high is not None:
        return "interval", None, before.low <= after.value <= before.high
    return None, None, False


def _by_rows(figure: Figure, rose: bool, rows: _Pair) -> float | None:
    """The p-value of McNemar's test on the rows that the figure rests on.

    None where the figure rests on no rows, and where the rows speak for the other direction: F1 and precision can
    fall while more rows are right, and what tells that apart from chance is no matter of this test.
    """
    if figure.belongs is None or figure.mode is None:
        return None
    from .compare import compare

    old, new = ([result for result in run if figure.belongs(result.label)] for run in rows)
    found = compare("before", "after", figure.mode, {"before": old, "after": new})
    better = rose == (figure.better == "higher")
    agrees = found.only_b_right > found.only_a_right if better else found.only_a_right > found.only_b_right
    return found.p_value if agrees else None


def results_beside(path: str | Path, summary: Summary) -> Results | None:
    """What the guards said row by row, where the folder of the summary holds the run that it is of."""
    from .store import load_run

    try:
        run = load_run(summary_path(path).parent)
    except Qwen3GuardError:
        return None
    return run.results if run.info.digest == summary.digest and _same(run.results, summary) else None


def _same(results: Results, summary: Summary) -> bool:
    """Whether the summary is of these results, and not of others that were there before."""
    return all(
        guard.guard in results and confusion(results[guard.guard]) == guard.confusion for guard in summary.guards
    )
