"""The small tokenizer that lies in the package, with a plain chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from qwen3guard_integrations import guards

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small_tokenizer() -> Any:
    """Of the demo guard: a few thousand tokens, with those of chats."""
    tokenizer = AutoTokenizer.from_pretrained(Path(guards.__file__).parent / "demo_weights" / "gen")
    tokenizer.chat_template = _TEMPLATE
    return tokenizer
