"""The main figures of a run as a small table: all of them are in the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from ..evaluation.summary import Estimate, GuardSummary, Summary

NOTHING: Final = "–"


def table(summary: Summary) -> Table:
    """One line for each guard; a column that says nothing of any of them is left out."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("guard", overflow="fold")
    columns = {name: [cell(guard) for guard in summary.guards] for name, cell in _COLUMNS.items()}
    columns = {name: cells for name, cells in columns.items() if set(cells) != {NOTHING}}
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    for place, guard in enumerate(summary.guards):
        shown.add_row(guard.guard, *(cells[place] for cells in columns.values()))
    return shown


def _figure(estimate: Estimate | None) -> str:
    return NOTHING if estimate is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    return NOTHING if estimate.low is None or estimate.high is None else f"{estimate.low:.2f}–{estimate.high:.2f}"


_COLUMNS: Final[dict[str, Callable[[GuardSummary], str]]] = {
    "F1\nstrict": lambda guard: _figure(guard.readings.strict.f1),
    "95 %\ninterval": lambda guard: _interval(guard.readings.strict.f1),
    "F1\nloose": lambda guard: _figure(guard.readings.loose.f1),
    "precision\nstrict": lambda guard: _figure(guard.readings.strict.precision),
    "recall\nstrict": lambda guard: _figure(guard.readings.strict.recall),
    "over-\nblocking": lambda guard: _figure(guard.over_blocking.get("strict")),
    "stream\nF1": lambda guard: _figure(guard.stream.readings.strict.f1 if guard.stream else None),
    "rows\nfailed": lambda guard: str(failed) if (failed := sum(guard.failed.values())) else NOTHING,
    "rows\na second": lambda guard: f"{guard.latency.rows_per_second:,.0f}" if guard.latency else NOTHING,
}
