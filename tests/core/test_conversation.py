"""What is judged: turns, of which the last one is under judgement."""

from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import ValidationError

from qwen3guard_integrations import Conversation, Turn

from .strategies import conversations


@given(conversations)
def test_the_last_turn_is_judged_and_the_others_are_its_context(conversation: Conversation) -> None:
    assert (*conversation.context, conversation.judged) == conversation.turns
    assert not conversation.judged.blank
    replaced = conversation.replacing("other", "words")
    assert replaced.context == conversation.context
    assert replaced.judged == Turn(role=conversation.judged.role, content="other", reasoning="words")


def test_the_ways_to_make_one() -> None:
    prompt = Turn(role="user", content="q")
    assert Conversation.of_prompt("q").turns == (prompt,)
    assert Conversation(turns=prompt) == Conversation.of_prompt("q")
    assert Conversation.of_response("q", "a", reasoning="r").turns == (
        prompt,
        Turn(role="assistant", content="a", reasoning="r"),
    )
    for key in ("reasoning", "reasoning_content"):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", key: "r"}]
        assert Conversation.from_messages(messages) == Conversation.of_response("q", "a", reasoning="r")


def test_equal_conversations_are_one_key() -> None:
    assert len({Conversation.of_prompt("q"), Conversation.of_prompt("q"), Conversation.of_prompt("r")}) == 2


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_blank_last_turn_is_refused_and_a_blank_earlier_one_is_not(text: str) -> None:
    with pytest.raises(ValidationError, match="nothing to judge"):
        Conversation.of_prompt(text)
    assert Conversation.of_response(text, "a").context[0].blank


@pytest.mark.parametrize("text", ["\u200b", "\U000e0041", "."])
def test_invisible_characters_are_something_to_judge(text: str) -> None:
    assert not Conversation.of_prompt(text).judged.blank


def test_reasoning_alone_is_something_to_judge() -> None:
    assert not Conversation.of_response("q", "", reasoning="r").judged.blank


def test_no_turn_is_refused() -> None:
    with pytest.raises(ValidationError, match="turns"):
        Conversation(turns=())
