"""Thinking in the text of an answer: which characters are it, and what remains without it."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations.core.points import Point
from qwen3guard_integrations.core.thinking import (
    ThinkingSplitter,
    pieces_in,
    said_in,
    seam_after,
    thought_and_said,
)

TAGGED = st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", " ", "\n", "a", "b <", "é"])).map(
    "".join
)


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("Bread.", "", "Bread."),
        ("<think>Salt?</think>Bread.", "Salt?", "Bread."),
        (" \n<think>\nSalt?\n</think>\n\nBread.", "\nSalt?\n", " \n\n\nBread."),
        ("<think>Salt?", "Salt?", ""),
        ("<think>Salt?</think><think>Jam?</think>Bread.", "Salt?Jam?", "Bread."),
        ("Bread. <think>Salt?</think>", "", "Bread. <think>Salt?</think>"),
        ("</think>Bread.", "", "</think>Bread."),
    ],
)
def test_what_is_thought_and_what_is_said(text: str, thought: str, said: str) -> None:
    assert thought_and_said(text) == (thought, said)
    assert said_in([text]) == [said if said == text else said.lstrip()]


@given(TAGGED, st.lists(st.integers(0, 40)))
def test_pieces_are_the_text_however_it_is_cut(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    splitter = ThinkingSplitter()
    pieces = [piece for a, b in pairwise(places) for piece in splitter.push(text[a:b])]
    pieces += splitter.flush()
    whole = pieces_in(text)
    assert "".join(piece for _, piece in pieces) == "".join(piece for _, piece in whole) == text
    for point in (Point.REASONING, Point.RESPONSE, None):
        cut, uncut = ("".join(piece for at, piece in some if at is point) for some in (pieces, whole))
        assert cut == uncut


@given(st.lists(TAGGED), st.sampled_from(["", "\n"]))
def test_of_several_texts_each_keeps_what_is_said_in_it(texts: list[str], between: str) -> None:
    kept = said_in(texts, between)
    _, said = thought_and_said(between.join(texts))
    assert len(kept) == len(texts)
    assert "".join(kept).replace("\n", "").strip() == said.replace("\n", "").strip()
    ends = [0, *accumulate(len(text) + len(between) for text in texts)]
    assert all(len(own) <= end - begin for own, (begin, end) in zip(kept, pairwise(ends), strict=True))


@pytest.mark.parametrize(
    ("left", "seam"),
    [("", ""), ("Bread", "\n\n"), ("<think>Salt", "</think>\n\n"), ("<think>Salt</think>Bread", "\n\n")],
)
def test_what_stands_before_words_that_are_not_the_models(left: str, seam: str) -> None:
    assert seam_after(left) == seam
