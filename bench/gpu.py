"""The guards on a CUDA device: the same verdicts as on the CPU, and what a verdict, a batch and a token take there.

    python bench/gpu.py            # about two minutes; without a CUDA device it says so and measures nothing
    python bench/gpu.py --check    # exit status 1 if a verdict differs

The demo guards have their real weights; the 0.6B shapes have random ones (no hub is needed): same compute, no meaning.
Figures are milliseconds of the clock, the median of the rounds, both sides of a ratio in turns in one process.
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
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench.forced_prefix import REPLY_TOKENS, RandomPrompts, held_out
from bench.stream_session import Session, largest_difference, model_of_real_shape
from qwen3guard_integrations import load_guard
from qwen3guard_integrations.guards.gen_model import GenModel
from qwen3guard_integrations.guards.stream_batch import StreamBatch

DEVICE = "cuda"
SCORE_BAR = 1e-3
LOGIT_BAR = 1e-3  # float32 on a GPU adds up in another order


def milliseconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def in_turns(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """The median of each side, measured in turns after two rounds to warm up."""
    for side in sides * 2:
        side()
    return [
        median(column) for column in zip(*([milliseconds(side) for side in sides] for _ in range(rounds)), strict=True)
    ]


def agreement(name: str, dtype: str) -> bool:
    """Whether the demo guard says the same on the GPU as on the CPU about the held-out conversations."""
    conversations = held_out()
    here, there = load_guard(name, dtype="float32"), load_guard(name, device=DEVICE, dtype=dtype)
    pairs = list(zip(here.check_many(conversations), there.check_many(conversations), strict=True))
    differ = sum(one.severity is not other.severity or one.categories != other.categories for one, other in pairs)
    apart = max(abs(one.scores.safe - other.scores.safe) for one, other in pairs if one.scores and other.scores)
    print(f"{name}, {dtype}: {differ} of {len(pairs)} verdicts differ from the CPU's, scores within {apart:.1e}")
    return not differ and apart <= SCORE_BAR


def together(rounds: int) -> None:
    """Texts in one call against one by one, with the demo guard."""
    conversations = held_out()[:200]
    guard = load_guard("demo", device=DEVICE, details="never")
    whole, single = in_turns(
        rounds, lambda: guard.check_many(conversations), lambda: [guard.check(one) for one in conversations]
    )
    print(f"demo, 200 texts: {whole:.0f} ms in one call, {single:.0f} ms one by one: {single / whole:.1f} times faster")


@torch.inference_mode()
def verdicts(rounds: int) -> None:
    """One forward pass against the generated reply, alone and in batches; the 0.6B shape in bfloat16."""
    config = Qwen3Config(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device(DEVICE):
        model = Qwen3ForCausalLM(config).eval().to(torch.bfloat16)
    tokenizer: Any = RandomPrompts()
    gen = GenModel(model, tokenizer, batch_size=64)
    messages: list[Any] = [[{"role": "user", "content": f"x{number}"}] for number in range(256)]
    prompt = torch.tensor(gen.prompt_tokens(messages[:1]), device=DEVICE)
    generator: Any = model

    def generate() -> None:
        generator.generate(prompt, max_new_tokens=REPLY_TOKENS, min_new_tokens=REPLY_TOKENS, do_sample=False)

    one, reply = in_turns(rounds, lambda: gen.judge(messages[:1], lambda severity: False), generate)
    print(f"Gen 0.6B shape, bfloat16: {one:.1f} ms a verdict, {reply:.1f} ms generated: {reply / one:.1f} times faster")
    [many] = in_turns(rounds, lambda: gen.judge(messages, lambda severity: False))
    print(f"  256 in one call: {many:.0f} ms, {256_000 / many:.0f} a second, {256 * one / many:.1f} times faster")


def new_tokens(rounds: int, session: Session, count: int) -> None:
    fed, bare, anew = in_turns(rounds, lambda: session.feed(count), lambda: session.bare(count), session.anew)
    print(
        f"  bfloat16, {count} new tokens at {session.context:,}: {fed:.1f} ms, bare backbone {bare:.1f} ms; "
        f"a token is {count * anew / fed:.1f} times cheaper than reading all anew ({anew:.1f} ms)"
    )


def streams(rounds: int) -> bool:
    """New tokens of a session against the bare backbone and against reading all anew; the 0.6B shape."""
    random.seed(0)
    model = model_of_real_shape()
    apart, differ = largest_difference(model)
    torch.nn.Module.to(model, device=DEVICE)
    with torch.device(DEVICE):
        there, wrong = largest_difference(model)
        print(f"Stream 0.6B shape, float32, chunks against one pass: logits within {there:.1e} (CPU {apart:.1e})")
        print(f"  {wrong} labels differ")
        torch.nn.Module.to(model, dtype=torch.bfloat16)
        batch = StreamBatch(model, context=8192, batch_size=16)
        for context in (512, 2048):
            session = Session(model, batch, context)
            new_tokens(rounds, session, 1)
            new_tokens(rounds, session, 8)
    return not (differ or wrong) and there <= LOGIT_BAR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each side")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a verdict differs")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure")
        return 0
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    same = [agreement(name, "float32") for name in ("demo", "demo-stream")]
    agreement("demo", "bfloat16")  # the default there; it may differ where two severities are about as probable
    together(options.rounds)
    verdicts(options.rounds)
    same.append(streams(options.rounds))
    return int(options.check and not all(same))


if __name__ == "__main__":
    sys.exit(main())
