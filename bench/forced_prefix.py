"""The verdict of one forward pass against the generated verdict: same severities, and how much faster.

    python bench/forced_prefix.py            # the demo guard on the held-out texts, and the 0.6B shape
    python bench/forced_prefix.py --check    # exit status 1 if a bar is missed

Both sides judge the same conversations in the same process, in turns; the figures are CPU seconds, torch on one
thread. The 0.6B model has random weights of the real shape (no hub is needed): same compute, no meaning.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from qwen3guard_integrations import Conversation, GuardResponseError, Verdict, load_guard
from qwen3guard_integrations.core.gen_prompt import GenMessage
from qwen3guard_integrations.guards.gen_model import GenModel

DATA = Path(__file__).parent.parent / "tests" / "data"
DEMO_BAR, LARGE_BAR = 4.0, 3.0
# A representative short call on the official tokenizer: 371 tokens, the first 201 of them the fixed policy text;
# 13 tokens are the usual reply.
PROMPT_TOKENS, PREFIX_TOKENS, REPLY_TOKENS = 371, 201, 13


def held_out() -> list[Conversation]:
    """The held-out prompts and responses: 510 conversations."""
    rows: Iterator[dict[str, Any]] = (
        json.loads(line)
        for name in ("natural_prompts.jsonl", "natural_responses.jsonl")
        for line in (DATA / name).read_text(encoding="utf-8").splitlines()
    )
    return [
        Conversation.of_response(row["prompt"], row["response"])
        if "response" in row
        else Conversation.of_prompt(row["text"])
        for row in rows
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def side_by_side(fast: Callable[[], object], slow: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median CPU seconds of both, measured in turns."""
    fast()
    pairs = [(cpu_seconds(fast), cpu_seconds(slow)) for _ in range(rounds)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def demo(rounds: int) -> float:
    one_pass = load_guard("demo", details="never")
    detailed = load_guard("demo")
    generated = load_guard("demo", one_pass=False)
    conversations = held_out()

    def verdict(conversation: Conversation) -> Verdict | None:
        try:
            return generated.check(conversation)
        except GuardResponseError:
            return None

    pairs = [(one_pass.check(conversation), verdict(conversation)) for conversation in conversations]
    readable = [(quick, full) for quick, full in pairs if full is not None]
    different = sum(quick.severity is not full.severity for quick, full in readable)
    print(f"demo guard, {len(conversations)} conversations: {different} of {len(readable)} readable verdicts differ, ")
    print(f"  {len(pairs) - len(readable)} generated replies are unreadable")

    some = conversations[::5]
    ratios = {}
    for name, guard in (("severity and scores", one_pass), ("with categories where not safe", detailed)):
        fast, slow = side_by_side(
            lambda guard=guard: [guard.check(conversation) for conversation in some],  # type: ignore[misc]
            lambda: [verdict(conversation) for conversation in some],
            rounds,
        )
        ratios[name] = slow / fast
        each = 1000 / len(some)
        print(f"  {name}: {fast * each:.1f} ms against {slow * each:.1f} ms generated: {slow / fast:.1f} times faster")
    return 0.0 if different else ratios["severity and scores"]


class RandomPrompts:
    """Stands in for a tokenizer: prompts of random tokens behind a fixed prefix, in the real sizes."""

    pad_token_id, eos_token_id = 0, 0
    labels: ClassVar = {
        " Safe": 22291,
        " Controversial": 2093,
        " Unsafe": 73067,
    }  # first tokens in the Qwen3 vocabulary

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._prefix = torch.randint(100_000, (PREFIX_TOKENS,)).tolist()

    def apply_chat_template(self, messages: list[GenMessage], **_: Any) -> str:
        return f"prompt:{messages[-1]['content']}"

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [*map(self._tokens, texts)]}

    def _tokens(self, text: str) -> list[int]:
        if text.startswith("prompt:"):
            torch.manual_seed(hash(text) % 10_000)
            rest = torch.randint(100_000, (PROMPT_TOKENS - PREFIX_TOKENS - 2,)).tolist()
            return [*self._prefix, *rest]
        label = next((token for name, token in self.labels.items() if name in text), None)
        return [73037, 25, *([label] if label else [])]

    def decode(self, tokens: list[int]) -> str:
        return str(tokens)


def large(rounds: int, dtype: str) -> float:
    config = Qwen3Config(
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
        vocab_size=151936,
        tie_word_embeddings=True,
    )
    torch.set_default_dtype(getattr(torch, dtype))
    model = Qwen3ForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    tokenizer: Any = RandomPrompts()
    gen = GenModel(model, tokenizer, batch_size=1)
    messages: list[GenMessage] = [{"role": "user", "content": "x"}]
    prompt = torch.tensor(gen.prompt_tokens([messages]))

    def generate() -> None:
        generator: Any = model
        generator.generate(prompt, max_new_tokens=REPLY_TOKENS, min_new_tokens=REPLY_TOKENS, do_sample=False)

    fast, slow = side_by_side(lambda: gen.judge([messages], lambda severity: False), generate, rounds)
    print(f"0.6B shape, {dtype}: {fast * 1000:.0f} ms against {slow * 1000:.0f} ms: {slow / fast:.1f} times faster")
    return slow / fast


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (default 3)")
    parser.add_argument("--dtype", default="bfloat16", help="of the 0.6B model (default bfloat16)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is missed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    missed = demo(options.rounds) < DEMO_BAR
    missed |= large(options.rounds, options.dtype) < LARGE_BAR
    print(f"bars: {DEMO_BAR} and {LARGE_BAR} times faster, no severity different: {'MISSED' if missed else 'kept'}")
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
