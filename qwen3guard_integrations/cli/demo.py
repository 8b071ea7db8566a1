"""`qwen3guard demo`: what the package does, in a terminal, with nothing downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from .terminal import CommandError, one_argument, output, user_errors, write_file

_WIDTH: Final = 100  # characters, of the picture and at most on the terminal: wider prose is hard to read


def demo(
    context: typer.Context,
    question: Annotated[
        str | None,
        typer.Argument(help="Run the chain on this question instead.", metavar="QUESTION", show_default=False),
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the same as an SVG picture.", metavar="FILE")] = None,
) -> None:
    """See a guarded LangChain chain at work, with a scripted model and the tiny guard in the package."""
    with user_errors():
        one_argument(context)
        if question is not None and not question.strip():
            raise CommandError("the question is blank")
        width = _WIDTH if svg else min(_WIDTH, Console().width)
        console = output(width=width, record=svg is not None)
        _show(console, question)
        if svg is not None:
            write_file(svg, console.export_svg(title="qwen3guard demo", unique_id="qwen3guard"))


def _show(console: Console, question: str | None) -> None:
    with Console(stderr=True).status("loading the demo guard"):  # seconds: torch and transformers are imported
        try:
            from .demo_transcript import transcript
            from .loading import loaded_guard

            guard = loaded_guard("demo")
        except ImportError as error:
            raise CommandError(
                f"the demo needs {error.name or 'LangChain and transformers'}: "
                'pip install "qwen3guard-integrations[langchain,transformers]"'
            ) from error
    for part in transcript(guard, question):
        console.print(part)
