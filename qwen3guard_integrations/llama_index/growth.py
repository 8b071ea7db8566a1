"""What each response of a stream says more than the one before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

from ..core.gate import Piece
from ..core.points import Point
from .messages import joined_reasoning, reasoning_of, text_of, tool_calls_of, words_beside


class Growth:
    """What each response of a stream says more than the one before it.

    Responses are cumulative: their message says all so far, and their delta what is new. Readers use either, so both
    are judged. Some models give only one of them, or messages that are not cumulative.
    """

    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._calls = ""
        self._beside = ""

    def pieces(self, message: ChatMessage, delta: str | None, extra: Mapping[str, Any]) -> list[Piece]:
        """The new text of each track, in the order in which models write them."""
        text, reasoning = text_of(message), reasoning_of(message)
        calls = "\n".join(f"{call['name']}{call['args']}" for call in tool_calls_of(message, extra))
        thought = joined_reasoning(
            "", {key: value for key, value in extra.items() if key not in message.additional_kwargs}
        )
        pieces = [
            Piece(Point.REASONING, _grown(self._reasoning, reasoning, thought)),
            Piece(Point.RESPONSE, _grown(self._text, text, delta or "")),
        ]
        if calls:  # judged whole at the end: here only that something came
            pieces.append(Piece(Point.TOOL_CALL, _grown(self._calls, calls, "") or "\n"))
        self._text, self._reasoning, self._calls = text or self._text, reasoning or self._reasoning, calls
        return pieces

    def beside(self, message: ChatMessage, extra: Mapping[str, Any]) -> str:
        """The new words beside the text."""
        words = words_beside(message, extra)
        new = words.removeprefix(self._beside).strip()
        self._beside = words or self._beside
        return new


def _grown(before: str, now: str, delta: str) -> str:
    """What is new in `now`, with `delta` where that says something else."""
    new = now.removeprefix(before)
    return new if delta in new else new + delta
