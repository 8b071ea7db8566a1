"""The Typer application. Importing it loads nothing heavy: `--help` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .check import check
from .demo import demo
from .eval import app as evaluation
from .stream import stream
from .tune import tune

# The exceptions that users may see are reported by `terminal.user_errors`, in one line and without local variables.
app = typer.Typer(
    name="qwen3guard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (check, stream, demo):
    app.command(context_settings={"allow_extra_args": True})(command)  # `terminal.one_argument` refuses them
app.add_typer(evaluation, name="eval")
app.command()(tune)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen3guard-integrations {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Qwen3Guard on the command line: judge texts, watch streams, evaluate guards, tune a policy, see a demo."""
