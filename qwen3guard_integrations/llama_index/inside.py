"""Copies of query and chat engines whose parts are guarded: what an engine reads, and, if asked, the LLM in it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms.llm import LLM
from llama_index.core.response_synthesizers.base import BaseSynthesizer
from llama_index.core.tools import QueryEngineTool

from .answer import OnBlock, Screens
from .llm import guarded_llm
from .nodes import Qwen3GuardNodePostprocessor
from .retrievers import guard_retriever
from .screener import Screener

T = TypeVar("T")
_ENGINES = (BaseQueryEngine, BaseChatEngine, BaseSynthesizer, QueryEngineTool)


class Inside:
    """Guards the parts of engines, whatever they are called: engines in engines, synthesizers, tools.

    Args:
        screener: The guard and the policy.
        llms: Guard the LLMs too, whose prompts somebody else has judged.
        on_block: For the LLMs.

    Attributes:
        guarded_llms: How many LLMs were found.
    """

    def __init__(self, screener: Screener, *, llms: bool, on_block: OnBlock = "refuse") -> None:
        self.guarded_llms = 0
        self._screener = screener
        self._screens = Screens(screener, on_block, prompt=False) if llms else None
        self._nodes = Qwen3GuardNodePostprocessor(guard=screener)

    def guarded(self, engine: T) -> T:
        """A copy of `engine` with guarded parts; the engine itself stays as it is."""
        made = copy.copy(engine)
        parts = vars(engine)
        for name, part in parts.items():
            vars(made)[name] = self._part(engine, made, name, part)
        return made

    def _part(self, engine: Any, made: Any, name: str, part: Any) -> Any:
        if name == "_node_postprocessors":
            # Before others, which may ask a model about the nodes, and after them, since they may change the text.
            return [self._nodes, *part, self._nodes] if part else [self._nodes]
        if isinstance(part, BaseRetriever) and "_node_postprocessors" not in vars(engine):
            return guard_retriever(part, self._screener)
        if getattr(part, "__self__", None) is engine:  # a method that the engine keeps: of the copy from now on
            return getattr(made, part.__name__)
        return self._guarded(part)

    def _guarded(self, part: Any) -> Any:
        if isinstance(part, LLM) and self._screens is not None:
            self.guarded_llms += 1
            return guarded_llm(part, self._screens)
        if isinstance(part, _ENGINES):
            return self.guarded(part)
        if isinstance(part, Mapping) and any(isinstance(one, _ENGINES) for one in part.values()):
            return {key: self._guarded(one) for key, one in part.items()}
        if isinstance(part, list | tuple) and any(isinstance(one, _ENGINES) for one in part):
            return type(part)(map(self._guarded, part))
        return part


def streams(engine: Any) -> bool:
    """Whether the answers of a query engine are streams."""
    synthesizer = getattr(engine, "_response_synthesizer", None)
    if synthesizer is not None:
        return bool(getattr(synthesizer, "_streaming", False))
    inner = getattr(engine, "_query_engine", None)
    return inner is not None and streams(inner)
