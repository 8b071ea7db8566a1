"""An answer written again at a stated pace through the real gate: what leaves, and what would have been seen.

Time is a number here and nobody waits, so that the outcome does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import Field

from ..core.course import Ask, Came, Course, Ended, Event, Leave, Look, Replied, TimePassed, Wait
from ..core.gate import Gate, Judgement, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.verdict import Value


class Pace(Value):
    """How fast an answer is written, and judged, when a stream is played again.

    Attributes:
        tokens_per_second: That the model writes. 50 are usual for hosted chat models; faster than people read.
        guard_seconds: From asking the guard to its answer. 0.05 lies between what the 0.6B Stream model takes on a GPU
            (about 0.02) and on two CPU cores (about 0.1); for a Gen model on a server 0.3 is nearer.
    """

    tokens_per_second: float = Field(default=50.0, gt=0)
    guard_seconds: float = Field(default=0.05, ge=0)


_TICK: Final = 1e-9  # seconds: a timer is never early, whatever the sums of floating-point numbers are

_HOLDS: Final = ("judged", "window", "none")

Patience = Callable[[Sequence[Piece]], float]
Answers = Generator[Ask, Sequence[Judgement], None]


@dataclass(slots=True)
class Writing:
    """One answer on its way through a gate: `run` is a flow, as in `core.flow`.

    Attributes:
        items: The text, a piece for each token.
        gate: What of it may leave.
        patience: As of a session.
        pace: How fast all goes.
        left: How many characters have left.
    """

    items: Sequence[Piece]
    gate: Gate[Piece]
    patience: Patience
    pace: Pace
    left: int = field(default=0, init=False)
    _now: float = field(default=0.0, init=False)
    _read: int = field(default=0, init=False)
    _reply: Sequence[Judgement] = field(default=(), init=False)
    _due: float | None = field(default=None, init=False)  # when the reply comes

    def run(self) -> Answers:
        """Yields what the session is asked, and is sent what it says."""
        course = Course(
            gate=self.gate,
            pieces=lambda item: (item,),
            patience=self.patience,
            without=lambda item, muted: None if item.point in muted else item,
            clock=lambda: self._now,
        )
        event: Event[Piece] | None = None
        with closing(course.run()) as flow:
            while True:
                try:
                    wish = flow.send(event)
                except StopIteration:
                    return
                event = None
                match wish:
                    case Leave(item):
                        self.left += len(item.text)
                    case Ask():
                        self._reply = yield wish
                        self._due = self._now + self.pace.guard_seconds
                    case Wait():
                        event = self._next(wish)
                    case Look():
                        raise AssertionError("nothing of a written answer is judged whole")

    def _next(self, wait: Wait) -> Event[Piece]:
        """What happens next; of several things at one time the reply is first."""
        times: list[tuple[float, int]] = []
        if self._due is not None:
            times.append((self._due, 0))
        if wait.read and self._read <= len(self.items):
            times.append(((self._read + 1) / self.pace.tokens_per_second, 1))
        if wait.seconds is not None:
            times.append((self._now + wait.seconds + _TICK, 2))
        time, what = min((max(time, self._now), what) for time, what in times)
        self._now = time
        if what == 0:
            self._due = None
            return Replied(self._reply)
        return self._came() if what == 1 else TimePassed()

    def _came(self) -> Event[Piece]:
        self._read += 1
        return Came(self.items[self._read - 1]) if self._read <= len(self.items) else Ended()


@dataclass(frozen=True, slots=True)
class Screening:
    """How answers are screened: by a policy under each hold, at a pace.

    Attributes:
        policy: What stops an answer. A guard that fails was not measured: its error is raised, whatever the policy
            would make of it.
        by_hold: The same under each hold.
        watching: Has the same judged, and stops nothing.
    """

    policy: Policy
    by_hold: Mapping[str, Policy]
    watching: Policy
    pace: Pace

    @classmethod
    def of(cls, policy: Policy, pace: Pace) -> Self:
        """`policy` under each hold."""
        policy = policy.model_copy(update={"on_guard_error": "raise"})
        unjudged = [point for point in (Point.REASONING, Point.RESPONSE) if not policy.judges(point)]
        off = {"unsafe": "allow", "controversial": "allow"}
        flags = {"unsafe": "flag", "controversial": "flag", "points": dict.fromkeys(unjudged, off)}
        by_hold = {hold: policy.model_copy(update={"hold": hold}) for hold in _HOLDS}
        return cls(policy, by_hold, Policy.model_validate(flags), pace)

    def writings(self, items: Sequence[Piece], patience: Patience) -> dict[str, Writing]:
        """The writing of an answer under each hold."""
        return {hold: Writing(items, Gate(policy), patience, self.pace) for hold, policy in self.by_hold.items()}

    def watched(self, items: Sequence[Piece], patience: Patience) -> Writing:
        """A writing that nothing stops."""
        return Writing(items, Gate(self.watching), patience, self.pace)


def side_by_side(writings: Sequence[Writing]) -> Answers:
    """Several writings that differ only in what they let leave, and so ask the same at the same time: it is asked once.

    What the first asks counts; it is the last to end.
    """
    running = [(flow, ask) for writing in writings if (ask := next(flow := writing.run(), None)) is not None]
    while running:
        reply = yield running[0][1]
        running = [(flow, ask) for flow, _ in running if (ask := told(flow, reply)) is not None]


def told(flow: Answers, reply: Sequence[Judgement]) -> Ask | None:
    """What a flow asks next, now that it is told the reply; None when it has ended."""
    try:
        return flow.send(reply)
    except StopIteration:
        return None


class TokenAnswers:
    """What a session that judges every token says, from the judgements that are known already.

    As `TokenSession` does it waits with the last token until the next one has come, or the end.

    Args:
        judgements: Of all tokens, in their order.
    """

    def __init__(self, judgements: Sequence[Judgement]) -> None:
        self._judgements = judgements
        self._came: dict[Point, int] = {}
        self._told = 0

    def __call__(self, ask: Ask) -> Sequence[Judgement]:
        """The judgements that are due."""
        for piece in ask.pieces:
            self._came[piece.point] = self._came.get(piece.point, 0) + len(piece.text)
        known = self._told
        while known < len(self._judgements) and self._is_complete(self._judgements[known]):
            known += 1
        due = self._judgements[self._told : known if ask.final else max(self._told, known - 1)]
        self._told += len(due)
        return due

    def _is_complete(self, judgement: Judgement) -> bool:
        return judgement.end <= self._came.get(judgement.point, 0)


def at_once(_: Sequence[Piece]) -> float:
    """The patience of a session that judges every token."""
    return 0.0
