"""The chunks of a streamed answer: the texts in them, and the chunk that ends an answer in place of the rest."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from ..core.decision import Decision
from ..core.gate import Piece
from ..core.points import Point
from ..core.words import tool_call_text
from .messages import reasoning_of, refusal_message, text_of, tool_calls_of, without_reasoning


def pieces_of(chunk: BaseMessage) -> list[Piece]:
    """The texts in a chunk of an answer, each in its track, in the order in which models write them."""
    pieces = [Piece(Point.REASONING, reasoning_of(chunk)), Piece(Point.RESPONSE, text_of(chunk))]
    if isinstance(chunk, AIMessage) and (calls := tool_calls_of(chunk)):
        pieces += [Piece(Point.TOOL_CALL, tool_call_text(call)) for call in calls]
    return pieces


def without(chunk: BaseMessage, muted: Set[Point]) -> BaseMessage:
    """`chunk` without the text of the muted tracks. Only reasoning can be left out of an answer that has begun."""
    return without_reasoning(chunk) if Point.REASONING in muted else chunk


def whole(chunks: Sequence[BaseMessage]) -> BaseMessage:
    """The chunks as one message."""
    first, *rest = chunks
    if isinstance(first, AIMessageChunk) and all(isinstance(chunk, AIMessageChunk) for chunk in rest):
        return first + rest if rest else first
    message: Any = first
    for chunk in rest:
        message = message + chunk
    return message  # type: ignore[no-any-return]


def last_chunk(text: str, decision: Decision, like: AIMessageChunk | None, *, seam: str) -> AIMessageChunk:
    """The chunk that ends an answer: `text` in the form of the chunks before it, and the decision in its metadata.

    Args:
        text: The refusal.
        decision: Why.
        like: A chunk of the same answer, whose id and form are taken.
        seam: What stands between what was released before and `text` (`Gate.seam`).
    """
    chunk = refusal_message(seam + text, decision, like=like or AIMessageChunk(content=""))
    assert isinstance(chunk, AIMessageChunk)
    chunk.chunk_position = "last"
    return chunk


def message_chunk_of(message: BaseMessage) -> AIMessageChunk:
    """A whole answer as the only chunk of itself."""
    return AIMessageChunk(**{name: value for name, value in message if name != "type"}, chunk_position="last")
