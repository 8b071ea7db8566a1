"""Feeding the Stream model: new tokens of many sessions in one forward pass, each with its own cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from transformers import DynamicCache

from ..core.verdict import Verdict
from .stream_model import Qwen3ForGuardModel

_BLOCK: Final = 512  # tokens of one session in one forward pass: bounds the memory of a long prompt


@dataclass(slots=True)
class Row:
    """What the model has read in one session. Only the worker's thread touches it.

    Attributes:
        prompt: The tokens of the conversation before the answer, which stay whatever happens.
        ids: The tokens of the answer that were read, those that have slid out of the cache among them.
        slid: How many of them have.
        cache: Keys and values of the prompt and the rest of the answer; None before the first pass.
    """

    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    slid: int = 0
    cache: Any = None

    @property
    def cached(self) -> int:
        """Positions in the cache."""
        return len(self.prompt) + len(self.ids) - self.slid if self.cache is not None else 0


@dataclass(slots=True)
class Feed:
    """A question about an answer: verdicts on its tokens from `start` on, where `read` says so.

    Attributes:
        ids: All tokens of the answer.
        read: For each token whether a verdict on it is wanted.
    """

    row: Row
    ids: list[int]
    start: int
    read: list[bool]


@dataclass(slots=True)
class Score:
    """A question about a complete conversation: verdicts on some of its tokens.

    Attributes:
        ids: All tokens.
        read: The places of the tokens on which a verdict is wanted.
        query: By the query heads (the end of a user's turn), not the response heads.
    """

    ids: list[int]
    read: list[int]
    query: bool


@dataclass(slots=True)
class _Job:
    """A feed on its way: what is left to read, and the verdicts so far."""

    row: Row
    left: list[int]
    wanted: list[bool]
    verdicts: list[Verdict] = field(default_factory=list)


class StreamBatch:
    """Answers feeds and scores with the model. Not thread-safe: one worker thread owns it.

    Args:
        model: In evaluation mode.
        context: The most positions in the cache of a session.
        batch_size: Rows in one forward pass at most.
    """

    def __init__(self, model: Qwen3ForGuardModel, *, context: int, batch_size: int) -> None:
        self._model: Any = model
        self._context = context
        self._batch_size = batch_size

    @torch.inference_mode()
    def feed(self, feeds: Sequence[Feed]) -> list[list[Verdict]]:
        """The verdicts that each feed wants, in the order of its tokens."""
        jobs = [self._job(feed) for feed in feeds]
        while waiting := [job for job in jobs if job.left]:
            waiting.sort(key=lambda job: job.row.cached)
            for at in range(0, len(waiting), self._batch_size):
                together = waiting[at : at + self._batch_size]
                try:
                    self._step(together)
                except BaseException:
                    for job in together:  # what was read is not sure any more: it is read anew
                        job.row.cache = None
                    raise
        return [job.verdicts for job in jobs]

    def _job(self, feed: Feed) -> _Job:
        """Roll the row back to where the tokens differ from those it has read, or a verdict is missing."""
        row = feed.row
        same = next((i for i, (old, new) in enumerate(zip(row.ids, feed.ids, strict=False)) if old != new), None)
        keep = min(feed.start, len(row.ids), len(feed.ids) if same is None else same)
        self._crop(row, keep)
        wanted = [place >= feed.start and read for place, read in enumerate(feed.read)][keep:]
        return _Job(row, feed.ids[keep:], wanted)

    def _crop(self, row: Row, keep: int) -> None:
        drop = len(row.ids) - keep
        del row.ids[keep:]
        if keep < row.slid:
            row.cache = None
        elif drop and row.cache is not None:
            row.cache.crop(-drop)  # transformers 5 takes negative numbers only

    def _step(self, jobs: list[_Job]) -> None:
        """One forward pass: the next block of tokens of each job, after what its cache still has to be told."""
        blocks = []
        for job in jobs:
            told = self._prepare(job)
            count = min(len(job.left), _BLOCK, self._context - job.row.cached - len(told))
            blocks.append((told, job.left[:count]))
        hidden = self._forward([job.row for job in jobs], [told + block for told, block in blocks])
        for job, states, (told, block) in zip(jobs, hidden, blocks, strict=True):
            wanted = [len(told) + place for place, want in enumerate(job.wanted[: len(block)]) if want]
            if wanted:
                job.verdicts += self._model.verdicts(states[wanted], query=False)
            job.row.ids += block
            del job.left[: len(block)], job.wanted[: len(block)]

    def _prepare(self, job: _Job) -> list[int]:
        """What to read before the job's own tokens: nothing; or the prompt; or, when the context is full, the prompt
        and the last of the answer anew, so that a long answer goes on without an end."""
        row = job.row
        if row.cache is not None and row.cached < self._context:
            return []
        half = (self._context - len(row.prompt)) // 2
        row.slid = max(0, len(row.ids) - half) if row.cache is not None or len(row.ids) > half else 0
        row.cache = None
        return [*row.prompt, *row.ids[row.slid :]]

    def _forward(self, rows: list[Row], blocks: list[list[int]]) -> list[Any]:
        """The last hidden states of each block, (tokens, hidden size); the rows' caches grow by their blocks."""
        for row in rows:
            if row.cache is None:
                row.cache = DynamicCache(config=self._model.config)
        if len(rows) == 1:
            output = self._model(self._tensor(blocks), past_key_values=rows[0].cache, use_cache=True)
            return [output.last_hidden_state[0]]
        return self._forward_together(rows, blocks)

    def _forward_together(self, rows: list[Row], blocks: list[list[int]]) -> list[Any]:
        """As `_forward` for several rows: caches padded on the left, so that all new tokens begin at one place."""
        lengths = [row.cache.get_seq_length() for row in rows]
        longest, width = max(lengths), max(map(len, blocks))
        cache = DynamicCache(config=self._model.config)
        if longest:
            for number in range(self._model.config.num_hidden_layers):
                cache.update(*self._padded(rows, lengths, number), number)
        steps = torch.arange(longest + width)[None]
        begins = torch.tensor([[longest - length] for length in lengths])
        ends = torch.tensor([[longest + len(block)] for block in blocks])
        mask = ((steps >= begins) & (steps < ends)).long().to(self._model.device)
        positions = (torch.tensor(lengths)[:, None] + torch.arange(width)[None]).to(self._model.device)
        padded = [block + [0] * (width - len(block)) for block in blocks]
        output = self._model(
            self._tensor(padded), attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        for place, (row, block) in enumerate(zip(rows, blocks, strict=True)):
            new = slice(longest, longest + len(block))
            layers: list[Any] = cache.layers
            for number, layer in enumerate(layers):
                own = slice(place, place + 1)
                row.cache.update(layer.keys[own, :, new], layer.values[own, :, new], number)
        return [states[: len(block)] for states, block in zip(output.last_hidden_state, blocks, strict=True)]

    def _padded(self, rows: list[Row], lengths: list[int], number: int) -> tuple[Any, Any]:
        """Keys and values of one layer for all rows, padded on the left to the longest."""
        longest = max(lengths)
        some = next(row for row, length in zip(rows, lengths, strict=True) if length).cache.layers[number].keys
        shape = (len(rows), some.shape[1], longest, some.shape[3])
        keys, values = some.new_zeros(shape), some.new_zeros(shape)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            if length:
                layer = row.cache.layers[number]
                keys[place, :, longest - length :] = layer.keys[0]
                values[place, :, longest - length :] = layer.values[0]
        return keys, values

    @torch.inference_mode()
    def score(self, scores: Sequence[Score]) -> list[list[Verdict]]:
        """The verdicts that each score wants, in order."""
        found: dict[int, list[Verdict]] = {}
        order = sorted(range(len(scores)), key=lambda place: len(scores[place].ids))
        for at in range(0, len(order), self._batch_size):
            places = order[at : at + self._batch_size]
            rows = [scores[place].ids for place in places]
            width = max(map(len, rows))
            ids = self._tensor([row + [0] * (width - len(row)) for row in rows])
            mask = self._tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
            states = self._model(ids, attention_mask=mask, use_cache=False).last_hidden_state
            for place, own in zip(places, states, strict=True):
                found[place] = self._model.verdicts(own[scores[place].read], query=scores[place].query)
        return [found[place] for place in range(len(scores))]

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._model.device)
