"""The official chat template of Qwen3Guard-Gen, re-stated as far as the structure of its prompt goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qwen3guard_integrations.core.gen_prompt import GenMessage

HEAD: Final = "<|im_start|>user\n# Task\n\n<BEGIN CONVERSATION>\n\n"
TAIL: Final = (
    "\n\n<END CONVERSATION>\n\nSay whether it is safe.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


def rendered(messages: Sequence[GenMessage]) -> str:
    """The prompt: one user message that holds the turns; an assistant message that comes first is dropped."""
    turns = [
        f"{'USER' if message['role'] == 'user' else 'ASSISTANT'}: {message['content']}"
        for number, message in enumerate(messages)
        if message["role"] == "user" or number
    ]
    return HEAD + "\n\n".join(turns) + TAIL
