"""`Qwen3GuardQueryEngine`: question, nodes, answer and sources of real engines, on both lanes, streamed or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.query.query_transform.base import IdentityQueryTransform
from llama_index.core.query_engine import CustomQueryEngine, RouterQueryEngine, TransformQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import EmbeddingSingleSelector
from llama_index.core.tools import QueryEngineTool

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardError, GuardUnavailableError
from qwen3guard_integrations.llama_index import Qwen3GuardQueryEngine, guard_llm

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, fake_guard, token_guard, words_llm

GUARDS = pytest.mark.parametrize("make_guard", [fake_guard, token_guard], ids=["windowed", "token"])
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
EMBEDDING = MockEmbedding(embed_dim=8)
SAFE = ("Bread ", "and ", "jam.")
WORDS = ("one ", "two ", f"a {CANARY} ", "four ", *["more "] * 40)


def index_of(*texts: str) -> VectorStoreIndex:
    nodes = [TextNode(id_=f"n{n}", text=text, metadata={"page": str(n)}) for n, text in enumerate(texts)]
    return VectorStoreIndex(nodes, embed_model=EMBEDDING)


def engine_of(llm: Any, *texts: str, **settings: Any) -> BaseQueryEngine:
    return index_of(*(texts or ("bread",))).as_query_engine(llm=llm, similarity_top_k=4, **settings)


async def text_of(response: Any) -> str:
    if isinstance(response, AsyncStreamingResponse):
        return "".join([token async for token in response.async_response_gen()])
    return "".join(response.response_gen) if isinstance(response, StreamingResponse) else str(response)


@GUARDS
@STREAMING
async def test_a_clean_answer_is_the_same(make_guard: Any, streaming: bool, lane: Lane) -> None:
    bare = await lane(engine_of(words_llm(*SAFE), "bread", "jam", streaming=streaming), "query", "hi")
    engine = engine_of(words_llm(*SAFE), "bread", "jam", streaming=streaming)
    guarded = await lane(Qwen3GuardQueryEngine(engine, make_guard()), "query", "hi")
    assert type(guarded) is type(bare)
    assert guarded.metadata == bare.metadata
    assert [(node.node_id, node.score) for node in guarded.source_nodes] == [
        (node.node_id, node.score) for node in bare.source_nodes
    ]
    assert await text_of(guarded) == await text_of(bare) == "Bread and jam."


@STREAMING
async def test_a_blocked_question_retrieves_nothing(streaming: bool, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    engine = engine_of(llm, streaming=streaming)
    response = await lane(Qwen3GuardQueryEngine(engine, fake_guard()), "query", f"a {CANARY}")
    assert await text_of(response) == REFUSAL
    assert hasattr(response, "response_gen") is streaming, "callers of a streaming engine get a stream"
    assert response.metadata["qwen3guard"]["point"] == "prompt"
    assert (llm.asked, response.source_nodes) == ([], [])


@STREAMING
async def test_unsafe_nodes_reach_no_prompt_and_no_source(streaming: bool, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    engine = engine_of(llm, "bread", f"a {CANARY}", "jam", streaming=streaming)
    response = await lane(Qwen3GuardQueryEngine(engine, fake_guard()), "query", "hi")
    assert await text_of(response) == "Bread and jam."
    assert {node.node_id for node in response.source_nodes} == {"n0", "n2"}
    assert CANARY not in repr((llm.asked, response))


@GUARDS
@STREAMING
async def test_an_unsafe_answer_is_refused(make_guard: Any, streaming: bool, lane: Lane) -> None:
    llm = words_llm(*WORDS)
    response = await lane(Qwen3GuardQueryEngine(engine_of(llm, streaming=streaming), make_guard()), "query", "hi")
    text = await text_of(response)
    assert CANARY not in text
    assert text.endswith(REFUSAL)
    assert [node.node_id for node in response.source_nodes] == ["n0"]
    if not streaming:
        assert response.metadata["qwen3guard"]["point"] == "response"
    elif make_guard is token_guard:
        assert len(llm.pulled) < len(WORDS) / 2, "the model is stopped"
        await asyncio.sleep(0.01)  # LlamaIndex leaves the closing of its own generators to the event loop
        assert llm.closed == [True]


@STREAMING
async def test_blocks_can_be_raised(streaming: bool, lane: Lane) -> None:
    for question, words in ((f"a {CANARY}", SAFE), ("hi", WORDS)):
        engine = Qwen3GuardQueryEngine(
            engine_of(words_llm(*words), streaming=streaming), token_guard(), on_block="raise"
        )
        with pytest.raises(BlockedError):
            await text_of(await lane(engine, "query", question))


@STREAMING
async def test_a_dead_guard_lets_nothing_through(streaming: bool, lane: Lane) -> None:
    engine = Qwen3GuardQueryEngine(
        engine_of(words_llm(*SAFE), streaming=streaming), token_guard(error=GuardUnavailableError("down"))
    )
    with pytest.raises(GuardError):
        await text_of(await lane(engine, "query", "hi"))


async def test_a_redacted_question_goes_on_without_it(lane: Lane) -> None:
    llm = words_llm(*SAFE)
    policy = {"points": {"prompt": "redact"}, "redaction": "[gone]"}
    response = await lane(Qwen3GuardQueryEngine(engine_of(llm), fake_guard(), policy), "query", f"a {CANARY}")
    assert str(response) == "Bread and jam."
    assert CANARY not in repr(llm.asked)
    assert "[gone]" in llm.asked[0]


async def test_engines_inside_are_guarded(lane: Lane) -> None:
    llm = words_llm(*SAFE)
    inner = engine_of(llm, "bread", f"a {CANARY}")
    tools = [QueryEngineTool.from_defaults(inner, name="one", description="one")]
    router = RouterQueryEngine(EmbeddingSingleSelector.from_defaults(embed_model=EMBEDDING), tools, llm=llm)
    for outer in (router, TransformQueryEngine(inner, IdentityQueryTransform())):
        response = await lane(Qwen3GuardQueryEngine(outer, fake_guard()), "query", "hi")
        assert [node.node_id for node in response.source_nodes] == ["n0"]
        assert CANARY not in repr(llm.asked)
    assert not inner._node_postprocessors, "the engine itself stays as it is"  # type: ignore[attr-defined]


async def test_other_postprocessors_ask_no_model_about_unjudged_nodes(lane: Lane) -> None:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

    seen: list[str] = []

    class Rewrites(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            seen.extend(node.text for node in nodes)
            return [*nodes, NodeWithScore(node=TextNode(id_="new", text=f"another {CANARY}"))]

    llm = words_llm(*SAFE)
    engine = engine_of(llm, "bread", f"a {CANARY}", node_postprocessors=[Rewrites()])
    response = await lane(Qwen3GuardQueryEngine(engine, fake_guard()), "query", "hi")
    assert seen == ["bread"]
    assert [node.node_id for node in response.source_nodes] == ["n0"]
    assert CANARY not in repr(llm.asked)


class Leaky(CustomQueryEngine):
    """Answers with sources, and metadata, that nobody judged."""

    def custom_query(self, query_str: str) -> Response:
        nodes = [TextNode(id_="good", text="bread"), TextNode(id_="bad", text=f"a {CANARY}")]
        return Response(
            "fine",
            source_nodes=[NodeWithScore(node=node) for node in nodes],
            metadata={node.node_id: {"text": node.text} for node in nodes},
        )


async def test_sources_of_any_engine_are_judged(lane: Lane) -> None:
    response = await lane(Qwen3GuardQueryEngine(Leaky(), fake_guard()), "query", "hi")
    assert str(response) == "fine"
    assert [node.node_id for node in response.source_nodes] == ["good"]
    assert set(response.metadata) == {"good"}
    assert CANARY not in repr(response)


async def test_under_a_tool(lane: Lane) -> None:
    engine = Qwen3GuardQueryEngine(engine_of(words_llm(*WORDS)), fake_guard())
    tool = QueryEngineTool.from_defaults(engine, name="library", description="asks")
    output = await lane(tool, "call", "hi")
    assert output.content == REFUSAL
    assert CANARY not in repr(output)


async def test_retrieving_and_writing_by_themselves(lane: Lane) -> None:
    llm = words_llm(*WORDS)
    engine = Qwen3GuardQueryEngine(engine_of(llm, "bread", f"a {CANARY}"), fake_guard())
    nodes = await lane(engine, "retrieve", QueryBundle("hi"))
    assert [node.node_id for node in nodes] == ["n0"]
    bad = NodeWithScore(node=TextNode(text=f"a {CANARY}"))
    assert str(await lane(engine, "synthesize", QueryBundle("hi"), [*nodes, bad])) == REFUSAL
    assert CANARY not in repr(llm.asked)


async def test_each_text_is_paid_once(lane: Lane) -> None:
    judge = fake_guard()
    await lane(Qwen3GuardQueryEngine(engine_of(words_llm(*SAFE), "bread", "jam"), judge), "query", "hi")
    assert [len(call) for call in judge.calls] == [1, 2, 1], "the question, all nodes at once, the answer"


async def test_a_guarded_llm_inside_keeps_the_traces_clean(lane: Lane) -> None:
    from .helpers import listening

    judge = fake_guard()
    engine = Qwen3GuardQueryEngine(engine_of(guard_llm(words_llm(*WORDS), judge)), judge)
    with listening() as (events, spans):
        assert str(await lane(engine, "query", "hi")) == REFUSAL
    assert CANARY not in repr((events, spans))


def test_wrong_settings_are_named() -> None:
    wrong: Any = "engine"
    with pytest.raises(GuardConfigurationError, match="takes a query engine, not str"):
        Qwen3GuardQueryEngine(wrong, fake_guard())
    wrong = "explode"
    with pytest.raises(GuardConfigurationError, match="on_block='explode'"):
        Qwen3GuardQueryEngine(engine_of(words_llm()), fake_guard(), on_block=wrong)
