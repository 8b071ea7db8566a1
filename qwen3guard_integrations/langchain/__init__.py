"""Qwen3Guard for LangChain and LangGraph."""

from __future__ import annotations

from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING

try:
    import langchain_core as _langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        'qwen3guard_integrations.langchain needs LangChain: pip install "qwen3guard-integrations[langchain]"'
    ) from error

from .._lazy import lazy

if TYPE_CHECKING:
    from .callbacks import AsyncQwen3GuardCallbackHandler, Qwen3GuardCallbackHandler, Qwen3GuardWarning
    from .checkpoints import guard_checkpointer
    from .decisions import Qwen3GuardDecisionModel as Qwen3GuardDecisionModel
    from .documents import Qwen3GuardDocumentFilter, guard_retriever
    from .graph import GuardNode, guard_edge, guard_node
    from .middleware import Qwen3GuardMiddleware
    from .model import guard_model
    from .runnable import Qwen3GuardRunnable
    from .tools import guard_tool
    from .wrapped import GuardedChain

__all__ = [
    "AsyncQwen3GuardCallbackHandler",
    "GuardNode",
    "GuardedChain",
    "Qwen3GuardCallbackHandler",
    "Qwen3GuardDocumentFilter",
    "Qwen3GuardMiddleware",
    "Qwen3GuardRunnable",
    "Qwen3GuardWarning",
    "guard_checkpointer",
    "guard_edge",
    "guard_model",
    "guard_node",
    "guard_retriever",
    "guard_tool",
]

if _find_spec("langchain_core.decisions"):  # langchain-core 1.8; without it the name says what is needed
    __all__ = sorted([*__all__, "Qwen3GuardDecisionModel"])

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AsyncQwen3GuardCallbackHandler": "callbacks",
        "GuardNode": "graph",
        "GuardedChain": "wrapped",
        "Qwen3GuardCallbackHandler": "callbacks",
        "Qwen3GuardDecisionModel": "decisions",
        "Qwen3GuardDocumentFilter": "documents",
        "Qwen3GuardMiddleware": "middleware",
        "Qwen3GuardRunnable": "runnable",
        "Qwen3GuardWarning": "callbacks",
        "guard_checkpointer": "checkpoints",
        "guard_edge": "graph",
        "guard_model": "model",
        "guard_node": "graph",
        "guard_retriever": "documents",
        "guard_tool": "tools",
    },
)
