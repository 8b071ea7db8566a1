"""Who answers: the guards, each loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .load import load_guard
    from .openai import OpenAIGuard
    from .protocol import Guard
    from .transformers import TransformersGuard

__all__ = ["Guard", "OpenAIGuard", "TransformersGuard", "load_guard"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Guard": "protocol",
        "OpenAIGuard": "openai",
        "TransformersGuard": "transformers",
        "load_guard": "load",
    },
)
