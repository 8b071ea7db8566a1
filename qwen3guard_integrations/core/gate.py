"""The gate: what of a stream may leave, as a state machine that does no I/O.

Text and judgements are pushed in, in whatever order they come; what may leave is taken out. A stream has up to three
tracks, each with its own screening point: reasoning, response, tool calls. What leaves is a prefix of what came in.

What holds whatever the order of calls (`tests/core/test_gate.py`): with `hold="judged"` no character leaves before a
judgement that covers it passed; everything leaves when all of it passed; nothing leaves after a block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from .decision import Action, Decision
from .errors import GuardError, GuardResponseError
from .points import Point
from .policy import Policy
from .thinking import ThinkingSplitter, seam
from .verdict import Verdict

T = TypeVar("T")

_WRITTEN: Final = frozenset({Point.RESPONSE, Point.REASONING})
"""The tracks that are judged while they are written; all others are judged whole."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text of one track: `Point.RESPONSE` and `Point.REASONING` are judged while they are written, the
    text of any other point, such as `Point.TOOL_CALL`, when it is complete."""

    point: Point
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a guard says about the next stretch of a track.

    Attributes:
        point: The track.
        end: Where the stretch ends: characters from the beginning of the track. It begins where the last one ended.
        verdict: On the text up to `end`.
        settled: True for a verdict that stands by itself (on a window of text); False for that of one token, which
            counts only when the tokens beside it agree (`Policy.debounce`).
    """

    point: Point
    end: int
    verdict: Verdict
    settled: bool = False


@dataclass(slots=True)
class _Track:
    """One track: how many characters came, were judged, and may leave; and its run of tokens that do not pass."""

    point: Point
    exempt: bool  # by the policy: nobody judges it
    came: int = 0
    judged: int = 0
    cleared: int = 0
    tokens: int = 0
    run: int = 0
    last: Decision | None = None
    flagged: Decision | None = None
    muted: bool = False
    inline: bool = False  # between tags, in the text of the response


@dataclass(slots=True)
class _Stretch:
    """Consecutive characters of the stream that belong to one track (None: a tag, which nobody has to judge)."""

    track: _Track | None
    end_in_track: int
    end: int


@dataclass(slots=True)
class _Held(Generic[T]):
    item: T
    end: int
    ends: dict[Point, int]  # of each track
    place: tuple[bool, bool]  # of the splitter
    since: float
    waits: bool  # for what stands beside it


@dataclass(slots=True)
class Gate(Generic[T]):
    """Holds the items of one stream until they may leave.

    Args:
        policy: What passes, how many tokens must agree (`debounce`), and what may leave early (`hold`).
        reserve: So many of the last items are kept back even if they may leave, so that a stop can take them back;
            until the stream has ended and nothing of it is left to judge.
        locked: Nothing leaves before `prompt_decided`: the prompt is still being judged.

    Attributes:
        stopped: The decision that ended the stream; it stays. Its action is "redact" where the policy says so of text
            that can only be cut off here, since what has left cannot be changed.
        ended: No more text will come.
        dropped: How many items were thrown away after a stop.
    """

    policy: Policy
    reserve: int = 0
    locked: bool = False
    stopped: Decision | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)
    dropped: int = field(default=0, init=False)
    _splitter: ThinkingSplitter = field(default_factory=ThinkingSplitter, init=False)
    _tracks: dict[Point, _Track] = field(default_factory=dict, init=False)
    _whole_tracks: list[_Track] = field(default_factory=list, init=False)
    _stretches: deque[_Stretch] = field(default_factory=deque, init=False)
    _items: deque[_Held[T]] = field(default_factory=deque, init=False)
    _waiting: deque[_Held[T]] = field(default_factory=deque, init=False)
    _unasked: list[Piece] = field(default_factory=list, init=False)
    _came: int = field(default=0, init=False)
    _sorted: int = field(default=0, init=False)
    _cleared: int = field(default=0, init=False)
    _left: int = field(default=0, init=False)
    _ends: dict[Point, int] = field(default_factory=dict, init=False)
    _place: tuple[bool, bool] = field(default=(False, False), init=False)
    _muted: frozenset[Point] = field(default=frozenset(), init=False)
    _unguarded: bool = field(default=False, init=False)
    _settled: bool = field(default=False, init=False)
    _extra: list[Decision] = field(default_factory=list, init=False)

    # --- what comes in ---

    def push(self, item: T, pieces: Iterable[Piece], now: float = 0.0, *, waits: bool = False) -> None:
        """Take an item and the text in it; thinking tags in text of the response are found here.

        Args:
            item: Whatever carries the text; it comes out again as it is.
            pieces: The text in the item, in order.
            now: The time in seconds, on any clock, for `hold="window"`.
            waits: Something stands beside the text: the item does not leave before `beside_decided`.
        """
        for piece in pieces:
            if not piece.text:
                continue
            self._came += len(piece.text)
            if piece.point is Point.RESPONSE:
                self._sort(self._splitter.push(piece.text), inline=True)
            else:
                self._sort(self._splitter.flush(), inline=True)
                self._sort([(piece.point, piece.text)])
        ends = {point: track.came for point, track in self._tracks.items()}
        held = _Held(item, self._came, ends, self._splitter.place, now, waits)
        self._items.append(held)
        if waits:
            self._waiting.append(held)

    def finish(self) -> None:
        """No more items will come."""
        self._sort(self._splitter.flush(), inline=True)
        self.ended = True

    def _sort(self, pieces: Sequence[tuple[Point | None, str]], *, inline: bool = False) -> None:
        """Put text into its track."""
        for point, text in pieces:
            self._sorted += len(text)
            track = None
            if point is not None:
                track = self._tracks.get(point) or self._new_track(point)
                track.came += len(text)
                track.inline |= inline and point is Point.REASONING
                if track.muted and track.inline and self.stopped is None:  # in the text it cannot be left out
                    self.stopped = track.last
                if self._unguarded or track.exempt:
                    track.judged = track.cleared = track.came
                elif point in _WRITTEN:
                    self._add_unasked(point, text)
            self._stretches.append(_Stretch(track, track.came if track else 0, self._sorted))

    def _new_track(self, point: Point) -> _Track:
        track = self._tracks[point] = _Track(point, exempt=not self.policy.judges(point))
        if point not in _WRITTEN:
            self._whole_tracks.append(track)
        return track

    def _add_unasked(self, point: Point, text: str) -> None:
        if self._unasked and self._unasked[-1].point is point:
            text = self._unasked.pop().text + text
        self._unasked.append(Piece(point, text))

    # --- what the guard is asked and says ---

    @property
    def asked(self) -> bool:
        """Whether there is a track that the guard is, or was, asked about token by token or window by window."""
        return not self._unguarded and any(
            not track.exempt for track in self._tracks.values() if track.point in _WRITTEN
        )

    @property
    def unasked(self) -> Sequence[Piece]:
        """Text that nobody was asked about yet."""
        return () if self.stopped else self._unasked

    def ask(self) -> list[Piece]:
        """The text to ask about now, all that came since the last time: the caller has it judged."""
        pieces, self._unasked = self._unasked, []
        return pieces

    def judged(self, judgements: Iterable[Judgement]) -> None:
        """Take what the guard says, in the order of the text."""
        for judgement in judgements:
            if self.stopped:
                return
            self._judge(self._tracks[judgement.point], judgement)

    def _judge(self, track: _Track, judgement: Judgement) -> None:
        decision = self.policy.decide(track.point, judgement.verdict)
        track.judged = min(judgement.end, track.came)
        track.last = decision
        track.tokens += not judgement.settled
        if decision.passes:
            track.run = 0
            track.cleared = track.judged
            if decision.action is Action.FLAG and track.flagged is None:
                track.flagged = decision
            return
        track.run += 1
        if judgement.settled or track.run >= self.policy.debounce:
            self._refuse(track, decision)

    def _refuse(self, track: _Track, decision: Decision) -> None:
        """Carry out that text does not pass: reasoning beside the answer can be left out; all else ends the stream."""
        if track.point is Point.REASONING and not decision.stops and not track.inline:
            track.muted = True
            self._muted |= {track.point}
            self._extra.append(decision)
        else:
            self.stopped = _without_drop(decision)

    def settle(self) -> None:
        """The guard has been asked about everything, and has answered.

        A last token that does not pass counts by itself only where the whole track has fewer tokens than have to
        agree.

        Raises:
            GuardResponseError: It left text without a judgement.
        """
        for track in self._tracks.values():
            if self.stopped or track.muted or track.point not in _WRITTEN:
                continue
            if track.judged < track.came:
                raise GuardResponseError(
                    f"the guard left {track.came - track.judged} characters of the stream unjudged"
                )
            if track.run and track.last and track.run >= min(self.policy.debounce, track.tokens):
                self._refuse(track, track.last)
            else:
                track.cleared = track.came
        self._settled = True

    def prompt_decided(self, decisions: Iterable[Decision]) -> None:
        """Take the decisions about the prompt: what is judged may leave now. What does not pass stops the stream."""
        if self._take_decisions(decisions, stop_with=Action.BLOCK):
            self.locked = False

    def beside_decided(self, decisions: Iterable[Decision], items: int) -> None:
        """Take the decisions about what stands beside the next so many of the items that wait. What does not pass stops
        the stream; what was judged before may leave."""
        if self._take_decisions(map(_without_drop, decisions)):
            for _ in range(items):
                self._waiting.popleft().waits = False

    def looked(self, decisions: Iterable[Decision]) -> None:
        """Take decisions about what came so far of the tracks that are judged whole: they can only stop the stream."""
        for decision in decisions:
            if not decision.passes:
                self.stopped = self.stopped or decision

    def whole_decided(self, decisions: Iterable[Decision]) -> None:
        """Take the decisions about the complete texts of the tracks that are judged whole: they may leave now."""
        if self._take_decisions(decisions):
            for track in self._whole_tracks:
                track.judged = track.cleared = track.came

    def _take_decisions(self, decisions: Iterable[Decision], stop_with: Action | None = None) -> bool:
        """Record what passes; the first decision that does not stops the stream. Whether it goes on."""
        for decision in decisions:
            if decision.passes:
                self._extra.append(decision)
            elif self.stopped is None:
                action = stop_with if stop_with and not decision.stops else decision.action
                self.stopped = decision.model_copy(update={"action": action})
        return self.stopped is None

    @property
    def unread(self) -> int:
        """How many characters came that are judged whole: tool calls."""
        return sum(track.came - track.cleared for track in self._whole_tracks)

    def failed(self, error: GuardError) -> None:
        """The guard gave no judgement: the policy's `on_guard_error` says what that means.

        Raises:
            GuardError: `error`, where the policy says "raise".
        """
        if self.policy.on_guard_error == "raise":
            raise error
        decision = self.policy.decide_unjudged(next(iter(self._tracks), Point.RESPONSE))
        if decision.stops:
            self.stopped = decision
            return
        self._extra.append(decision)
        self._unguarded = True
        self._unasked.clear()
        for track in self._tracks.values():
            track.judged = track.cleared = track.came

    # --- what goes out ---

    def take(self, now: float = 0.0) -> list[tuple[T, frozenset[Point]]]:
        """The items that may leave now, each with the tracks whose text must be left out of it."""
        if self.locked:
            return []
        cleared = self._clear()
        keep = self._kept
        taken = []
        while len(self._items) > keep and not (held := self._items[0]).waits:
            if held.end > cleared and not self._may_leave_early(held, now):
                break
            self._items.popleft()
            self._left, self._ends, self._place = held.end, held.ends, held.place
            taken.append((held.item, self._muted))
        if self.stopped:
            self.dropped += len(self._items)
            self._items.clear()
        return taken

    @property
    def _kept(self) -> int:
        """How many items stay for a stop to take back: the reserve, until nothing is left that could stop the stream.

        That every character is covered is not enough: at the end a guard may be asked about the whole answer too.
        """
        if not self.reserve or not self.ended or self.stopped:
            return self.reserve
        settled = self._settled or not self.asked
        return 0 if settled and all(track.judged == track.came for track in self._whole_tracks) else self.reserve

    def _clear(self) -> int:
        """How many characters, from the beginning of the stream, may leave."""
        while self._stretches:
            first = self._stretches[0]
            track = first.track
            if track is not None and track.cleared < first.end_in_track and (track.inline or not track.muted):
                begun = first.end - (first.end_in_track - track.cleared)
                return max(self._cleared, begun)
            self._cleared = first.end
            self._stretches.popleft()
        return self._cleared

    def _may_leave_early(self, held: _Held[T], now: float) -> bool:
        if self.stopped or self.policy.hold == "judged":
            return False
        if self.policy.hold == "none":
            return not self._whole_tracks
        return (
            self._came - held.end >= self.policy.hold_characters or now - held.since >= self.policy.hold_seconds
        ) and not self._whole_tracks

    @property
    def holding(self) -> bool:
        """Whether there are items that have not left."""
        return bool(self._items)

    @property
    def anything_left(self) -> bool:
        """Whether any text has left."""
        return self._left > 0

    @property
    def thinks(self) -> bool:
        """Whether what has left ends inside thinking that stands in the text: its closing tag has not left."""
        thinking, _ = self._place
        return thinking

    @property
    def seam(self) -> str:
        """What must stand between what has left and words that are not the model's: nothing where nothing has left."""
        return seam(thinking=self.thinks, anything=self.anything_left)

    def early_in(self, now: float) -> float | None:
        """Seconds until the oldest item leaves unjudged; None where it does not, however long it waits."""
        if self.policy.hold != "window" or len(self._items) <= self._kept or self.locked or self._whole_tracks:
            return None
        if self._items[0].waits:
            return None
        return max(0.0, self._items[0].since + self.policy.hold_seconds - now)

    @property
    def decisions(self) -> list[Decision]:
        """What was decided: one decision for each track that was judged, and those about whole texts."""
        tracks = (track.flagged or track.last for track in self._tracks.values() if not track.muted)
        allowed = [decision for decision in tracks if decision is not None and decision.passes]
        return [*self._extra, *allowed, *([self.stopped] if self.stopped else [])]

    # --- going back ---

    def rewind(self) -> dict[Point, int]:
        """Take back the stop and everything that has not left: the stream goes on from what has.

        Returns:
            How many characters of each track have left.
        """
        for point, track in self._tracks.items():
            track.came = track.judged = track.cleared = self._ends.get(point, 0)
            track.run = 0
        self._came = self._sorted = self._cleared = self._left
        self._stretches.clear()
        self._items.clear()
        self._waiting.clear()
        self._unasked.clear()
        self._splitter = ThinkingSplitter(*self._place)
        self.stopped, self.ended, self._settled = None, False, False
        return self._ends


def _without_drop(decision: Decision) -> Decision:
    """Dropping the answer leaves nothing to go on with: it is blocked."""
    return decision.blocking() if decision.action is Action.DROP else decision
