"""The first and the last layer of a Qwen3 without what a verdict does not need.

A verdict is read from one position. All layers but the last need every position, since later layers read their keys and
values; of the last layer only keys and values are needed elsewhere (for what is generated later), which leaves out its
attention, its MLP and seven eighths of its arithmetic. And before positions are mixed in, the first layer sees nothing
but the token: of all rows of a batch, queries, keys and values are computed once for each token that they have. In the
demo guard, with three layers, both together are two fifths of a batch; in the 0.6B model, with 28, three hundredths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, rotate_half


class Distinct(NamedTuple):
    """The tokens that are fed, each once.

    Attributes:
        embedded: What the model begins with for each of them, (tokens, hidden size).
        places: Which of them stands where, (rows, width).
    """

    embedded: torch.Tensor
    places: torch.Tensor


class Fed(NamedTuple):
    """What is fed to the model.

    Attributes:
        wanted: The wanted position among those that are fed, (rows,).
        reads: Which positions it reads, those of the cache first, (rows, positions); None where it reads all.
        distinct: The tokens; None where sorting them out is not worth it.
    """

    wanted: torch.Tensor
    reads: torch.Tensor | None
    distinct: Distinct | None = None


_fed: Final[ContextVar[Fed | None]] = ContextVar("fed", default=None)


@contextmanager
def feeding(fed: Fed) -> Iterator[None]:
    """Inside, and in this thread, the layers leave out what `fed` says that they can. Elsewhere they are plain ones."""
    token = _fed.set(fed)
    try:
        yield
    finally:
        _fed.reset(token)


def shorten(body: Any) -> None:
    """Make the first and the last layer of a Qwen3's body short ones; what is no plain Qwen3 stays as it is."""
    layers = list(getattr(body, "layers", None) or ())
    if all(map(_is_plain, layers[-1:])):
        for layer in layers[-1:]:
            layer.__class__ = LastLayer
    if len(layers) > 1 and _is_plain(layers[0]) and body.config._attn_implementation in {"sdpa", "eager"}:
        layers[0].__class__ = FirstLayer


def _is_plain(layer: Any) -> bool:
    return type(layer) is Qwen3DecoderLayer and layer.self_attn.sliding_window is None


class FirstLayer(Qwen3DecoderLayer):
    """A decoder layer that computes for each token once what does not depend on its place."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The output of the layer; arguments as of `Qwen3DecoderLayer`."""
        fed = _fed.get()
        if fed is None or fed.distinct is None:
            return super().forward(hidden_states, *args, **kwargs)
        attention: Any = self.self_attn
        states = self.input_layernorm(fed.distinct.embedded)[None]
        queries, keys, values = (
            one[0][fed.distinct.places] for one in (_queries(attention, states), *_read(attention, states))
        )
        rotations = kwargs["position_embeddings"]
        keys, values = kwargs["past_key_values"].update(
            _rotated(keys, *rotations), values.transpose(1, 2), attention.layer_idx
        )
        mask = kwargs["attention_mask"]
        mixed = scaled_dot_product_attention(
            _rotated(queries, *rotations),
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and hidden_states.shape[1] > 1,
            scale=attention.scaling,
            enable_gqa=True,
        )
        return _mixed_in(self, hidden_states, mixed)


class LastLayer(Qwen3DecoderLayer):
    """A decoder layer that gives (rows, 1, hidden size): the wanted position of each row."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The output of the layer; arguments as of `Qwen3DecoderLayer`."""
        fed = _fed.get()
        if fed is None:
            return super().forward(hidden_states, *args, **kwargs)
        attention: Any = self.self_attn
        states = self.input_layernorm(hidden_states)
        rotations = kwargs["position_embeddings"]
        keys, values = _read(attention, states)
        keys, values = kwargs["past_key_values"].update(
            _rotated(keys, *rotations), values.transpose(1, 2), attention.layer_idx
        )
        hidden, states, *rotations = (_one_of_each(one, fed.wanted) for one in (hidden_states, states, *rotations))
        mixed = scaled_dot_product_attention(
            _rotated(_queries(attention, states), *rotations),
            keys,
            values,
            attn_mask=None if fed.reads is None else fed.reads[:, None, None],
            scale=attention.scaling,
            enable_gqa=True,
        )
        return _mixed_in(self, hidden, mixed)


# --- the steps of a layer; states are (rows, positions, ...), those of heads (rows, positions, heads, size) ---


def _queries(attention: Any, states: torch.Tensor) -> torch.Tensor:
    queries: torch.Tensor = attention.q_norm(_heads(attention, attention.q_proj(states)))
    return queries


def _read(attention: Any, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values."""
    keys = attention.k_norm(_heads(attention, attention.k_proj(states)))
    return keys, _heads(attention, attention.v_proj(states))


def _heads(attention: Any, states: torch.Tensor) -> torch.Tensor:
    return states.view(*states.shape[:2], -1, attention.head_dim)


def _rotated(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """With rotary positions, (rows, heads, positions, size of a head)."""
    states = states.transpose(1, 2)
    turned: torch.Tensor = rotate_half(states)
    return states * cosines[:, None] + turned * sines[:, None]


def _one_of_each(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """One position of each row."""
    return states[torch.arange(len(places), device=states.device), places][:, None]


def _mixed_in(layer: Any, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """What follows the attention."""
    hidden = hidden + layer.self_attn.o_proj(mixed.transpose(1, 2).flatten(2))
    after: torch.Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return after
