"""What guarded methods tell those who reach them through LlamaIndex's own code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from ..core.decision import Decision


@dataclass(slots=True)
class Inner:
    """What happened inside.

    Attributes:
        judged: The LLM was asked through a guarded method.
        refused: The decision for which that method gave a refusal.
    """

    judged: bool = False
    refused: Decision | None = None


_inner: Final[ContextVar[Inner | None]] = ContextVar("inner", default=None)


@contextmanager
def noticing(inner: Inner) -> Iterator[None]:
    """Inside, guarded methods tell `inner`."""
    token = _inner.set(inner)
    try:
        yield
    finally:
        _inner.reset(token)


def note_answer() -> None:
    """An answer is judged by a guarded method."""
    if (inner := _inner.get()) is not None:
        inner.judged = True


def note_refusal(decision: Decision) -> None:
    """A prompt or an answer is refused."""
    if (inner := _inner.get()) is not None:
        inner.refused = decision
