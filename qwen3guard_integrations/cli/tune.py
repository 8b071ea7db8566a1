"""`qwen3guard tune`: from the results of runs to the policy file that fits a stated aim."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from .rendering import json_lines
from .terminal import CommandError, note, output, user_errors

if TYPE_CHECKING:
    from ..evaluation import Tuned

NOT_MET: Final = 1


class Labels(StrEnum):
    """What a row that is labelled Controversial counts as."""

    STRICT = "strict"
    LOOSE = "loose"


def tune(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of `qwen3guard eval`, or results files; NAME=RUN gives the data set another name.",
            metavar="RUN...",
            show_default=False,
        ),
    ],
    aim: Annotated[
        list[str],
        typer.Option(help='What must hold, as "recall>=0.95", or is made best, as "fewest blocks@xstest"; repeated.'),
    ],
    guard: Annotated[str | None, typer.Option(help="Whose results, where runs have several guards.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(help='"strict", "loose" or a policy file to begin with; else the better of strict and loose.'),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the policy: a .toml, .yaml or .json file.", metavar="FILE")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the trade-off: a .svg, .png or .html file.", metavar="FILE")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the division into these parts.")] = 0,
    margin: Annotated[float, typer.Option(help="By how much scores may be off, such as 0.03.")] = 0.0,
    confidence: Annotated[
        float | None, typer.Option(help="With which confidence the constraints hold, such as 0.95.")
    ] = None,
    flag_category: Annotated[
        list[str] | None,
        typer.Option(help="A category that may be let through and recorded; repeated. Others then are not."),
    ] = None,
    no_categories: Annotated[bool, typer.Option("--no-categories", help="Let no category through.")] = False,
    labels: Annotated[
        Labels, typer.Option(help="What the label Controversial counts as: unsafe (strict), or harmless.")
    ] = Labels.STRICT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Choose the score threshold, and the categories that need not be stopped, that fit an aim best.

    The policy is chosen on all rows; what it will do on others is estimated by cross-validation. "Blocks" are those of
    harmless texts. Figures are recall, precision, f1 and false_positive_rate, of all rows or @ a data set.

    Exit status: 0 when the policy is found, 1 when nothing meets the aim (it says what is the best that can be had),
    2 on an error.

    Example:

    `qwen3guard tune runs/* --aim "recall>=0.95" --aim "fewest blocks@xstest" --out policy.toml`
    """
    with user_errors():
        _check_files(out, plot)
        if no_categories and flag_category:
            raise CommandError("give --flag-category or --no-categories, not both")
        from ..core.policy import Policy
        from ..evaluation import AimNotMetError
        from ..evaluation import tune as tuned_for
        from .runs import results_of

        base = Policy.of(policy) if policy is not None else None
        results, judge = results_of(runs, guard)
        try:
            tuned = tuned_for(
                results,
                aim,
                base=base,
                folds=folds,
                seed=seed,
                margin=margin,
                confidence=confidence,
                categories=flag_category or not no_categories,
                labels=labels.value,
                guard=judge,
            )
        except AimNotMetError as error:
            note(f"not met: {error}", "red")
            raise typer.Exit(NOT_MET) from None
        _write(tuned, out, plot)
        if as_json:
            sys.stdout.buffer.write(json_lines([tuned.model_dump(mode="json")]))
            sys.stdout.buffer.flush()
        else:
            _show(tuned, out)


def _check_files(out: Path | None, plot: Path | None) -> None:
    """Say what is wrong with the files to write before anything is computed."""
    from ..evaluation.tuning.tuned import PICTURES, POLICY_FILES

    for path, suffixes in ((out, POLICY_FILES), (plot, PICTURES)):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise CommandError(f"cannot write {path}: the name must end in {', '.join(suffixes)}")
        if not path.parent.is_dir():
            raise CommandError(f"cannot write {path}: there is no folder {path.parent}")


def _write(tuned: Tuned, out: Path | None, plot: Path | None) -> None:
    for path, write in ((out, tuned.write), (plot, tuned.draw)):
        if path is not None:
            try:
                write(path)
            except OSError as error:
                raise CommandError(f"cannot write {path}: {error.strerror or type(error).__name__}") from error


def _show(tuned: Tuned, out: Path | None) -> None:
    from ..evaluation.tuning.policy_file import policy_text
    from .tune_report import notes, report

    screen = output()
    screen.print(report(tuned))
    if out is None:
        screen.print(Text(f"\n{policy_text(tuned, '.toml')}"), soft_wrap=True, end="")
    for line in notes(tuned):
        note(f"note: {line}", "yellow")
