"""A conversation in tokens: where the judged answer begins in it, and which characters its tokens make.

Rows of Qwen3GuardTest come so (`input_ids`), and their annotated positions count these tokens: the text tokenised again
has other positions in one row of five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .points import Point

Mark = tuple[Point, int] | None
"""The track that a token belongs to, and how many of its characters are complete with it; None for control tokens."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A conversation in tokens.

    Attributes:
        ids: All tokens, from the beginning of the conversation.
        begins: Position of the first token of the answer that is judged; all that follow are judged as well.
        marks: For each token from there on.
    """

    ids: tuple[int, ...]
    begins: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class ChatMarks:
    """The tokens by which an answer is found in Qwen3's chat format.

    Attributes:
        header: `<|im_start|>assistant`.
        think: `<think>`.
        think_end: `</think>`.
        gap: An empty line: it stands in an empty thinking, and after every thinking.
    """

    header: tuple[int, ...]
    think: tuple[int, ...]
    think_end: tuple[int, ...]
    gap: tuple[int, ...]


def answer_header(ids: Sequence[int], marks: ChatMarks, answer: int = 1) -> int | None:
    """Position after the header of the `answer`-th answer and its line end; None where there is no such answer."""
    headers = (place for place in range(len(ids)) if _stands(marks.header, ids, place))
    place = next((place for number, place in enumerate(headers, start=1) if number == answer), None)
    return None if place is None else min(place + len(marks.header) + 1, len(ids))


def answer_begins(ids: Sequence[int], marks: ChatMarks, answer: int = 1) -> int | None:
    """Position of the first token of the `answer`-th answer that is judged; None where there is no such answer.

    As `process_conversation_response` in QwenLM/Qwen3Guard, eval/eval_stream.py, has it: in an answer with thinking the
    token after `<think>` and its line end (the position of `assistant` plus 4), else the one after the empty thinking,
    `</think>` and an empty line. There a switch says whether a data set thinks, here the tokens do: an answer thinks
    unless its thinking is empty. One whose thinking never ends is rendered as an empty thinking and a `<think>` in the
    text, and counts as thinking. Chat formats without thinking have their answers begin after the header.
    """
    place = answer_header(ids, marks, answer)
    if place is None or not _stands(marks.think, ids, place):
        return place
    inside = place + len(marks.think)
    empty = (*marks.gap, *marks.think_end, *marks.gap)
    behind = inside + len(empty)
    if _stands(empty, ids, inside) and not _stands(marks.think, ids, behind):
        return behind
    return min(inside + 1, len(ids))


def _stands(what: Sequence[int], ids: Sequence[int], place: int) -> bool:
    return all(place + step < len(ids) and ids[place + step] == token for step, token in enumerate(what))
