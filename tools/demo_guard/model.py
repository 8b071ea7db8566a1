"""The architecture: a very small Qwen3, and the four heads of the Stream model under their official names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import Qwen3Config

from .labels import HEAD_CATEGORIES, RESPONSE_CATEGORIES, SEVERITY_NAMES

MAX_LENGTH = 1024
RMS_EPS = 1e-6
GUARD_INNER_SIZE = 96


def qwen3_config(vocab_size: int, eos: int, pad: int) -> Qwen3Config:
    """The configuration of both backbones."""
    return Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        rms_norm_eps=RMS_EPS,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )


class GuardHeads(nn.Module):
    """Risk and category heads for the response, and again for the query."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        inner, risks = GUARD_INNER_SIZE, len(SEVERITY_NAMES)
        self.risk_level_category_pre = nn.Linear(hidden_size, inner, bias=False)
        self.risk_level_category_layernorm = nn.RMSNorm(inner, eps=RMS_EPS)
        self.risk_level_head = nn.Linear(inner, risks, bias=False)
        self.category_head = nn.Linear(inner, RESPONSE_CATEGORIES, bias=False)
        self.query_risk_level_category_pre = nn.Linear(hidden_size, inner, bias=False)
        self.query_risk_level_category_layernorm = nn.RMSNorm(inner, eps=RMS_EPS)
        self.query_risk_level_head = nn.Linear(inner, risks, bias=False)
        self.query_category_head = nn.Linear(inner, len(HEAD_CATEGORIES), bias=False)

    def response(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Risk and category logits of the response heads."""
        inner = self.risk_level_category_layernorm(self.risk_level_category_pre(hidden))
        return self.risk_level_head(inner), self.category_head(inner)

    def query(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Risk and category logits of the query heads."""
        inner = self.query_risk_level_category_layernorm(self.query_risk_level_category_pre(hidden))
        return self.query_risk_level_head(inner), self.query_category_head(inner)


def add_dropout(backbone: nn.Module, embedding: float, residual: float) -> None:
    """Adds dropout to the embeddings and to each block's output while training (Qwen3 itself has none)."""

    def hook(probability: float) -> Callable[..., object]:
        def apply(module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
            if isinstance(output, tuple):
                return (nn.functional.dropout(output[0], probability, module.training), *output[1:])
            return nn.functional.dropout(output, probability, module.training)

        return apply

    backbone.embed_tokens.register_forward_hook(hook(embedding))
    for layer in backbone.layers:
        layer.self_attn.register_forward_hook(hook(residual))
        layer.mlp.register_forward_hook(hook(residual))


def pad_batch(rows: list[list[int]], value: int) -> Tensor:
    """Rows padded on the right to one length."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])
