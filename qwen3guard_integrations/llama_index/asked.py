"""The question that a query engine answers, for the LLMs and the engines inside of it.

The prompts of these LLMs are judged piece by piece: the question, and each node. What they answer is judged as an
answer to the question, before the engine can show it to an LLM again (as those do that refine a draft, or put several
answers together); and what the engine gives away in the end is not judged again where it is just that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from ..core.decision import Decision

_asked: Final[ContextVar[Asked | None]] = ContextVar("asked", default=None)


@dataclass(slots=True)
class Said:
    """What was let through of one answer.

    Attributes:
        streamed: Any beginning of the text was let through by itself.
    """

    streamed: bool
    text: str = ""


@dataclass(slots=True)
class Asked:
    """One question to an engine.

    Attributes:
        question: What is asked.
        said: Answers to it that were let through.
        failed: What was decided about the latest answer that was not.
    """

    question: str
    said: list[Said] = field(default_factory=list)
    failed: Decision | None = None

    @contextmanager
    def answered_here(self) -> Iterator[None]:
        """Inside of the block LLMs of the engine answer this question."""
        token = _asked.set(self)
        try:
            yield
        finally:
            _asked.reset(token)

    def saying(self, *, streamed: bool) -> Said:
        """An answer that begins."""
        said = Said(streamed)
        self.said.append(said)
        return said

    def has_said(self, text: str) -> bool:
        """Whether `text` is an answer that was let through."""
        return any(said.text == text for said in self.said)

    def is_saying(self, text: str) -> bool:
        """Whether `text` is the beginning of an answer that was let through as a stream."""
        return any(said.streamed and said.text.startswith(text) for said in self.said)


@contextmanager
def asking(question: str) -> Iterator[Asked]:
    """Inside of the block an engine answers `question`. An engine that passes it on to another shares what is said."""
    outer = _asked.get()
    asked = outer if outer is not None and outer.question == question else Asked(question)
    with asked.answered_here():
        yield asked


def asked() -> Asked | None:
    """The question that is being answered."""
    return _asked.get()
