"""`WorldPM`: the helpfulness scores of the report's hybrid reward, without remote code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..core.errors import GuardConfigurationError
from ..guards.checkpoint import load_own_model, torch
from .hybrid import Message, Prompt
from .reward_model import Qwen2ForRewardModel

SYSTEM: Final = "You are a helpful assistant."
"""What WorldPM was trained to see where a conversation has no system message."""


class WorldPM:
    """How much people would like a response: the scores of a Qwen2 reward model such as WorldPM (arXiv 2505.10527).

    A callable for `HybridReward(helpfulness=...)`.

    Args:
        model: A hub id or a local folder: WorldPM-72B and its fine-tuned relatives, Qwen2.5-Math-RM, or any other
            checkpoint of class `Qwen2ForRewardModel` with one score.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: A torch dtype by name; None takes the best one for the device.
        revision: Of the hub repository.
        batch_size: How many responses are scored at once.

    Raises:
        GuardConfigurationError: There is no such checkpoint, or it is no such reward model.
        ImportError: transformers or torch are missing; the message has the line to install them.
    """

    def __init__(
        self,
        model: str = "Qwen/WorldPM-72B",
        *,
        device: str | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise GuardConfigurationError(f"batch_size={batch_size}: it must be positive")
        self.batch_size = batch_size
        self._model: Any
        self._tokenizer: Any
        self._model, self._tokenizer = load_own_model(
            Qwen2ForRewardModel, model, what="a Qwen2 reward model", device=device, dtype=dtype, revision=revision
        )

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """One score for each response: any number, higher is better."""
        texts = [self._text(*pair) for pair in zip(prompts, responses, strict=True)]
        starts = range(0, len(texts), self.batch_size)
        return [score for start in starts for score in self._scores(texts[start : start + self.batch_size])]

    def _text(self, prompt: Prompt, response: str) -> str:
        messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [*prompt]
        if not messages or messages[0].get("role") != "system":
            messages.insert(0, {"role": "system", "content": SYSTEM})
        messages.append({"role": "assistant", "content": response})
        text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
        return text

    @torch.inference_mode()
    def _scores(self, texts: Sequence[str]) -> list[float]:
        batch: Any = self._tokenizer(
            list(texts), return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
        ).to(self._model.device)
        scores: list[float] = self._model(**batch).float().tolist()
        return scores
