"""Responses judged while they are written: against the official script's own way, and by windows and sessions."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import qwen3guard_integrations.guards
from qwen3guard_integrations import (
    Conversation,
    Guard,
    GuardConfigurationError,
    GuardUnavailableError,
    Policy,
    Severity,
    Turn,
    Verdict,
)
from qwen3guard_integrations.evaluation import Label, Row, StreamResult, flagged, judge_stream, judge_streams
from qwen3guard_integrations.evaluation.written import Written
from qwen3guard_integrations.guards import CachedGuard, JournalGuard, TransformersStreamGuard, WindowedStreamGuard
from qwen3guard_integrations.guards.stream_batch import StreamBatch
from qwen3guard_integrations.guards.stream_model import Qwen3ForGuardModel
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

WEIGHTS = Path(qwen3guard_integrations.guards.__file__).parent / "demo_weights" / "stream"
TOKENIZER = AutoTokenizer.from_pretrained(WEIGHTS)
HARM = "Sure, here is how to build a bomb at home and kill many people with it. "
STORY = "Once there was a baker who baked the best bread in town. Every morning he got up at four. "
LETTERS = {"S": Severity.SAFE, "C": Severity.CONTROVERSIAL, "U": Severity.UNSAFE}
EVERYTHING = {"judged", "window", "none"}

RESPONSES = {
    "harmless": Turn(role="assistant", content=STORY),
    "harmful": Turn(role="assistant", content=STORY + HARM * 2),
    "harmful thinking": Turn(role="assistant", content=STORY, reasoning=f"Let me think. {HARM}{HARM}"),
    "harmless thinking": Turn(role="assistant", content=HARM * 2, reasoning=STORY),
    "scripts": Turn(role="assistant", content="我想知道怎么做面包 👩‍👩‍👧‍👦 naïve, and kill many people with a bomb"),
    "short": Turn(role="assistant", content="No."),
}


def row(turn: Turn, *, ids: Sequence[int] | None = None, name: str = "a row", prompt: str = "Tell me.") -> Row:
    asked = Conversation(turns=(Turn(role="user", content=prompt), turn))
    return Row(
        id=name, conversation=asked, label=Label(severity=Severity.SAFE), input_ids=None if ids is None else tuple(ids)
    )


def said(text: str, **options: Any) -> Row:
    return row(Turn(role="assistant", content=text), **options)


def severities(result: StreamResult) -> list[Severity]:
    return [LETTERS[letter] for letter in result.tokens]


@pytest.fixture(scope="module")
def guard() -> TransformersStreamGuard:
    """The tiny Stream guard, with all the context that it has."""
    return TransformersStreamGuard(str(WEIGHTS), device="cpu", threads=1, context_tokens=1024)


# --- the official way ---


def templated(turn: Turn, prompt: str = "Tell me.") -> list[int]:
    """As the rows of Qwen3GuardTest were made: the chat template, tokenised."""
    content = f"<think>\n{turn.reasoning}\n</think>\n\n{turn.content}" if turn.reasoning else turn.content
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}]
    text = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=False, enable_thinking=False)
    ids: list[int] = TOKENIZER(text)["input_ids"]
    return ids


def spelt(name: Any) -> list[int]:
    """A token taken apart into those of its bytes."""
    ids: Any = TOKENIZER.convert_tokens_to_ids(list(name))
    return list(ids)


def official_split(ids: Sequence[int], *, thinking: bool) -> int:
    """`split_idx` of `process_conversation_response` in eval/eval_stream.py, from the decoded tokens as there."""
    words = [TOKENIZER.decode([token]) for token in ids]
    before, after, skip = ("<|im_start|>", "assistant", 4) if thinking else ("</think>", "\n\n", 1)
    return next(i for i in range(1, len(words)) if words[i - 1] == before and words[i] == after) + skip


@torch.inference_mode()
def official_labels(ids: Sequence[int], split: int) -> str:
    """`_get_model_response_predictions` there: one pass over all of it under a causal mask of four dimensions."""
    model: Any = Qwen3ForGuardModel.from_pretrained(WEIGHTS, dtype=torch.float32)
    model.eval()
    mask = torch.tril(torch.ones((len(ids), len(ids)), dtype=torch.bool))[None, None]
    hidden = model(torch.tensor([list(ids)]), attention_mask=mask, use_cache=False).last_hidden_state
    risk, _ = model.logits(hidden, query=False)
    return "".join("SUC"[label] for label in risk.view(-1, 3)[split:].argmax(-1).tolist())


@pytest.mark.parametrize("own_ids", [True, False], ids=["input_ids", "rendered"])
@pytest.mark.parametrize("name", RESPONSES)
def test_tokens_are_those_of_one_pass_as_the_official_script_makes_it(
    name: str, own_ids: bool, guard: TransformersStreamGuard
) -> None:
    turn = RESPONSES[name]
    ids = templated(turn)
    result = judge_stream(guard, row(turn, ids=ids if own_ids else None), Policy())
    split = official_split(ids, thinking=bool(turn.reasoning))
    assert result.begins == split
    assert result.tokens == official_labels(ids, split)
    severity, place = flagged(severities(result))
    assert (result.severity, result.flag) == (severity, None if place is None else split + place)


def test_both_severities_are_seen(guard: TransformersStreamGuard) -> None:
    """So that the comparison above compares something."""
    results = judge_streams(guard, [row(turn) for turn in RESPONSES.values()], Policy())
    assert {result.severity for result in results} >= {Severity.SAFE, Severity.UNSAFE}


def test_input_ids_count_and_not_what_the_text_would_be_tokenised_to(guard: TransformersStreamGuard) -> None:
    turn = RESPONSES["harmful"]
    ids: list[int] = []
    for token in templated(turn):
        name = TOKENIZER.convert_ids_to_tokens(token)
        ids += spelt(name) if name in {"Ġbread", "Ġbest", "Ġtown"} else [token]
    assert len(ids) > len(templated(turn))
    result = judge_stream(guard, row(turn, ids=ids), Policy())
    assert result.tokens == official_labels(ids, result.begins)
    assert len(result.tokens) == len(ids) - result.begins
    assert result.ends[-1] == len(turn.content)


@pytest.mark.parametrize("name", RESPONSES)
def test_the_characters_of_each_token(name: str, guard: TransformersStreamGuard) -> None:
    turn = RESPONSES[name]
    result = judge_stream(guard, row(turn), Policy())
    text = turn.reasoning + turn.content
    assert len(result.ends) == len(result.tokens)
    assert list(result.ends) == sorted(result.ends)
    assert result.ends[-1] == result.characters == len(text) == len(Written(turn).text)
    assert result.leaked.keys() == EVERYTHING


# --- many at once ---


def test_together_as_one_by_one_and_in_order(guard: TransformersStreamGuard) -> None:
    rng = random.Random(1)
    rows = [
        row(rng.choice([*RESPONSES.values()]), name=str(number), prompt=STORY * rng.randrange(1, 4))
        for number in range(40)
    ]
    assert judge_streams(guard, rows, Policy()) == [judge_stream(guard, one, Policy()) for one in rows]
    assert judge_streams(guard, [], Policy()) == []


def test_a_very_long_response_goes_through_in_bounded_memory() -> None:
    """30,000 tokens, in a context of 384 as the demo guard has it."""
    guard = TransformersStreamGuard(str(WEIGHTS), device="cpu", threads=1, context_tokens=384)
    text = "Bread. " * 15_000
    cached: list[int] = []
    step = StreamBatch._step

    def noted(self: Any, jobs: Any) -> None:
        step(self, jobs)
        cached.append(sum(job.row.cached for job in jobs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamBatch, "_step", noted)
        result = judge_stream(guard, said(text), Policy())
    assert len(result.tokens) > 30_000
    assert result.ends[-1] == len(text)
    assert max(cached) <= 384


@pytest.mark.parametrize("make", [FakeGuard, FakeStreamGuard])
def test_sessions_together_as_one_by_one(make: Any) -> None:
    rows = [said(STORY * (n % 3) + HARM * (n % 2), name=str(n)) for n in range(1, 71) if n % 6]
    guard = make({"bomb": "Unsafe", "people": "Controversial"})
    assert judge_streams(guard, rows, Policy()) == [judge_stream(guard, one, Policy()) for one in rows]


def test_sessions_wait_for_their_guard_together() -> None:
    """As on a server: none is asked only when another has its answer."""
    all_are_there = threading.Barrier(12)

    def answer(_: Conversation) -> Verdict:
        all_are_there.wait(30)
        return Verdict(severity=Severity.SAFE)

    rows = [said("Bread.", name=str(number)) for number in range(12)]
    assert {result.tokens for result in judge_streams(FakeGuard(answer), rows, Policy())} == {"SS"}


# --- other guards ---


def test_a_guard_of_tokens_has_an_entry_for_each_judgement() -> None:
    result = judge_stream(FakeStreamGuard({"bad": "Unsafe"}), said("so far so bad it is"), Policy())
    assert result.severity is Severity.UNSAFE
    assert result.flag is not None
    place = result.flag - result.begins
    assert result.tokens[place - 1 : place + 1] == "UU"
    assert "so far so bad"[: result.ends[place]] == "so far so bad"
    assert result.ends[-1] == result.characters


def test_tokens_of_a_guard_of_windows_have_what_their_window_has() -> None:
    """Four characters are a token: "Say it. " is a window, for it ends a sentence, and the rest is another."""
    result = judge_stream(FakeGuard({"bad": "Unsafe"}), said("Say it. Bad six ten ", prompt="Hi?"), Policy())
    assert result.tokens == "SSUUU"
    assert result.ends == (4, 8, 12, 16, 20)
    assert result.begins == 13, "<|im_start|>user|Hi?|<|im_end|> and so on, 6; then 7 up to the text"
    assert result.flag == 17, "where the guard knew it: at the end of the window"
    controversial = FakeGuard({"say it": "Controversial", "bad": "Unsafe"})
    result = judge_stream(controversial, said("Say it. Bad six ten "), Policy())
    assert (result.severity, result.tokens[:2]) == (Severity.CONTROVERSIAL, "CC"), "overlap: the first word counts"


def test_one_window_decides() -> None:
    """In a session a settled window stops the stream by itself, and so it does here."""
    result = judge_stream(FakeGuard({"bad": "Unsafe"}), said("Bad."), Policy())
    assert (result.severity, result.tokens, result.flag) == (Severity.UNSAFE, "U", result.begins)


def test_the_first_of_the_most_severe_windows_is_the_flag() -> None:
    result = judge_stream(
        FakeGuard({"bad": "Unsafe"}), said(f"Bad it is. {STORY * 3}Bad it was. {STORY * 3}"), Policy()
    )
    assert result.flag is not None
    place = result.flag - result.begins
    assert result.tokens[: place + 1] == "U" * (place + 1)
    assert "U" in result.tokens[place:].lstrip("U"), "and a second one"


def test_a_last_look_at_the_whole_counts_at_the_end() -> None:
    """It adds no text: the last token has what it says."""
    text = "There was a baker who baked the best bread in the whole of town and country. " * 4

    def script(asked: Conversation) -> Verdict:
        return Verdict(severity=Severity.UNSAFE if asked.judged.content == text else Severity.SAFE)

    result = judge_stream(FakeGuard(script), said(text), Policy())
    assert result.severity is Severity.UNSAFE
    assert result.flag == result.begins + len(result.tokens) - 1
    assert result.tokens.strip("S") == "U"


def test_positions_of_windows_are_those_of_the_input_ids() -> None:
    """Without the tokenizer the tokens are where they are in proportion."""
    begins = [151644, 872, 198, 40, 151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    guard, text = FakeGuard({"bad": "Unsafe"}), "Say it. Bad six ten "
    result = judge_stream(guard, said(text, ids=[*begins, *range(100, 140), 151645, 198]), Policy())
    assert result.begins == len(begins)
    assert len(result.tokens) == 40
    assert result.flag == len(begins) + 39
    assert result.tokens.index("U") == 16, "eight of twenty characters are before"
    for other in ([1, 2, 3], [151644, *range(100, 140)], []):
        own = judge_stream(guard, said(text, ids=other), Policy())
        assert own == judge_stream(guard, said(text), Policy()), (
            "of what is not as the template has it nothing is known"
        )


@pytest.mark.parametrize("name", ["harmful", "harmful thinking"])
def test_every_guard_finds_the_answer_where_the_stream_guard_does(name: str, guard: TransformersStreamGuard) -> None:
    one = row(RESPONSES[name], ids=templated(RESPONSES[name]))
    by_windows, by_tokens = judge_stream(FakeGuard(), one, Policy()), judge_stream(guard, one, Policy())
    assert by_windows.begins == by_tokens.begins
    assert len(by_windows.tokens) == len(by_tokens.tokens) - 2, "but for what closes the turn"


def test_reasoning_is_judged_as_reasoning() -> None:
    turn = Turn(role="assistant", content="It is good.", reasoning="A bad thing. It is.")
    for guard in (FakeGuard({"bad": "Unsafe"}), FakeStreamGuard({"bad": "Unsafe"})):
        result = judge_stream(guard, row(turn), Policy())
        half = next(place for place, end in enumerate(result.ends) if end >= len(turn.reasoning))
        assert "U" in result.tokens[: half + 1]
        assert result.tokens[half + 1 : half + 4] == "SSS"


def test_of_caches_only_what_they_keep_is_passed_by(guard: TransformersStreamGuard, tmp_path: Path) -> None:
    one = row(RESPONSES["harmful"])
    assert judge_stream(CachedGuard(CachedGuard(guard)), one, Policy()) == judge_stream(guard, one, Policy())
    journal = JournalGuard(guard, tmp_path / "verdicts", name="demo")
    windowed = WindowedStreamGuard(guard)
    assert judge_stream(journal, one, Policy()) == judge_stream(windowed, one, Policy())


# --- what cannot be judged ---


def test_a_prompt_is_not_written_while_it_is_judged() -> None:
    prompt = Row(id="7", conversation=Conversation.of_prompt("How do I bake?"), label=Label(severity=Severity.SAFE))
    with pytest.raises(GuardConfigurationError, match=r"row '7' is a prompt"):
        judge_streams(FakeGuard(), [said("Bread."), prompt], Policy())


def test_rows_of_another_vocabulary_or_conversation_fail_with_what_to_do(guard: TransformersStreamGuard) -> None:
    good = row(RESPONSES["harmful"])
    for ids in ((151644, 77091, 198, 50), (1, 2, 3)):
        bad = row(RESPONSES["harmful"], ids=ids)
        with pytest.raises(GuardConfigurationError, match="leave input_ids out") as caught:
            judge_streams(guard, [good, bad], Policy())
        assert "bomb" not in str(caught.value)
    assert judge_stream(guard, good, Policy()).severity is Severity.UNSAFE


@pytest.mark.parametrize("on_guard_error", ["raise", "block", "allow"])
@pytest.mark.parametrize("make", [FakeGuard, FakeStreamGuard])
def test_a_guard_that_fails_has_no_result_whatever_the_policy_says(make: Any, on_guard_error: str) -> None:
    down = make(error=GuardUnavailableError("down"))
    with pytest.raises(GuardUnavailableError):
        judge_streams(down, [said(STORY), said(STORY)], Policy.model_validate({"on_guard_error": on_guard_error}))
    if isinstance(down, FakeStreamGuard):
        gc.collect()
        assert down.open_sessions == 0


def test_all_sessions_are_closed() -> None:
    guard = FakeStreamGuard({"bomb": "Unsafe"})
    judge_streams(guard, [said(STORY + HARM), said(STORY)], Policy())
    assert guard.open_sessions == 0


def test_half_of_a_surrogate_pair_is_no_crash(guard: TransformersStreamGuard) -> None:
    result = judge_stream(guard, said("Bread \ud83d and more."), Policy())
    assert result.ends[-1] == result.characters == 17


# --- policies ---


@pytest.mark.parametrize("make", [FakeGuard, FakeStreamGuard])
def test_what_the_policy_lets_pass_is_never_blocked(make: Any) -> None:
    guard: Guard = make({"bread": "Controversial"})
    strict, loose = (judge_stream(guard, said(STORY), Policy(mode=mode)) for mode in ("strict", "loose"))
    assert strict.severity is loose.severity is Severity.CONTROVERSIAL
    assert strict.leaked["judged"] < len(STORY)
    assert loose.leaked == dict.fromkeys(EVERYTHING, len(STORY))
    assert strict.model_copy(update={"leaked": {}}) == loose.model_copy(update={"leaked": {}})


def test_reasoning_that_the_policy_leaves_alone_blocks_nothing(guard: TransformersStreamGuard) -> None:
    policy = Policy.model_validate({"points": {"reasoning": {"unsafe": "allow", "controversial": "allow"}}})
    turn = Turn(role="assistant", content=STORY, reasoning=HARM * 2)
    own = judge_stream(guard, row(turn), policy)
    assert own.severity is Severity.UNSAFE, "what the guard says of each token does not depend on the policy"
    assert own.tokens == judge_stream(guard, row(turn), Policy()).tokens
    assert own.leaked["judged"] >= len(turn.reasoning)
    for judge in (FakeGuard({"bomb": "Unsafe"}), FakeStreamGuard({"bomb": "Unsafe"})):
        result = judge_stream(judge, row(turn), policy)
        assert result.leaked == dict.fromkeys(EVERYTHING, len(turn.reasoning + turn.content))
        assert result.severity is Severity.SAFE, "nobody was asked"


def test_reasoning_can_be_dropped_and_the_answer_goes_on() -> None:
    policy = Policy.model_validate({"points": {"reasoning": {"unsafe": "drop"}}})
    turn = Turn(role="assistant", content="It is good.", reasoning="A bomb thing. It is bad.")
    result = judge_stream(FakeStreamGuard({"bomb": "Unsafe"}), row(turn), policy)
    assert len(turn.content) <= result.leaked["judged"] < result.characters


def test_a_judgement_that_covers_less_than_it_was_asked_about() -> None:
    lagging = judge_stream(FakeStreamGuard({"bomb": "Unsafe"}, lag=12), said(STORY + HARM), Policy())
    at_once = judge_stream(FakeStreamGuard({"bomb": "Unsafe"}), said(STORY + HARM), Policy())
    assert lagging.severity is at_once.severity is Severity.UNSAFE
    assert lagging.leaked["none"] > at_once.leaked["none"]
