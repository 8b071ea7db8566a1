"""Copies of query and chat engines whose parts are guarded: what an engine reads, and the LLM that answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms.llm import LLM
from llama_index.core.memory import Memory
from llama_index.core.objects import ObjectRetriever
from llama_index.core.query_engine import ComposableGraphQueryEngine
from llama_index.core.response_synthesizers.base import BaseSynthesizer
from llama_index.core.schema import NodeWithScore, QueryType
from llama_index.core.tools import QueryEngineTool

from .answer import Screens
from .llm import guarded_llm
from .memory import guard_memory
from .nodes import Qwen3GuardNodePostprocessor, unspanned
from .retrievers import guard_retriever

T = TypeVar("T")
_RETRIEVERS = (BaseRetriever, ObjectRetriever)
_ENGINES = (BaseQueryEngine, BaseChatEngine, BaseSynthesizer, QueryEngineTool, *_RETRIEVERS)


class Inside:
    """Guards the parts of engines, whatever they are called: engines in engines, synthesizers, tools, retrievers.

    Args:
        screens: How the LLMs are guarded, whose prompts somebody else has judged; those of retrievers, which may be
            asked about nodes that nobody has judged yet, with their prompts.
        engines: What stands in place of a query engine inside; None guards its parts only.

    Attributes:
        guarded_llms: How many LLMs were found that write answers.
    """

    def __init__(
        self, screens: Screens, *, engines: Callable[[BaseQueryEngine], BaseQueryEngine] | None = None
    ) -> None:
        self.guarded_llms = 0
        self._screens = screens
        self._retrieving = replace(screens, prompt=True)
        self._engines = engines or self.guarded
        self._nodes = Qwen3GuardNodePostprocessor(guard=screens.screener)

    def guarded(self, engine: T) -> T:
        """A copy of `engine` with guarded parts; the engine itself stays as it is."""
        made = copy.copy(engine)
        parts = vars(engine)
        for name, part in parts.items():
            vars(made)[name] = self._part(engine, made, name, part)
        return made

    def _part(self, engine: Any, made: Any, name: str, part: Any) -> Any:
        if getattr(part, "__self__", None) is engine:  # a method that the engine keeps: of the copy from now on
            return getattr(made, part.__name__)
        if isinstance(engine, _RETRIEVERS):
            # An object map grows with its index; what it holds is guarded when it is asked. What a retriever inside of
            # another one finds is judged where it leaves the outermost.
            return part if name == "object_map" else self._guarded(part, self._retrieving)
        if name == "_node_postprocessors":
            # Before others, which may ask a model about the nodes, and after them, since they may change the text.
            first = [] if part and self._judges_like_this(part[0]) else [self._nodes]
            return [*first, *part, self._nodes] if part else first
        if isinstance(engine, ComposableGraphQueryEngine) and name == "_custom_query_engines":
            indices = engine._graph.all_indices.items()
            part = {index_id: index.as_query_engine(**engine._kwargs) for index_id, index in indices} | part
        if name == "_node_to_query_engine_fn":
            return self._giving(part)
        guarded = self._guarded(part, self._screens)
        if isinstance(part, BaseRetriever) and "_node_postprocessors" not in vars(engine):
            return guard_retriever(guarded, self._screens.screener)
        if isinstance(part, BaseSynthesizer) and "_node_postprocessors" not in vars(engine):
            return guard_synthesizer(guarded, self._nodes)
        return guarded

    def _judges_like_this(self, part: Any) -> bool:
        """Whether a postprocessor judges as the engine does: it may have settings of its own, such as `refill`."""
        return isinstance(part, Qwen3GuardNodePostprocessor) and part.guard.repeats(self._screens.screener)

    def _guarded(self, part: Any, screens: Screens) -> Any:
        if isinstance(part, LLM):
            self.guarded_llms += screens is self._screens
            return guarded_llm(part, screens)
        if isinstance(part, BaseQueryEngine):
            return self._engines(part)
        if isinstance(part, _RETRIEVERS):
            return self._retriever(part)
        if isinstance(part, Memory):
            return guard_memory(part, self._screens.screener)
        if isinstance(part, _ENGINES):
            return self.guarded(part)
        if isinstance(part, Mapping) and any(isinstance(one, _ENGINES) for one in part.values()):
            return {key: self._guarded(one, screens) for key, one in part.items()}
        if isinstance(part, list | tuple) and any(isinstance(one, _ENGINES) for one in part):
            return type(part)(self._guarded(one, screens) for one in part)
        return part

    def _retriever(self, retriever: Any) -> Any:
        """A copy of `retriever` that asks guarded LLMs, engines and retrievers, and gives away guarded objects."""
        made: Any = self.guarded(retriever)
        if isinstance(made, ObjectRetriever):
            vars(made).update(retrieve=self._giving(made.retrieve), aretrieve=self._agiving(made.aretrieve))
        else:  # what nodes lead to: of their own, or by the object map
            for name in ("_retrieve_from_object", "_aretrieve_from_object"):
                vars(made)[name] = self._given(getattr(made, name))
        return made

    def _given(self, ask: Callable[..., T]) -> Callable[..., T]:
        """`ask`, sync or async, that is given what it asks guarded."""
        return lambda obj, *args, **kwargs: ask(self._guarded(obj, self._screens), *args, **kwargs)

    def _giving(self, get: Callable[..., Any]) -> Callable[..., Any]:
        """`get` that gives what it gives guarded."""
        return lambda *args, **kwargs: self._guarded(get(*args, **kwargs), self._screens)

    def _agiving(self, get: Callable[..., Any]) -> Callable[..., Any]:
        async def giving(*args: Any, **kwargs: Any) -> Any:
            return self._guarded(await get(*args, **kwargs), self._screens)

        return giving


def guard_synthesizer(synthesizer: BaseSynthesizer, screen: Qwen3GuardNodePostprocessor) -> BaseSynthesizer:
    """`synthesizer`, to which an engine gives nodes of its own making, with these judged first."""
    base: Any = type(synthesizer)

    def synthesize(self: Any, query: QueryType, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        return base.synthesize(self, query, screen.postprocess_nodes(nodes), *args, **kwargs)

    async def asynthesize(self: Any, query: QueryType, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        return await base.asynthesize(self, query, await screen.apostprocess_nodes(nodes), *args, **kwargs)

    # Without spans of their own, which would be told of the nodes before they are judged.
    namespace = {
        "__module__": base.__module__,
        "synthesize": unspanned(synthesize),
        "asynthesize": unspanned(asynthesize),
    }
    synthesizer.__class__ = type(base)(base.__name__, (base,), namespace)
    return synthesizer


def streams(engine: Any) -> bool:
    """Whether the answers of a query engine are streams: its own, or those of the first engine that it asks."""
    synthesizer = getattr(engine, "_response_synthesizer", None)
    if synthesizer is not None:
        return bool(getattr(synthesizer, "_streaming", False))
    inner = getattr(engine, "_query_engine", None) or getattr(engine, "_engine", None)
    if inner is None:
        several = getattr(engine, "_query_engines", None) or ()
        inner = next(iter(several.values() if isinstance(several, Mapping) else several), None)
    return inner is not None and streams(inner)
