"""How far a run is: a bar for each guard, on standard error and only for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from ..evaluation.runner import Progress


class Watched:
    """What `evaluate` tells its progress to; it shows it while it is `shown`.

    Attributes:
        latest: The last word; None before the first.
    """

    def __init__(self) -> None:
        self.latest: Progress | None = None
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """On a terminal: a bar for each guard that tells of itself, with rows a second and the time that is left."""
        if not sys.stderr.isatty():
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True), redirect_stdout=False) as self._bars:
            yield

    def __call__(self, progress: Progress) -> None:
        """Take note, and show it."""
        self.latest = progress
        if self._bars is None:
            return
        name = progress.guard
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=progress.done)
        else:  # what an earlier run has done counts for the length of the bar, not for its speed
            self._tasks[name] = self._bars.add_task(escape(name), total=progress.rows, completed=progress.done)

    @property
    def where(self) -> str:
        """How far it is, and how it goes on, to be put behind what has stopped it."""
        at = self.latest
        if at is None:
            return ""
        return f"; {at.guard} has judged {at.done:,} of {at.rows:,} rows, and the same command goes on from there"


@contextmanager
def busy(words: str) -> Iterator[None]:
    """A sign of life on a terminal, for what takes a while and tells of no progress."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(words):
        yield


class _Speed(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s", style="progress.data.speed")
