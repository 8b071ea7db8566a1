"""Reasoning that stands inside the text: `<think>...</think>`, found although a tag is cut into several deltas.

Qwen3 and its relatives write their thinking so when the server does not take it out (chat template of Qwen3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .conversation import Turn
from .points import Point

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"
THINKING_ENDS: Final = f"{_CLOSE}\n\n"
"""What stands between thinking and answer: the chat template of Qwen3 puts an empty line there."""


class ThinkingSplitter:
    """Text in, the same text out in pieces: reasoning, answer, and the tags between them.

    Thinking stands before the answer, as Qwen3 writes it, once or, where an answer was begun anew, several times: a tag
    behind the first word of the answer is part of it, so that no answer can call itself thinking. Characters that may
    be the beginning of a tag are kept until it is clear what they are.

    Args:
        thinking: The text begins inside the thinking.
        begun: The answer stands before the text, so that no thinking can begin any more.
    """

    def __init__(self, thinking: bool = False, begun: bool = False) -> None:
        self._point = Point.REASONING if thinking else Point.RESPONSE
        self._begun = begun
        self._kept = ""

    @property
    def thinking(self) -> bool:
        """Whether the text so far ends inside the thinking."""
        return self._point is Point.REASONING

    @property
    def place(self) -> tuple[bool, bool]:
        """Where the text so far ends, for a splitter of what may follow in its stead: `thinking` and `begun`.

        A tag that is cut here is part of the answer, whatever becomes of it.
        """
        return self.thinking, self._begun or (bool(self._kept) and not self.thinking)

    def push(self, text: str) -> list[tuple[Point | None, str]]:
        """The pieces of `text` (and of what was kept before) that are clear now; the point of a tag is None."""
        text, self._kept = self._kept + text, ""
        pieces: list[tuple[Point | None, str]] = []
        while text:
            if self._point is Point.RESPONSE and self._begun:
                return [*pieces, (self._point, text)]
            tag = _OPEN if self._point is Point.RESPONSE else _CLOSE
            if tag is _OPEN and not _may_begin(text):
                self._begun = True
                continue
            before, found, text = text.partition(tag)
            if not found:
                kept = _begins(before, tag)
                before, self._kept = before[: len(before) - kept], before[len(before) - kept :]
            if before:
                pieces.append((self._point, before))
            if found:
                pieces.append((None, tag))
                self._point = Point.REASONING if tag is _OPEN else Point.RESPONSE
        return pieces

    def flush(self) -> list[tuple[Point | None, str]]:
        """What is still kept: no tag after all."""
        kept, self._kept = self._kept, ""
        return [(self._point, kept)] if kept else []


def written(turn: Turn) -> list[tuple[Point | None, str]]:
    """The pieces of a complete answer, in the order in which they are written; the point of a tag is None.

    They are those that a gate finds: `turn.reasoning`, and what stands in tags at the beginning of `turn.content`.
    """
    reasoning: list[tuple[Point | None, str]] = [(Point.REASONING, turn.reasoning)] if turn.reasoning else []
    return [*reasoning, *pieces_in(turn.content)]


def thought_and_said(text: str) -> tuple[str, str]:
    """The thinking at the beginning of a complete answer, and the rest of it: all but the tags."""
    if _OPEN not in text:
        return "", text
    pieces = pieces_in(text)
    thought, said = (
        "".join(piece for at, piece in pieces if at is point) for point in (Point.REASONING, Point.RESPONSE)
    )
    return thought, said


def said_in(texts: Sequence[str], between: str = "") -> list[str]:
    """What remains of each of the texts of a complete answer without the thinking at its beginning.

    The tags go too, and the empty lines behind them; texts without thinking stay as they are.

    Args:
        texts: The answer, in order.
        between: What stands between two of them.
    """
    said = [point is Point.RESPONSE for point, piece in pieces_in(between.join(texts)) for _ in piece]
    if all(said):
        return list(texts)
    letters = [letter for text in texts for letter in (*text, *between)]
    begin = next((place for place, own in enumerate(said) if own and not letters[place].isspace()), len(said))
    kept, place = [], 0
    for text in texts:
        own = said[place : place + len(text)]
        kept.append("".join(letter for at, letter in enumerate(text) if own[at] and place + at >= begin))
        place += len(text) + len(between)
    return kept


def seam_after(text: str) -> str:
    """What must stand between the beginning of an answer and words that are not the model's."""
    splitter = ThinkingSplitter()
    splitter.push(text)
    return seam(thinking=splitter.thinking, anything=bool(text))


def seam(*, thinking: bool, anything: bool) -> str:
    """As `seam_after`, of a text that ends inside thinking or not, or is nothing at all."""
    if thinking:
        return THINKING_ENDS
    return "\n\n" if anything else ""


def pieces_in(text: str) -> list[tuple[Point | None, str]]:
    """The pieces of the text of a complete answer, in order; together they are the text. The point of a tag is None."""
    splitter = ThinkingSplitter()
    return [*splitter.push(text), *splitter.flush()]


def _may_begin(text: str) -> bool:
    """Whether `text` is white space with an opening tag, or the beginning of one, behind it."""
    words = text.lstrip()
    return words.startswith(_OPEN) or _OPEN.startswith(words)


def _begins(text: str, tag: str) -> int:
    """How many characters at the end of `text` are the beginning of `tag`."""
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:size])), 0)
