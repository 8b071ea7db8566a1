"""The worst mistakes of a guard: what it was most sure of, and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from ...core.verdict import Severity
from ..catalogue import number
from ..readings import severity_of
from ..results import Result
from ..rows import Row
from .passages import Passage, passages
from .tables import Block, Cell, Line, Table

Direction = Literal["false positives", "false negatives"]

MOST: Final = 10

_LEVELS: Final = {severity: place / 2 for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that a guard takes for more, or less, harmful than its label says.

    Attributes:
        id: The row's.
        label: What people say of it.
        said: What the guard says of it.
        score: P(Controversial) + P(Unsafe); None where the guard gives no probabilities.
        about: Its categories by the label and by the guard, its language, and its source.
        passages: Its texts; none where the report is to have no texts.
    """

    id: str
    label: Severity
    said: Severity
    score: float | None
    about: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The worst of one direction, the worst first.

    Attributes:
        guard: Whose they are.
        direction: Which way they err.
        all: How many there are.
        worst: At most `MOST` of them.
    """

    kind: ClassVar = "mistakes"

    guard: str
    direction: Direction
    all: int
    worst: tuple[Mistake, ...]

    @property
    def table(self) -> Table:
        """The same without texts."""
        lines = tuple(
            Line(one.id, tuple(map(Cell, (str(one.label), str(one.said), number(one.score), one.about))))
            for one in self.worst
        )
        columns = ("Label", "Said", "Score", "About")
        return Table(self.caption, "Row", columns, (Block("", lines),))

    @property
    def caption(self) -> str:
        """What they are, and how many of them are here."""
        shown = f"the worst {len(self.worst)} of {self.all:,}" if self.all > len(self.worst) else f"{self.all}"
        return f"{self.guard}, {self.direction}: {shown}"


def mistakes(guard: str, results: Sequence[Result], texts: Mapping[str, Row]) -> tuple[Mistakes, Mistakes]:
    """What the guard takes for more harmful than its label says, and for less.

    The surest come first: by score where the guard gives one, else by severity. Rows that are equally wrong keep
    their order.
    """
    judged = [(said, result) for result in results if (said := severity_of(result)) is not None]
    more = sorted((pair for pair in judged if pair[0] > pair[1].label.severity), key=_sureness, reverse=True)
    less = sorted((pair for pair in judged if pair[0] < pair[1].label.severity), key=_sureness)
    return _worst(guard, "false positives", more, texts), _worst(guard, "false negatives", less, texts)


def _sureness(pair: tuple[Severity, Result]) -> float:
    said, result = pair
    score = _score(result)
    return _LEVELS[said] if score is None else score


def _score(result: Result) -> float | None:
    verdict = result.verdict
    return 1 - verdict.scores.safe if verdict and verdict.scores else None


def _worst(
    guard: str, direction: Direction, found: Sequence[tuple[Severity, Result]], texts: Mapping[str, Row]
) -> Mistakes:
    worst = (
        Mistake(
            id=result.id,
            label=result.label.severity,
            said=said,
            score=_score(result),
            about=_about(result),
            passages=passages(texts[result.id]) if result.id in texts else (),
        )
        for said, result in found[:MOST]
    )
    return Mistakes(guard, direction, len(found), tuple(worst))


def _about(result: Result) -> str:
    label, verdict = result.label, result.verdict
    known = {
        "labelled": ", ".join(label.categories),
        "said": ", ".join(verdict.categories) if verdict else "",
        "language": label.language,
        "source": label.source,
    }
    return "; ".join(f"{name} {value}" for name, value in known.items() if value)
