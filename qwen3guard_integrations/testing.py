"""Scripted guards for your own tests: no model, no network, and a record of what was asked."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from .core.conversation import Conversation, Turn
from .core.gate import Judgement, Piece
from .core.points import Point
from .core.policy import Policy
from .core.verdict import Severity, Verdict
from .guards.protocol import CheckOne

Script = Mapping[str, Verdict | Severity | str] | Callable[[Conversation], Verdict]


class FakeGuard(CheckOne):
    """A guard that answers by script.

    Args:
        script: Either words and what a judged text that contains one of them gets (a verdict, a severity or its
            name; the first match counts, case does not), or a function of the conversation. Everything else is
            Safe.
        delay: Seconds before each answer.
        error: Raised in place of every answer, to see what your application does when the guard fails.

    Attributes:
        calls: What was asked, one tuple of conversations for each call.
    """

    def __init__(self, script: Script | None = None, *, delay: float = 0.0, error: Exception | None = None) -> None:
        self._script = script or {}
        self._delay = delay
        self._error = error
        self.calls: list[tuple[Conversation, ...]] = []

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Answer by script, after `delay` seconds."""
        if self._delay:
            time.sleep(self._delay)
        return self._answers(conversations)

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Answer by script, after `delay` seconds, without blocking the event loop."""
        if self._delay:
            await asyncio.sleep(self._delay)
        return self._answers(conversations)

    def _answers(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        self.calls.append(tuple(conversations))
        if self._error is not None:
            raise self._error
        return [self._answer(conversation) for conversation in conversations]

    def _answer(self, conversation: Conversation) -> Verdict:
        if callable(self._script):
            return self._script(conversation)
        text = f"{conversation.judged.reasoning}\n{conversation.judged.content}".lower()
        answer = next((answer for word, answer in self._script.items() if word.lower() in text), Severity.SAFE)
        return answer if isinstance(answer, Verdict) else Verdict(severity=Severity(answer))


class FakeStreamGuard(FakeGuard):
    """A guard that also judges token by token, by script. A token is a word with the space before it.

    The end of the answer is one more token. A token gets what the whole text of its track up to it gets by the script,
    so that a harmful word makes every later token harmful too, as the Stream models are trained to say (technical
    report, section 4.2).

    Args:
        script: As for `FakeGuard`; words may span several tokens.
        delay: Seconds before each answer.
        error: Raised in place of every answer.
        fail_after: With `error`: so many judgements of a stream succeed before.
        lag: So many characters at the end of the text stay unjudged until more text comes, or the end.

    Attributes:
        calls: What was asked about whole texts, one tuple of conversations for each call.
        asked: What was asked about streams, one tuple of pieces for each judgement.
        open_sessions: How many sessions were opened and not closed.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        delay: float = 0.0,
        error: Exception | None = None,
        fail_after: int = 0,
        lag: int = 0,
    ) -> None:
        super().__init__(script, delay=delay, error=error)
        self.fail_after = fail_after
        self.lag = lag
        self.asked: list[tuple[Piece, ...]] = []
        self.open_sessions = 0

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> FakeStreamSession:
        """A session for one answer after the turns of `context`."""
        self.open_sessions += 1
        return FakeStreamSession(self, tuple(context))


class FakeStreamSession:
    """One answer, judged by the script of a `FakeStreamGuard`."""

    def __init__(self, guard: FakeStreamGuard, context: tuple[Turn, ...]) -> None:
        self._guard = guard
        self._context = context
        self._texts: dict[Point, str] = {}
        self._judged: dict[Point, int] = {}
        self._answers = 0
        self._open = True

    def patience(self, pieces: Sequence[Piece], /) -> float:
        """Every token is judged at once."""
        return 0.0

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        """Judgements by script: at once, or in a thread where the guard has a `delay`."""
        future: Future[list[Judgement]] = Future()
        if self._guard._delay:
            threading.Timer(self._guard._delay, self._answer, (future, pieces, final)).start()
        else:
            self._answer(future, pieces, final)
        return future

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        """Judgements by script, after the guard's `delay`."""
        if self._guard._delay:
            await asyncio.sleep(self._guard._delay)
        return self._judgements(pieces, final=final)

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        """Forget what followed the first so many characters of each track."""
        for point, text in self._texts.items():
            self._texts[point] = text[: lengths.get(point, 0)]
            self._judged[point] = min(self._judged.get(point, 0), len(self._texts[point]))

    def close(self) -> None:
        """The guard counts one session less."""
        self._guard.open_sessions -= self._open
        self._open = False

    def _answer(self, future: Future[list[Judgement]], pieces: Sequence[Piece], final: bool) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._judgements(pieces, final=final))
        except Exception as error:  # noqa: BLE001  # it belongs to whoever waits
            future.set_exception(error)

    def _judgements(self, pieces: Sequence[Piece], *, final: bool) -> list[Judgement]:
        self._guard.asked.append(tuple(pieces))
        if self._guard._error is not None and self._answers >= self._guard.fail_after:
            raise self._guard._error
        self._answers += 1
        for piece in pieces:
            self._texts[piece.point] = self._texts.get(piece.point, "") + piece.text
        return [judgement for point in self._texts for judgement in self._of_track(point, final=final)]

    def _of_track(self, point: Point, *, final: bool) -> list[Judgement]:
        text, begin = self._texts[point], self._judged.get(point, 0)
        limit = len(text) if final else max(begin, len(text) - self._guard.lag)
        ends = [begin + match.end() for match in _TOKEN.finditer(text[begin:limit])]
        self._judged[point] = limit
        if final and text:  # the end of the turn is a token too: it says again what the last word was
            ends.append(len(text))
        return [Judgement(point, end, self._verdict(point, text[:end])) for end in ends]

    def _verdict(self, point: Point, text: str) -> Verdict:
        if not text.strip():
            return Verdict(severity=Severity.SAFE)
        reasoning = point is Point.REASONING
        turn = Turn(role="assistant", content="" if reasoning else text, reasoning=text if reasoning else "")
        return self._guard._answer(Conversation(turns=(*self._context, turn)))


_TOKEN: Final = re.compile(r"\s*\S+|\s+$")
