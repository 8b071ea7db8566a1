"""The work of `qwen3guard eval`: rows -> guards -> results -> figures, report and table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core.errors import GuardError
from ..core.policy import Policy
from .eval_guards import candidates
from .eval_progress import Watched, busy
from .eval_table import table
from .terminal import CommandError, note, output

if TYPE_CHECKING:
    from ..evaluation.data.dataset import DataSet
    from ..evaluation.store import Run
    from ..evaluation.summary import Summary
    from ..guards.protocol import Guard


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says; see the options of `eval`."""

    dataset: str
    split: str | None
    fields: tuple[str, ...]
    schema: str | None
    limit: int | None
    guards: tuple[str, ...]
    guards_file: Path | None
    base_url: str | None
    api_key: str | None
    options: tuple[str, ...]
    price: float | None
    folder: Path
    restart: bool
    batch_size: int
    concurrency: int
    streams: bool
    policy: str
    on_error: Literal["record", "stop"]
    resamples: int
    seed: int
    texts: bool
    report: bool
    as_json: bool


def run(asked: Asked) -> None:
    """Judge, report, print.

    Raises:
        CommandError, Qwen3GuardError, ImportError: As the parts say; each names what to change.
        KeyboardInterrupt: Ctrl-C, after a line that says how to go on.
    """
    from ..evaluation.figures import summarise  # a missing library is said before an hour of judging, not after it
    from ..evaluation.summary_file import write_summary

    if asked.report:
        from ..evaluation.report import write_report
    # What is wrong with the command line is said before rows are fetched, and that with the rows before models are.
    policy = Policy.of(asked.policy)
    named = candidates(
        asked.guards,
        asked.guards_file,
        base_url=asked.base_url,
        api_key=asked.api_key,
        options=asked.options,
        price=asked.price,
    )
    data = _rows(asked)
    prices = {candidate.name: candidate.price for candidate in named if candidate.price is not None}
    guards = {candidate.name: candidate.load() for candidate in named}
    with _written_to(asked.folder):
        done = _judged(asked, data, guards, policy)
        with busy("figures and report"):
            summary = summarise(
                data.name,
                data.digest,
                done.results,
                latencies=done.latencies(prices),
                resamples=asked.resamples,
                seed=asked.seed,
            )
            write_summary(asked.folder, summary)
            if asked.report:
                write_report(asked.folder, summary, data, done.results, texts=asked.texts)
    _show(asked, summary)


def _rows(asked: Asked) -> DataSet:
    from ..evaluation.data.load import load_rows

    fields = dict(_field(setting) for setting in asked.fields) or None
    data = load_rows(asked.dataset, split=asked.split, fields=fields, schema=asked.schema, limit=asked.limit)
    if data.skipped:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in data.skipped.items())
        note(f"note: {data.name}: rows left out: {reasons}", "dim")
    return data


def _field(setting: str) -> tuple[str, str]:
    name, equals, field = setting.partition("=")
    if not equals:
        raise CommandError("--field takes WHAT=FIELD, such as --field prompt=question")
    return name.strip(), field


def _judged(asked: Asked, data: DataSet, guards: Mapping[str, Guard], policy: Policy) -> Run:
    from ..evaluation.runner import evaluate

    progress = Watched()
    with _saying_how_far(progress), progress.shown():
        return evaluate(
            data,
            guards,
            asked.folder,
            batch_size=asked.batch_size,
            concurrency=asked.concurrency,
            streams=asked.streams,
            policy=policy,
            on_error=asked.on_error,
            restart=asked.restart,
            on_progress=progress,
        )


@contextmanager
def _saying_how_far(progress: Watched) -> Iterator[None]:
    """Say how far a run came that ends before it is done, and that it can go on."""
    try:
        yield
    except GuardError as error:
        raise CommandError(f"{error}{progress.where}") from error
    except KeyboardInterrupt:
        note(f"interrupted{progress.where}")
        raise


@contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write to {folder}: {error.strerror or type(error).__name__} (--out)") from error


def _show(asked: Asked, summary: Summary) -> None:
    for guard in summary.guards:
        if guard.failed:
            reasons = ", ".join(f"{count:,} x {name}" for name, count in guard.failed.items())
            note(f"note: {guard.guard}: rows without a verdict, which count as blocked: {reasons}", "dim")
    if asked.as_json:
        sys.stdout.write(summary.model_dump_json() + "\n")
        return
    console, figures = output(), table(summary)
    if not console.is_terminal:  # a file has no edge at which lines must be folded
        unbounded = console.options.update(max_width=1_000)
        console.width = max(console.width, console.measure(figures, options=unbounded).maximum)
    console.print(f"{summary.data}: {summary.rows:,} rows\n", markup=False)
    console.print(figures)
    if asked.report:
        console.print(f"\nreport: {asked.folder / 'report.html'}", soft_wrap=True, markup=False)
