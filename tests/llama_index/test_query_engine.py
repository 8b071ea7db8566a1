"""`Qwen3GuardQueryEngine`: question, nodes, answer and sources of real engines, on both lanes, streamed or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy
from llama_index.core import PromptTemplate, Settings, SQLDatabase, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import CompletionResponse, ToolCallBlock
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.query.query_transform.base import IdentityQueryTransform, StepDecomposeQueryTransform
from llama_index.core.query_engine import (
    CustomQueryEngine,
    MultiStepQueryEngine,
    NLSQLTableQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen.types import BaseQuestionGenerator, SubQuestion
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import EmbeddingSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel, Field

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardError, GuardUnavailableError
from qwen3guard_integrations.llama_index import Qwen3GuardNodePostprocessor, Qwen3GuardQueryEngine, guard_llm
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, WordsLLM, chat_llm, fake_guard, listening, says, token_guard, words_llm

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


@pytest.mark.parametrize("on_block", ["drop", "raise"])
async def test_a_postprocessor_of_its_own_judges_first(on_block: Any, lane: Lane) -> None:
    index, judge = index_of("bread", f"a {CANARY}", "jam", "cake"), fake_guard()
    own = Qwen3GuardNodePostprocessor(guard=judge, on_block=on_block, refill=index.as_retriever(similarity_top_k=4))
    llm = words_llm(*SAFE)
    engine = Qwen3GuardQueryEngine(index.as_query_engine(llm=llm, similarity_top_k=3, node_postprocessors=[own]), judge)
    if on_block == "raise":
        with pytest.raises(BlockedError):
            await lane(engine, "query", "hi")
        return
    response = await lane(engine, "query", "hi")
    assert {node.node_id for node in response.source_nodes} == {"n0", "n2", "n3"}
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
    assert response.metadata["qwen3guard"]["point"] == "response", "of a stream, when it has ended"
    assert response.metadata["n0"] == {"page": "0"}
    if streaming and make_guard is token_guard:
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


class Embeds(MockEmbedding):
    """Remembers what it was asked to embed."""

    embedded: list[str] = Field(default_factory=list)

    def get_agg_embedding_from_queries(self, queries: list[str], agg_fn: Any = None) -> list[float]:
        self.embedded += queries
        return [1.0] * 8

    async def aget_agg_embedding_from_queries(self, queries: list[str], agg_fn: Any = None) -> list[float]:
        return self.get_agg_embedding_from_queries(queries)


@pytest.mark.parametrize(
    ("policy", "strings", "embedded", "answer"),
    [
        (None, ["bread?", "how bread is made"], ["bread?", "how bread is made"], "Bread and jam."),
        (None, ["bread?", f"a {CANARY}"], [], REFUSAL),
        ({"points": {"prompt": "redact"}}, ["bread?", f"a {CANARY}"], ["[removed: Unsafe]"], "Bread and jam."),
    ],
)
async def test_strings_to_embed_are_judged_with_the_question(
    policy: Any, strings: list[str], embedded: list[str], answer: str, lane: Lane
) -> None:
    embeds, judge = Embeds(embed_dim=8), fake_guard()
    index = VectorStoreIndex([TextNode(text="bread")], embed_model=embeds)
    engine = Qwen3GuardQueryEngine(index.as_query_engine(llm=words_llm(*SAFE)), judge, policy)
    response = await lane(engine, "query", QueryBundle("bread?", custom_embedding_strs=strings))
    assert str(response) == answer
    assert embeds.embedded == embedded
    assert len(judge.calls[0]) == 1


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


@STREAMING
async def test_traces_have_nothing_of_an_unsafe_answer(streaming: bool, lane: Lane) -> None:
    for llm in (words_llm(*WORDS), guard_llm(words_llm(*WORDS), fake_guard())):
        engine = Qwen3GuardQueryEngine(engine_of(llm, streaming=streaming), fake_guard())
        with listening() as (events, spans):
            assert (await text_of(await lane(engine, "query", "hi"))).endswith(REFUSAL)
        assert CANARY not in repr((events, spans))


@STREAMING
async def test_an_answer_is_reported_once(streaming: bool, lane: Lane) -> None:
    for words, action in ((SAFE, "allow"), (WORDS, "block")):
        engine = Qwen3GuardQueryEngine(engine_of(words_llm(*words), streaming=streaming), token_guard())
        with listening() as (events, _):
            await text_of(await lane(engine, "query", "hi"))
        told: list[Any] = [event for event in events if event.class_name() == "Qwen3GuardVerdictEvent"]
        answers = [event.action for event in told if event.point == "response"]
        assert answers[-1] == action
        assert answers.count("block") <= 1
        if not streaming:
            assert answers == [action]


# --- what goes round inside of engines ---


@pytest.mark.parametrize("mode", ["refine", "compact", "tree_summarize", "simple_summarize", "context_only", "no_text"])
@STREAMING
async def test_every_response_mode(mode: str, streaming: bool, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_llm", words_llm())  # some modes need none, and take one all the same
    settings: dict[str, Any] = {"response_mode": ResponseMode(mode), "streaming": streaming}
    bare = await lane(engine_of(words_llm(*SAFE), "bread", "jam", **settings), "query", "hi")
    llm = words_llm(*SAFE)
    engine = Qwen3GuardQueryEngine(engine_of(llm, "bread", "jam", f"a {CANARY}", **settings), token_guard())
    response = await lane(engine, "query", "hi")
    assert await text_of(response) == await text_of(bare)
    assert CANARY not in repr((llm.asked, response.source_nodes, response.metadata))


@STREAMING
async def test_an_unsafe_draft_is_shown_to_no_model(streaming: bool, lane: Lane) -> None:
    llm = words_llm(*WORDS)
    engine = engine_of(llm, "bread", "jam", "tea", response_mode=ResponseMode.REFINE, streaming=streaming)
    response = await lane(Qwen3GuardQueryEngine(engine, token_guard()), "query", "hi")
    assert CANARY not in await text_of(response)
    assert len(llm.asked) == 3
    assert CANARY not in repr(llm.asked)
    assert REFUSAL in llm.asked[1]


class Questions(BaseQuestionGenerator):
    """Asks what it is told to ask."""

    def __init__(self, *questions: str) -> None:
        self.questions = questions

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...

    def generate(self, tools: Any, query: Any) -> list[SubQuestion]:
        return [SubQuestion(sub_question=question, tool_name="one") for question in self.questions]

    async def agenerate(self, tools: Any, query: Any) -> list[SubQuestion]:
        return self.generate(tools, query)


def sub_questions(inner: Any, outer: Any, *questions: str, use_async: bool = False) -> SubQuestionQueryEngine:
    return SubQuestionQueryEngine.from_defaults(
        [QueryEngineTool.from_defaults(inner, name="one", description="one")],
        llm=outer,
        question_gen=Questions(*questions),
        response_synthesizer=get_response_synthesizer(llm=outer),
        use_async=use_async,
        verbose=False,
    )


@pytest.mark.parametrize("use_async", [False, True])
async def test_sub_questions_and_what_is_answered_to_them(use_async: bool, lane: Lane) -> None:
    for words, question in ((WORDS, "what?"), (SAFE, f"a {CANARY}?")):
        inner_llm, outer_llm = words_llm(*words), words_llm(*SAFE)
        inner = engine_of(inner_llm, "bread", f"a {CANARY}")
        engine = sub_questions(inner, outer_llm, question, use_async=use_async)
        response = await lane(Qwen3GuardQueryEngine(engine, fake_guard()), "query", "hi")
        assert CANARY not in repr((inner_llm.asked, outer_llm.asked, response, response.source_nodes))
    bare = await lane(sub_questions(engine_of(words_llm(*SAFE)), words_llm(*SAFE), "what?"), "query", "hi")
    safe = sub_questions(engine_of(words_llm(*SAFE)), words_llm(*SAFE), "what?")
    guarded = await lane(Qwen3GuardQueryEngine(safe, fake_guard()), "query", "hi")
    assert (str(guarded), [node.text for node in guarded.source_nodes]) == (
        str(bare),
        [node.text for node in bare.source_nodes],
    )


async def test_the_steps_of_a_question_in_several(lane: Lane) -> None:
    inner_llm, outer_llm = words_llm(*WORDS), words_llm(*SAFE)
    engine = MultiStepQueryEngine(
        engine_of(inner_llm, "bread", f"a {CANARY}"),
        StepDecomposeQueryTransform(llm=outer_llm, verbose=False),
        response_synthesizer=get_response_synthesizer(llm=outer_llm),
        num_steps=2,
    )
    response = await lane(Qwen3GuardQueryEngine(engine, fake_guard()), "query", "hi")
    assert CANARY not in repr((inner_llm.asked, outer_llm.asked, response))


@STREAMING
async def test_a_router_passes_streams_on(streaming: bool, lane: Lane) -> None:
    selector = EmbeddingSingleSelector.from_defaults(embed_model=EMBEDDING)
    for words in (SAFE, WORDS):
        judge = token_guard()
        inner = engine_of(words_llm(*words), streaming=streaming)
        tools = [QueryEngineTool.from_defaults(inner, name="one", description="one")]
        router = RouterQueryEngine(selector, tools, llm=words_llm())
        engine = Qwen3GuardQueryEngine(router, judge)
        text = await text_of(await lane(engine, "query", "hi"))
        assert CANARY not in text
        assert text.endswith("Bread and jam." if words is SAFE else REFUSAL)
        refused = await lane(engine, "query", f"a {CANARY}")
        assert hasattr(refused, "response_gen") is streaming


async def test_rows_of_a_database_reach_no_prompt(lane: Lane) -> None:
    database = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    with database.begin() as connection:
        connection.execute(sqlalchemy.text("create table t (word text)"))
        connection.execute(sqlalchemy.text(f"insert into t values ('a {CANARY}')"))

    class Writes(WordsLLM):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            self.asked.append(prompt)
            return CompletionResponse(text="select word from t" if len(self.asked) == 1 else "Bread.")

    llm = Writes(words=[], asked=[], pulled=[], closed=[])
    engine = NLSQLTableQueryEngine(SQLDatabase(database), tables=["t"], llm=llm, embed_model=EMBEDDING)
    response = await lane(Qwen3GuardQueryEngine(engine, fake_guard()), "query", "hi")
    assert str(response) == "Bread."
    assert CANARY not in repr((llm.asked, response, response.metadata))
    assert len(llm.asked) == 2


class Album(BaseModel):
    """What an engine gives in place of a text."""

    title: str


@pytest.mark.parametrize("policy", [None, {"points": {"tool_call": "redact"}}, {"points": {"tool_call": "flag"}}])
async def test_structured_answers(policy: Any, lane: Lane) -> None:
    for title in ("bread", f"a {CANARY}"):
        call = ToolCallBlock(tool_call_id="1", tool_name="Album", tool_kwargs={"title": title})
        inner = index_of("bread").as_query_engine(llm=chat_llm(says(call)), output_cls=Album)
        response = await lane(Qwen3GuardQueryEngine(inner, fake_guard(), policy), "query", "hi")
        if title == "bread":
            assert isinstance(response, PydanticResponse)
            assert response.response == Album(title="bread")
        else:
            assert CANARY not in repr(response)
            assert response.metadata["qwen3guard"]["action"] in {"block", "redact"}
    raising = Qwen3GuardQueryEngine(inner, fake_guard(), on_block="raise")
    with pytest.raises(BlockedError):
        await lane(raising, "query", "hi")


async def test_an_error_of_the_engine_stays_its_own(lane: Lane) -> None:
    class Fails(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            raise ValueError("no such shelf")

    with pytest.raises(ValueError, match="no such shelf"):
        await lane(Qwen3GuardQueryEngine(Fails(), fake_guard()), "query", "hi")


# --- engines that speak for themselves ---


class Speaks(CustomQueryEngine):
    """Streams what its LLM says, with words of its own before and after."""

    llm: Any
    before: str = ""
    after: str = ""

    def custom_query(self, query_str: str) -> Any:
        def tokens() -> Any:
            yield from filter(None, [self.before])
            yield from (response.delta for response in self.llm.stream_complete(query_str))
            yield from filter(None, [self.after])

        return StreamingResponse(tokens())

    async def acustom_query(self, query_str: str) -> Any:
        stream = await self.llm.astream_complete(query_str)

        async def tokens() -> Any:
            for word in filter(None, [self.before]):
                yield word
            async for response in stream:
                yield response.delta
            for word in filter(None, [self.after]):
                yield word

        return AsyncStreamingResponse(tokens())


@GUARDS
@pytest.mark.parametrize("after", ["", ", yes", f" a {CANARY}"])
@pytest.mark.parametrize("before", ["", "Well: ", f"a {CANARY} "])
async def test_words_of_the_engine_in_a_stream_are_judged(make_guard: Any, before: str, after: str, lane: Lane) -> None:
    engine = Qwen3GuardQueryEngine(Speaks(llm=words_llm(*SAFE), before=before, after=after), make_guard())
    text = await text_of(await lane(engine, "query", "hi"))
    if CANARY in before + after:
        assert CANARY not in text
        assert text.endswith(REFUSAL)
    else:
        assert text == f"{before}Bread and jam.{after}"


async def test_metadata_beside_that_of_the_sources_is_judged(lane: Lane) -> None:
    class Notes(CustomQueryEngine):
        def custom_query(self, query_str: str) -> Response:
            return Response("fine", metadata={"query": f"select {CANARY} from t", "rows": [1], "model": "x"})

    response = await lane(Qwen3GuardQueryEngine(Notes(), fake_guard()), "query", "hi")
    assert (str(response), response.metadata) == ("fine", {"model": "x"})
    safe = await lane(Qwen3GuardQueryEngine(Notes(), FakeGuard()), "query", "hi")
    assert set(safe.metadata) == {"query", "rows", "model"}


def test_prompts_are_those_of_the_engine() -> None:
    bare = engine_of(words_llm(*SAFE))
    engine = Qwen3GuardQueryEngine(engine_of(words_llm(*SAFE)), fake_guard())
    assert engine.get_prompts().keys() == bare.get_prompts().keys()
    engine.update_prompts({"response_synthesizer:text_qa_template": PromptTemplate("About {query_str}: {context_str}")})
    engine.query("hi")
    llm: Any = engine._engine._response_synthesizer._llm  # type: ignore[attr-defined]
    assert "About hi" in llm.asked[-1]


def test_wrong_settings_are_named() -> None:
    wrong: Any = "engine"
    with pytest.raises(GuardConfigurationError, match="takes a query engine, not str"):
        Qwen3GuardQueryEngine(wrong, fake_guard())
    wrong = "explode"
    with pytest.raises(GuardConfigurationError, match="on_block='explode'"):
        Qwen3GuardQueryEngine(engine_of(words_llm()), fake_guard(), on_block=wrong)
