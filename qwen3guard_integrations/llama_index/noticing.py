"""What guarded methods tell those who reach them through LlamaIndex's own code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from ..core.decision import Decision


@dataclass(slots=True)
class Inner:
    """What happened inside.

    Attributes:
        state: Of the LLM that is asked for a structure: no other LLM's answer counts. None: each one's does.
        judged: The LLM was asked through a guarded method.
        refused: The decision for which that method gave a refusal, the last time.
    """

    state: dict[str, Any] | None = None
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


def note_answer(state: dict[str, Any]) -> bool:
    """A guarded method asks the LLM that has this state, and judges the answer. Whether a structure is asked for."""
    inner = _inner.get()
    if inner is None or (inner.state is not None and inner.state is not state):
        return False
    inner.judged, inner.refused = True, None
    return inner.state is state


def note_refusal(decision: Decision) -> None:
    """A prompt or an answer is refused."""
    if (inner := _inner.get()) is not None:
        inner.refused = decision
