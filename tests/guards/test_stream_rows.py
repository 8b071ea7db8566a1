"""Complete answers in tokens: rendered as the chat template does, or given; and judged many at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st
from transformers import AutoTokenizer

import qwen3guard_integrations.guards
from qwen3guard_integrations import Conversation, GuardConfigurationError, Point, Turn
from qwen3guard_integrations.guards import TokenGuard, TransformersStreamGuard
from qwen3guard_integrations.guards.stream_batch import Feed
from qwen3guard_integrations.guards.stream_rows import given, rendered
from qwen3guard_integrations.guards.stream_tokens import ChatTokens

from .test_stream import demo_model, full, same

WEIGHTS = Path(qwen3guard_integrations.guards.__file__).parent / "demo_weights" / "stream"
TOKENIZER = AutoTokenizer.from_pretrained(WEIGHTS)
CHAT = ChatTokens(TOKENIZER)
STORY = "Once there was a baker who baked the best bread in town. Every morning he got up at four. "

ANSWERS = {
    "plain": Turn(role="assistant", content=STORY),
    "thinking": Turn(role="assistant", content="Once.", reasoning="They want a story.\nSo be it."),
    "scripts": Turn(role="assistant", content="naïve 👩‍👩‍👧‍👦 面包 안녕 e\u0301 s\u0307\u0323 done"),
    "spaces": Turn(role="assistant", content="  leading,\n\n  and trailing \t "),
    "several lines": Turn(role="assistant", content="One.\n\nTwo.\n", reasoning="a\n\nb"),
}


def conversation(turn: Turn, *before: Turn) -> Conversation:
    return Conversation(turns=(*(before or (Turn(role="user", content="Tell me."),)), turn))


def text_of(ids: Sequence[int]) -> str:
    text = TOKENIZER.decode(list(ids))
    assert isinstance(text, str)
    return text


def templated(asked: Conversation) -> list[int]:
    """The tokens as the official script makes them."""
    messages = []
    for turn in asked.turns:
        thinking = f"<think>\n{turn.reasoning}\n</think>\n\n" if turn.reasoning else ""
        messages.append({"role": turn.role, "content": thinking + turn.content})
    text = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=False, enable_thinking=False)
    ids: list[int] = TOKENIZER(text)["input_ids"]
    return ids


# --- rendered and given ---


@pytest.mark.parametrize("turn", ANSWERS.values(), ids=ANSWERS)
def test_rendered_as_the_chat_template_does(turn: Turn) -> None:
    asked = conversation(turn)
    row = rendered(CHAT, asked)
    assert list(row.ids) == templated(asked)
    again = given(CHAT, asked, row.ids)
    assert (again.ids, again.begins) == (row.ids, row.begins)
    for mark, other in zip(row.marks, again.marks, strict=True):  # whose letters are composed, by the tokenizer
        assert mark == other or (mark and other and turn is ANSWERS["scripts"] and abs(mark[1] - other[1]) <= 2)


def test_earlier_answers_are_context() -> None:
    before = (Turn(role="user", content="Hi."), ANSWERS["plain"], Turn(role="user", content="Again."))
    asked = conversation(ANSWERS["plain"], *before)
    row = rendered(CHAT, asked)
    assert row == given(CHAT, asked, row.ids)
    assert text_of(row.ids[row.begins :]) == f"{STORY}<|im_end|>\n"
    assert STORY in text_of(row.ids[: row.begins])


@pytest.mark.parametrize("turn", ANSWERS.values(), ids=ANSWERS)
@given_any(seed=st.integers(0, 10_000))
def test_whatever_the_tokens_are_their_characters_are_known(turn: Turn, seed: int) -> None:
    """Rows of Qwen3GuardTest do not always have the tokens that the tokenizer would make."""
    asked, rng = conversation(turn), random.Random(seed)
    ids: list[int] = []
    for token in templated(asked):  # some are taken apart, down to single bytes
        name = TOKENIZER.convert_ids_to_tokens(token)
        letters: Any = TOKENIZER.convert_tokens_to_ids(list(name))
        apart = token not in TOKENIZER.added_tokens_decoder and name not in {"user", "assistant", "Ċ", "ĊĊ"}
        ids += letters if apart and rng.random() < 0.3 else [token]
    row = given(CHAT, asked, ids)
    assert row.ids == tuple(ids)
    texts = {Point.REASONING: turn.reasoning, Point.RESPONSE: turn.content}
    ends = dict.fromkeys(texts, 0)
    for place, mark in enumerate(row.marks):
        if mark is not None:
            point, end = mark
            assert ends[point] <= end <= len(texts[point])
            if end > ends[point] and turn is not ANSWERS["scripts"]:  # whose composed letters are other characters
                spelt = text_of([row.ids[row.begins + place]])
                assert texts[point][ends[point] : end].strip("\n").endswith(spelt.strip("\n")[-1:])
            ends[point] = end
    assert ends == {point: len(text) for point, text in texts.items()}, "all is covered in the end"
    assert len(row.marks) == len(row.ids) - row.begins


def test_one_character_in_several_tokens_ends_with_the_last() -> None:
    asked = conversation(Turn(role="assistant", content="a👍b"))
    row = rendered(CHAT, asked)
    ends = [mark[1] for mark in row.marks if mark]
    assert ends == [1, 1, 1, 1, 2, 3]


def test_line_ends_of_the_template_are_nobodys_characters() -> None:
    """The template sets its own around thinking and answer; the row may have kept others, or tags."""
    ids = templated(conversation(Turn(role="assistant", content="Yes, so it is.", reasoning="Is it so")))
    for content, reasoning in (
        ("Yes, so it is.", "Is it so"),
        ("\n\nYes, so it is.", "\nIs it so\n"),
        ("<think>\nIs it so\n</think>\n\nYes, so it is.", ""),
    ):
        row = given(CHAT, conversation(Turn(role="assistant", content=content, reasoning=reasoning)), ids)
        tracks = {point: max(m[1] for m in row.marks if m and m[0] is point) for point in (*row_points(row),)}
        lengths = (len(reasoning) or len("\nIs it so\n"), len(content) if reasoning else len("\n\nYes, so it is."))
        assert tracks == dict(zip((Point.REASONING, Point.RESPONSE), lengths, strict=True))


def row_points(row: Any) -> set[Point]:
    return {mark[0] for mark in row.marks if mark}


def test_a_thinking_without_an_end() -> None:
    """The template makes it an empty thinking and a tag in the answer."""
    text = "<think>\nShall I tell"
    messages = [{"role": "user", "content": "Tell me."}, {"role": "assistant", "content": text}]
    ids = TOKENIZER(TOKENIZER.apply_chat_template(messages, tokenize=False))["input_ids"]
    for turn in (Turn(role="assistant", reasoning="Shall I tell"), Turn(role="assistant", content=text)):
        row = given(CHAT, conversation(turn), ids)
        assert text_of(row.ids[row.begins :]).startswith("</think>\n\n<think>\nShall")
        assert row_points(row) == {Point.REASONING}


def test_text_that_is_not_quite_that_of_the_tokens() -> None:
    ids = templated(conversation(ANSWERS["plain"]))
    shorter = given(CHAT, conversation(Turn(role="assistant", content=STORY.replace("best bread", "bread"))), ids)
    ends = [mark[1] for mark in shorter.marks if mark]
    assert ends == sorted(ends)
    assert ends[-1] == len(STORY) - len("best ")
    exact = [mark[1] for mark in given(CHAT, conversation(ANSWERS["plain"]), ids).marks if mark]
    assert ends[:8] == exact[:8], "what is alike has its places"
    assert ends[-8:] == [end - len("best ") for end in exact[-8:]]


def test_ids_that_are_not_those_of_the_conversation() -> None:
    ids = templated(conversation(ANSWERS["plain"]))
    with pytest.raises(GuardConfigurationError, match=r"no answer.*leave input_ids out"):
        given(CHAT, conversation(ANSWERS["plain"]), ids[:5])
    with pytest.raises(GuardConfigurationError, match="no answer"):
        given(CHAT, conversation(ANSWERS["plain"], ANSWERS["plain"], Turn(role="user", content="Again.")), ids)
    with pytest.raises(GuardConfigurationError, match="no reasoning") as caught:
        given(CHAT, conversation(ANSWERS["thinking"]), ids)
    assert "story" not in str(caught.value)


def test_half_of_a_surrogate_pair_is_no_crash() -> None:
    """JSON can hold one, and no tokenizer takes it."""
    row = rendered(CHAT, conversation(Turn(role="assistant", content="a\ud83db")))
    assert [mark[1] for mark in row.marks if mark][-1] == 3
    assert CHAT.plain("\ud83d") == CHAT.plain("\ufffd")


# --- judged ---


@pytest.fixture(scope="module")
def guard() -> TransformersStreamGuard:
    """The tiny Stream guard, with all the context that it has."""
    return TransformersStreamGuard(str(WEIGHTS), device="cpu", threads=1, context_tokens=1024, batch_size=4)


def test_every_token_is_judged_as_in_one_pass(guard: TransformersStreamGuard) -> None:
    assert isinstance(guard, TokenGuard)
    model, rng = demo_model(), random.Random(3)
    turns = [Turn(role="assistant", content=STORY * rng.randrange(1, 12)) for _ in range(11)]
    rows = [guard.token_row(conversation(turn)) for turn in turns]
    for row, verdicts in zip(rows, guard.judge_tokens(rows), strict=True):
        same(verdicts, full(model, list(row.ids[: row.begins]), list(row.ids[row.begins :])))


def test_a_long_prompt_is_whole_context_while_all_fits(guard: TransformersStreamGuard) -> None:
    row = guard.token_row(Conversation.of_response(STORY * 30, STORY))
    assert 512 < row.begins < len(row.ids) <= 1024
    same(guard.judge_tokens([row])[0], full(demo_model(), list(row.ids[: row.begins]), list(row.ids[row.begins :])))


def test_memory_holds_no_more_than_it_says(guard: TransformersStreamGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[list[int]] = []
    replies = guard._replies

    def noted(feeds: Any) -> list[Any]:
        assert all(isinstance(feed, Feed) for feed in feeds)
        together.append([min(1024, len(feed.row.prompt) + len(feed.ids)) for feed in feeds])
        return replies(feeds)

    monkeypatch.setattr(guard, "_replies", noted)
    monkeypatch.setattr(guard, "_batch_size", 6)
    rows = [
        guard.token_row(conversation(Turn(role="assistant", content=STORY * n)))
        for n in (80, 1, 2, 60, 3, 4, 50, 70, 5, 6, 7, 60)
    ]
    verdicts = guard.judge_tokens(rows)
    assert [len(own) for own in verdicts] == [len(row.ids) - row.begins for row in rows], "in the order of the rows"
    assert all(len(lengths) <= 6 and sum(lengths) <= 4 * 1024 for lengths in together)
    assert len(together) == 3, "short ones, and long ones in two parts"


def test_no_rows_no_verdicts(guard: TransformersStreamGuard) -> None:
    assert guard.judge_tokens([]) == []


def test_tokens_of_another_vocabulary_are_refused(guard: TransformersStreamGuard) -> None:
    """On a GPU they would take the process with them."""
    asked = conversation(ANSWERS["plain"])
    for ids in ((151644, 77091, 198), (-1, 3580)):
        with pytest.raises(GuardConfigurationError, match="vocabulary"):
            guard.token_row(asked, ids)
    assert guard.token_row(asked, templated(asked)) == guard.token_row(asked)


def test_a_token_that_the_tokenizer_does_not_know_spells_nothing() -> None:
    """Embeddings have more rows than the vocabulary has tokens."""
    assert CHAT.bytes_of([len(TOKENIZER) + 5, *CHAT.plain("é")]) == [b"", "é".encode()]
