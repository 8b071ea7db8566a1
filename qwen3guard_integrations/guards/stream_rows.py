"""Conversations whose answer is complete, in tokens: as they are rendered here, or as a data set gives them."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence

from ..core.conversation import Conversation
from ..core.errors import GuardConfigurationError
from ..core.gate import Piece
from ..core.points import Point
from ..core.thinking import written
from ..core.token_row import Mark, TokenRow, answer_begins, answer_header
from .stream_tokens import AnswerTokens, ChatTokens


def rendered(chat: ChatTokens, conversation: Conversation) -> TokenRow:
    """The conversation as Qwen3's chat template writes it, down to the line end after its last turn."""
    context = chat.turns(conversation.context)
    answer = AnswerTokens(chat)
    answer.push([Piece(point, text) for point, text in written(conversation.judged) if point is not None])
    begins = next(place for place, mark in enumerate(answer.marks) if mark is not None)
    closing = [*chat.end, *chat.plain("\n")]
    marks = (*answer.marks[begins:], *(None for _ in closing))
    return TokenRow((*context, *answer.ids, *closing), len(context) + begins, marks)


def given(chat: ChatTokens, conversation: Conversation, ids: Sequence[int]) -> TokenRow:
    """The conversation in the tokens `ids`, which stand for all of it; its text only says which characters they make.

    Raises:
        GuardConfigurationError: The answer is not found in the tokens, or has thinking that they do not have.
    """
    answer = sum(turn.role == "assistant" for turn in conversation.turns)
    header, begins = answer_header(ids, chat.marks, answer), answer_begins(ids, chat.marks, answer)
    if header is None or begins is None or begins == len(ids):
        raise _not_these("no answer of an assistant is found in them")
    marks, texts = _decoded(chat, ids[header:])
    return TokenRow(tuple(ids), begins, _onto_text(marks[begins - header :], texts, _tracks(conversation)))


def _not_these(why: str) -> GuardConfigurationError:
    return GuardConfigurationError(
        f"input_ids are not the tokens of their conversation in Qwen3's chat template: {why}",
        hint="leave input_ids out of the row, and the text is tokenised",
    )


def _tracks(conversation: Conversation) -> dict[Point, str]:
    """The text of the judged turn by tracks."""
    tracks: dict[Point, str] = {}
    for point, text in written(conversation.judged):
        if point is not None:
            tracks[point] = tracks.get(point, "") + text
    return tracks


def _decoded(chat: ChatTokens, ids: Sequence[int]) -> tuple[list[Mark], dict[Point, str]]:
    """Tokens from an answer's header on: their marks in the text that they stand for, and this text, by tracks."""
    closing = next((place for place in range(len(ids) - 1, -1, -1) if [ids[place]] == chat.end), len(ids))
    parts: dict[Point, list[str]] = {Point.REASONING: [], Point.RESPONSE: []}
    ends = dict.fromkeys(parts, 0)
    marks: list[Mark] = []
    point, decode = Point.RESPONSE, _decoder()
    for token, written_as in zip(ids[:closing], chat.bytes_of(ids[:closing]), strict=True):
        opens = [token] == chat.think and point is Point.RESPONSE and not "".join(parts[point]).strip()
        if opens or ([token] == chat.think_end and point is Point.REASONING):
            point, decode = Point.REASONING if opens else Point.RESPONSE, _decoder()
            marks.append(None)
            continue
        parts[point].append(decode(written_as))
        ends[point] += len(parts[point][-1])
        marks.append((point, ends[point]))
    return [*marks, *(None for _ in ids[closing:])], {point: "".join(part) for point, part in parts.items()}


def _decoder() -> Callable[[bytes], str]:
    """Bytes in, the characters that are complete with them out."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode


def _onto_text(marks: Sequence[Mark], texts: Mapping[Point, str], tracks: Mapping[Point, str]) -> tuple[Mark, ...]:
    """The marks in the text of the row. The last token of a track makes all of it complete."""
    last = {mark[0]: place for place, mark in enumerate(marks) if mark is not None}
    if missing := [point for point, track in tracks.items() if track.strip() and point not in last]:
        raise _not_these(f"they have no {missing[0].value}")
    onto = {point: _onto(texts[point], track) for point, track in tracks.items()}

    def moved(place: int, mark: Mark) -> Mark:
        if mark is None or mark[0] not in onto:
            return None
        point, end = mark
        end = len(tracks[point]) if place == last[point] else onto[point](end)
        return (point, end) if end else None

    return tuple(moved(place, mark) for place, mark in enumerate(marks))


def _onto(decoded: str, text: str) -> Callable[[int], int]:
    """Places in a track as its tokens have it -> places in the row's text.

    The two are the same but for line ends around them (the chat template sets its own) and the form of composed letters
    (tokenizers normalise it). Where they differ otherwise, a stretch is mapped in proportion.
    """
    lead, begin = _leading(decoded), _leading(text)
    core, wanted = decoded.strip("\n"), text.strip("\n")
    same = _alike(core, wanted)
    rest = min(_alike(core[::-1], wanted[::-1]), min(len(core), len(wanted)) - same)
    between, room = len(core) - same - rest, len(wanted) - same - rest

    def place(end: int) -> int:
        inside = min(max(end - lead, 0), len(core))
        if inside > same:
            over = inside - same
            inside = same + (over * room // between if over < between else room + over - between)
        return begin + inside if inside else 0

    return place


def _leading(text: str) -> int:
    return len(text) - len(text.lstrip("\n"))


def _alike(one: str, other: str) -> int:
    """How many characters at the beginning of both are the same."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(place for place in range(shorter) if one[place] != other[place])
