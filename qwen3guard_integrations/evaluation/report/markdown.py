"""The report in Markdown, as GitHub shows it: the tables of the page, and never a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

from ...core.visible import visible
from .contents import Part, Report
from .mistakes import Mistakes
from .svg import Picture
from .tables import Cell, Table
from .terms import Terms
from .token_maps import TokenMaps

_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>|~$&]")


def markdown(report: Report) -> str:
    """All of the report but its pictures and its texts."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escaped(report.title)}"
    yield ""
    yield from (f"- {name}: {escaped(value)}" for name, value in report.facts)
    for section in report.sections:
        yield f"\n## {section.title}"
        if section.words:
            yield f"\n{section.words}"
        for part in section.parts:
            yield from _part(part)


def _part(part: Part) -> Iterator[str]:
    match part:
        case Table():
            yield from _table(part)
        case Mistakes() | TokenMaps():
            yield from _table(part.table)
        case Terms():
            yield ""
            yield from (f"- **{name}**: {meaning}" for name, meaning in part.terms)
        case Picture():
            pass  # its numbers stand in the tables
        case _:
            assert_never(part)


def _table(table: Table) -> Iterator[str]:
    yield f"\n**{escaped(table.caption)}**\n"
    yield _row((table.corner, *map(escaped, table.columns)))
    yield _row((":--", *("--:" for _ in table.columns)))
    for block in table.blocks:
        if block.name:
            yield _row((f"**{escaped(block.name)}**", *("" for _ in table.columns)))
        for line in block.lines:
            yield _row((escaped(line.name), *map(_cell, line.cells)))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = f"**{escaped(cell.text)}**" if cell.best else escaped(cell.text)
    return f"{text} ({escaped(cell.aside)})" if cell.aside else text


def escaped(text: str) -> str:
    """`text` in one line in which Markdown reads nothing but characters."""
    line = " ".join(visible(text).split())
    return _SPECIAL.sub(r"\\\g<0>", line)
