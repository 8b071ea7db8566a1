"""Text deltas of any model as tokens of the guard: re-tokenised as they come, equal in the end to the whole text's.

Tokens do not grow with the text: the next delta may change the last ones. Only text from the last boundary on that no
further text can move is tokenised again, and what changed is told, so that the guard can roll its cache back to there.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenizers import Tokenizer

from ..core.conversation import Turn
from ..core.gate import Piece
from ..core.points import Point
from ..core.token_row import ChatMarks, Mark

# A run without a boundary (Chinese without punctuation, base64) is tokenised again with every delta: beyond so many
# characters, a boundary is set in it, so that the work stays in proportion to the text.
_LONGEST_RUN: Final = 512

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

# The letters by which byte-level tokenizers write bytes (`bytes_to_unicode` in openai/gpt-2, src/encoder.py).
_SHOWN: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS: Final = (byte for byte in range(0x100) if byte not in _SHOWN)
_BYTES: Final = {chr(byte): bytes([byte]) for byte in _SHOWN} | {
    chr(0x100 + number): bytes([byte]) for number, byte in enumerate(_OTHERS)
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the number of characters of the text that are complete with it."""

    id: int
    end: int


class TextTokens:
    """The tokens of one growing text.

    Args:
        backend: A `tokenizers.Tokenizer` that takes special tokens in a text for plain text (`plain_backend`).
        prefix: Text that stands before: its tokens come out with `end=0`, and it may merge with the first words.

    Attributes:
        tokens: Of the text so far, exactly as tokenising all of it at once gives them (but see `_LONGEST_RUN`).
    """

    def __init__(self, backend: Any, prefix: str = "") -> None:
        self._backend = backend
        self._before = len(prefix)
        self._tail = ""  # the text from the last boundary on
        self._tail_begin = 0  # where it begins
        self._fixed = 0  # how many tokens stand before it
        self.tokens: list[Token] = []
        if prefix:
            self.push(prefix)

    @property
    def length(self) -> int:
        """Characters of the text so far."""
        return max(0, self._tail_begin + len(self._tail) - self._before)

    def push(self, text: str) -> int:
        """Take more text. Returns the place of the first token that is new or changed."""
        if not text:
            return len(self.tokens)
        self._tail += _encodable(text)
        encoding = self._backend.encode(self._tail, add_special_tokens=False)
        found = _with_ends(encoding, self._tail, self._tail_begin - self._before)
        begin = same = self._fixed
        for token in found:
            if same >= len(self.tokens) or self.tokens[same] != token:
                break
            same += 1
        self.tokens[begin:] = found
        self._move_boundary(encoding)
        return same

    def _move_boundary(self, encoding: Any) -> None:
        """Forget the text that no further text can change: all but its last word, or its last composed character."""
        words, offsets = encoding.word_ids, encoding.offsets
        limit = _last_starter(self._tail)
        count = next((place for place in range(len(words)) if words[place] == words[-1]), 0)
        while count and offsets[count - 1][1] > limit:
            count -= 1
        while 0 < count < len(words) and words[count - 1] == words[count]:
            count -= 1
        if not count and len(self._tail) > _LONGEST_RUN:
            count = _boundary(offsets, len(self._tail) // 2)
        if count:
            cut = offsets[count][0]
            self._tail, self._tail_begin = self._tail[cut:], self._tail_begin + cut
            self._fixed += count


def _encodable(text: str) -> str:
    """`text`, as long as before, with a mark in place of each half of a surrogate pair: no tokenizer takes those."""
    return _SURROGATE.sub("\ufffd", text)


def _with_ends(encoding: Any, text: str, begin: int) -> list[Token]:
    """Tokens with the characters that are complete after each: where the next one begins, since one character may take
    several tokens, and one token stand for a character and its combining marks."""
    ends = [start for start, _ in encoding.offsets[1:]] + [len(text)]
    return [Token(token, max(0, begin + end)) for token, end in zip(encoding.ids, ends, strict=True)]


def _last_starter(text: str) -> int:
    """Where the last character with its combining marks begins: normalisation may still change it (NFC)."""
    place = len(text) - 1
    while place > 0 and unicodedata.combining(text[place]):
        place -= 1
    return max(place, 0)


def _boundary(offsets: list[tuple[int, int]], place: int) -> int:
    """The number of the last token that begins at or before `place`, and where a character begins."""
    return next(
        (
            number
            for number in range(len(offsets) - 1, 0, -1)
            if offsets[number][0] <= place and offsets[number - 1][1] <= offsets[number][0]
        ),
        0,
    )


def plain_backend(tokenizer: Any) -> Any:
    """A copy of a fast tokenizer's backend without its added tokens: `<|im_end|>` in a text is text, not control."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**rules, "added_tokens": [], "truncation": None, "padding": None}))


class ChatTokens:
    """Conversations as the chat format of Qwen3 writes them: control tokens of ours, text of others that is only text.

    Args:
        tokenizer: A fast tokenizer with Qwen's special tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = plain_backend(tokenizer)
        self.start, self.end = self._control("<|im_start|>"), self._control("<|im_end|>")
        self.think, self.think_end = self._control("<think>"), self._control("</think>")

    def _control(self, name: str) -> list[int]:
        """The token of this name; its text where the vocabulary has no such token."""
        token = self._tokenizer.get_added_vocab().get(name)
        return self.plain(name) if token is None else [token]

    @property
    def marks(self) -> ChatMarks:
        """By which an answer is found in tokens."""
        header = (*self.start, *self.plain("assistant"))
        return ChatMarks(header, tuple(self.think), tuple(self.think_end), tuple(self.plain("\n\n")))

    def bytes_of(self, ids: Iterable[int]) -> list[bytes]:
        """What each token stands for, in UTF-8; a character may be spread over several tokens."""
        names, added = self._tokenizer.convert_ids_to_tokens(list(ids)), self._tokenizer.get_added_vocab()
        return [
            (name or "").encode() if name in added else b"".join(_BYTES.get(letter, b"") for letter in name or "")
            for name in names
        ]

    def plain(self, text: str) -> list[int]:
        """The tokens of a text."""
        ids: list[int] = self._backend.encode(_encodable(text), add_special_tokens=False).ids
        return ids

    def text(self, prefix: str = "") -> TextTokens:
        """A text that grows, after `prefix`."""
        return TextTokens(self._backend, prefix)

    def turn(self, turn: Turn) -> list[int]:
        """A turn before the one that is judged, up to its `<|im_end|>`. Earlier reasoning is left out, as by Qwen3."""
        if turn.role == "tool":
            opening = [*self.plain("user\n"), *self._control("<tool_response>")]
            closing = self._control("</tool_response>")
            return [*self.start, *opening, *self.plain(f"\n{turn.content}\n"), *closing, *self.end]
        return [*self.start, *self.plain(f"{turn.role}\n{turn.content}"), *self.end]

    def turns(self, turns: Iterable[Turn]) -> list[int]:
        """Turns before the one that is judged, each on a line of its own."""
        return [token for turn in turns for token in (*self.turn(turn), *self.plain("\n"))]


@dataclass(slots=True)
class _Segment:
    """A stretch of one track: its text, and where it begins in the track and among the tokens."""

    point: Point
    begin: int
    first: int
    tokens: TextTokens
    text: str = ""

    def marked(self, place: int) -> list[Mark]:
        """Track and end for each token from `place` on; None for those that stand before the text."""
        return [
            (self.point, self.begin + min(token.end, len(self.text))) if token.end > 0 else None
            for token in self.tokens.tokens[place:]
        ]


class AnswerTokens:
    """The tokens of an assistant's answer that is being written: its header, its reasoning, its text.

    An answer without reasoning gets Qwen3's empty thinking; reasoning that comes first stands in it (Qwen3's chat
    template renders the last assistant turn so).

    Attributes:
        ids: The tokens so far; the last one may still change.
        marks: For each token its track, and how many characters of the track are complete with it; None for control.
    """

    def __init__(self, chat: ChatTokens) -> None:
        self._chat = chat
        self._segments: list[_Segment] = []
        self.ids: list[int] = [*chat.start, *chat.plain("assistant\n")]
        self.marks: list[Mark] = [None] * len(self.ids)

    def push(self, pieces: Sequence[Piece]) -> int:
        """Take more text. Returns the place of the first token that is new or changed."""
        place = len(self.ids)
        for piece in pieces:
            if piece.text:
                place = min(place, self._push(piece))
        return place

    def _push(self, piece: Piece) -> int:
        place = len(self.ids)
        if not self._segments or self._segments[-1].point is not piece.point:
            place = self._open(piece)
        segment = self._segments[-1]
        segment.text += piece.text
        changed = segment.tokens.push(piece.text)
        self._write(segment, changed)
        return min(place, segment.first + changed)

    def _write(self, segment: _Segment, changed: int) -> None:
        self.ids[segment.first + changed :] = [token.id for token in segment.tokens.tokens[changed:]]
        self.marks[segment.first + changed :] = segment.marked(changed)

    def _open(self, piece: Piece) -> int:
        """Begin a stretch of another track, after the control tokens that stand between the two."""
        place = len(self.ids)
        chat, thinks = self._chat, piece.point is Point.REASONING
        if self._segments and not self._segments[-1].text.endswith("\n"):
            last = self._segments[-1]
            changed = last.tokens.push("\n")
            self._write(last, changed)
            place = last.first + changed
        if thinks:
            control = chat.think
        elif self._segments:
            control = chat.think_end
        else:
            control = [*chat.think, *chat.plain("\n\n"), *chat.think_end]
        self.ids += control
        self.marks += [None] * len(control)
        prefix = "" if piece.text.startswith("\n") else "\n" if thinks else "\n\n"
        begin = sum(len(segment.text) for segment in self._segments if segment.point is piece.point)
        segment = _Segment(piece.point, begin, len(self.ids), chat.text(prefix))
        self._segments.append(segment)
        self._write(segment, 0)
        return place

    def rollback(self, lengths: Mapping[Point, int]) -> int:
        """Forget what followed the first so many characters of each track. Returns the first token that changed."""
        before, segments = self.ids, self._segments
        fresh = AnswerTokens(self._chat)
        for segment in segments:
            left = lengths.get(segment.point, 0) - segment.begin
            if left > 0:
                fresh.push([Piece(segment.point, segment.text[:left])])
        self._segments, self.ids, self.marks = fresh._segments, fresh.ids, fresh.marks
        pairs = enumerate(zip(before, self.ids, strict=False))
        return next((place for place, (old, new) in pairs if old != new), min(len(before), len(self.ids)))
