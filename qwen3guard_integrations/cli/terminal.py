"""What the commands share on the terminal: consoles, and errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from ..core.errors import Qwen3GuardError

PASSES: Final = 0
STOPPED: Final = 1  # by the policy
ERROR: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE: not 1, which would say that something was stopped


class CommandError(Exception):
    """The command cannot do what was asked; the message is shown as it is and holds no judged text."""


class _Console(Console):
    """A console that lets `user_errors` see a broken pipe; rich would exit with 1."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def output(**settings: Any) -> Console:
    """A console on standard output."""
    return _Console(highlight=False, **settings)


def note(message: str, style: str = "") -> None:
    """One line on standard error, wrapped by nobody."""
    Console(stderr=True, highlight=False).print(Text(message, style=style), soft_wrap=True)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what goes wrong inside into one line on standard error and an exit status; never a traceback."""
    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _discard_output()
        raise typer.Exit(BROKEN_PIPE) from None
    except (CommandError, Qwen3GuardError, ImportError) as error:
        note(f"error: {error}", "red")
        raise typer.Exit(ERROR) from None
    except Exception as error:  # noqa: BLE001  # a defect: its message could quote the text, so only its name is shown
        note(f"error: unexpected {type(error).__name__}; please report it", "red")
        raise typer.Exit(ERROR) from None


def _discard_output() -> None:
    """Nobody reads on: let Python's last flush go nowhere, or it would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_argument(context: typer.Context) -> None:
    """Refuse a text without quotes, which the shell has split into words; Typer's own error would repeat it."""
    if context.args:
        raise CommandError("a text is one argument: put it in quotes")


def write_file(path: Path, content: str) -> None:
    """Write a picture or a page.

    Raises:
        CommandError: The file cannot be written.
    """
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or type(error).__name__}") from error
