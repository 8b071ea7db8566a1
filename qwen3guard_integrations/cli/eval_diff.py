"""`qwen3guard eval diff`: what changed between two runs, with an exit status for CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from ..core.visible import visible
from .terminal import PASSES, note, output, user_errors

if TYPE_CHECKING:
    from ..evaluation.regressions import Change, Diff, Mark

REGRESSION: Final = 1


def eval_diff(
    before: Annotated[Path, typer.Argument(help="summary.json of the earlier run, or its folder.", metavar="BEFORE")],
    after: Annotated[Path, typer.Argument(help="summary.json of the later run, or its folder.", metavar="AFTER")],
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="By how much a share may get worse; other figures: by what part of themselves."),
    ] = 0.01,
    speed_tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Compare speed too: by what part of itself it may get worse.", metavar="PART"),
    ] = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Compare single categories, languages and sources too.")
    ] = False,
    chance: Annotated[
        bool,
        typer.Option("--chance/--no-chance", help="Whether a change that chance explains is no regression."),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Compare runs on different rows too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two runs of `qwen3guard eval`, figure by figure, and find what got worse.

    A figure is a regression when it got worse by more than the tolerance and by more than chance explains: by
    McNemar's test where both folders hold what the guards said row by row, else by the earlier run's intervals. Where
    there is neither, the tolerance alone decides.

    Exit status: 0 when nothing got worse, 1 on a regression, 2 when the runs cannot be read or compared.
    """
    with user_errors():
        from ..evaluation.regressions import Judging, diff, results_beside
        from ..evaluation.summary_file import read_summary

        old, new = read_summary(before), read_summary(after)
        beside = results_beside(before, old), results_beside(after, new)
        found = diff(
            old,
            new,
            Judging(tolerance=tolerance, speed_tolerance=speed_tolerance, groups=groups, chance=chance),
            results=(beside[0], beside[1]) if beside[0] and beside[1] else None,
            force=force,
        )
        if as_json:
            sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        else:
            _show(found)
    raise typer.Exit(REGRESSION if found.regressions else PASSES)


def _show(found: Diff) -> None:
    for name in found.added:
        note(f"note: only the later run has the guard {visible(name)}", "dim")
    if not found.same_rows:
        note(f"note: the runs are on different rows, of {found.before} and of {found.after}", "yellow")
    console, table = output(), _table(found)
    if not console.is_terminal:  # a file has no edge at which lines must be folded
        unbounded = console.options.update(max_width=1_000)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
    worse = len(found.regressions)
    console.print(f"\n{worse} of {len(found.changes)} figures got worse" if worse else "\nno regression")


def _table(found: Diff) -> Table:
    """The figures of each guard under its name."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("figure", overflow="fold")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    guard = None
    for change in found.changes:
        if change.guard != guard:
            guard = change.guard
            table.add_row(Text(visible(guard), style="bold"), "", "", "", "")
        table.add_row(*_row(change))
    return table


def _row(change: Change) -> tuple[Text | str, ...]:
    from ..evaluation.catalogue import number

    difference = change.difference
    sign = "" if difference is None or difference <= 0 else "+"
    return (
        Text(visible(f"  {change.figure}")),
        number(change.before.value if change.before else None, change.unit),
        number(change.after.value if change.after else None, change.unit),
        "" if not difference else f"{sign}{number(difference, change.unit)}",
        Text(_words(change), style=_STYLES.get(change.mark, "")),
    )


def _words(change: Change) -> str:
    if change.mark == "same":
        return ""
    by = {"mcnemar": f"p {change.p_value or 0:.3f}", "interval": "interval", None: ""}[change.test]
    return f"{_MARKS[change.mark]} ({by})" if by else _MARKS[change.mark]


# Never by colour alone.
_MARKS: Final[dict[Mark, str]] = {
    "regression": "▼ regression",
    "missing": "▼ not measured any more",
    "improvement": "▲ better",
    "chance": "within chance",
    "changed": "changed",
    "new": "new",
}
_STYLES: Final[dict[Mark, str]] = {"regression": "bold red", "missing": "bold red", "improvement": "green"}
