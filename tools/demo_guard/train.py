"""Trains the models on endless generated samples, in two stages.

The first stage ("bare") teaches the backbone and the heads words and sentences on single turns, which is
cheap; the second goes on from there on whole conversations, once for Gen and once for Stream.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3ForCausalLM

from .labels import IGNORED, RESPONSE_CATEGORIES, SEVERITY_NAMES, category_of, severity_of
from .lexicon import load
from .model import MAX_LENGTH, GuardHeads, add_dropout, pad_batch, qwen3_config
from .samples import SampleMaker
from .templates import QUERY, RESPONSE, Rendered, gen_verdict, render_gen, render_stream
from .tokenizer import END, PAD

MAX_VERDICT = 40


@dataclass(frozen=True)
class Recipe:
    """Everything that one training run depends on. Settings are tried with the split "train", and judged on "dev"."""

    steps: int
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    bpe_dropout: float = 0.15
    embedding_dropout: float = 0.2
    residual_dropout: float = 0.1
    average_decay: float = 0.995
    severity_weight: float = 6.0
    severity_smoothing: float = 0.05
    token_loss: float = 0.5
    query_end_weight: float = 12.0
    response_end_weight: float = 4.0
    single_share: float = 0.0
    split: str = "all"
    seed: int = 7


@dataclass
class Encoded:
    """Token ids with, per token, the label id and the head that reads it; ``target`` is the verdict's ids."""

    ids: list[int]
    labels: list[int]
    heads: list[int]
    target: list[int]


class Encoder:
    """Turns generated conversations into token ids, with BPE dropout on half of them."""

    def __init__(self, tokenizer_file: Path, dropout: float, seed: int, single_share: float, split: str) -> None:
        self.exact = Tokenizer.from_file(str(tokenizer_file))
        self.noisy = Tokenizer.from_file(str(tokenizer_file))
        self.noisy.model.dropout = dropout
        self.maker = SampleMaker(load(split), seed)
        self.rng = random.Random(seed)
        self.single_share = single_share

    def draw(self, kind: str, count: int) -> list[Encoded]:
        """So many new samples: "gen" and "stream" as these models read them, "bare" for single turns."""
        encoded: list[Encoded] = []
        while len(encoded) < count:
            single = self.rng.random() < self.single_share
            turns = self.maker.single(with_prompt=kind != "bare") if single else self.maker.conversation()
            rendered = render_gen(turns) if kind == "gen" else render_stream(turns)
            verdict = gen_verdict(turns) + END if kind == "gen" else ""
            item = self._encode(rendered, verdict)
            if len(item.ids) + len(item.target) <= MAX_LENGTH:
                encoded.append(item)
        return encoded

    def _encode(self, rendered: Rendered, verdict: str) -> Encoded:
        tokenizer = self.noisy if self.rng.random() < 0.5 else self.exact
        encoding = tokenizer.encode(rendered.text)
        ends = [end - 1 for _, end in encoding.offsets]
        labels = [rendered.labels[end] for end in ends]
        heads = [rendered.heads[end] for end in ends]
        return Encoded(encoding.ids, labels, heads, self.exact.encode(verdict).ids)


class Trainer:
    """Owns the model, its heads and the losses of one stage."""

    def __init__(self, kind: str, tokenizer_file: Path, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.kind = kind
        self.recipe = recipe
        seed = recipe.seed + (kind == "stream")
        self.encoder = Encoder(tokenizer_file, recipe.bpe_dropout, seed, recipe.single_share, recipe.split)
        tokenizer = self.encoder.exact
        self.pad, self.end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
        severities = [tokenizer.encode(f" {name}").ids[0] for name in SEVERITY_NAMES.values()]
        self.severities = torch.tensor(severities)
        config = qwen3_config(tokenizer.get_vocab_size(), self.end, self.pad)
        self.model = Qwen3ForCausalLM(config)
        self.heads = GuardHeads(config.hidden_size)
        add_dropout(self.model.model, recipe.embedding_dropout, recipe.residual_dropout)
        self.everything = nn.ModuleDict({"model": self.model, "heads": self.heads})
        self.average = torch.optim.swa_utils.AveragedModel(
            self.everything, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average_decay)
        )
        matrices = [p for p in self.everything.parameters() if p.ndim >= 2]
        others = [p for p in self.everything.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
        )

    def run(self) -> None:
        """Trains for the recipe's number of steps and prints the loss now and then."""
        started = time.time()
        self.everything.train()
        for step, batch in enumerate(itertools.islice(self._batches(), self.recipe.steps)):
            share = step / self.recipe.steps
            warmup = min(1.0, (step + 1) / 60)
            for group in self.optimizer.param_groups:
                cosine = 0.5 * (1 + math.cos(math.pi * share))
                group["lr"] = self.recipe.learning_rate * warmup * (0.98 * cosine + 0.02)
            self.optimizer.zero_grad()
            loss = self._loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.everything.parameters(), 1.0)
            self.optimizer.step()
            self.average.update_parameters(self.everything)
            if (step + 1) % 100 == 0:
                seconds = time.time() - started
                progress = f"step {step + 1}/{self.recipe.steps}, loss {loss.item():.3f}, {seconds:.0f} s"
                print(f"{self.kind}: {progress}", flush=True)

    def load(self, path: Path) -> None:
        """Starts from the weights that an earlier stage saved."""
        saved = torch.load(path, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.heads.load_state_dict(saved["heads"])

    def save(self, path: Path) -> None:
        """Writes the averaged weights and the recipe."""
        averaged = self.average.module
        torch.save(
            {
                "model": averaged["model"].state_dict(),
                "heads": averaged["heads"].state_dict(),
                "recipe": asdict(self.recipe),
            },
            path,
        )

    def _batches(self) -> Iterator[list[Encoded]]:
        size, pool = self.recipe.batch, 16
        rng = random.Random(self.recipe.seed)
        while True:
            items = sorted(self.encoder.draw(self.kind, size * pool), key=lambda item: len(item.ids))
            batches = [items[at : at + size] for at in range(0, len(items), size)]
            rng.shuffle(batches)
            yield from batches

    def _loss(self, batch: list[Encoded]) -> Tensor:
        ids = pad_batch([item.ids + item.target for item in batch], self.pad)
        mask = pad_batch([[1] * (len(item.ids) + len(item.target)) for item in batch], 0)
        hidden = self.model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        tokens = self._token_loss(batch, hidden, ids)
        if not batch[0].target:
            return tokens
        return self._verdict_loss(batch, hidden) + self.recipe.token_loss * tokens

    def _verdict_loss(self, batch: list[Encoded], hidden: Tensor) -> Tensor:
        rows = [row for row, item in enumerate(batch) for _ in item.target]
        places = [len(item.ids) + at - 1 for item in batch for at in range(len(item.target))]
        target = torch.tensor([token for item in batch for token in item.target])
        logits = self.model.lm_head(hidden[rows, places])
        losses = functional.cross_entropy(logits, target, reduction="none")
        is_severity = torch.isin(target, self.severities)
        smooth = -functional.log_softmax(logits[is_severity], -1)[:, self.severities].mean(-1)
        share = self.recipe.severity_smoothing
        mixed = (1 - share) * losses[is_severity] + share * smooth
        total = losses[~is_severity].sum() + self.recipe.severity_weight * mixed.sum()
        return total / (len(losses) + (self.recipe.severity_weight - 1) * is_severity.sum())

    def _token_loss(self, batch: list[Encoded], hidden: Tensor, ids: Tensor) -> Tensor:
        """Risk and category loss at every labelled token; a turn's end counts more."""
        padding = [[IGNORED] * len(item.target) for item in batch]
        labels = pad_batch([item.labels + more for item, more in zip(batch, padding, strict=True)], IGNORED)
        readers = pad_batch([item.heads + [0] * len(item.target) for item in batch], 0)
        total = torch.zeros(())
        for reader, head, count, end_weight in (
            (QUERY, self.heads.query, RESPONSE_CATEGORIES + 1, self.recipe.query_end_weight),
            (RESPONSE, self.heads.response, RESPONSE_CATEGORIES, self.recipe.response_end_weight),
        ):
            chosen = (readers == reader) & (labels != IGNORED)
            if not chosen.any():
                continue
            label = labels[chosen]
            weight = torch.where(ids[chosen] == self.end, end_weight, 1.0)
            risk_logits, category_logits = head(hidden[chosen])
            risk = severity_of(label)
            losses = functional.cross_entropy(
                risk_logits, risk, reduction="none", label_smoothing=self.recipe.severity_smoothing
            )
            total = total + (losses * weight).sum() / weight.sum()
            category = category_of(label)
            named = (risk > 0) & (category >= 0) & (category < count)
            if named.any():
                total = total + 0.5 * functional.cross_entropy(category_logits[named], category[named])
        return total


def train(kind: str, tokenizer_file: Path, recipe: Recipe, output: Path, start: Path | None = None) -> None:
    """Runs one stage ("bare", "gen" or "stream") on one thread, from the weights in ``start`` if given."""
    torch.set_num_threads(1)
    trainer = Trainer(kind, tokenizer_file, recipe)
    if start:
        trainer.load(start)
    trainer.run()
    trainer.save(output)
