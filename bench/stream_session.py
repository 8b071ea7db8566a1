"""What a session of the Stream guard costs: against a bare forward pass, by context, and against reading all anew.

    python bench/stream_session.py            # the 0.6B shape; about two minutes
    python bench/stream_session.py --check    # exit status 1 if a bar is missed

All sides run in one process, in turns, on random weights of the real 0.6B shape (no hub is needed): same compute, no
meaning. The figures are CPU seconds, torch on one thread, the median of the rounds. The embedding has fewer rows than
the real one: they are only looked up. "Reading all anew" is what the published loop does for every token
(QwenLM/Qwen3Guard#22); its bars hold in float32. In bfloat16 that ratio is the machine's: a session costs what the
weights cost to be read from memory, and with matrix units (AMX) reading all anew costs little more.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import DynamicCache, Qwen3Config

from qwen3guard_integrations.guards.stream_batch import Feed, Row, StreamBatch
from qwen3guard_integrations.guards.stream_model import Qwen3ForGuardModel

OVER_BARE_BAR, CONTEXT_BAR, ONE_BAR, EIGHT_BAR = 1.10, 2.0, 10.0, 50.0
LOGIT_BAR = 1e-4
VOCABULARY = 8192


def model_of_real_shape() -> Qwen3ForGuardModel:
    """The 0.6B shape: 28 layers, hidden size 1,024, heads of inner size 512; in float32."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=8192,
    )  # fmt: skip
    config.guard_inner_size = 512
    model = Qwen3ForGuardModel(config)
    model.eval()
    return model


def tokens(count: int) -> list[int]:
    return [random.randrange(VOCABULARY) for _ in range(count)]


@torch.inference_mode()
def largest_difference(model: Any) -> tuple[float, int]:
    """Chunks against one full forward in float32: the largest difference of a logit, and labels that differ."""
    ids = torch.tensor([tokens(96)])
    whole = model(ids, use_cache=False).last_hidden_state[0]
    apart, differ = 0.0, 0
    for size in (1, 8):
        cache = DynamicCache(config=model.config)
        parts = [model(ids[:, at : at + size], past_key_values=cache).last_hidden_state[0] for at in range(0, 96, size)]
        for query in (False, True):
            pairs = zip(model.logits(whole, query=query), model.logits(torch.cat(parts), query=query), strict=True)
            for one, other in pairs:
                apart = max(apart, float((one - other).abs().max()))
                differ += int((one.argmax(-1) != other.argmax(-1)).sum())
    return apart, differ


class Session:
    """A session that has read `context` tokens, and a bare cache that has read the same."""

    def __init__(self, model: Any, batch: StreamBatch, context: int) -> None:
        self.model, self.batch, self.context = model, batch, context
        self.ids = tokens(context)
        self.row = Row([])
        batch.feed([Feed(self.row, self.ids, 0, [False] * context)])
        self.cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            for at in range(0, context, 512):
                model.model(torch.tensor([self.ids[at : at + 512]]), past_key_values=self.cache, use_cache=True)

    def feed(self, count: int) -> float:
        """CPU seconds for so many new tokens, judged."""
        ids = self.ids + tokens(count)
        feed = Feed(self.row, ids, self.context, [True] * len(ids))
        seconds = cpu_seconds(lambda: self.batch.feed([feed]))
        self.batch._crop(self.row, self.context)
        return seconds

    @torch.inference_mode()
    def bare(self, count: int) -> float:
        """CPU seconds of the bare backbone for as many new tokens over the same cache."""
        new = torch.tensor([tokens(count)])
        seconds = cpu_seconds(lambda: self.model.model(new, past_key_values=self.cache, use_cache=True))
        self.cache.crop(-count)
        return seconds

    @torch.inference_mode()
    def anew(self) -> float:
        """CPU seconds for reading the whole sequence for one token."""
        ids = torch.tensor([self.ids + tokens(1)])
        return cpu_seconds(lambda: self.model.model(ids, use_cache=False))


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turns(rounds: int, *sides: Callable[[], float]) -> list[float]:
    """The median of each side, measured in turns after one round to warm up."""
    for side in sides:
        side()
    rows = [[side() for side in sides] for _ in range(rounds)]
    return [median(column) for column in zip(*rows, strict=True)]


def measured(model: Qwen3ForGuardModel, rounds: int) -> dict[str, float]:
    """The ratios, printed as they come."""
    batch = StreamBatch(model, context=8192, batch_size=16)
    short, long = Session(model, batch, 512), Session(model, batch, 2048)
    ratios = {}
    print(f"{str(model.dtype).removeprefix('torch.')}:")
    for count in (1, 8):
        fed, bare = in_turns(rounds, lambda: short.feed(count), lambda: short.bare(count))  # noqa: B023
        ratios[f"{count} against the bare backbone"] = fed / bare
        figures = f"{fed * 1000:.0f} ms, bare backbone {bare * 1000:.0f} ms: {fed / bare:.3f} times"
        print(f"  {count} new tokens at 512: {figures}")
    far, near = in_turns(rounds, lambda: long.feed(8), lambda: short.feed(8))
    ratios["2,048 against 512"] = far / near
    print(f"  8 new tokens at 2,048: {far * 1000:.0f} ms, at 512 {near * 1000:.0f} ms: {far / near:.2f} times")
    one, eight, anew = in_turns(max(3, rounds // 3), lambda: short.feed(1), lambda: short.feed(8), short.anew)
    ratios["one at a time"], ratios["eight at a time"] = anew / one, 8 * anew / eight
    print(f"  per token at 512, reading all anew: {anew * 1000:.0f} ms; one at a time {anew / one:.0f} times cheaper,")
    print(f"    eight at a time {8 * anew / eight:.0f} times cheaper")
    return ratios


def missed(ratios: dict[str, float], *, anew: bool) -> list[str]:
    """The bars that the ratios miss; with `anew`, those against reading all anew too."""
    most = {
        "1 against the bare backbone": OVER_BARE_BAR,
        "8 against the bare backbone": OVER_BARE_BAR,
        "2,048 against 512": CONTEXT_BAR,
    }
    least = {"one at a time": ONE_BAR, "eight at a time": EIGHT_BAR} if anew else {}
    over = [name for name, bar in most.items() if ratios[name] > bar]
    return over + [name for name, bar in least.items() if ratios[name] < bar]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is missed")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each side")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    model = model_of_real_shape()
    apart, differ = largest_difference(model)
    print(f"0.6B shape, {sum(parameter.numel() for parameter in model.parameters()):,} weights")
    print(f"float32, chunks of 1 and 8 against one pass: logits within {apart:.1e}, {differ} labels differ")
    misses = ["chunks against one pass"] if differ or apart > LOGIT_BAR else []
    misses += missed(measured(model, arguments.rounds), anew=True)
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        torch.nn.Module.to(model, dtype=torch.bfloat16)
        misses += missed(measured(model, arguments.rounds), anew=False)
    if misses:
        print("missed:", "; ".join(misses))
        sys.exit(int(arguments.check))


if __name__ == "__main__":
    main()
