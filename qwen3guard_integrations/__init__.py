"""Qwen3Guard in LangChain, LangGraph and LlamaIndex: no character passes before a judgement that covers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import lazy

if TYPE_CHECKING:
    from .core.conversation import Conversation, Turn
    from .core.decision import Action, Decision
    from .core.errors import (
        BlockedError,
        GuardConfigurationError,
        GuardError,
        GuardResponseError,
        GuardTimeoutError,
        GuardUnavailableError,
        Qwen3GuardError,
    )
    from .core.points import Point
    from .core.policy import Policy
    from .core.verdict import Category, Scores, Severity, Verdict
    from .guards.load import load_guard
    from .guards.protocol import Guard

__version__ = "0.1.0"

__all__ = [
    "Action",
    "BlockedError",
    "Category",
    "Conversation",
    "Decision",
    "Guard",
    "GuardConfigurationError",
    "GuardError",
    "GuardResponseError",
    "GuardTimeoutError",
    "GuardUnavailableError",
    "Point",
    "Policy",
    "Qwen3GuardError",
    "Scores",
    "Severity",
    "Turn",
    "Verdict",
    "load_guard",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Action": "core.decision",
        "BlockedError": "core.errors",
        "Category": "core.verdict",
        "Conversation": "core.conversation",
        "Decision": "core.decision",
        "Guard": "guards.protocol",
        "GuardConfigurationError": "core.errors",
        "GuardError": "core.errors",
        "GuardResponseError": "core.errors",
        "GuardTimeoutError": "core.errors",
        "GuardUnavailableError": "core.errors",
        "Point": "core.points",
        "Policy": "core.policy",
        "Qwen3GuardError": "core.errors",
        "Scores": "core.verdict",
        "Severity": "core.verdict",
        "Turn": "core.conversation",
        "Verdict": "core.verdict",
        "load_guard": "guards.load",
    },
)
