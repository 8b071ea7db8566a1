"""The course of a screened stream: when is read, asked, waited for and let go. A flow, as in `core.flow`.

It yields what is to be done and is sent what happened; it does no I/O and never waits itself. Reading and judging
overlap: at most one judgement is under way, and what arrives meanwhile is asked about next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Generic, Literal, TypeVar, assert_never

from .decision import Decision
from .errors import GuardError, GuardResponseError
from .gate import Gate, Judgement, Piece
from .points import Point
from .screening import Item

T = TypeVar("T")

_READ_AHEAD: Final = 8
"""Items that are read while a judgement is under way, unless the next window takes more: a slow guard then judges
several tokens in one forward pass, and a model that is stopped has not written much in vain."""

FIRST_LOOK: Final = 400
"""Characters of a text that is judged whole after which it is looked at on the way, and then each time it has doubled:
so a harmful one is stopped early, and all looks together cost no more than twice the last one."""


# --- what is to be done ---


@dataclass(frozen=True, slots=True)
class Leave(Generic[T]):
    """Let the item go."""

    item: T


@dataclass(frozen=True, slots=True)
class Ask:
    """Begin a judgement of what the session was not given yet. `Replied` or `Failed` follows, at once or later."""

    pieces: Sequence[Piece]
    final: bool


@dataclass(frozen=True, slots=True)
class Look:
    """Begin to decide about whole texts beside the stream. `Decided` follows."""

    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on when something has happened, or when so many seconds have passed (None: however long it takes).

    With `read`, the next item of the source is one of the things that may happen, until it has ended.
    """

    seconds: float | None = None
    read: bool = True


# --- what happened ---


@dataclass(frozen=True, slots=True)
class Came(Generic[T]):
    """The next item of the source."""

    item: T


@dataclass(frozen=True, slots=True)
class Ended:
    """The source has no more items."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The session's judgements."""

    judgements: Sequence[Judgement]


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions about whole texts."""

    decisions: Sequence[Decision]


@dataclass(frozen=True, slots=True)
class Failed:
    """The session gave no judgement."""

    error: GuardError


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing happened for as long as was waited."""


Wish = Leave[T] | Ask | Look | Wait
Event = Came[T] | Ended | Replied | Decided | Failed | TimePassed


@dataclass(slots=True, kw_only=True)
class Course(Generic[T]):
    """The screening of one stream.

    Attributes:
        gate: Holds the items back; tells afterwards what was decided. A locked gate waits for the prompt.
        pieces: The text in an item.
        patience: Seconds to wait for more text before these pieces are judged; 0 for at once.
        without: An item without the text of the named tracks; None where nothing is left of it.
        prompt: What is judged while the source already runs; nothing leaves before. The gate must be locked.
        beside: What stands beside the text of an item and is no part of it, as citations do; the item does not leave
            before it is judged.
        rest: What can be judged only when the stream has ended: its complete tool calls.
        rest_decided: What becomes of the decisions about the rest: one that does not pass stops the stream.
        clock: The time in seconds.
    """

    gate: Gate[T]
    pieces: Callable[[T], Sequence[Piece]]
    patience: Callable[[Sequence[Piece]], float]
    without: Callable[[T, frozenset[Point]], T | None]
    clock: Callable[[], float]
    prompt: Sequence[Item] = ()
    beside: Callable[[T], Sequence[Item]] = lambda _: ()
    rest: Callable[[], Sequence[Item]] = tuple
    rest_decided: Callable[[Sequence[Decision]], Sequence[Decision]] = tuple
    _judging: bool = False
    _looking: Literal["", "prompt", "beside", "way", "rest"] = ""
    _beside: list[Sequence[Item]] = field(default_factory=list)
    _looked_beside: int = 0
    _final: bool = False
    _settled: bool = False
    _rested: bool = False
    _came: float = 0.0
    _ahead: int = 0
    _next_look: int = FIRST_LOOK

    def run(self) -> Generator[Wish[T], Event[T] | None, None]:
        """The flow; it returns when everything has left, or the gate has stopped the stream.

        Raises:
            GuardError: The guard gave no judgement, and the policy says "raise".
        """
        gate = self.gate
        if self.prompt:
            self._looking = "prompt"
            yield Look(self.prompt)
        while True:
            for item, muted in gate.take(self.clock()):
                left = self.without(item, muted) if muted else item
                if left is not None:
                    yield Leave(left)
            if gate.stopped or (self._rested and not self._looking):
                return
            event = yield self._next()
            if event is not None:
                self._take(event)

    def _next(self) -> Wish[T]:
        """What to do next: ask if it is time, and otherwise wait for what is under way, or for more."""
        gate, now = self.gate, self.clock()
        early = gate.early_in(now)
        if self._beside and not self._looking:
            waiting, self._beside, self._looking = self._beside, [], "beside"
            self._looked_beside = len(waiting)
            return Look([*chain.from_iterable(waiting)])
        if gate.unread >= self._next_look and not self._looking and not gate.ended:
            self._next_look, self._looking = 2 * gate.unread, "way"
            return Look(self.rest())
        if self._judging:
            return Wait(early, read=self._ahead < _READ_AHEAD or self.patience(gate.unasked) > 0)
        if gate.ended:
            return self._last_wish()
        if not gate.unasked:
            return Wait(early)
        left = self.patience(gate.unasked) - (now - self._came)
        if left <= 0:
            return self._ask(final=False)
        return Wait(left if early is None else min(left, early))

    def _ask(self, *, final: bool) -> Ask:
        self._judging, self._final, self._ahead = True, final, 0
        return Ask(self.gate.ask(), final)

    def _last_wish(self) -> Wish[T]:
        """The source has ended and nothing is being judged: the last question, then what is judged whole."""
        if not self._settled:
            return self._ask(final=True)
        if not (self._looking or self._rested):
            self._rested = True
            if items := self.rest():
                self._looking = "rest"
                return Look(items)
            if self.gate.unread:
                self.gate.failed(GuardResponseError(f"{self.gate.unread} characters of tool calls were never complete"))
        return Wait(None if self._looking else 0, read=False)

    def _take(self, event: Event[T]) -> None:
        gate = self.gate
        match event:
            case Came(item):
                self._came = self.clock()
                self._ahead += 1
                pieces, beside = self.pieces(item), self.beside(item)
                gate.push(item, pieces, self._came, waits=bool(beside))
                if beside:
                    self._beside.append(beside)
            case Ended():
                gate.finish()
                self._settled = not gate.asked
            case Replied(judgements):
                self._judging = False
                gate.judged(judgements)
                if self._final:
                    self._settle()
            case Decided(decisions):
                self._decide(decisions)
            case Failed(error):
                self._judging = False
                gate.failed(error)
                self._settled = True
            case TimePassed():
                pass
            case _:
                assert_never(event)

    def _decide(self, decisions: Sequence[Decision]) -> None:
        looked, self._looking = self._looking, ""
        if looked == "prompt":
            self.gate.prompt_decided(decisions)
        elif looked == "beside":
            self.gate.beside_decided(decisions, self._looked_beside)
        elif looked == "rest":
            self.gate.whole_decided(self.rest_decided(decisions))
        else:
            self.gate.looked(self.rest_decided(decisions))

    def _settle(self) -> None:
        self._settled = True
        try:
            self.gate.settle()
        except GuardError as error:
            self.gate.failed(error)
