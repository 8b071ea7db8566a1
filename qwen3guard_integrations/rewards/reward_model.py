"""Qwen2 reward models (WorldPM, Qwen2.5-Math-RM), under the parameter names of their checkpoints."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen2Config, Qwen2Model


class Qwen2ForRewardModel(PreTrainedModel):
    """A Qwen2 backbone with a score head of two layers, read at the last token of each text."""

    config_class = Qwen2Config
    base_model_prefix = "model"
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Tensor:
        """One score for each text, shape (texts,).

        Args:
            input_ids: (texts, tokens), padded at the end.
            attention_mask: Of the same shape: 1 for tokens, 0 for padding.
        """
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
        last = attention_mask.sum(-1) - 1
        scores: Tensor = self.score(hidden[range(len(hidden)), last])
        return scores.squeeze(-1)
