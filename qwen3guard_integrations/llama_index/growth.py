"""What each response of a stream says more than the one before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

from ..core.gate import Piece
from ..core.points import Point
from ..core.words import is_name
from .messages import joined_reasoning, reasoning_of, text_of, texts_beside, words_in


class Growth:
    """What each response of a stream says more than the one before it.

    Responses are cumulative: their message says all so far, and their delta what is new. Readers use either, so both
    are judged. Some models give only one of them, or messages that are not cumulative.
    """

    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._beside: dict[str, str] = {}
        self._in_pieces: set[str] = set()

    def pieces(self, message: ChatMessage, delta: str | None, extra: Mapping[str, Any]) -> list[Piece]:
        """The new text of each track, in the order in which models write them; tool calls are judged whole."""
        text, reasoning = text_of(message), reasoning_of(message)
        own = message.additional_kwargs
        thought = joined_reasoning("", {key: value for key, value in extra.items() if own.get(key) != value})
        pieces = [
            Piece(Point.REASONING, _grown(self._reasoning, reasoning, thought)),
            Piece(Point.RESPONSE, _grown(self._text, text, delta or "")),
        ]
        self._text, self._reasoning = text or self._text, reasoning or self._reasoning
        return pieces

    def beside(self, message: ChatMessage, extra: Mapping[str, Any]) -> str:
        """All words beside the text so far, where there are new ones; what comes in pieces is put together."""
        changed = False
        for place, text in texts_beside(message, extra).items():
            before = self._beside.get(place, "")
            if text == before:
                continue
            if before and not text.startswith(before) and (text.isalpha() or not is_name(text)):
                text = before + text
                self._in_pieces.add(place)
            self._beside[place] = text
            changed = True
        return words_in(self._beside, self._in_pieces) if changed else ""


def _grown(before: str, now: str, delta: str) -> str:
    """What is new in `now`, with `delta` where that says something else."""
    new = now.removeprefix(before)
    return new if delta in new else new + delta
