"""The prompt of a Qwen3Guard-Gen made here, with the model's own tokenizer, for servers that continue a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..core.errors import GuardConfigurationError
from ..core.gen_prompt import FORCED_PREFIX, GenMessage
from ..core.verdict import Severity

try:
    from transformers import AutoTokenizer
except ImportError as error:
    raise ImportError(
        f"OpenAIGuard(tokenizer=...) needs {error.name or 'transformers'}: "
        'pip install "qwen3guard-integrations[transformers]"'
    ) from error

_PROBE: Final = "How are you?"


class LocalPrompt:
    """The chat template and the label tokens of a model.

    Args:
        tokenizer: A local folder or hub id with the tokenizer and the chat template of the model.

    Raises:
        GuardConfigurationError: There is no such tokenizer, or it is not that of a Qwen3Guard-Gen.
    """

    def __init__(self, tokenizer: str) -> None:
        self._tokenizer: Any = _load(tokenizer)
        if not getattr(self._tokenizer, "chat_template", None):
            raise GuardConfigurationError(f"the tokenizer {tokenizer!r} has no chat template", hint=_HINT)
        if _PROBE not in self.text([{"role": "user", "content": _PROBE}]):  # it also compiles the template
            raise GuardConfigurationError(f"the chat template of {tokenizer!r} leaves out the text", hint=_HINT)
        labels = [self._tokenizer.encode(f" {label}", add_special_tokens=False)[:1] for label in Severity]
        self.label_ids: list[int] = [token for first in labels for token in first]
        if len(set(self.label_ids)) != len(Severity):
            raise GuardConfigurationError(f"the tokenizer {tokenizer!r} cannot tell the labels apart", hint=_HINT)

    def text(self, messages: Sequence[GenMessage]) -> str:
        """The whole prompt up to "Safety:", after which the severity comes as the first token."""
        prompt: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return prompt + FORCED_PREFIX


_HINT: Final = "tokenizer: a local folder or a hub id with the official files, such as Qwen/Qwen3Guard-Gen-0.6B"


def _load(tokenizer: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise GuardConfigurationError(f"cannot load the tokenizer {tokenizer!r}", hint=_HINT) from error
