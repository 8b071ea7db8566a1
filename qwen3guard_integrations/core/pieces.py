"""A conversation that is too long for the guard, in overlapping pieces that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .conversation import Conversation, Turn

Length = Callable[[str], int]

# How a guard's prompt introduces a turn. Counted for each turn of the context, so that many short turns do not
# come out longer than their words.
_INTRODUCTION: Final = "\n\nASSISTANT: "


def pieces(conversation: Conversation, length: Length, limit: int, overlap: int) -> list[Conversation]:
    """`conversation` itself if it fits; otherwise pieces of it which together have all of the judged turn.

    Judge each one and merge the verdicts with `Verdict.merge`: the most severe counts, so that length hides
    nothing. Any run of the judged content or reasoning that is no longer than `overlap` is whole in one piece.

    * The latest earlier turns come with every piece. They get what the judged turn leaves over, but at least a
      quarter of `limit`: an answer is judged by its question. What does not fit is cut from the front.
    * Once something has to be cut, system turns and earlier reasoning are left out first: guards are not shown them.
    * A piece that would be nothing but white space is left out: there is nothing in it to judge.

    Args:
        conversation: What is judged.
        length: The length of a text: `len`, or a count of tokens. It should grow with the text, and the parts of
            a text should not be much shorter than the whole. Called a few times for each piece, with texts of
            about the size of a piece (and once or twice with each whole text), so that it may be costly.
        limit: What the texts of one piece may measure together, in the unit of `length`. Only a single character
            that measures more goes over it.
        overlap: What neighbouring pieces have in common, in the unit of `length`: exactly so for `len`, in
            proportion for tokens. At most half a piece is.

    Raises:
        ValueError: `limit` is not positive, or `overlap` is negative.
    """
    if limit < 1 or overlap < 0:
        raise ValueError(f"limit must be positive and overlap not negative, not {limit} and {overlap}")
    judged = conversation.judged
    size = length(judged.content) + length(judged.reasoning)
    context, used = _latest(conversation.context, length, max(limit - size, limit // 4))
    if size + used <= limit:
        if len(context) == len(conversation.context) and context[:1] == conversation.context[:1]:
            return [conversation]
        return [Conversation(turns=(*context, judged))]
    room = limit - used
    turns = [Turn(role=judged.role, reasoning=part) for part in split(judged.reasoning, length, room, overlap)]
    turns += [Turn(role=judged.role, content=part) for part in split(judged.content, length, room, overlap)]
    return [Conversation(turns=(*context, turn)) for turn in turns if not turn.blank]


def _latest(turns: tuple[Turn, ...], length: Length, room: int) -> tuple[tuple[Turn, ...], int]:
    """As many of the last `turns` as fit into `room`, the first of them perhaps without its beginning; their size."""
    whole = _fitting_turns(turns, length, room)
    if len(whole) == len(turns):
        return turns, sum(_size(turn, length) for turn in turns)
    shown = tuple(
        Turn(role=turn.role, content=turn.content) for turn in turns[-len(whole) - 1 :] if turn.role != "system"
    )
    return shown, 0


def split(text: str, length: Length, limit: int, overlap: int) -> list[str]:
    """`text` in parts of at most `limit`, each beginning with about the last `overlap` of the one before it.

    The arguments are those of `pieces`. Cuts are made at white space where there is some in the last quarter of
    a part. An empty text has no parts.
    """
    return []
