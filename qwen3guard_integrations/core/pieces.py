"""A conversation that is too long for the guard, in overlapping pieces that are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from .conversation import Conversation, Turn

Length = Callable[[str], int]

# How a guard's prompt introduces a turn. Counted for each turn of the context, so that many short turns do not
# come out longer than their words.
_INTRODUCTION: Final = "\n\nASSISTANT: "
_GUESSES: Final = 4  # proportional guesses before halving: one or two hit, and halving ends in any case
_FULL: Final = 0.9  # a part this full is full: the exact size is not worth counting tokens again


def pieces(conversation: Conversation, length: Length, limit: int, overlap: int) -> list[Conversation]:
    """`conversation` itself if it fits; otherwise pieces of it that together have all of the judged turn.

    Judge each one and merge the verdicts with `Verdict.merge`: the most severe counts, so that length hides
    nothing. The latest earlier turns come with every piece. They get what the judged turn leaves over, but at
    least a quarter of `limit`, since an answer is judged by its question; what does not fit is cut off at their
    front. System turns and earlier reasoning are neither counted nor, where something is cut, kept: the prompts of
    Qwen3Guard leave them out. A piece of nothing but white space is left out too.

    Args:
        conversation: What is judged.
        length: The length of a text: `len`, or a count of tokens. It has to grow with the text, more or less.
            Called once or twice with each whole text, and a few times for each piece with texts of about its size.
        limit: What the texts of one piece may measure together, in the unit of `length`. Only a single character
            that measures more goes over it.
        overlap: What neighbouring pieces have in common, in the unit of `length` (for tokens: about). Any run of
            the judged text that is no longer is whole in one piece. At most half a piece is.

    Raises:
        ValueError: `limit` is not positive, or `overlap` is negative.
    """
    if limit < 1 or overlap < 0:
        raise ValueError(f"limit must be positive and overlap not negative, not {limit} and {overlap}")
    judged = conversation.judged
    size = length(judged.content) + length(judged.reasoning)
    context, used, whole = _latest(conversation.context, length, max(limit - size, limit // 4))
    if size + used <= limit:
        return [conversation if whole else Conversation(turns=(*context, judged))]
    parts = [Turn(role=judged.role, reasoning=part) for part in _parts(judged.reasoning, length, limit - used, overlap)]
    parts += [Turn(role=judged.role, content=part) for part in _parts(judged.content, length, limit - used, overlap)]
    return [Conversation(turns=(*context, part)) for part in parts if not part.blank]


def _latest(turns: tuple[Turn, ...], length: Length, room: int) -> tuple[tuple[Turn, ...], int, bool]:
    """The last of `turns` that fit into `room`, what they measure, and whether that is all of them."""
    introduction = length(_INTRODUCTION)
    kept: list[Turn] = []
    used = 0
    for turn in reversed(turns):
        if turn.role == "system":
            continue
        size = introduction + length(turn.content)
        if used + size > room:
            if end := _end(turn.content, length, room - used - introduction):
                kept.append(Turn(role=turn.role, content=end))
                used += introduction + length(end)
            return tuple(reversed(kept)), used, False
        kept.append(turn)
        used += size
    return tuple(reversed(kept)), used, True


def _end(text: str, length: Length, room: int) -> str:
    """As much of the end of `text` as fits into `room`, from the beginning of a word if one is near."""
    if room < 1:
        return ""
    size = _fitting(lambda size: length(text[len(text) - size :]), len(text), room, guess=room)
    start = len(text) - size
    first_space = next((place for place in range(start, start + size // 4) if text[place].isspace()), start - 1)
    return text[first_space + 1 :]


def _parts(text: str, length: Length, limit: int, overlap: int) -> list[str]:
    """`text` in parts of at most `limit`, each beginning with about the last `overlap` of the one before it.

    Cuts are made after white space where there is some in the last quarter of a part, so every part moves on by
    at least a quarter of its size.
    """
    parts: list[str] = []
    start = 0
    guess = limit * len(text) // max(length(text), 1)
    while start < len(text):
        measure = partial(_length_from, text, start, length)
        guess = max(_fitting(measure, len(text) - start, limit, guess), 1)
        end = _word_end(text, start, start + guess, length, limit)
        part = text[start:end]
        parts.append(part)
        if end == len(text):
            break
        back = min(-(-overlap * len(part) // max(length(part), 1)), len(part) // 2)
        start = _word_start(text, end - back, back // 4)
    return parts


def _length_from(text: str, start: int, length: Length, size: int) -> int:
    return length(text[start : start + size])


def _word_start(text: str, start: int, window: int) -> int:
    """`start`, or the beginning of its word if that is within `window` characters before it."""
    space = _last_space(text[start - window : start])
    return start - window + space if space else start


def _word_end(text: str, start: int, end: int, length: Length, limit: int) -> int:
    """`end`, or the end of the last white space in the last quarter before it."""
    if end == len(text) or text[end].isspace():
        return end
    quarter = end - (end - start) // 4
    if not (space := _last_space(text[quarter:end])):
        return end
    # Fewer characters are more tokens once in a while.
    return quarter + space if length(text[start : quarter + space]) <= limit else end


def _last_space(text: str) -> int:
    """The place after the last white space in `text`; 0 if there is none."""
    return max((place for place, character in enumerate(text, 1) if character.isspace()), default=0)


def _fitting(measure: Callable[[int], int], most: int, limit: int, guess: int) -> int:
    """The greatest size up to `most` with `measure(size) <= limit`, or a little less; 0 if there is none.

    `measure` is asked about sizes near the result only, since it may count tokens: first `guess`, then in
    proportion to what came out, and in the end by halving.
    """
    fits, too_much = 0, most + 1
    size = min(max(guess, 1), most)
    step = 0
    while too_much - fits > 1:
        measured = measure(size)
        step += 1
        if measured > limit:
            too_much = size
        else:
            fits = size
            if measured >= _FULL * limit:
                break
        wanted = size * limit // max(measured, 1) if step <= _GUESSES else (fits + too_much) // 2
        size = min(max(wanted, fits + 1), too_much - 1, 4 * size)
    return fits
