"""Engines behind retrievers, in graphs and among retrieved tools, and LLMs that choose nodes: none reads what may not
pass."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core import ComposableGraph, SummaryIndex, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine import CondenseQuestionChatEngine, ContextChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.objects import ObjectIndex, ObjectRetriever
from llama_index.core.query_engine import (
    RetrieverQueryEngine,
    RetrieverRouterQueryEngine,
    SubQuestionQueryEngine,
    ToolRetrieverRouterQueryEngine,
)
from llama_index.core.response_synthesizers import TreeSummarize
from llama_index.core.retrievers import QueryFusionRetriever, RecursiveRetriever
from llama_index.core.schema import IndexNode, QueryBundle, TextNode
from llama_index.core.tools import QueryEngineTool

from qwen3guard_integrations import BlockedError
from qwen3guard_integrations.llama_index import Qwen3GuardChatEngine, Qwen3GuardQueryEngine
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, chat_llm, fake_guard, says
from .test_query_engine import EMBEDDING, sub_questions
from .test_retrievers import Shelf


def nodes() -> list[TextNode]:
    return [TextNode(id_="good", text="bread"), TextNode(id_="bad", text=f"a {CANARY}")]


def engine(llm: Any) -> BaseQueryEngine:
    return VectorStoreIndex(nodes(), embed_model=EMBEDDING).as_query_engine(llm=llm, similarity_top_k=2)


def over(retriever: Any, llm: Any) -> BaseQueryEngine:
    return RetrieverQueryEngine.from_args(retriever, llm=llm)


def object_map(llm: Any) -> BaseQueryEngine:
    objects = [IndexNode(text="more", index_id="x", obj=engine(llm))]
    return VectorStoreIndex([], objects=objects, embed_model=EMBEDDING).as_query_engine(llm=llm)


def objects_of_nodes(llm: Any) -> BaseQueryEngine:
    return over(Shelf([IndexNode(text="more", index_id="x", obj=engine(llm))]), llm)


def retriever_in_retriever(llm: Any) -> BaseQueryEngine:
    inner = Shelf([IndexNode(text="more", index_id="x", obj=engine(llm))])
    return over(Shelf([IndexNode(text="most", index_id="y", obj=inner)]), llm)


def recursive(llm: Any) -> BaseQueryEngine:
    root = Shelf([IndexNode(text="more", index_id="x")])
    return over(RecursiveRetriever("root", {"root": root}, {"x": engine(llm)}), llm)


def fusion(llm: Any) -> BaseQueryEngine:
    inner = Shelf([IndexNode(text="more", index_id="x", obj=engine(llm))])
    return over(QueryFusionRetriever([inner], llm=llm, num_queries=1, use_async=False), llm)


def graph(llm: Any, **settings: Any) -> BaseQueryEngine:
    made = ComposableGraph.from_indices(SummaryIndex, [SummaryIndex(nodes())], index_summaries=["more"])
    return made.as_query_engine(llm=llm, **settings)


def graph_with_an_engine(llm: Any) -> BaseQueryEngine:
    child = SummaryIndex(nodes())
    made = ComposableGraph.from_indices(SummaryIndex, [child], index_summaries=["more"])
    return made.as_query_engine(llm=llm, custom_query_engines={child.index_id: child.as_query_engine(llm=llm)})


def tools(llm: Any, *names: str) -> list[QueryEngineTool]:
    return [QueryEngineTool.from_defaults(engine(llm), name=name, description=name) for name in names]


def retrieved_tools(llm: Any, kind: type[ObjectRetriever[Any]] = ObjectRetriever) -> BaseQueryEngine:
    plain = ObjectIndex.from_objects(tools(llm, "one", "two"), embed_model=EMBEDDING).as_retriever()
    objects = kind(plain.retriever, plain.object_node_mapping)
    return ToolRetrieverRouterQueryEngine(objects, llm=llm, summarizer=TreeSummarize(llm=llm))


def awaited_tools(llm: Any) -> BaseQueryEngine:
    class Awaits(ToolRetrieverRouterQueryEngine):
        async def _aquery(self, query_bundle: QueryBundle) -> Any:
            first, *_ = await self._retriever.aretrieve(query_bundle)
            return await first.query_engine.aquery(query_bundle)

    return Awaits(retrieved_tools(llm)._retriever, llm=llm)  # type: ignore[attr-defined]


def tools_made_of_retrieved_ones(llm: Any) -> BaseQueryEngine:
    class Adds(ObjectRetriever[Any]):
        def retrieve(self, str_or_query_bundle: Any) -> list[Any]:
            questions: SubQuestionQueryEngine = sub_questions(engine(llm), llm, "what?")
            return [QueryEngineTool.from_defaults(questions, name="all", description="all")]

    return retrieved_tools(llm, Adds)


def made_of_nodes(llm: Any) -> BaseQueryEngine:
    return RetrieverRouterQueryEngine(Shelf([TextNode(text="one")]), lambda _: engine(llm))


ENGINES = pytest.mark.parametrize(
    "make",
    [
        object_map,
        awaited_tools,
        objects_of_nodes,
        retriever_in_retriever,
        recursive,
        fusion,
        graph,
        graph_with_an_engine,
        retrieved_tools,
        tools_made_of_retrieved_ones,
        made_of_nodes,
    ],
)


@ENGINES
async def test_unsafe_nodes_reach_no_prompt(make: Any, lane: Lane) -> None:
    llm = chat_llm(says("one two"))
    bare = make(llm)
    response = await lane(Qwen3GuardQueryEngine(bare, fake_guard()), "query", "hi")
    assert str(response) == "one two"
    assert "bread" in str(llm.asked)
    assert CANARY not in str((llm.asked, response.source_nodes))
    await lane(bare, "query", "hi")
    assert CANARY in str(llm.asked), "the engine itself stays as it is"


@ENGINES
async def test_what_passes_is_the_same(make: Any, lane: Lane) -> None:
    bare_llm, llm = chat_llm(says("one two")), chat_llm(says("one two"))
    bare = await lane(make(bare_llm), "query", "hi")
    response = await lane(Qwen3GuardQueryEngine(make(llm), FakeGuard()), "query", "hi")
    assert (type(response), str(response)) == (type(bare), str(bare))
    assert len(response.source_nodes) == len(bare.source_nodes)
    assert len(llm.asked) == len(bare_llm.asked)
    assert "bread" in str(llm.asked)


@ENGINES
async def test_an_unsafe_answer_inside_is_shown_to_no_model(make: Any, lane: Lane) -> None:
    llm = chat_llm(says(f"a {CANARY}"), says("one two"))
    response = await lane(Qwen3GuardQueryEngine(make(llm), fake_guard()), "query", "hi")
    assert CANARY not in str((llm.asked, response, response.source_nodes))


async def test_an_engine_that_an_index_gets_later_is_guarded(lane: Lane) -> None:
    llm = chat_llm(says("one two"))
    first = IndexNode(text="first", index_id="first", obj=TextNode(text="jam"))
    index = SummaryIndex([], objects=[first])
    guarded = Qwen3GuardQueryEngine(index.as_query_engine(llm=llm), fake_guard())
    index.insert_nodes([IndexNode(text="more", index_id="x", obj=engine(llm))])
    await lane(guarded, "query", "hi")
    assert "bread" in str(llm.asked)
    assert CANARY not in str(llm.asked)


def choosing(llm: Any, batch: int) -> Any:
    return SummaryIndex(nodes()).as_retriever("llm", llm=llm, choice_batch_size=batch)


async def test_a_model_that_chooses_nodes_is_asked_about_no_unsafe_ones(lane: Lane) -> None:
    for many in (False, True):
        llm = chat_llm(says("Doc: 1, Relevance: 7"), says("one two"))
        retriever = choosing(llm, 1)
        if many:
            retriever = QueryFusionRetriever([retriever], llm=llm, num_queries=1, use_async=False)
        response = await lane(Qwen3GuardQueryEngine(over(retriever, llm), fake_guard()), "query", "hi")
        assert str(response) == "one two"
        assert [node.node_id for node in response.source_nodes] == ["good"]
        assert len(llm.asked) == 2
        assert CANARY not in str(llm.asked)


async def test_where_no_model_may_choose_the_question_is_refused(lane: Lane) -> None:
    llm = chat_llm(says("Doc: 1, Relevance: 7"))
    response = await lane(Qwen3GuardQueryEngine(over(choosing(llm, 10), llm), fake_guard()), "query", "hi")
    assert str(response) == REFUSAL
    assert response.metadata["qwen3guard"]["point"] == "prompt"
    raising = Qwen3GuardQueryEngine(over(choosing(llm, 10), llm), fake_guard(), on_block="raise")
    with pytest.raises(BlockedError):
        await lane(raising, "query", "hi")
    assert llm.asked == []


async def test_models_that_choose_nodes_give_the_same(lane: Lane) -> None:
    llm = chat_llm(says("Doc: 1, Relevance: 7\nDoc: 2, Relevance: 3"), says("one two"))
    response = await lane(Qwen3GuardQueryEngine(over(choosing(llm, 10), llm), FakeGuard()), "query", "hi")
    assert (str(response), [node.score for node in response.source_nodes]) == ("one two", [7.0, 3.0])


async def test_chat_engines_over_such_retrievers(lane: Lane) -> None:
    for answers, made in (
        (["one", "two"], lambda llm: Shelf([IndexNode(text="more", index_id="x", obj=engine(llm))])),
        (["Doc: 1, Relevance: 7", "two"], lambda llm: choosing(llm, 1)),
    ):
        llm = chat_llm(*map(says, answers))
        chat = ContextChatEngine.from_defaults(made(llm), memory=ChatMemoryBuffer.from_defaults(), llm=llm)
        response = await lane(Qwen3GuardChatEngine(chat, fake_guard()), "chat", "hi")
        assert str(response) == "two"
        assert "bread" in str(llm.asked)
        assert CANARY not in str(llm.asked)


@ENGINES
async def test_chat_engines_over_such_engines(make: Any, lane: Lane) -> None:
    llm = chat_llm(says("one two"))
    chat = CondenseQuestionChatEngine.from_defaults(make(llm), memory=ChatMemoryBuffer.from_defaults(), llm=llm)
    response = await lane(Qwen3GuardChatEngine(chat, fake_guard()), "chat", "hi")
    assert str(response) == "one two"
    assert "bread" in str(llm.asked)
    assert CANARY not in str(llm.asked)
