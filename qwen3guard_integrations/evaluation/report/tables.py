"""Tables as values, which the page and the Markdown file write each in its own way; and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import ClassVar

from ..catalogue import NOTHING, Figure, Unit, number
from ..summary import Estimate, GuardSummary


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table.

    Attributes:
        text: The number, mostly.
        aside: What stands smaller beside it: its interval.
        best: Whether it is the best of its line.
        heat: How dark it is, from 0 to 1; None in tables that are no heat maps.
    """

    text: str
    aside: str = ""
    best: bool = False
    heat: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table, with its name in front."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Lines under a heading of their own; an empty one is not shown."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: What it is of.
        corner: What the names of the lines are.
        columns: The heads of the other columns.
        blocks: Its lines.
        folded: Whether the page shows it only when it is asked for.
        beside: Whether it is narrow, and the page may show it beside a picture or another narrow table.
    """

    kind: ClassVar = "table"

    caption: str
    corner: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    folded: bool = False
    beside: bool = False

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines, without their headings."""
        return tuple(line for block in self.blocks for line in block.lines)

    @property
    def heat_map(self) -> bool:
        """Whether its cells are shaded."""
        return any(cell.heat is not None for line in self.lines for cell in line.cells)


def count(value: int) -> Cell:
    """How many."""
    return Cell(f"{value:,}")


def estimated(estimate: Estimate | None, unit: Unit = "share", *, best: bool = False) -> Cell:
    """A figure with its interval, where it has one."""
    if estimate is None:
        return Cell(NOTHING)
    known = estimate.low is not None and estimate.high is not None
    aside = f"{number(estimate.low, unit)}–{number(estimate.high, unit)}" if known else ""
    return Cell(number(estimate.value, unit), aside, best)


def side_by_side(caption: str, guards: Sequence[GuardSummary], figures: Iterable[Figure]) -> Table | None:
    """The figures that any of the guards has, one line each, the guards beside each other; None without any."""
    blocks = []
    for heading, under in groupby(figures, key=lambda figure: figure.heading):
        lines = [line for figure in under if (line := _line(figure, guards)) is not None]
        if lines:
            blocks.append(Block(heading, tuple(lines)))
    if len(blocks) == 1:
        blocks = [replace(blocks[0], name="")]  # which the caption says already
    return Table(caption, "Figure", tuple(guard.guard for guard in guards), tuple(blocks)) if blocks else None


def _line(figure: Figure, guards: Sequence[GuardSummary]) -> Line | None:
    estimates = [figure.of(guard) for guard in guards]
    known = [estimate.value for estimate in estimates if estimate is not None]
    if not known:
        return None
    best = _best(figure, known)
    cells = (
        estimated(estimate, figure.unit, best=estimate is not None and estimate.value == best) for estimate in estimates
    )
    return Line(figure.label, tuple(cells))


def _best(figure: Figure, values: Sequence[float]) -> float | None:
    """The best value, where there is something to choose from."""
    if figure.better is None or min(values) == max(values):
        return None
    return max(values) if figure.better == "higher" else min(values)
