"""A text written as a model would write it, screened on the way, and watched."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import Final, Protocol

from ..core.conversation import Turn
from ..core.course import Ask, Came, Course, Ended, Event, Leave, Replied, Wish
from ..core.decision import Action, Decision
from ..core.gate import Gate, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.verdict import Severity
from ..guards.protocol import Guard
from ..guards.streaming import open_stream, screened
from .stream_outcome import Outcome
from .stream_picture import Judged, Picture

# As byte-pair tokenizers cut before they look anything up: a word with the space before it, single digits, signs.
_WORD: Final = re.compile(r" ?[^\W\d_]+|\d| ?[^\w\s]+|\s+(?=\S)|\s+|\w")
_LONGEST_WORD: Final = 10
"""Longer words are several tokens, of about so many characters as the pieces of long words have in Qwen3's."""
_PIECE: Final = 5
_PIECE_ELSEWHERE: Final = 2  # characters a token, where words are not written in Latin, Greek or Cyrillic letters


class Screen(Protocol):
    """What shows a stream while it goes on."""

    def update(self, picture: Picture, new: Sequence[Judged]) -> None:
        """Something happened; `new` is what was judged just now."""
        ...


def deltas(text: str) -> Iterator[str]:
    """`text` in pieces as a model would write them: words with the space before them, long ones in parts."""
    for match in _WORD.finditer(text):
        word = match[0]
        size = _PIECE_ELSEWHERE if any(character >= "\u0530" for character in word) else _PIECE
        if size == _PIECE and len(word) <= _LONGEST_WORD:
            yield word
        else:
            yield from (word[begin : begin + size] for begin in range(0, len(word), size))


def screened_text(
    text: str, prompt: str | None, guard: Guard, policy: Policy, speed: float | None, screen: Screen
) -> tuple[Picture, Outcome]:
    """Let `text` be written and screened as the answer to `prompt`, and show it on `screen` meanwhile.

    Args:
        speed: Pieces of text a second; None for as fast as they are judged.

    Raises:
        GuardError: The guard gave no judgement, and the policy says "raise".
    """
    context = () if prompt is None else (Turn(role="user", content=prompt),)
    session = open_stream(guard, context, policy)
    writer = _Writer(text, speed)
    try:
        course = _Watched(
            gate=Gate(policy),
            pieces=lambda delta: (Piece(Point.RESPONSE, delta),),
            patience=session.patience,
            without=lambda delta, _: delta,  # thinking between tags stops the stream: nothing is ever left out
            clock=time.monotonic,
            picture=Picture(text, policy),
            screen=screen,
        )
        with closing(screened(iter(writer), course, session, guard, policy)) as released:
            for _ in released:
                pass
        return course.picture, course.outcome()
    finally:
        writer.stopped.set()
        session.close()


@dataclass(slots=True)
class _Writer:
    """Writes `text` at a speed; `stopped` wakes it, so that a slow one keeps nobody waiting at the end."""

    text: str
    speed: float | None
    stopped: Flag = field(default_factory=Flag)

    def __iter__(self) -> Iterator[str]:
        begin = time.monotonic()
        for number, delta in enumerate(deltas(self.text)):
            if self.speed is not None:
                self.stopped.wait(max(0.0, begin + number / self.speed - time.monotonic()))
            yield delta


@dataclass(slots=True, kw_only=True)
class _Watched(Course[str]):
    """A course that tells a picture and a screen what happens.

    A subclass, since this is the one place that sees what comes, what is judged and what leaves in their order and in
    one thread: a session's judgements are ready in threads of its own.
    """

    picture: Picture
    screen: Screen
    _begin: float = field(default_factory=time.perf_counter)
    _asks: int = 0
    _first_release: float | None = None

    def run(self) -> Generator[Wish[str], Event[str] | None, None]:
        """The flow of the course, watched."""
        event: Event[str] | None = None
        with closing(Course.run(self)) as flow:  # super() does not work in a dataclass with slots
            while True:
                try:
                    wish = flow.send(event)
                except StopIteration:
                    break
                self._leaving_now(wish)
                event = yield wish
                if event is not None:
                    self._happened(event)
        self.picture.finish()  # also where it was stopped
        self.screen.update(self.picture, ())

    def _leaving_now(self, wish: Wish[str]) -> None:
        if isinstance(wish, Ask):
            self._asks += 1
        elif isinstance(wish, Leave):
            self.picture.release(wish.item)
            if self._first_release is None and self.picture.anything_left:
                self._first_release = self._milliseconds
            self.screen.update(self.picture, ())

    def _happened(self, event: Event[str]) -> None:
        new: list[Judged] = []
        if isinstance(event, Came):
            self.picture.push(event.item)
        elif isinstance(event, Ended):
            self.picture.finish()
        elif isinstance(event, Replied):
            new = self.picture.judge(event.judgements, self._milliseconds)
        self.screen.update(self.picture, new)

    @property
    def _milliseconds(self) -> float:
        return (time.perf_counter() - self._begin) * 1000

    def outcome(self) -> Outcome:
        """How the stream ended."""
        stopped = self.gate.stopped
        decisions = self.gate.decisions or [Decision(point=Point.RESPONSE, action=Action.ALLOW)]
        return Outcome(
            decision=stopped or max(decisions, key=_strictness),
            stopped=stopped is not None,
            asks=self._asks,
            first_release=self._first_release,
            milliseconds=self._milliseconds,
        )


def _strictness(decision: Decision) -> tuple[Action, bool, Severity]:
    return decision.action, decision.guard_failed, decision.severity or Severity.SAFE
