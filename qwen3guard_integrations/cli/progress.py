"""A progress bar for rows, on standard error and only for people."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress(stream: BinaryIO) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of rows that are done; a bar where standard error is a terminal.

    There is no bar where the rows themselves go to the terminal: they show how far it is, and the two would
    write over each other. The length of the bar is the part of a file that was read; of a pipe nobody knows it.
    """
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda done: None
        return
    size = _size(stream)
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.fields[speed]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task("", total=size, speed="0 rows")
        start = time.monotonic()

        def show(done: int) -> None:
            rate = done / max(time.monotonic() - start, 1e-9)
            position = stream.tell() if size is not None else 0
            bar.update(task, completed=position, speed=f"{done:,} rows, {rate:,.0f} rows/s")

        yield show


def _size(stream: BinaryIO) -> int | None:
    """Bytes of a regular file; None for a pipe."""
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
