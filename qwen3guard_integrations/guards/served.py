"""What guards on servers have in common: long texts in pieces, one deadline, and fields that a server may not take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..core.conversation import Conversation, Turn
from ..core.errors import GuardConfigurationError
from ..core.pieces import pieces
from ..core.verdict import Verdict
from .openai_server import Post, Refusal, Server, positive

Result = TypeVar("Result")
JudgePiece = Callable[[Post, Conversation], Awaitable[Verdict]]

_BAD_REQUEST: Final = frozenset({400, 422})


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the text of one request may be, in characters; a longer one is judged in overlapping pieces.

    Raises:
        GuardConfigurationError: A number is not positive, or the overlap is more than half.
    """

    context_characters: int
    overlap_characters: int

    def __post_init__(self) -> None:
        positive(context_characters=self.context_characters, overlap_characters=self.overlap_characters)
        if self.overlap_characters > self.context_characters // 2:
            raise GuardConfigurationError(
                f"overlap_characters={self.overlap_characters} is more than half of "
                f"context_characters={self.context_characters}"
            )

    def pieces(self, conversation: Conversation) -> list[Conversation]:
        """`conversation`, or pieces of it that have all of the judged turn."""
        return pieces(conversation, len, self.context_characters, self.overlap_characters)


def words_of(turn: Turn) -> str:
    """All that is said in `turn`, the reasoning before the answer, for services that know no reasoning."""
    return "\n\n".join(text for text in (turn.reasoning, turn.content) if text.strip())


async def judged(
    server: Server, lengths: Lengths, conversations: Sequence[Conversation], judge: JudgePiece
) -> list[Verdict]:
    """The verdicts of `judge`, in order; each conversation has one deadline for all its pieces.

    Raises:
        GuardError: One could not be judged, which cancels the others.
    """

    async def whole(conversation: Conversation) -> Verdict:
        parts = lengths.pieces(conversation)
        return Verdict.merge(await within(server, lambda deadline: together([piece(part, deadline) for part in parts])))

    async def piece(part: Conversation, deadline: asyncio.Timeout) -> Verdict:
        async with server.exchange(deadline) as post:
            return await judge(post, part)

    return await together([whole(conversation) for conversation in conversations])


async def within(server: Server, work: Callable[[asyncio.Timeout], Awaitable[Result]]) -> Result:
    """What `work` gives. Its clock starts when the first exchange has its place.

    Raises:
        GuardTimeoutError: It took too long, and was cancelled.
    """
    try:
        async with asyncio.timeout(None) as deadline:
            return await work(deadline)
    except TimeoutError:
        pass  # raised below, without a context
    raise server.timeout_error()


async def together(coroutines: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results in order; the first failure cancels the rest and is raised as it is."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
        return [task.result() for task in tasks]
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
    raise first


@dataclass(slots=True)
class Offer:
    """Optional fields of a request, from all to none, and how many of these levels the server has refused."""

    levels: Sequence[Mapping[str, Any]]
    level: int = 0

    async def ask(self, post: Post, path: str, body: Mapping[str, Any]) -> str | Refusal:
        """The answer to `body` with as many of the optional fields as the server takes; `body` has the last word."""
        for level, fields in list(enumerate(self.levels))[self.level :]:
            answer = await post(path, {**fields, **body})
            if isinstance(answer, str):
                # Only now is it known that the fields were the reason, and not, for example, the length of one text.
                self.level = max(self.level, level)
                return answer
            if answer.status not in _BAD_REQUEST:
                return answer
        return answer


def accepted(answer: str | Refusal) -> str:
    """The body of an answer.

    Raises:
        GuardError: It is a refusal.
    """
    if isinstance(answer, Refusal):
        raise answer.error
    return answer
