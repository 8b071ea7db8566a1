"""A screened stream on the terminal, in a pipe, and as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from typing import Final, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..core.points import Point
from ..core.verdict import Severity
from ..core.visible import visible
from .rendering import decision_fields, json_lines
from .stream_outcome import Outcome, figures
from .stream_picture import LABELS, Judged, Picture, Span, labelled
from .stream_run import Screen
from .terminal import output

# Never by colour alone: some readers do not see it, and some terminals do not show it.
STYLES: Final = {
    None: "",
    Severity.SAFE: "green",
    Severity.CONTROVERSIAL: "yellow underline",
    Severity.UNSAFE: "red bold",
}
_REFRESHES: Final = 20  # a second: as often as an eye follows
_FAR: Final = 2000  # characters: text that left so long ago without a judgement will not get its colour any more
_MOST_SHOWN: Final = 600  # characters of what was never released; a page (`--html`) shows all of it


class Shown(Screen, Protocol):
    """A screen that also says how the stream ended."""

    def end(self, picture: Picture, outcome: Outcome) -> None:
        """What is said after the stream."""
        ...


def shown(*, as_json: bool) -> AbstractContextManager[Shown]:
    """The screen that suits standard output; leaving it puts the terminal right, whatever happened."""
    console = output()
    if as_json:
        return _json()
    animated = console.file.isatty() and console.is_interactive  # FORCE_COLOR colours a file, but does not animate it
    return _live(console) if animated else _plain(console)


# --- JSON lines ---


@contextmanager
def _json() -> Iterator[Shown]:
    yield _Json()


class _Json:
    """One line for each judgement as it comes, and one for the outcome."""

    def update(self, picture: Picture, new: Sequence[Judged]) -> None:
        self._write([_judged_fields(judged) for judged in new])

    def end(self, picture: Picture, outcome: Outcome) -> None:
        first = outcome.first_release
        characters = {
            "released": picture.left,
            "held": picture.came - picture.left,
            "unread": len(picture.unread),
        }
        times = {
            "first_release_ms": None if first is None else round(first, 3),
            "milliseconds": round(outcome.milliseconds, 3),
        }
        counts = {"tokens": picture.tokens, "judgements": len(picture.judgements), "calls": outcome.asks}
        self._write(
            [{"stopped": outcome.stopped, **decision_fields(outcome.decision), **characters, **counts, **times}]
        )

    def _write(self, lines: Sequence[dict[str, object]]) -> None:
        if lines:
            sys.stdout.buffer.write(json_lines(lines))
            sys.stdout.buffer.flush()


def _judged_fields(judged: Judged) -> dict[str, object]:
    return {
        "text": judged.text,
        "begin": judged.begin,
        "end": judged.end,
        **decision_fields(judged.decision),
        "milliseconds": round(judged.milliseconds, 3),
    }


# --- text ---


@dataclass(frozen=True, slots=True)
class Glyph:
    """What one character looks like, and where it stands in the stream.

    Attributes:
        last: Nothing about it will change any more.
    """

    text: str
    style: str
    place: int
    section: int
    last: bool


def _glyphs(spans: Iterable[Span], shelf: _Shelf, far: int = 0, *, ended: bool = False) -> Iterator[Glyph]:
    """The characters of `spans`, with labels where sections begin, to follow what is on the shelf.

    Those before the place `far` will get no colour any more.
    """
    section, open_line = shelf.section, shelf.open_line
    for span in spans:
        begin = span.end - len(span.text)
        if labelled(span, section):
            if open_line:
                yield Glyph("\n", "", begin, section, True)
            yield Glyph(f"{LABELS[span.point]}:", "reverse", begin, span.section, True)
            yield Glyph(" ", "", begin, span.section, True)
        section, open_line = span.section, not span.text.endswith("\n")
        style = _style(span, ended=ended)
        for place, character in enumerate(span.text, start=begin + 1):
            last = span.released and (span.judged is not None or place < far)
            yield Glyph(visible(character).replace("\t", "    "), style, place, section, last)


def _style(span: Span, *, ended: bool) -> str:
    parts = [STYLES[span.severity]]
    if span.point is Point.REASONING:
        parts.append("italic")
    if not span.released:
        parts.append("strike" if ended else "")
        if span.severity is not Severity.UNSAFE:  # bold and dim exclude each other on most terminals
            parts.append("dim")
    return " ".join(filter(None, parts))


def _text(glyphs: Iterable[Glyph]) -> Text:
    runs = groupby(glyphs, key=lambda glyph: glyph.style)
    return Text.assemble(*(("".join(glyph.text for glyph in run), style) for style, run in runs))


class _Shelf:
    """How far the stream was written for good, and in which section that was."""

    def __init__(self, console: Console, *, soft_wrap: bool) -> None:
        self.console = console
        self.soft_wrap = soft_wrap  # leave the end of lines to whoever reads on
        self.place = 0
        self.section = -1
        self.open_line = False

    def write(self, glyphs: Sequence[Glyph], end: str = "") -> None:
        """Write `glyphs`: they will not be written again."""
        self.console.print(_text(glyphs), soft_wrap=True, end=end)
        self.console.file.flush()
        self.place, self.section = glyphs[-1].place, glyphs[-1].section
        self.open_line = not (end or glyphs[-1].text).endswith("\n")

    def write_released(self, picture: Picture) -> None:
        """Write all that was released since."""
        released = takewhile(lambda span: span.released, picture.spans(self.place))
        if glyphs := list(_glyphs(released, self)):
            self.write(glyphs)

    def close_line(self) -> None:
        """Begin a new line if something stands on this one."""
        if self.open_line:
            self.console.print()
            self.open_line = False

    def end(self, picture: Picture, outcome: Outcome) -> None:
        """Where the stream was stopped, what was never released, and the figures."""
        if outcome.stopped:
            self.console.print(self._stop(picture, outcome), soft_wrap=self.soft_wrap)
        line = "; ".join(f"{name}: {value}" for name, value in figures(picture, outcome))
        self.console.print(Text(line, style="dim"), soft_wrap=self.soft_wrap)

    def _stop(self, picture: Picture, outcome: Outcome) -> Text:
        stop = Text.assemble(
            ("■ stopped here: ", STYLES[Severity.UNSAFE]),
            f"{outcome.decision.summary}, after {picture.left} characters",
        )
        held = _glyphs((span for span in picture.spans(self.place) if not span.released), self, ended=True)
        never = Text.assemble(_text(held), (visible(picture.unread), "dim strike"))
        if not never:
            return Text.assemble(stop, ("\nall of it had been released before", "dim"))
        space = "" if never.plain[0].isspace() else " "
        more = len(never) - _MOST_SHOWN
        rest = (f" … and {more} characters more" if more > 0 else "", "dim")
        return Text.assemble(stop, (f"\nnever released:{space}", "dim"), never[:_MOST_SHOWN], rest)


# --- a pipe or a file: what was released, as soon as it is ---


@contextmanager
def _plain(console: Console) -> Iterator[Shown]:
    screen = _Plain(_Shelf(console, soft_wrap=True))
    try:
        yield screen
    finally:
        screen.shelf.close_line()


class _Plain:
    def __init__(self, shelf: _Shelf) -> None:
        self.shelf = shelf

    def update(self, picture: Picture, new: Sequence[Judged]) -> None:
        self.shelf.write_released(picture)

    def end(self, picture: Picture, outcome: Outcome) -> None:
        self.shelf.close_line()
        self.shelf.end(picture, outcome)


# --- a terminal: what is held is there too, and gets its colour when it is judged ---


@contextmanager
def _live(console: Console) -> Iterator[Shown]:
    live = Live(
        console=console,
        transient=True,
        refresh_per_second=_REFRESHES,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    screen = _LiveScreen(_Shelf(console, soft_wrap=False), live)
    try:
        live.start()
        yield screen
    finally:
        screen.close()


class _LiveScreen:
    """Lines that will not change any more are written; only the last ones are drawn again and again."""

    def __init__(self, shelf: _Shelf, live: Live) -> None:
        self.shelf = shelf
        self.live = live
        self.picture: Picture | None = None

    def update(self, picture: Picture, new: Sequence[Judged]) -> None:
        self.picture = picture
        console, shelf = self.live.console, self.shelf
        lines = wrapped(_glyphs(picture.spans(shelf.place), shelf, picture.came - _FAR), console.width)
        while len(lines) > 1 and all(glyph.last for glyph in lines[0]):
            shelf.write(_without_line_end(lines.pop(0)), end="\n")
        rows = max(1, console.height - 1)
        self.live.update(Text("\n").join(_text(_without_line_end(line)) for line in lines[-rows:]))

    def close(self) -> None:
        """Take the held text away, and leave what was released."""
        self.live.stop()
        if self.picture:
            self.shelf.write_released(self.picture)
            self.picture = None
        self.shelf.close_line()

    def end(self, picture: Picture, outcome: Outcome) -> None:
        self.close()
        self.shelf.end(picture, outcome)


def wrapped(glyphs: Iterable[Glyph], width: int) -> list[list[Glyph]]:
    """Lines of at most `width` columns, broken after spaces; only the last one changes when glyphs are added."""
    lines: list[list[Glyph]] = [[]]
    used = 0
    for glyph in glyphs:
        columns = 0 if glyph.text == "\n" else cell_len(glyph.text)
        full = used + columns > width
        while used + columns > width and lines[-1] and glyph.text != " ":
            line = lines.pop()
            space = max((place for place, one in enumerate(line) if one.text == " "), default=len(line) - 1)
            lines += [line[: space + 1], line[space + 1 :]]
            used = sum(cell_len(one.text) for one in lines[-1])
        lines[-1].append(glyph)
        used += columns
        if glyph.text == "\n" or (full and glyph.text == " "):  # the space between two lines is not seen
            lines.append([])
            used = 0
    return lines


def _without_line_end(line: Sequence[Glyph]) -> list[Glyph]:
    """The line to be printed; the place of what ends it is kept."""
    last = line[-1:]
    return [*line[:-1], replace(last[0], text="")] if last and last[0].text in {" ", "\n"} else list(line)
