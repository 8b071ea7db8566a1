"""Long conversations in pieces: nothing of the judged turn is lost, every piece fits, neighbours overlap."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen3guard_integrations.core.conversation import Conversation, Turn
from qwen3guard_integrations.core.pieces import pieces

INTRODUCTION = len("\n\nASSISTANT: ")


def numbered(shape: str, first: int) -> str:
    """A text of that shape in which every character that is no white space is another one."""
    return "".join(chr(first + place) if character == "x" else character for place, character in enumerate(shape))


SHAPES = st.text("xxxxx \n", max_size=120)


def by_tokens(text: str) -> int:
    """A measure like a tokeniser's: words of up to four letters, signs, and three for what is not ASCII."""
    return sum(1 if token.isascii() else 3 for token in re.findall(r"\s?\w{1,4}|\s|[^\w\s]", text))


def measured(conversation: Conversation, length: Callable[[str], int] = len) -> int:
    context = sum(INTRODUCTION + length(turn.content) for turn in conversation.context if turn.role != "system")
    return context + length(conversation.judged.content) + length(conversation.judged.reasoning)


def rejoined(text: str, parts: list[str]) -> tuple[list[tuple[int, int]], set[int]]:
    """Where each of `parts` lies in `text`, going forward, and the places of `text` that none of them has."""
    spans, start = [], 0
    for part in parts:
        start = text.index(part, start)
        spans.append((start, start + len(part)))
        start += 1
    return spans, set(range(len(text))) - {place for span in spans for place in range(*span)}


class Numbered:
    """A text in which every place is recognised: its parts say where they come from."""

    text = " ".join(f"{number:05d}" for number in range(4000))


@given(content=SHAPES, reasoning=SHAPES, limit=st.integers(1, 60), overlap=st.integers(0, 40))
@example(content="xxxx " * 9, reasoning="", limit=20, overlap=15)
@example(content=" " * 30 + "x", reasoning="", limit=4, overlap=1)
def test_every_character_is_judged_and_every_piece_fits(content: str, reasoning: str, limit: int, overlap: int) -> None:
    turn = Turn(role="assistant", content=numbered(content, 0x4E00), reasoning=numbered(reasoning, 0x6000))
    if turn.blank:
        return
    parts = [part.judged for part in pieces(Conversation(turns=(turn,)), len, limit, overlap)]
    assert all(len(part.content) + len(part.reasoning) <= limit for part in parts)
    assert set("".join(part.content for part in parts)) >= set("".join(turn.content.split()))
    assert set("".join(part.reasoning for part in parts)) >= set("".join(turn.reasoning.split()))
    for part in parts:
        assert part.content in turn.content
        assert part.reasoning in turn.reasoning


@given(text=st.text(max_size=80), limit=st.integers(1, 20), overlap=st.integers(0, 20))
@example(text="😀" * 9, limit=1, overlap=0)
def test_any_text_by_any_measure_ends_and_fits(text: str, limit: int, overlap: int) -> None:
    if not text.strip():
        return
    for part in pieces(Conversation.of_prompt(text), by_tokens, limit, overlap):
        assert by_tokens(part.judged.content) <= limit or len(part.judged.content) == 1


@given(limit=st.integers(20, 3000), overlap=st.integers(0, 600))
def test_any_run_up_to_the_overlap_is_whole_in_one_piece(limit: int, overlap: int) -> None:
    parts = [part.judged.content for part in pieces(Conversation.of_prompt(Numbered.text), len, limit, overlap)]
    spans, missing = rejoined(Numbered.text, parts)
    assert not missing
    common = min(overlap, limit * 3 // 4 // 2 - 1)
    assert all(end - start >= common for (start, _), (_, end) in zip(spans[1:], spans, strict=False))
    assert all(here[0] > before[0] for before, here in pairwise(spans))


def test_cuts_are_made_at_white_space() -> None:
    parts = pieces(Conversation.of_prompt(Numbered.text), len, 1000, 100)
    for part in parts[:-1]:
        assert part.judged.content.endswith(" ")
    assert all(re.match(r"\d{5}", part.judged.content) for part in parts)


def test_a_text_without_white_space_is_cut_anywhere() -> None:
    parts = pieces(Conversation.of_prompt("x" * 1000), len, 300, 50)
    assert [len(part.judged.content) for part in parts] == [300, 300, 300, 250]


@pytest.mark.parametrize("separator", [" ", "", " 🙂 ", "\n"])
@pytest.mark.parametrize("length", [len, by_tokens], ids=["characters", "tokens"])
def test_length_is_asked_a_few_times_for_each_piece(separator: str, length: Callable[[str], int]) -> None:
    asked: list[int] = []

    def counting(text: str) -> int:
        asked.append(len(text))
        return length(text)

    text = separator.join(f"word{number}" for number in range(30_000))
    parts = pieces(Conversation.of_prompt(text), counting, 2000, 100)
    assert all(measured(part, length) <= 2000 for part in parts)
    assert len(asked) <= 6 * len(parts) + 4
    # Linear: what is measured is a small multiple of the text, however long that is.
    assert sum(asked) <= 8 * len(text)


def test_a_dense_stretch_in_a_light_text_costs_halving_only() -> None:
    asked = 0

    def length(text: str) -> int:
        nonlocal asked
        asked += 1
        return by_tokens(text)

    text = "word " * 20_000 + "🙂" * 5_000 + " " * 20_000 + "word " * 5_000
    parts = pieces(Conversation.of_prompt(text), length, 1000, 50)
    assert all(measured(part, by_tokens) <= 1000 for part in parts)
    assert asked <= 12 * len(parts)


def test_a_conversation_that_fits_is_itself() -> None:
    conversation = Conversation(
        turns=(
            Turn(role="system", content="s" * 500),
            Turn(role="user", content="q" * 30),
            Turn(role="assistant", content="a" * 30, reasoning="r" * 500),
            Turn(role="user", content="j" * 10),
        )
    )
    (only,) = pieces(conversation, len, 70 + 2 * INTRODUCTION, 5)
    assert only is conversation


def test_the_latest_context_is_kept_and_cut_at_its_front() -> None:
    conversation = Conversation(
        turns=(
            Turn(role="system", content="never counted " * 50),
            Turn(role="user", content="the first question"),
            Turn(role="assistant", content="an answer that is somewhat longer"),
            Turn(role="user", content="the last question"),
            Turn(role="assistant", content="x" * 40),
        )
    )
    (piece,) = pieces(conversation, len, 40 + 2 * INTRODUCTION + 17 + 18, 5)
    assert [turn.content for turn in piece.turns] == ["somewhat longer", "the last question", "x" * 40]
    assert piece.judged == conversation.judged


def test_an_answer_keeps_the_end_of_its_question() -> None:
    question = "long preface " * 100 + "and how do I do it?"
    parts = pieces(Conversation.of_response(question, "y" * 1000), len, 400, 40)
    assert len(parts) > 1
    assert all(part.context[-1].content.endswith("and how do I do it?") for part in parts)
    assert all(part.context[-1].role == "user" for part in parts)
    assert all(measured(part) <= 400 for part in parts)


def test_many_short_turns_do_not_outgrow_the_limit() -> None:
    turns = [Turn(role="user", content="") for _ in range(500)]
    (piece,) = pieces(Conversation(turns=(*turns, Turn(role="user", content="x"))), len, 100, 5)
    assert len(piece.context) == 99 // INTRODUCTION


def test_reasoning_and_answer_are_split_apart() -> None:
    parts = pieces(Conversation.of_response("q", "a" * 90, reasoning="r" * 150), len, 120, 10)
    assert {len(part.judged.reasoning) > 0 for part in parts} == {True, False}
    assert not any(part.judged.reasoning and part.judged.content for part in parts)
    assert all(part.context[-1].content == "q" for part in parts)


@pytest.mark.parametrize(("limit", "overlap"), [(0, 0), (-1, 0), (5, -1)])
def test_numbers_out_of_range_are_refused(limit: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="limit must be positive"):
        pieces(Conversation.of_prompt("x"), len, limit, overlap)
