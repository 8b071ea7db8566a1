"""`qwen3guard eval`: guards over labelled rows, and a report of how good they are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from .eval_diff import eval_diff
from .terminal import CommandError, user_errors

app: Final = typer.Typer(
    invoke_without_command=True, rich_markup_mode="markdown", subcommand_metavar="[diff BEFORE AFTER]"
)
app.command("diff")(eval_diff)


class OnError(StrEnum):
    """What is done about a row that a guard cannot judge."""

    RECORD = "record"
    STOP = "stop"


_DATA: Final = "Rows"
_GUARDS: Final = "Guards"
_RUN: Final = "Run"
_REPORT: Final = "Report"


@app.callback()
def evaluation(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option(
            help='A benchmark ("xstest", "Qwen/Qwen3GuardTest"), a file or folder, "sample:NAME", or "sample:all".',
            metavar="NAME|PATH",
            rich_help_panel=_DATA,
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="One of its splits.", rich_help_panel=_DATA)] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help='Which field of a file is what: "prompt=question", "unsafe=label=harmful"; repeated.',
            metavar="WHAT=FIELD",
            rich_help_panel=_DATA,
        ),
    ] = None,
    schema: Annotated[
        str | None, typer.Option(help="The benchmark in whose schema a file is.", metavar="NAME", rich_help_panel=_DATA)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.", rich_help_panel=_DATA)] = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            help='Who judges, such as "demo"; repeated, to compare. Else QWEN3GUARD_GUARD.',
            metavar="PROVIDER:MODEL",
            rich_help_panel=_GUARDS,
        ),
    ] = None,
    guards: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with a table for each guard: guard, base_url, api_key_env, price, and its options.",
            metavar="FILE",
            rich_help_panel=_GUARDS,
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Address of the server, for each --guard on one; else QWEN3GUARD_BASE_URL.",
            metavar="URL",
            rich_help_panel=_GUARDS,
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="Its key. QWEN3GUARD_API_KEY in the environment is safer.", metavar="KEY", rich_help_panel=_GUARDS
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Passed on to each --guard, such as device=cpu; repeated.",
            metavar="KEY=VALUE",
            rich_help_panel=_GUARDS,
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="What judging one row costs, in any unit.", rich_help_panel=_GUARDS),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of this run alone; the same command goes on with a run that was stopped.",
            metavar="FOLDER",
            rich_help_panel=_RUN,
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what the folder holds.", rich_help_panel=_RUN)
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that are judged together.", rich_help_panel=_RUN)] = 32,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Batches at once, for guards on servers.", rich_help_panel=_RUN)
    ] = 4,
    streams: Annotated[
        bool, typer.Option("--streams", help="Judge responses while they are written too.", rich_help_panel=_RUN)
    ] = False,
    policy: Annotated[
        str,
        typer.Option(help='What stops streams: "strict", "loose", or a policy file.', rich_help_panel=_RUN),
    ] = "strict",
    on_error: Annotated[
        OnError, typer.Option(help="A row without a verdict is recorded, or stops the run.", rich_help_panel=_RUN)
    ] = OnError.RECORD,
    resamples: Annotated[
        int, typer.Option(min=0, help="Of the bootstrap; 0 for no intervals.", rich_help_panel=_REPORT)
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.", rich_help_panel=_REPORT)] = 0,
    texts: Annotated[
        bool, typer.Option("--texts/--no-texts", help="Show the worst mistakes, folded away.", rich_help_panel=_REPORT)
    ] = True,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html and report.md.", rich_help_panel=_REPORT)
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=_REPORT)
    ] = False,
) -> None:
    """Ask guards about labelled rows, and report how good they are.

    `qwen3guard eval --dataset sample:xstest --guard demo --out run`

    writes what each guard said of each row, report.html, report.md and summary.json to the folder. A run that was
    stopped, by Ctrl-C, a kill or a server that is down, goes on with the same command, and ends with the same results.
    `qwen3guard eval diff` compares the summaries of two runs.

    Exit status: 0 when the run is done, 2 on an error, 130 when it was interrupted.
    """
    if context.invoked_subcommand is not None:
        return
    with user_errors():
        if dataset is None or out is None:
            raise CommandError(f"{'--dataset' if dataset is None else '--out'} is missing")
        from .eval_run import Asked, run

        asked = Asked(
            dataset=dataset,
            split=split,
            fields=tuple(field or ()),
            schema=schema,
            limit=limit,
            guards=tuple(guard or ()),
            guards_file=guards,
            base_url=base_url,
            api_key=api_key,
            options=tuple(option or ()),
            price=price,
            folder=out,
            restart=restart,
            batch_size=batch_size,
            concurrency=concurrency,
            streams=streams,
            policy=policy,
            on_error=on_error.value,
            resamples=resamples,
            seed=seed,
            texts=texts,
            report=report,
            as_json=as_json,
        )
        run(asked)
