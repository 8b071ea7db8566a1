"""Answers that are judged in sessions: what a guard says on the way, of single tokens or of windows."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from ..core.course import Ask
from ..core.gate import Judgement
from ..core.points import Point
from ..core.verdict import Severity
from ..guards.protocol import Guard, StreamSession
from ..guards.streaming import open_stream
from ..guards.windowed import tokens_in
from .onset import flagged
from .replay import Answers, Screening, Writing, side_by_side, told
from .results import StreamResult
from .rows import Row
from .written import Written

# Control tokens of Qwen3's chat template: of a turn before the answer; of the answer before its text, when it thinks
# and when its thinking is empty; and behind it.
_OF_TURN: Final = 5
_OPENING_THINKING: Final = 5
_OPENING: Final = 7
_CLOSING: Final = 2


def judged_in_sessions(guard: Guard, rows: Sequence[Row], screening: Screening) -> list[StreamResult]:
    """How `guard` judges the responses of `rows`, each in a session of its own, all at the same time.

    Raises:
        GuardError: The guard failed on one of them.
    """
    with ExitStack() as stack:
        hearings = []
        for row in rows:
            session = open_stream(guard, row.conversation.context, screening.policy)
            stack.callback(session.close)
            hearings.append(_Hearing.of(row, session, screening))
        _hear(hearings)
    return [hearing.result() for hearing in hearings]


@dataclass(slots=True)
class _Hearing:
    """One answer and its session.

    Attributes:
        begins: Position of the first token of the answer.
        tokens: About where they end.
        watched: The writing that goes on to the end.
        screened: The writings under each hold.
    """

    session: StreamSession
    written: Written
    begins: int
    tokens: tuple[int, ...]
    watched: Writing
    screened: dict[str, Writing]
    judgements: list[Judgement] = field(default_factory=list)

    @classmethod
    def of(cls, row: Row, session: StreamSession, screening: Screening) -> _Hearing:
        """The answer of `row`, about to be written."""
        written = Written(row.conversation.judged)
        begins, count = _positions(row, written)
        tokens = written.reckoned(count)
        items = written.items(tokens)
        watched, screened = screening.watched(items, session.patience), screening.writings(items, session.patience)
        return cls(session, written, begins, tokens, watched, screened)

    def result(self) -> StreamResult:
        """What was said, token by token."""
        if any(judgement.settled for judgement in self.judgements):
            severities, (severity, flag) = _of_windows(self.judgements, self.written, self.tokens)
            ends = self.tokens
        else:
            severities = [judgement.verdict.severity for judgement in self.judgements]
            severity, flag = flagged(severities)
            ends = self.written.places((judgement.point, judgement.end) for judgement in self.judgements)
        return StreamResult(
            severity=severity,
            flag=None if flag is None else self.begins + flag,
            begins=self.begins,
            tokens="".join(severity.value[0] for severity in severities),
            ends=ends,
            leaked={hold: writing.left for hold, writing in self.screened.items()},
            characters=len(self.written.text),
        )


def _positions(row: Row, written: Written) -> tuple[int, int | None]:
    """Position of the first token of the answer, and how many tokens its text has; None where that is not known.

    The guard's vocabulary is not known here, but every turn opens with the same token, which is the first of all.
    """
    opening = _OPENING_THINKING if written.thinks else _OPENING
    ids, turns = row.input_ids or (), row.conversation.turns
    opened = [place for place, token in enumerate(ids) if token == ids[0]]
    if len(opened) == len(turns) and opened[-1] + opening + _CLOSING < len(ids):
        begins = opened[-1] + opening
        return begins, len(ids) - begins - _CLOSING
    return sum(_OF_TURN + math.ceil(tokens_in(turn.content)) for turn in turns[:-1]) + opening, None


def _of_windows(
    judgements: Sequence[Judgement], written: Written, tokens: Sequence[int]
) -> tuple[list[Severity], tuple[Severity, int | None]]:
    """The severity of each token, which is that of its window; and the most severe, with the token that decided."""
    severities = [Severity.SAFE] * len(tokens)
    decided: dict[Severity, int] = {}
    judged: dict[Point, int] = {}
    for judgement in judgements:
        point, severity = judgement.point, judgement.verdict.severity
        begin, end = written.place(point, judged.get(point, 0)), written.place(point, judgement.end)
        last = max(bisect_left(tokens, end), bisect_right(tokens, end) - 1)  # of those that end there, if any
        first = min(bisect_right(tokens, begin), last)  # a last look at the whole adds no text: it ends where that does
        severities[first : last + 1] = (max(severity, before) for before in severities[first : last + 1])
        decided.setdefault(severity, last)
        judged[point] = judgement.end
    worst = max(decided, default=Severity.SAFE)
    return severities, (worst, None if worst is Severity.SAFE else decided[worst])


def _hear(hearings: Sequence[_Hearing]) -> None:
    """Ask the sessions what the writings ask, each as soon as its last reply is there."""
    asked: dict[Future[list[Judgement]], tuple[_Hearing, Answers]] = {}

    def ask(hearing: _Hearing, flow: Answers, what: Ask | None) -> None:
        if what is not None:
            asked[hearing.session.judge(what.pieces, final=what.final)] = hearing, flow

    try:
        for hearing in hearings:
            flow = side_by_side([hearing.watched, *hearing.screened.values()])
            ask(hearing, flow, next(flow, None))
        while asked:
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                hearing, flow = asked.pop(future)
                reply = future.result()
                hearing.judgements += reply
                ask(hearing, flow, told(flow, reply))
    finally:
        for future in asked:
            future.cancel()
