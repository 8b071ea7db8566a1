"""Retrievers: nobody gets or hears of a node that may not pass."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core import Settings, SimpleKeywordTableIndex, SummaryIndex, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import (
    QueryFusionRetriever,
    RecursiveRetriever,
    VectorIndexRetriever,
)
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, TextNode
from pydantic import ValidationError

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.llama_index import guard_retriever
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import listening

CANARY = "canary7f3a"
TEXTS = {"1": "the one", "2": f"the two {CANARY}", "3": "the three", "4": f"{CANARY} the four"}


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: "Unsafe"}, **settings)


def nodes() -> list[TextNode]:
    return [TextNode(text=text, id_=name) for name, text in TEXTS.items()]


def ids(found: Sequence[NodeWithScore]) -> list[str]:
    return sorted(node.node_id for node in found)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    monkeypatch.setattr(Settings, "_tokenizer", str.split)
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=8))


def vector_index(made: Sequence[Any] | None = None) -> VectorStoreIndex:
    return VectorStoreIndex(nodes=list(made or nodes()), embed_model=MockEmbedding(embed_dim=8))


class Shelf(BaseRetriever):
    """Gives all its nodes, in one way."""

    def __init__(self, found: Sequence[Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.found = [NodeWithScore(node=node, score=0.5) for node in found]

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(self.found)


class AsyncShelf(Shelf):
    """Gives all its nodes, in two ways."""

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        await asyncio.sleep(0)
        return list(self.found)


class Roundabout(Shelf):
    """As many retrievers do: the asynchronous way calls the other one."""

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._retrieve(query_bundle)


RETRIEVERS: dict[str, Any] = {
    "vector": lambda: vector_index().as_retriever(similarity_top_k=9),
    "summary": lambda: SummaryIndex(nodes=nodes()).as_retriever(),
    "keywords": lambda: SimpleKeywordTableIndex(nodes=nodes()).as_retriever(),
    "shelf": lambda: Shelf(nodes()),
    "async shelf": lambda: AsyncShelf(nodes()),
    "roundabout": lambda: Roundabout(nodes()),
}


@pytest.mark.parametrize("name", RETRIEVERS)
async def test_neither_caller_nor_listeners_get_what_may_not_pass(lane: Lane, name: str) -> None:
    retriever = RETRIEVERS[name]()
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retriever.callback_manager = CallbackManager([debug])
    judge = guard()
    guarded = guard_retriever(retriever, judge)
    assert isinstance(guarded, type(retriever))
    query = "one two three four"
    with listening() as (events, spans):
        found = await lane(guarded, "retrieve", query)
    assert ids(found) == ["1", "3"]
    assert len(judge.calls) == 1
    payloads = [pair.payload for pair in debug.get_event_pairs()[0]]
    for told in ([vars(event) for event in events], spans, payloads):
        assert told
        assert CANARY not in repr(told)
    assert "RetrievalEndEvent" in {type(event).__name__ for event in events}
    assert ids(await lane(retriever, "retrieve", query)) == ["1", "2", "3", "4"]  # it was not changed


@pytest.mark.parametrize("name", RETRIEVERS)
async def test_safe_results_are_the_same_objects(lane: Lane, name: str) -> None:
    retriever = RETRIEVERS[name]()
    found = await lane(retriever, "retrieve", "one two three four")
    again = await lane(guard_retriever(retriever, FakeGuard()), "retrieve", "one two three four")
    assert again == found
    if isinstance(retriever, Shelf):
        assert [*map(id, again)] == [*map(id, found)]


async def test_what_index_nodes_lead_to_is_judged(lane: Lane) -> None:
    engine = RetrieverQueryEngine.from_args(Shelf([TextNode(text=f"inside {CANARY}")]))
    objects = [
        IndexNode(text="a node", index_id="a", id_="a", obj=TextNode(text=f"behind {CANARY}", id_="hidden")),
        IndexNode(text="a good node", index_id="b", id_="b", obj=TextNode(text="behind", id_="behind")),
        IndexNode(text="a retriever", index_id="c", id_="c", obj=Shelf(nodes())),
        IndexNode(text="an engine", index_id="d", id_="d", obj=engine),
        IndexNode(text=CANARY, index_id="e", id_="e"),
    ]
    judge = guard()
    found = await lane(guard_retriever(Shelf(objects), judge), "retrieve", "q")
    assert ids(found) == ["1", "3", "behind"]
    assert len(judge.calls) == 1
    assert f"inside {CANARY}" in str(judge.calls)


async def test_retrievers_inside_of_others_are_guarded_at_either_place(lane: Lane) -> None:
    settings: dict[str, Any] = {"num_queries": 1, "similarity_top_k": 9, "llm": MockLLM(), "use_async": False}
    inner = [vector_index().as_retriever(similarity_top_k=9), Shelf(nodes())]
    outside = guard_retriever(QueryFusionRetriever(list(inner), **settings), guard())
    assert ids(await lane(outside, "retrieve", "q")) == ["1", "3"]
    inside = QueryFusionRetriever([guard_retriever(one, guard()) for one in inner], **settings)
    assert ids(await lane(inside, "retrieve", "q")) == ["1", "3"]
    root = Shelf([IndexNode(text="to the leaf", index_id="leaf", id_="root")])
    recursive = RecursiveRetriever("root", retriever_dict={"root": root, "leaf": guard_retriever(inner[1], guard())})
    assert ids(await lane(recursive, "retrieve", "q")) == ["1", "3"]


async def test_its_settings_are_those_of_the_postprocessor(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    small, large = (vector_index().as_retriever(similarity_top_k=size) for size in (2, 9))
    found = await lane(guard_retriever(small, guard(), refill=large, annotate=True), "retrieve", "q")
    assert ids(found) == ["1", "3"]
    assert {node.metadata["qwen3guard"]["action"] for node in found} == {"allow"}
    found = await lane(guard_retriever(Shelf(nodes()), guard(), {"unsafe": "redact"}), "retrieve", "q")
    assert [node.text for node in found][1] == "[removed: Unsafe]"
    with pytest.raises(BlockedError):
        await lane(guard_retriever(small, guard(), on_block="raise"), "retrieve", "q")
    caplog.set_level(logging.WARNING)
    assert not await lane(guard_retriever(Shelf(nodes()[1:2]), guard()), "retrieve", "q")
    assert "none of 1 nodes may pass" in caplog.text


async def test_a_node_is_judged_with_the_query(lane: Lane) -> None:
    judge = guard()
    await lane(guard_retriever(Shelf(nodes()[:1]), judge, with_query=True), "retrieve", "what?")
    assert [turn.content for turn in judge.calls[0][0].turns] == ["what?", "the one"]


async def test_two_guards_both_judge(lane: Lane) -> None:
    first, second = guard(), FakeGuard({"three": "Unsafe"})
    twice = guard_retriever(guard_retriever(AsyncShelf(nodes()), first), second)
    assert ids(await lane(twice, "retrieve", "q")) == ["1"]
    assert [conversation.judged.content for conversation in second.calls[0]] == ["the one", "the three"]


async def test_a_dead_guard_lets_no_node_through(lane: Lane) -> None:
    with listening() as (events, spans), pytest.raises(GuardUnavailableError):
        await lane(guard_retriever(Shelf(nodes()), guard(error=GuardUnavailableError("down"))), "retrieve", "q")
    assert CANARY not in repr((events, spans))


@pytest.mark.parametrize("kind", [Shelf, AsyncShelf, Roundabout])
async def test_the_loop_goes_on_while_the_guard_thinks(kind: Any) -> None:
    task = asyncio.create_task(guard_retriever(kind(nodes()), guard(delay=0.2)).aretrieve("q"))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 5


@pytest.mark.parametrize("streaming", [False, True])
async def test_query_engines_over_it_are_clean(lane: Lane, streaming: bool) -> None:
    guarded = guard_retriever(vector_index().as_retriever(similarity_top_k=9), guard())
    with listening() as (events, spans):
        response = await lane(RetrieverQueryEngine.from_args(guarded, streaming=streaming), "query", "what?")
        generator: Any = response.response_gen if streaming else [str(response)]
        tokens = [token async for token in generator] if hasattr(generator, "__aiter__") else list(generator)
    assert "the three" in "".join(tokens)
    assert CANARY not in "".join(tokens)
    assert CANARY not in repr([vars(event) for event in events])
    assert CANARY not in repr(spans)


class Own(Shelf):
    """Has a way that nothing leads through."""

    def retrieve(self, str_or_query_bundle: Any) -> list[NodeWithScore]:
        return self.found


def test_what_cannot_be_guarded_is_refused() -> None:
    with pytest.raises(GuardConfigurationError, match="takes a retriever"):
        guard_retriever(vector_index(), guard())  # type: ignore[type-var]
    with pytest.raises(GuardConfigurationError, match="Own has a method retrieve of its own"):
        guard_retriever(Own(nodes()), guard())
    with pytest.raises(ValidationError, match="on_block"):
        guard_retriever(Shelf(nodes()), guard(), on_block="ignore")


def test_the_copy_shares_the_index() -> None:
    retriever = vector_index().as_retriever()
    guarded = guard_retriever(retriever, guard())
    assert isinstance(guarded, VectorIndexRetriever)
    assert guarded._index is retriever._index  # type: ignore[attr-defined]
    assert type(retriever) is VectorIndexRetriever
