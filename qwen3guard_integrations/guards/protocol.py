"""What a guard is: the seam that a user may fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..core.conversation import Conversation
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
