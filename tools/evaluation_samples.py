"""The shipped samples of Qwen3GuardTest: conversations, with the tokens and positions of the demo Stream guard.

`python -m tools.evaluation_samples` writes them anew; run it when the demo guard's tokenizer has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from transformers import AutoTokenizer

import qwen3guard_integrations

PACKAGE: Final = Path(qwen3guard_integrations.__file__).parent
TOKENIZER: Final = PACKAGE / "guards" / "demo_weights" / "stream"
SAMPLES: Final = PACKAGE / "evaluation" / "data" / "samples"
SOURCE: Final = Path(__file__).with_suffix(".yaml")
OPEN, CLOSE = "«", "»"


def main() -> None:
    tokenizer = demo_tokenizer()
    for split, cases in yaml.safe_load(SOURCE.read_text(encoding="utf-8")).items():
        lines = [
            json.dumps(record(tokenizer, split, number, case), ensure_ascii=False) for number, case in enumerate(cases)
        ]
        path = SAMPLES / f"qwen3guardtest-{split}.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(f"{path.name}: {len(lines)} rows")


def demo_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(TOKENIZER)


def record(tokenizer: Any, split: str, number: int, case: Mapping[str, str]) -> dict[str, Any]:
    """A record in the published schema; only the splits that end in "loc" have tokens and positions."""
    marked = case["answer"]
    if "thinking" in case:
        marked = f"<think>\n{case['thinking']}\n</think>\n\n{marked}"
    content = marked.replace(OPEN, "").replace(CLOSE, "")
    messages = [{"role": "user", "content": case["prompt"]}, {"role": "assistant", "content": content}]
    located = split.endswith("loc")
    tokens, start, end = positions(tokenizer, messages, marked) if located else (None, None, None)
    return {
        "unique_id": f"{split}-sample-{number:03d}",
        "message": messages,
        "unsafe_type": case.get("type", ""),
        "source": "sample",
        "label": "Unsafe" if "type" in case else "Safe",
        "input_ids": tokens,
        "unsafe_start_index": start,
        "unsafe_end_index": end,
    }


def positions(tokenizer: Any, messages: list[dict[str, str]], marked: str) -> tuple[list[int], int, int]:
    """The tokens of the whole chat, and those with which the marked sentence begins and ends."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False, enable_thinking=False)
    sentence = marked[marked.index(OPEN) + 1 : marked.index(CLOSE)]
    begin = text.index(sentence)
    if text.count(sentence) != 1:
        raise ValueError(f"the marked sentence stands more than once: {messages[0]['content']!r}")
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    inside = [
        place
        for place, (first, after) in enumerate(encoding["offset_mapping"])
        if first < begin + len(sentence) and after > begin
    ]
    return encoding["input_ids"], inside[0], inside[-1]


if __name__ == "__main__":
    main()
