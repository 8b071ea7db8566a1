"""Reading what servers answer, apart from any server."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations.core.errors import GuardResponseError
from qwen3guard_integrations.core.verdict import Severity
from qwen3guard_integrations.guards.openai_requests import (
    Token,
    chat_verdict,
    forced_verdict,
    read_chat,
    read_completion,
    severity_scores,
)


def token(text: str, logprob: float = 0.0, **top: float) -> dict[str, Any]:
    others = [{"token": name.replace("_", " "), "logprob": value} for name, value in top.items()]
    return {"token": text, "logprob": logprob, "top_logprobs": others}


def scored(*tokens: dict[str, Any], text: str | None = None) -> Any:
    """The scores in a chat answer of these tokens."""
    text = "".join(each["token"] for each in tokens) if text is None else text
    choice = {"message": {"content": text}, "logprobs": {"content": tokens}}
    return chat_verdict(read_chat(json.dumps({"choices": [choice]}))).scores


LABEL = token(" Unsafe", -0.1, _Unsafe=-0.1, _Safe=-3, _Cont=-4)


@pytest.mark.parametrize(
    "before",
    [
        ["Safety", ":"],
        ["Safety:"],
        ["\n\n", "Safe", "ty", ":"],
        ["<think>", "Safety: Safe", "</think>", "\n", "Safety", ":"],
        ["**", "Safety", ":**"],
        ["safety", " ", "："],
    ],
)
def test_the_label_is_found_after_the_word_safety(before: list[str]) -> None:
    tokens = [*map(token, before), LABEL, token("\n", 0.0, _Safe=-0.1), token("Categories: None")]
    if before[0] == "<think>":  # the first "Safety:" is thought, its label is not the one that counts
        tokens = [token("<think>"), token("</think>"), *map(token, ["Safety", ":"]), *tokens[len(before) :]]
    scores = scored(*tokens)
    assert scores is not None
    assert scores.unsafe == pytest.approx(0.93, abs=1e-3)


def test_a_label_in_pieces_counts_by_its_first() -> None:
    scores = scored(*map(token, ["Safety", ":"]), token(" Cont", -0.2, _Cont=-0.2, _Safe=-2), token("roversial"))
    assert scores.controversial > 0.8


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [token("Safety: Unsafe")],
        [token("Safety"), token(":"), token(" Safe", -0.1)],  # says otherwise than the text
        [token("Safety"), token(":"), token(" U", float("nan"))],
        [token("Safety"), token(":"), token(" Unsafe", float("-inf"))],
    ],
)
def test_scores_that_cannot_be_told_are_none(tokens: list[dict[str, Any]]) -> None:
    assert scored(*tokens, text="Safety: Unsafe\nCategories: Violent") is None


@pytest.mark.parametrize("logprobs", [None, [], "x", {}, {"content": None}, {"content": [{"token": 1}]}, {"tokens": 3}])
def test_logprobs_of_another_form_are_none_at_all(logprobs: object) -> None:
    choices = [{"message": {"content": "Safety: Safe"}, "text": " Safe", "logprobs": logprobs}]
    body = json.dumps({"choices": choices})
    assert chat_verdict(read_chat(body)).scores is None
    assert forced_verdict(read_completion(body)).scores is None


def test_a_label_that_is_not_listed_gets_the_least_that_is() -> None:
    listed = {" Safe": -0.001, " The": -8.0, " A": -9.0}
    top = [{"token": text, "logprob": logprob} for text, logprob in listed.items()]
    scores = severity_scores(
        Token.model_validate({"token": " Safe", "logprob": -0.001, "top_logprobs": top}), Severity.SAFE
    )
    assert scores is not None
    assert scores.unsafe == scores.controversial == pytest.approx(math.exp(-9), rel=0.01)


def test_without_alternatives_the_rest_is_shared() -> None:
    scores = severity_scores(Token(token=" Unsafe", logprob=math.log(0.8)), Severity.UNSAFE)
    assert scores is not None
    assert scores.unsafe == pytest.approx(0.8)
    assert scores.safe == scores.controversial == pytest.approx(0.1)


@given(
    text=st.sampled_from([" Safe", "Safe", " Uns", " Cont", " C", "S"]),
    logprob=st.floats(),
    top=st.dictionaries(st.sampled_from([" Safe", "Safe", " Unsafe", " Cont", "C", " The", "\n", ""]), st.floats()),
)
def test_scores_are_probabilities_or_none(text: str, logprob: float, top: dict[str, float]) -> None:
    alternatives = [{"token": name, "logprob": value} for name, value in top.items()]
    read = Token.model_validate({"token": text, "logprob": logprob, "top_logprobs": alternatives})
    for severity in Severity:
        scores = severity_scores(read, severity)
        if scores is not None:
            assert severity.value.startswith(text.strip())
            assert scores.safe + scores.controversial + scores.unsafe == pytest.approx(1)


def test_the_most_probable_label_counts_and_of_equals_the_most_severe() -> None:
    for safe, expected in ((-1.0, Severity.UNSAFE), (-0.5, Severity.SAFE)):
        logprobs = {
            "tokens": [" Safe"],
            "token_logprobs": [safe],
            "top_logprobs": [{" Safe": safe, " Unsafe": -1.0, " Cont": -3.0}],
        }
        body = json.dumps({"choices": [{"text": " Safe", "logprobs": logprobs}]})
        assert forced_verdict(read_completion(body)).severity is expected


@given(st.text())
def test_no_body_makes_anything_but_an_answer_or_an_error(body: str) -> None:
    with pytest.raises(GuardResponseError, match="not a completion") as caught:
        read_chat(body)
    assert caught.value.__context__ is None
