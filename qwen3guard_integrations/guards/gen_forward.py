"""Rows of tokens that go through a Gen model together, each read at its last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from .last_layer import Wanted, only, shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all prompts of one kind begin with: its tokens, and keys and values of each layer."""

    tokens: tuple[int, ...] = ()
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()


@dataclass(slots=True)
class Rows:
    """Rows that have gone through the model together.

    Attributes:
        cache: Their keys and values.
        mask: 1 where a cached position is a real token, (rows, cached positions).
        lengths: How many real tokens each has, (rows,).
        padded: Whether some cached position is no real token.
    """

    cache: DynamicCache
    mask: torch.Tensor
    lengths: torch.Tensor
    padded: bool = False

    def select(self, rows: list[int]) -> Rows:
        """Only these rows; the cache is reduced in place."""
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(index)
        return Rows(self.cache, self.mask[index], self.lengths[index], self.padded)


class Forward:
    """Forward passes of a causal language model over rows of different lengths, with what they have read kept.

    Several threads may use it at the same time, each with rows of its own.

    Args:
        model: In evaluation mode.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model: Any = model
        self._body: Any = self._model.base_model
        shorten(self._body)

    @torch.inference_mode()
    def prefix(self, tokens: Sequence[int]) -> Prefix:
        """`tokens`, read once for all rows that begin with them."""
        if not tokens:
            return Prefix()
        cache: Any = self._new_cache()
        self._body(input_ids=self._tensor([[*tokens]]), past_key_values=cache, use_cache=True)
        return Prefix(tuple(tokens), tuple((layer.keys, layer.values) for layer in cache.layers))

    def begin(self, prefix: Prefix, rows: int) -> Rows:
        """So many rows that have read `prefix`."""
        cache = self._new_cache()
        for number, (keys, values) in enumerate(prefix.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
        mask = torch.ones((rows, len(prefix.tokens)), dtype=torch.long, device=self._model.device)
        return Rows(cache, mask, mask.sum(-1))

    def feed(self, rows: Rows, new: list[list[int]]) -> torch.Tensor:
        """Feed new tokens to each row, padded on the right.

        Returns:
            The hidden state of each row's last token, (rows, hidden size).
        """
        counts = self._tensor([[len(tokens)] for tokens in new])[:, 0]
        width = max(map(len, new))
        ids = self._tensor([tokens + [0] * (width - len(tokens)) for tokens in new])
        steps = torch.arange(width, device=ids.device)
        positions = rows.lengths[:, None] + steps[None]
        rows.mask = torch.cat([rows.mask, (steps[None] < counts[:, None]).long()], dim=1)
        rows.lengths = rows.lengths + counts
        rows.padded |= any(len(tokens) < width for tokens in new)
        with only(Wanted(counts - 1, rows.mask.bool() if rows.padded else None)):
            hidden: torch.Tensor = self._body(
                input_ids=ids,
                attention_mask=rows.mask,
                position_ids=positions,
                past_key_values=rows.cache,
                use_cache=True,
            ).last_hidden_state
        if hidden.shape[1] == 1:  # the last layer has left out the others
            return hidden[:, 0]
        return hidden[torch.arange(len(new), device=ids.device), counts - 1]

    def together(self, parts: Sequence[Rows]) -> Rows:
        """The rows of all `parts`, in order, as if they had gone through the model together."""
        if len(parts) == 1:
            return parts[0]
        widths = [part.mask.shape[1] for part in parts]
        gaps = [max(widths) - width for width in widths]
        cache = self._new_cache()
        for number, layers in enumerate(zip(*(part.cache.layers for part in parts), strict=True)):
            kept: Any = layers
            keys, values = (
                torch.cat([pad(getattr(layer, name), (0, 0, 0, gap)) for layer, gap in zip(kept, gaps, strict=True)])
                for name in ("keys", "values")
            )
            cache.update(keys, values, number)
        mask = torch.cat([pad(part.mask, (0, gap)) for part, gap in zip(parts, gaps, strict=True)])
        lengths = torch.cat([part.lengths for part in parts])
        return Rows(cache, mask, lengths, padded=any(gaps) or any(part.padded for part in parts))

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self._model.config)

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._model.device)
