"""Qwen3Guard for LlamaIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import llama_index.core as _llama_index_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        'qwen3guard_integrations.llama_index needs LlamaIndex: pip install "qwen3guard-integrations[llama-index]"'
    ) from error

from .._lazy import lazy

if TYPE_CHECKING:
    from .agents import guard_agent
    from .chat_engine import Qwen3GuardChatEngine
    from .handler import Qwen3GuardEventHandler
    from .ingestion import Qwen3GuardTransform
    from .llm import guard_llm
    from .nodes import Qwen3GuardNodePostprocessor
    from .query_engine import Qwen3GuardQueryEngine
    from .reporting import Qwen3GuardVerdictEvent
    from .retrievers import guard_retriever
    from .steps import guard_step
    from .tools import guard_tool

__all__ = [
    "Qwen3GuardChatEngine",
    "Qwen3GuardEventHandler",
    "Qwen3GuardNodePostprocessor",
    "Qwen3GuardQueryEngine",
    "Qwen3GuardTransform",
    "Qwen3GuardVerdictEvent",
    "guard_agent",
    "guard_llm",
    "guard_retriever",
    "guard_step",
    "guard_tool",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Qwen3GuardChatEngine": "chat_engine",
        "Qwen3GuardEventHandler": "handler",
        "Qwen3GuardNodePostprocessor": "nodes",
        "Qwen3GuardQueryEngine": "query_engine",
        "Qwen3GuardTransform": "ingestion",
        "Qwen3GuardVerdictEvent": "reporting",
        "guard_agent": "agents",
        "guard_llm": "llm",
        "guard_retriever": "retrievers",
        "guard_step": "steps",
        "guard_tool": "tools",
    },
)
