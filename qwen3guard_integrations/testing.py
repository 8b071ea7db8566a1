"""A scripted guard for your own tests: no model, no network, and a record of what was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from .core.conversation import Conversation
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
