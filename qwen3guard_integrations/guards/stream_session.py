"""One answer under the eyes of the Stream model: text in, a judgement for each token out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from ..core.errors import GuardTimeoutError, GuardUnavailableError
from ..core.gate import Judgement, Piece
from ..core.points import Point
from ..core.verdict import Verdict
from .stream_batch import Feed, Row
from .stream_tokens import AnswerTokens, ChatTokens

Submit = Callable[[Feed], "Future[list[Verdict]]"]


class TokenSession:
    """A session of `TransformersStreamGuard`: the prompt is read once, then only tokens that are new.

    The last token may still change while text comes, so it is judged, but its judgement is kept until the next one
    (or the end) shows that it stays. When later text changes earlier tokens, the cache is rolled back to there.

    Args:
        chat: Makes tokens of text.
        row: What the model has read; the worker owns it.
        submit: Puts a feed to the worker.
        timeout: Seconds that one judgement may take; None for as long as it takes.
        on_close: Called once, when the session is closed.
    """

    def __init__(
        self,
        chat: ChatTokens,
        row: Row,
        submit: Submit,
        timeout: float | None,
        on_close: Callable[[TokenSession], None],
    ) -> None:
        self._tokens = AnswerTokens(chat)
        self._row: Row | None = row
        self._submit = submit
        self._timeout = timeout
        self._on_close = on_close
        self._verdicts: list[Verdict | None] = []  # on the tokens so far; None for control tokens
        self._told: dict[Point, int] = {}  # up to where judgements were given
        self._reported = 0  # tokens whose judgement was given
        self._turn = 0

    def patience(self, pieces: Sequence[Piece], /) -> float:
        """Every token is judged at once."""
        return 0.0

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        """A judgement for each token that is new and will not change any more; with `final`, for all."""
        replied: Future[list[Judgement]] = Future()
        if self._row is None:
            replied.set_exception(GuardUnavailableError("the session is closed"))
            return replied
        start = min(self._tokens.push(pieces), len(self._verdicts))
        self._reported = min(self._reported, start)
        del self._verdicts[start:]
        if start == len(self._tokens.ids):  # nothing new: at most the last token's judgement is due
            replied.set_result(self._due(final=final))
            return replied
        ids, read = list(self._tokens.ids), [mark is not None for mark in self._tokens.marks]
        self._turn += 1
        asked = self._submit(Feed(self._row, ids, start, read))
        turn = self._turn

        def take(done: Future[list[Verdict]]) -> None:
            with suppress(InvalidStateError):  # it came too late
                if done.cancelled():
                    replied.cancel()
                elif error := done.exception():
                    replied.set_exception(error)
                elif not replied.done():
                    current = turn == self._turn  # otherwise it was rolled back meanwhile
                    replied.set_result(self._taken(done.result(), read[start:], final=final) if current else [])

        asked.add_done_callback(take)
        replied.add_done_callback(lambda done: asked.cancel() if done.cancelled() else None)
        self._limit(replied)
        return replied

    def _limit(self, replied: Future[list[Judgement]]) -> None:
        """Fail the reply when it has not come in time."""
        if self._timeout is None or replied.done():
            return

        def expire() -> None:
            with suppress(InvalidStateError):
                replied.set_exception(
                    GuardTimeoutError(
                        f"no judgement within {self._timeout} seconds",
                        hint="raise timeout, or use a smaller model or a GPU",
                    )
                )

        timer = threading.Timer(self._timeout, expire)
        timer.daemon = True
        timer.start()
        replied.add_done_callback(lambda _: timer.cancel())

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        """As `judge`, without blocking the event loop."""
        replied = self.judge(pieces, final=final)
        return replied.result() if replied.done() else await asyncio.wrap_future(replied)

    def _taken(self, verdicts: list[Verdict], read: list[bool], *, final: bool) -> list[Judgement]:
        rest = iter(verdicts)
        self._verdicts += [next(rest) if wanted else None for wanted in read]
        return self._due(final=final)

    def _due(self, *, final: bool) -> list[Judgement]:
        """The judgements that were not given yet, on tokens that stay."""
        stay = len(self._verdicts) if final else max(0, len(self._verdicts) - 1)
        found = []
        for place in range(self._reported, stay):
            mark, verdict = self._tokens.marks[place], self._verdicts[place]
            if mark is None or verdict is None:
                continue
            point, end = mark
            if end >= self._told.get(point, 0):  # tokens before were judged as other tokens
                self._told[point] = end
                found.append(Judgement(point, end, verdict))
        self._reported = max(self._reported, stay)
        return found

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        """Forget what followed the first so many characters of each track; what is read anew is judged anew."""
        self._turn += 1
        place = self._tokens.rollback(lengths)
        del self._verdicts[place:]
        self._reported = min(self._reported, place)
        self._told = {point: min(end, lengths.get(point, 0)) for point, end in self._told.items()}

    def close(self) -> None:
        """Let go of the cache; a pass that is under way ends by itself."""
        if self._row is not None:
            self._row = None
            self._on_close(self)
