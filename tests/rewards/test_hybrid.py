"""`HybridReward`: equations 1 and 2 of the report, every form of prompt, and a real training run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations import (
    GuardConfigurationError,
    GuardError,
    GuardUnavailableError,
    Severity,
    Verdict,
)
from qwen3guard_integrations.core.conversation import Conversation
from qwen3guard_integrations.rewards import HybridReward
from qwen3guard_integrations.rewards.hybrid import Sample, hybrid
from qwen3guard_integrations.testing import FakeGuard

from .tokenizer import small_tokenizer


def verdict(conversation: Conversation) -> Verdict:
    text = conversation.judged.content
    severity = Severity.UNSAFE if "bad" in text else Severity.CONTROVERSIAL if "hm" in text else Severity.SAFE
    return Verdict(severity=severity, refusal="cannot" in text)


def length(prompts: Any, responses: Any) -> list[float]:
    """Longer is better."""
    return [float(len(response)) for response in responses]


GRUMPY = -20.0

# (thinking, response, helpfulness) and the reward by equation 2, worked out by hand.
BY_HAND = [
    ("", "fine", 3.0, 3.0),
    ("", "fine", GRUMPY, GRUMPY),
    ("plan", "fine", 3.0, 3.0),
    ("", "bad", 3.0, -10.0),
    ("", "bad", GRUMPY, GRUMPY),
    ("bad", "fine", 3.0, -10.0),
    ("bad", "I cannot", 3.0, -10.0),
    ("", "I cannot", 3.0, -5.0),
    ("", "I cannot", -7.0, -7.0),
    ("I cannot", "fine", 3.0, 3.0),
    ("", "hm", 3.0, -10.0),
    ("hm", "fine", 3.0, -10.0),
]


@pytest.mark.parametrize(("thinking", "response", "helpful", "expected"), BY_HAND)
@pytest.mark.parametrize("form", ["text", "messages", "reasoning_content"])
def test_equation_2(thinking: str, response: str, helpful: float, expected: float, form: str) -> None:
    reward = HybridReward(FakeGuard(verdict), lambda prompts, responses: [helpful for _ in responses])
    text = f"<think>\n{thinking}\n</think>\n\n{response}" if thinking else response
    completion: Any = text
    if form == "messages":
        completion = [{"role": "assistant", "content": text}]
    elif form == "reasoning_content":
        completion = [{"role": "assistant", "content": response, "reasoning_content": thinking}]
    assert reward(["hi"], [completion]) == [expected]


def test_controversial_can_count_as_safe() -> None:
    reward = HybridReward(FakeGuard(verdict), length, controversial="safe")
    assert reward(["hi"], ["hm"]) == [2.0]


@pytest.mark.parametrize(
    ("completion", "expected"), [("fine", 1.0), ("hm", 0.0), ("bad", 0.0), ("<think>bad</think>fine", 0.0)]
)
def test_equation_1(completion: str, expected: float) -> None:
    assert HybridReward(FakeGuard(verdict), kind="guard-only")(["hi"], [completion]) == [expected]


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.booleans())
def test_unsafe_is_never_better_than_a_refusal_and_no_cap_helps(score: float, unsafe: bool, refusal: bool) -> None:
    assert hybrid(score, True, refusal) <= hybrid(score, False, True) <= hybrid(score, False, False) == score
    assert hybrid(score, unsafe, refusal) <= score


@pytest.mark.parametrize(
    ("completion", "thinking", "response"),
    [
        ("fine", "", "fine"),
        ("<think>\nhm\n</think>\n\nfine", "hm", "fine"),
        ("hm\n</think>\n\nfine", "hm", "fine"),
        ("<think>\nnever ends", "never ends", ""),
        ("fine, says <think> and more", "", "fine, says <think> and more"),
        ("", "", ""),
    ],
)
def test_thinking_and_response(completion: str, thinking: str, response: str) -> None:
    sample = Sample.of("hi", completion)
    assert (sample.thinking, sample.response) == (thinking, response)


def test_a_batch_is_one_question_and_equal_answers_are_judged_once() -> None:
    guard = FakeGuard(verdict)
    prompts: Any = ["hi", [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}], "hi"]
    HybridReward(guard, length)(prompts, ["<think>a</think>b", "b", "<think>a</think>b"])
    (call,) = guard.calls
    assert [[(turn.role, turn.content) for turn in one.turns] for one in call] == [
        [("user", "hi"), ("assistant", "a")],
        [("user", "hi"), ("assistant", "b")],
        [("system", "s"), ("user", "hi"), ("assistant", "b")],
    ]


def test_helpfulness_gets_the_prompts_and_the_answers_without_thinking() -> None:
    seen: list[Any] = []

    def scores(prompts: Any, responses: Any) -> list[float]:
        seen.append((prompts, responses))
        return [0.0]

    HybridReward(FakeGuard(verdict), scores)(["hi"], ["<think>a</think>b"])
    assert seen == [(["hi"], ["b"])]


def test_trl_is_told_the_means() -> None:
    logged: dict[str, float] = {}
    reward = HybridReward(FakeGuard(verdict), length)
    reward(["hi"] * 4, ["bad", "fine", "I cannot", "fine"], log_metric=logged.__setitem__, step=1)
    assert logged == {
        "qwen3guard/unsafe": 0.25,
        "qwen3guard/refusal": 0.25,
        "qwen3guard/helpfulness": (3 + 4 + 8 + 4) / 4,
    }
    assert reward([], []) == []


def test_a_guard_that_fails() -> None:
    dead = FakeGuard(error=GuardUnavailableError("down"))
    with pytest.raises(GuardError, match="down"):
        HybridReward(dead, length)(["hi"], ["fine"])
    assert HybridReward(dead, length, on_guard_error="skip")(["hi"] * 2, ["a", "b"]) == [None, None]
    with pytest.raises(GuardConfigurationError, match="refusal"):
        HybridReward(FakeGuard(), length)(["hi"], ["fine"])


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], [math.nan]])
def test_scores_that_are_none(scores: list[float]) -> None:
    with pytest.raises(GuardError, match="helpfulness gave"):
        HybridReward(FakeGuard(verdict), lambda prompts, responses: scores)(["hi"], ["fine"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "how helpful"),
        ({"kind": "both"}, "no such setting"),
        ({"controversial": "maybe"}, "no such setting"),
        ({"kind": "guard-only", "on_guard_error": "ignore"}, "on_guard_error"),
    ],
)
def test_wrong_settings_are_named(settings: Any, message: str) -> None:
    with pytest.raises(GuardConfigurationError, match=message):
        HybridReward(FakeGuard(verdict), **settings)


def test_two_steps_of_grpo_with_a_tiny_model(tmp_path: Path) -> None:
    """A real trainer, a real model of some thousand parameters, and the guard in the package."""
    from datasets import Dataset
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    tokenizer = small_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    model = Qwen3ForCausalLM(config)
    before = model.lm_head.weight.detach().clone()
    asked: list[int] = []

    def helpfulness(prompts: Any, responses: Any) -> list[float]:
        asked.append(len(responses))
        return [float(len(set(response))) for response in responses]

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=HybridReward("demo", helpfulness),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            learning_rate=1e-2,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["How do I bake bread?", "What is the capital of France?"]}),
        processing_class=tokenizer,
    )
    trainer.train()
    assert sum(asked) == 8
    assert not before.equal(model.lm_head.weight.detach())
    logs = [log for log in trainer.state.log_history if "reward" in log]
    assert len(logs) == 2
    assert all("qwen3guard/unsafe" in log and "rewards/qwen3guard_hybrid/mean" in log for log in logs)
