"""What a guard is: the seam that a user may fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

from ..core.conversation import Conversation, Turn
from ..core.gate import Judgement, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.token_row import TokenRow
from ..core.verdict import Verdict


@runtime_checkable
class Guard(Protocol):
    """Judges conversations, many at once. Anything with these two methods is a guard.

    Both methods return as many verdicts as they were given conversations, in the same order, or raise a
    `GuardError` when even one of them could not be judged: there is no verdict for "do not know".
    """

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation."""
        ...

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation without blocking the event loop."""
        ...


class StreamSession(Protocol):
    """Judges one answer while it is written. One caller at a time; the next question waits for the last reply."""

    def patience(self, pieces: Sequence[Piece], /) -> float:
        """How many seconds to wait for more text before these `pieces` are judged; 0 for at once."""
        ...

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        """Judgements on what follows the pieces that were given before, soon; the text may be empty when `final`.

        Without `final` a judgement may cover less than was given (the last token may still change); with it, no more
        text will come and everything is covered. The future fails with a `GuardError` when there is none.
        """
        ...

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        """As `judge`, without blocking the event loop."""
        ...

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        """Forget what followed the first so many characters of each track; other text will follow instead."""
        ...

    def close(self) -> None:
        """Free what the session holds. It may be called at any time, also while a judgement is under way, and twice."""
        ...


@runtime_checkable
class StreamGuard(Guard, Protocol):
    """A guard that can also judge an answer while it is written."""

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> StreamSession:
        """A session for one assistant's answer after the turns of `context`.

        `policy` says what the verdicts are for (`second_look`); what they lead to is not the guard's to decide.
        """
        ...


@runtime_checkable
class TokenGuard(StreamGuard, Protocol):
    """A streaming guard that can also judge complete answers token by token, many at once."""

    def token_row(self, conversation: Conversation, ids: Sequence[int] | None = None, /) -> TokenRow:
        """A conversation with a complete answer in the guard's tokens: `ids`, or rendered by the guard."""
        ...

    def judge_tokens(self, rows: Sequence[TokenRow], /) -> list[list[Verdict]]:
        """A verdict on each token of each row from where its answer begins."""
        ...


class CheckOne:
    """The one-text methods of the guards in this package, over `check_many` and `acheck_many`.

    All of them raise what `check_many` raises: a `GuardError` when there is no verdict, and
    `pydantic.ValidationError` (a `ValueError`) for a blank text.
    """

    def check(self: Guard, conversation: Conversation) -> Verdict:
        """Judge the last turn of `conversation`."""
        return self.check_many([conversation])[0]

    async def acheck(self: Guard, conversation: Conversation) -> Verdict:
        """Judge the last turn of `conversation`."""
        return (await self.acheck_many([conversation]))[0]

    def check_prompt(self: Guard, prompt: str) -> Verdict:
        """Judge what a user asks."""
        return self.check_many([Conversation.of_prompt(prompt)])[0]

    async def acheck_prompt(self: Guard, prompt: str) -> Verdict:
        """Judge what a user asks."""
        return (await self.acheck_many([Conversation.of_prompt(prompt)]))[0]

    def check_response(self: Guard, prompt: str, response: str, *, reasoning: str = "") -> Verdict:
        """Judge an assistant's `response` to `prompt`, with the `reasoning` before it."""
        return self.check_many([Conversation.of_response(prompt, response, reasoning=reasoning)])[0]

    async def acheck_response(self: Guard, prompt: str, response: str, *, reasoning: str = "") -> Verdict:
        """Judge an assistant's `response` to `prompt`, with the `reasoning` before it."""
        return (await self.acheck_many([Conversation.of_response(prompt, response, reasoning=reasoning)]))[0]
