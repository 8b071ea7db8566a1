"""A streaming guard over any guard: judges what a model writes window by window."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from pydantic import Field, model_validator

from ..core.cleaning import cleaned
from ..core.conversation import Conversation, Turn
from ..core.errors import GuardResponseError
from ..core.gate import Judgement, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.verdict import Severity, Value, Verdict
from .protocol import CheckOne, Guard

# A token of Qwen3 is about four characters of a text in Latin letters, and one of most others.
_CHARACTERS_PER_TOKEN: Final = 4
_SENTENCE_END: Final = re.compile(r"[.!?…]['\"»”)\]]*\s|[。！？؟।]|\n")


class Windows(Value):
    """When a text that is being written is judged. A token is reckoned as four Latin characters, or one other.

    Attributes:
        first_tokens: The first window ends at the first sentence end, or after so many tokens: a small one, so that
            the reader does not wait.
        most_tokens: Later windows are twice as long as the one before, up to so many tokens.
        sentence_tokens: A window that ends at a sentence end has at least so many tokens, but for the first.
        overlap_tokens: Each window is judged with so many tokens before it, so that nothing hides on a border.
        idle_seconds: When no text comes for so long, what there is is judged.
    """

    first_tokens: int = Field(default=24, ge=1)
    most_tokens: int = Field(default=192, ge=1)
    sentence_tokens: int = Field(default=16, ge=1)
    overlap_tokens: int = Field(default=32, ge=0)
    idle_seconds: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Windows:
        if self.most_tokens < self.first_tokens:
            raise ValueError("most_tokens must not be below first_tokens")
        return self


class WindowedStreamGuard(CheckOne):
    """Judges answers while they are written, with a guard that judges whole texts: a Gen on a server, for example.

    A window ends at a sentence end, after a number of tokens, or when no text comes for a while, whichever is first;
    see `Windows`. At most one window of a stream is being judged while its text keeps arriving; when the verdict
    comes, everything that arrived meanwhile is the next window. Each is judged as the answer to the conversation,
    with the end of the text before it; when the answer is complete, all of it is judged once more, before what is held
    then leaves.

    Args:
        guard: Who judges the windows.
        windows: How large they are: `Windows`, or a dictionary of its settings.

    When the guard fails, so does the judgement: `Policy.on_guard_error` says what that means for the stream.
    """

    def __init__(self, guard: Guard, windows: Windows | Mapping[str, Any] | None = None) -> None:
        self.guard = guard
        self.windows = Windows.model_validate(windows or {})

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """The guard's verdicts."""
        return self.guard.check_many(conversations)

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """The guard's verdicts."""
        return await self.guard.acheck_many(conversations)

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> WindowedSession:
        """A session for one answer after the turns of `context`."""
        return WindowedSession(self.guard, self.windows, tuple(context), second_look=policy.second_look)


@dataclass(slots=True)
class WindowedSession:
    """One answer, judged window by window. See `WindowedStreamGuard`."""

    guard: Guard
    windows: Windows
    context: tuple[Turn, ...]
    second_look: bool
    _texts: dict[Point, str] = field(default_factory=dict, init=False)
    _judged: dict[Point, int] = field(default_factory=dict, init=False)
    _whole: dict[Point, str] = field(default_factory=dict, init=False)  # the last text that was judged
    _size: float = field(default=0.0, init=False)

    def patience(self, pieces: Sequence[Piece], /) -> float:
        """0 for a full window, or one that ends with a sentence; else the idle time."""
        tokens = sum(tokens_in(piece.text) for piece in pieces)
        first = not self._size
        full = self.windows.first_tokens if first else min(2 * self._size, self.windows.most_tokens)
        if tokens >= full:
            return 0.0
        ends = any(_SENTENCE_END.search(piece.text) for piece in pieces[-8:])
        if ends and (first or tokens >= self.windows.sentence_tokens):
            return 0.0
        return self.windows.idle_seconds

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        """The verdicts on the windows that the pieces end, in a helper thread."""
        asked = self._asked(pieces, final=final)
        return _threads().submit(
            lambda: _answers(asked, self.guard.check_many(batch) if (batch := _batch(asked)) else [])
        )

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        """The verdicts on the windows that the pieces end."""
        asked = self._asked(pieces, final=final)
        return _answers(asked, await self.guard.acheck_many(batch) if (batch := _batch(asked)) else [])

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        """Forget what followed the first so many characters of each track."""
        for point, text in self._texts.items():
            self._texts[point] = text[: lengths.get(point, 0)]
            self._judged[point] = min(self._judged.get(point, 0), len(self._texts[point]))

    def close(self) -> None:
        """Nothing to free."""

    def _asked(self, pieces: Sequence[Piece], *, final: bool) -> list[_Window]:
        """The texts to judge now: of each track its new window, and at the end the whole too."""
        for piece in pieces:
            self._texts[piece.point] = self._texts.get(piece.point, "") + piece.text
        if pieces:
            self._size = max(self.windows.first_tokens, sum(tokens_in(piece.text) for piece in pieces))
        asked: list[_Window] = []
        for point, text in self._texts.items():
            begin = self._judged.get(point, 0)
            self._judged[point] = len(text)
            looks = []
            if begin < len(text):
                looks.append(text[_before(text, begin, self.windows.overlap_tokens) :])
            if final and self._whole.get(point) != text and text not in looks:
                looks.append(text)
            if looks:
                self._whole[point] = looks[-1]
            if self.second_look:
                looks += [clean for look in looks if (clean := cleaned(look)) is not None]
            conversations = [self._conversation(point, look) for look in looks if look.strip()]
            asked.append(_Window(point, len(text), conversations))
        return asked

    def _conversation(self, point: Point, text: str) -> Conversation:
        reasoning = point is Point.REASONING
        turn = Turn(role="assistant", content="" if reasoning else text, reasoning=text if reasoning else "")
        return Conversation(turns=(*self.context, turn))


@dataclass(frozen=True, slots=True)
class _Window:
    """What is asked about one track at a time, and how far the answer reaches."""

    point: Point
    end: int
    conversations: list[Conversation]

    def judgement(self, verdicts: Sequence[Verdict]) -> Judgement:
        verdict = Verdict.merge(verdicts) if verdicts else _BLANK
        return Judgement(self.point, self.end, verdict, settled=True)


_BLANK: Final = Verdict(severity=Severity.SAFE)  # white space says nothing


def _answers(asked: Sequence[_Window], verdicts: Sequence[Verdict]) -> list[Judgement]:
    if len(verdicts) != len(_batch(asked)):
        raise GuardResponseError(f"the guard gave {len(verdicts)} verdicts on {len(_batch(asked))} windows")
    rest = iter(verdicts)
    return [window.judgement([next(rest) for _ in window.conversations]) for window in asked]


def _batch(asked: Sequence[_Window]) -> list[Conversation]:
    return [conversation for window in asked for conversation in window.conversations]


def tokens_in(text: str) -> float:
    """About how many tokens `text` has."""
    if text.isascii():
        return len(text) / _CHARACTERS_PER_TOKEN
    latin = sum(character < "\u0250" for character in text)
    return latin / _CHARACTERS_PER_TOKEN + len(text) - latin


def _before(text: str, place: int, tokens: int) -> int:
    """The place about so many tokens before `place`, at the beginning of a word where there is one."""
    begin = max(0, place - tokens * _CHARACTERS_PER_TOKEN)
    while begin < place and tokens_in(text[begin:place]) > tokens:
        begin += max(1, (place - begin) // 8)
    space = text.find(" ", begin, place)
    return space + 1 if begin and space >= 0 else begin


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(32, thread_name_prefix="qwen3guard-window")
