"""The picture of a screened stream: what came, how each stretch of it was judged, and what was released.

Pure: events of the stream go in, spans of text come out. The terminal and the page only paint them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from ..core.decision import Decision
from ..core.gate import Judgement
from ..core.points import Point
from ..core.policy import Policy
from ..core.thinking import ThinkingSplitter
from ..core.verdict import Severity


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One judgement: of a token, or of a window.

    Attributes:
        text: The stretch that it adds to what was judged; empty for the token that ends the answer, and for a last
            look at the whole.
        begin: Where the stretch begins: characters from the beginning of its track.
        end: Where it ends.
        decision: What the policy makes of the verdict by itself; whether the stream ends also depends on `debounce`.
        settled: Whether it is of a window and not of a token.
        milliseconds: When the judgement came, since the stream began.
    """

    text: str
    begin: int
    end: int
    decision: Decision
    settled: bool
    milliseconds: float

    @property
    def severity(self) -> Severity:
        """How harmful the policy takes the text to be."""
        return self.decision.severity or Severity.SAFE


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive characters of one section that share their judgement and are all released, or all not.

    Attributes:
        text: The characters.
        end: Where they end in the stream.
        point: The track: the response or the reasoning.
        section: The number of the section; a new one begins where the stream changes from one track to the other.
        judged: What covers them; None where nothing has yet.
        released: Whether they have left.
    """

    text: str
    end: int
    point: Point
    section: int
    judged: Judged | None
    released: bool

    @property
    def severity(self) -> Severity | None:
        """How harmful the characters are taken to be; None while they are not judged."""
        return self.judged.severity if self.judged else None


@dataclass(slots=True)
class _Part:
    """One character of the stream; those of tags are not shown."""

    text: str
    point: Point
    section: int
    shown: bool
    judged: Judged | None = None


@dataclass(slots=True)
class Picture:
    """What is known of a stream so far.

    Args:
        text: All that the stream would say if nothing stopped it.
        policy: What makes decisions of verdicts.

    Attributes:
        tokens: How many pieces of text came.
        came: How many characters came.
        left: How many characters were released: a prefix of what came.
        judgements: All of them, in the order in which they came.
    """

    text: str
    policy: Policy
    tokens: int = field(default=0, init=False)
    came: int = field(default=0, init=False)
    left: int = field(default=0, init=False)
    judgements: list[Judged] = field(default_factory=list, init=False)
    _parts: list[_Part] = field(default_factory=list, init=False)
    _tracks: dict[Point, list[_Part]] = field(default_factory=dict, init=False)
    _judged: dict[Point, int] = field(default_factory=dict, init=False)
    _splitter: ThinkingSplitter = field(default_factory=ThinkingSplitter, init=False)
    _last: Point | None = field(default=None, init=False)
    _section: int = field(default=-1, init=False)
    _opening: bool = field(default=True, init=False)

    # --- what happens ---

    def push(self, text: str) -> None:
        """A piece of text came."""
        self.tokens += 1
        self.came += len(text)
        self._sort(self._splitter.push(text))

    def finish(self) -> None:
        """No more text will come."""
        self._sort(self._splitter.flush())

    def judge(self, judgements: Iterable[Judgement], milliseconds: float) -> list[Judged]:
        """The guard said something; the same with its text and the policy's decision."""
        new = [self._judge(judgement, milliseconds) for judgement in judgements]
        self.judgements += new
        return new

    def release(self, text: str) -> None:
        """The next piece of text has left."""
        self.left += len(text)

    def _sort(self, pieces: Sequence[tuple[Point | None, str]]) -> None:
        for point, text in pieces:
            if point is not None and point is not self._last:
                self._last, self._opening = point, True
                self._section += 1
            for character in text:
                self._add(character, point)

    def _add(self, character: str, point: Point | None) -> None:
        # Chat templates put empty lines between the tags and what they enclose: those are judged and not shown.
        self._opening &= point is None or character in "\r\n"
        shown = point is not None and not self._opening
        part = _Part(character, point or Point.RESPONSE, self._section, shown)
        self._parts.append(part)
        if point is not None:
            self._tracks.setdefault(point, []).append(part)

    def _judge(self, judgement: Judgement, milliseconds: float) -> Judged:
        point, track = judgement.point, self._tracks.get(judgement.point, [])
        begin, end = self._judged.get(point, 0), min(judgement.end, len(track))
        covered = track[begin:end]
        judged = Judged(
            text="".join(part.text for part in covered),
            begin=begin,
            end=max(begin, end),
            decision=self.policy.decide(point, judgement.verdict),
            settled=judgement.settled,
            milliseconds=milliseconds,
        )
        self._judged[point] = judged.end
        for part in covered:
            part.judged = judged
        return judged

    # --- what is seen ---

    def spans(self, begin: int = 0) -> Iterator[Span]:
        """The text that came, from its character `begin` on, without the thinking tags."""
        parts, left = self._parts, self.left

        def alike(place: int) -> tuple[int, int, bool]:
            return id(parts[place].judged), parts[place].section, place < left

        shown = (place for place in range(begin, len(parts)) if parts[place].shown)
        for (_, section, released), places in groupby(shown, alike):
            run = list(places)
            last = parts[run[-1]]
            text = "".join(parts[place].text for place in run)
            yield Span(text, run[-1] + 1, last.point, section, last.judged, released)

    @property
    def anything_left(self) -> bool:
        """Whether any text was released; a thinking tag is none."""
        first = next(self.spans(), None)
        return first is not None and first.released

    @property
    def unread(self) -> str:
        """The text that never came: the stream was stopped before."""
        return self.text[self.came :]

    @property
    def windowed(self) -> bool:
        """Whether the guard judges windows of text and not tokens."""
        return any(judged.settled for judged in self.judgements)

    def count(self, severity: Severity) -> int:
        """How many judgements have this severity."""
        return sum(judged.severity is severity for judged in self.judgements)


LABELS: Final = {Point.REASONING: "reasoning", Point.RESPONSE: "response"}


def labelled(span: Span, section: int) -> bool:
    """Whether a label belongs before `span`, when `section` was the last that was shown (-1: none).

    A response needs none as long as there is no reasoning to tell it from.
    """
    return span.section != section and (span.section > 0 or span.point is Point.REASONING)
