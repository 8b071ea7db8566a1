"""The texts of a report: only here do rows give them away, and never more than a reader can look through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..rows import Row

LONGEST: Final = 1500
"""Characters of one passage that are shown. Ten mistakes of each kind for three guards stay below half a megabyte."""

CONTEXT: Final = 2
"""Turns before the judged one that are shown: the question, and what it may refer to."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What one speaker said, or thought.

    Attributes:
        speaker: "user", "assistant", "reasoning", ...
        judged: Whether the guard was asked about it; else it is context.
        text: Its beginning.
        left_out: How many characters follow that are not shown.
    """

    speaker: str
    judged: bool
    text: str
    left_out: int = 0


def context_passages(row: Row) -> tuple[Passage, ...]:
    """The last turns before the judged one."""
    context = row.conversation.context
    earlier, shown = context[:-CONTEXT], context[-CONTEXT:]
    left_out = sum(len(turn.content) + len(turn.reasoning) for turn in earlier)
    return (
        *([Passage("earlier turns", False, "", left_out)] if left_out else []),
        *(_passage(turn.role, turn.content) for turn in shown if turn.content),
    )


def passages(row: Row) -> tuple[Passage, ...]:
    """The same, and the judged turn."""
    turn = row.conversation.judged
    spoken = (("reasoning", turn.reasoning), (turn.role, turn.content))
    return (*context_passages(row), *(_passage(speaker, text, judged=True) for speaker, text in spoken if text))


def _passage(speaker: str, text: str, *, judged: bool = False) -> Passage:
    return Passage(speaker, judged, text[:LONGEST], max(0, len(text) - LONGEST))
