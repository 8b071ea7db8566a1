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
        refused: The decision for which that method gave a refusal, the last time.
    """

    judged: bool = False
    refused: Decision | None = None


_inner: Final[ContextVar[Inner | None]] = ContextVar("inner", default=None)


@contextmanager
def noticing(inner: Inner) -> Iterator[Inner]:
    """Inside, guarded methods tell `inner`."""
    token = _inner.set(inner)
    try:
        yield inner
    finally:
        _inner.reset(token)


def note_answer() -> None:
    """A guarded method asks its LLM, and judges the answer."""
    if (inner := _inner.get()) is not None:
        inner.judged, inner.refused = True, None


def note_refusal(decision: Decision) -> None:
    """A prompt or an answer is refused."""
    if (inner := _inner.get()) is not None:
        inner.refused = decision
