"""`WorldPM`: scores of a Qwen2 reward model, here one of some thousand parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config

from qwen3guard_integrations import GuardConfigurationError
from qwen3guard_integrations.rewards import WorldPM
from qwen3guard_integrations.rewards.reward_model import Qwen2ForRewardModel

from .tokenizer import small_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world-pm")
    tokenizer = small_tokenizer()
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    Qwen2ForRewardModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


RESPONSES = ["Paris.", "Flour, water, salt and time, and then some more time.", "x"]


def test_scores_do_not_depend_on_the_batch(checkpoint: Path) -> None:
    prompts: Any = ["hi", [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}], "hi"]
    together = WorldPM(str(checkpoint))(prompts, RESPONSES)
    apart = WorldPM(str(checkpoint), batch_size=1)(prompts, RESPONSES)
    assert together == pytest.approx(apart, abs=1e-5)
    assert len(set(together)) == 3


def test_the_score_is_that_of_the_last_token(checkpoint: Path) -> None:
    model = Qwen2ForRewardModel.from_pretrained(checkpoint).eval()
    scorer = WorldPM(str(checkpoint))
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Paris."},
    ]
    text = small_tokenizer().apply_chat_template(messages, tokenize=False)
    ids = small_tokenizer()(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
        first, _, second = model.score
        by_hand = second(torch.relu(first(hidden))).item()
    assert scorer(["hi"], ["Paris."]) == pytest.approx([by_hand], abs=1e-6)


def test_other_checkpoints_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(GuardConfigurationError, match="cannot load"):
        WorldPM(str(tmp_path))
    with pytest.raises(GuardConfigurationError, match="batch_size=0"):
        WorldPM(str(checkpoint), batch_size=0)
