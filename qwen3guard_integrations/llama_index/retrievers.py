"""`guard_retriever`: a retriever whose results were judged."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType, TextNode

from .. import screener
from ..core.decision import Action, Decision
from ..core.errors import GuardConfigurationError
from ..core.points import Point
from ..core.policy import Policy
from ..guards.protocol import Guard
from .nodes import Qwen3GuardNodePostprocessor, unspanned
from .undecorated import undecorated

R = TypeVar("R", bound=BaseRetriever)


def guard_retriever(
    retriever: R,
    guard: Guard | screener.Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    **settings: Any,
) -> R:
    """A copy of `retriever` that gives away only nodes that may pass.

    LlamaIndex ignores `as_retriever(node_postprocessors=...)`; this does not. Event handlers, callbacks and spans of
    the retriever get the clean nodes too, and what its `IndexNode`s lead to is judged as well. Retrievers and query
    engines inside of it (those it merges, those that its `IndexNode`s lead to) have handlers of their own: guard those
    for themselves.

    Args:
        retriever: Any retriever of LlamaIndex. It is not changed; the copy is of the same kind and shares its index.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts at the point `document`.
        **settings: As for `Qwen3GuardNodePostprocessor`.

    Raises:
        GuardConfigurationError: `retriever` is no retriever, or one with a `retrieve` of its own.

    When it retrieves: `BlockedError` with `on_block="raise"`; `GuardError` when the guard gives no verdict, unless
    `Policy.on_guard_error` says otherwise.
    """
    if not isinstance(retriever, BaseRetriever):
        raise GuardConfigurationError(f"guard_retriever takes a retriever, not {type(retriever).__name__}")
    for name in ("retrieve", "aretrieve"):
        if inspect.getattr_static(retriever, name) is not inspect.getattr_static(BaseRetriever, name):
            raise GuardConfigurationError(
                f"{type(retriever).__name__} has a method {name} of its own, which may give nodes away unjudged",
                hint="put Qwen3GuardNodePostprocessor behind it",
            )
    guarded = copy.copy(retriever)
    guarded.__class__ = _guarded_class(type(retriever), Qwen3GuardNodePostprocessor(guard, policy, **settings))
    return guarded


def _guarded_class(base: type[BaseRetriever], screen: Qwen3GuardNodePostprocessor) -> Any:
    """`base` with the nodes judged at the one place where all ways meet, before anybody is told of them."""

    def _handle_recursive_retrieval(
        self: Any, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        found = base._handle_recursive_retrieval(self, query_bundle, nodes)
        return screen.postprocess_nodes(found, query_bundle)

    async def _ahandle_recursive_retrieval(
        self: Any, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        found = await base._ahandle_recursive_retrieval(self, query_bundle, nodes)
        return await screen.apostprocess_nodes(found, query_bundle)

    metaclass: Any = type(base)
    namespace: dict[str, Any] = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "_handle_recursive_retrieval": unspanned(_handle_recursive_retrieval),
        "_ahandle_recursive_retrieval": unspanned(_ahandle_recursive_retrieval),
        # Without the spans of the class, which would be told of nodes before they are judged.
        "_retrieve": undecorated(inspect.getattr_static(base, "_retrieve")),
        "_aretrieve": undecorated(inspect.getattr_static(base, "_aretrieve")),
    }
    # Retrievers over databases have these beside `retrieve`; `_retrieve` calls them.
    for name in ("retrieve_with_metadata", "aretrieve_with_metadata"):
        if hasattr(base, name):
            namespace[name] = unspanned(_with_metadata(undecorated(inspect.getattr_static(base, name)), screen))
    return metaclass(f"Guarded{base.__name__}", (base,), namespace)


def _with_metadata(retrieve: Any, screen: Qwen3GuardNodePostprocessor) -> Any:
    """`retrieve`, which gives nodes and what is to be said about all of them, with the nodes judged."""

    async def aretrieve_with_metadata(self: Any, str_or_query_bundle: QueryType) -> Any:
        nodes, metadata = await retrieve(self, str_or_query_bundle)
        passing = await screen.apostprocess_nodes(nodes, _bundle(str_or_query_bundle))
        return _some_of(nodes, passing, screen), metadata

    def retrieve_with_metadata(self: Any, str_or_query_bundle: QueryType) -> Any:
        nodes, metadata = retrieve(self, str_or_query_bundle)
        return _some_of(nodes, screen.postprocess_nodes(nodes, _bundle(str_or_query_bundle)), screen), metadata

    return aretrieve_with_metadata if inspect.iscoroutinefunction(retrieve) else retrieve_with_metadata


def _some_of(
    nodes: Sequence[NodeWithScore], passing: list[NodeWithScore], screen: Qwen3GuardNodePostprocessor
) -> list[NodeWithScore]:
    """`passing`, or the redaction where none of `nodes` may pass: engines over databases cannot do with nothing."""
    if passing or not nodes:
        return passing
    text = screen.policy.redacted(Decision(point=Point.DOCUMENT, action=Action.DROP))
    return [NodeWithScore(node=TextNode(text=text))]


def _bundle(query: QueryType) -> QueryBundle:
    return QueryBundle(query) if isinstance(query, str) else query
