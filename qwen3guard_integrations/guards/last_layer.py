"""The last layer of a Qwen3 for one position of each row.

A verdict is read from one position. All layers but the last need every position, since later layers read their keys and
values; of the last layer only keys and values are needed elsewhere (for what is generated later), which leaves out its
attention, its MLP and seven eighths of its arithmetic. In the demo guard, with three layers, that is nearly a third of
the whole; in the 0.6B model, with 28, three hundredths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, rotate_half


class Wanted(NamedTuple):
    """Which position of each row is wanted.

    Attributes:
        places: The wanted position among those that are fed now, (rows,).
        reads: Which positions it reads, those of the cache first, (rows, positions); None where it reads all.
    """

    places: torch.Tensor
    reads: torch.Tensor | None


_wanted: Final[ContextVar[Wanted | None]] = ContextVar("wanted", default=None)


@contextmanager
def only(wanted: Wanted) -> Iterator[None]:
    """Inside, and in this thread, a `LastLayer` gives nothing but what is wanted."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


class LastLayer(Qwen3DecoderLayer):
    """A decoder layer that gives (rows, 1, hidden size) inside of `only`, and all positions elsewhere."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The output of the layer; arguments as of `Qwen3DecoderLayer`."""
        wanted = _wanted.get()
        if wanted is None:
            return super().forward(hidden_states, *args, **kwargs)
        return self._at(wanted, hidden_states, kwargs["position_embeddings"], kwargs["past_key_values"])

    def _at(
        self, wanted: Wanted, hidden: torch.Tensor, rotations: tuple[torch.Tensor, torch.Tensor], cache: Any
    ) -> Any:
        attention: Any = self.self_attn
        states = self.input_layernorm(hidden)
        keys = _rotated(attention.k_norm(_heads(attention, attention.k_proj(states))), *rotations)
        values = _heads(attention, attention.v_proj(states)).transpose(1, 2)
        keys, values = cache.update(keys, values, attention.layer_idx)
        hidden, states, cosines, sines = (
            _one_of_each(tensor, wanted.places) for tensor in (hidden, states, *rotations)
        )
        queries = _rotated(attention.q_norm(_heads(attention, attention.q_proj(states))), cosines, sines)
        mask = None if wanted.reads is None else wanted.reads[:, None, None]
        mixed = scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=attention.scaling, enable_gqa=True
        )
        hidden = hidden + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


def _heads(attention: Any, states: torch.Tensor) -> torch.Tensor:
    """(rows, positions, heads, size of a head)."""
    return states.view(*states.shape[:2], -1, attention.head_dim)


def _rotated(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """With rotary positions, (rows, heads, positions, size of a head)."""
    states = states.transpose(1, 2)
    turned: torch.Tensor = rotate_half(states)
    return states * cosines[:, None] + turned * sines[:, None]


def _one_of_each(tensor: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return tensor[torch.arange(len(places), device=tensor.device), places][:, None]


def shorten(body: Any) -> None:
    """Make the last layer of a Qwen3's body a `LastLayer`; what is no plain Qwen3 stays as it is."""
    layers = getattr(body, "layers", None)
    layer: Any = layers[-1] if layers else None
    if type(layer) is Qwen3DecoderLayer and layer.self_attn.sliding_window is None:
        layer.__class__ = LastLayer
