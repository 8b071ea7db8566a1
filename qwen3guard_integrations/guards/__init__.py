"""Who answers: the guards, each loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .cached import CachedGuard
    from .journal import JournalGuard
    from .llama_guard import LlamaGuard
    from .load import load_guard
    from .moderation import OpenAIModerationGuard
    from .openai import OpenAIGuard
    from .protocol import Guard, StreamGuard, StreamSession, TokenGuard
    from .stream import TransformersStreamGuard
    from .transformers import TransformersGuard
    from .windowed import WindowedStreamGuard, Windows

__all__ = [
    "CachedGuard",
    "Guard",
    "JournalGuard",
    "LlamaGuard",
    "OpenAIGuard",
    "OpenAIModerationGuard",
    "StreamGuard",
    "StreamSession",
    "TokenGuard",
    "TransformersGuard",
    "TransformersStreamGuard",
    "WindowedStreamGuard",
    "Windows",
    "load_guard",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CachedGuard": "cached",
        "Guard": "protocol",
        "JournalGuard": "journal",
        "LlamaGuard": "llama_guard",
        "OpenAIGuard": "openai",
        "OpenAIModerationGuard": "moderation",
        "StreamGuard": "protocol",
        "StreamSession": "protocol",
        "TokenGuard": "protocol",
        "TransformersGuard": "transformers",
        "TransformersStreamGuard": "stream",
        "WindowedStreamGuard": "windowed",
        "Windows": "windowed",
        "load_guard": "load",
    },
)
