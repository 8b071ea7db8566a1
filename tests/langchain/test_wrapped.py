"""`wrap`: a chain of which everything that goes in and comes out is screened."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda, RunnablePassthrough
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.graph.message import MessagesState
from langgraph.types import StreamMode
from pydantic import ValidationError

from qwen3guard_integrations import BlockedError, GuardUnavailableError, Point
from qwen3guard_integrations.langchain import GuardedChain

from ..conftest import Lane
from .helpers import BAD, REFUSAL, REMOVED, ChunkModel, Recorder, asked, fake_guard, screen
from .sse_server import serving

PROMPT = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "{question}")])


def graph_of(model: Any) -> Any:
    """A compiled graph with one node, which appends the model's answer."""
    graph: Any = StateGraph(MessagesState)
    graph.add_node("model", lambda state, config: {"messages": [model.invoke(state["messages"], config)]})
    graph.add_edge(START, "model")
    return graph.compile()


async def test_what_passes_is_as_without_the_guard(lane: Lane) -> None:
    answer = AIMessage("with flour", id="7")
    wrapped = screen().wrap(RunnableLambda(lambda _: answer))
    assert await lane(wrapped, "invoke", "bread?") is answer


async def test_a_blocked_question_never_reaches_the_model(lane: Lane) -> None:
    model = ChunkModel.of("fine")
    for on_block in ("raise", "refuse"):
        wrapped = screen(on_block=on_block).wrap(model | StrOutputParser())
        for method in ("invoke", "batch", "stream"):
            value = [BAD] if method == "batch" else BAD
            collect = lane.collect if method == "stream" else lane
            if on_block == "refuse":
                assert await collect(wrapped, method, value) in (REFUSAL, [REFUSAL])
            else:
                with pytest.raises(BlockedError) as error:
                    await collect(wrapped, method, value)
                assert error.value.point is Point.PROMPT
    assert not model.calls


STATE = {"messages": [HumanMessage(BAD)]}


@pytest.mark.parametrize(
    ("bound", "value", "kind"),
    [
        (ChunkModel.of("x"), BAD, AIMessage),
        (PROMPT | ChunkModel.of("x"), {"question": BAD}, AIMessage),
        (ChunkModel.of("x").with_retry(), BAD, AIMessage),
        (ChunkModel.of("x").with_config(tags=["a"]), BAD, AIMessage),
        (ChunkModel.of("x") | StrOutputParser(), BAD, str),
        (RunnableLambda(lambda value: value), BAD, str),
        (ChatPromptTemplate.from_messages([("placeholder", "{messages}")]) | ChunkModel.of("x"), STATE, AIMessage),
        (
            ChatPromptTemplate.from_messages([("placeholder", "{messages}")]) | ChunkModel.of("x") | StrOutputParser(),
            STATE,
            str,
        ),
        (graph_of(ChunkModel.of("x")), STATE, dict),
    ],
)
async def test_a_refused_question_gets_an_answer_of_the_chain_s_kind(
    bound: Any, value: Any, kind: type, lane: Lane
) -> None:
    wrapped = screen(on_block="refuse").wrap(bound)
    for answer in (await lane(wrapped, "invoke", value), *await lane(wrapped, "batch", [value, value])):
        assert isinstance(answer, kind)
        text = answer["messages"][-1].content if isinstance(answer, dict) else getattr(answer, "content", answer)
        assert text == REFUSAL
        assert "bomb" not in repr(answer)


async def test_the_answer_is_judged_with_its_question(lane: Lane) -> None:
    guard = fake_guard()
    wrapped = screen(guard=guard).wrap(PROMPT | FakeListChatModel(responses=["with flour"]) | StrOutputParser())
    await lane(wrapped, "invoke", {"question": "bread?"})
    answer = guard.calls[1][0]
    assert [(turn.role, turn.content) for turn in answer.turns] == [("user", "bread?"), ("assistant", "with flour")]
    assert len(guard.calls) == 2


async def test_a_blocked_answer(lane: Lane) -> None:
    bound = FakeListChatModel(responses=[BAD])
    with pytest.raises(BlockedError) as error:
        await lane(screen().wrap(bound), "invoke", "x")
    assert error.value.point is Point.RESPONSE
    refused = await lane(screen(on_block="refuse").wrap(bound), "invoke", "x")
    assert (refused.content, refused.response_metadata["finish_reason"]) == (REFUSAL, "content_filter")
    assert await lane(screen({"unsafe": "redact"}).wrap(bound | StrOutputParser()), "invoke", "x") == REMOVED


async def test_a_redacted_question_goes_on_redacted(lane: Lane) -> None:
    model, guard = ChunkModel.of("fine"), fake_guard()
    await lane(screen({"unsafe": "redact"}, guard=guard).wrap(model), "invoke", BAD)
    assert model.calls[0][0].content == REMOVED
    assert [turn.content for turn in guard.calls[1][0].turns] == [REMOVED, "fine"]
    with pytest.raises(BlockedError):
        await lane(screen({"unsafe": "drop"}).wrap(model), "invoke", BAD)
    assert len(model.calls) == 1


async def test_a_batch_is_two_guard_calls(lane: Lane) -> None:
    guard = fake_guard()
    bound = RunnableLambda(lambda text: text.upper())
    answers = await lane(screen(guard=guard, on_block="refuse").wrap(bound), "batch", ["a", BAD, *map(str, range(18))])
    assert answers == ["A", REFUSAL, *map(str, range(18))]
    assert [len(call) for call in guard.calls] == [20, 19]


async def test_batch_errors(lane: Lane) -> None:
    calls: list[str] = []

    def bound(text: str) -> str:
        calls.append(text)
        if text == "crash":
            raise ValueError("no")
        return text

    wrapped = screen().wrap(RunnableLambda(bound))
    results = await lane(wrapped, "batch", ["a", BAD, "crash"], return_exceptions=True)
    assert [type(result) for result in results] == [str, BlockedError, ValueError]
    calls.clear()
    with pytest.raises(BlockedError):
        await lane(wrapped, "batch", ["a", BAD])
    assert not calls, "an answer nobody gets was paid for"


async def test_streams_keep_their_chunks(lane: Lane) -> None:
    model, guard = ChunkModel.of("with ", "fl", "our"), fake_guard()
    chunks = await lane.collect(screen(guard=guard).wrap(model | StrOutputParser()), "stream", "bread?")
    assert [chunk for chunk in chunks if chunk] == ["with ", "fl", "our"]
    assert [turn.content for turn in guard.calls[-1][0].turns] == ["bread?", "with flour"]


async def test_a_blocked_stream_stops_the_model(lane: Lane) -> None:
    model = ChunkModel.of("a ", "bomb ", *[f"word{n} " for n in range(2000)])
    assert [chunk.content for chunk in await lane.collect(screen(on_block="refuse").wrap(model), "stream", "x")] == [
        REFUSAL
    ]
    gc.collect()
    assert len(model.pulled) < 100
    assert model.closed


async def test_a_blocked_stream_aborts_the_request(lane: Lane) -> None:
    with serving(["a ", "bomb ", *[f"word{n} " for n in range(2000)]]) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)
        with pytest.raises(BlockedError):
            await lane.collect(screen().wrap(model), "stream", "x")
        assert server.done.wait(5)
        assert server.aborted


async def test_a_guard_that_fails_lets_nothing_through(lane: Lane) -> None:
    model = ChunkModel.of("fine")
    wrapped = screen(guard=fake_guard(error=GuardUnavailableError("down"))).wrap(model)
    with pytest.raises(GuardUnavailableError):
        await lane(wrapped, "invoke", "x")
    with pytest.raises(GuardUnavailableError):
        await lane.collect(wrapped, "stream", "x")
    assert not model.calls


async def test_the_chain_s_own_errors_come_through(lane: Lane) -> None:
    def fail(text: str) -> str:
        raise GuardUnavailableError("the inner guard is down")

    with pytest.raises(GuardUnavailableError, match="inner"):
        await lane(screen({"on_guard_error": "allow"}).wrap(RunnableLambda(fail)), "invoke", "x")


class Arguments(Runnable[Any, Any]):
    """Gives back the keyword arguments and the configuration that it was called with."""

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
        return {"kwargs": kwargs, "tags": config["tags"], "n": config["metadata"]["n"]}


async def test_arguments_and_configuration_reach_the_chain(lane: Lane) -> None:
    recorder = Recorder()
    config: Any = {"callbacks": [recorder], "tags": ["t"], "metadata": {"n": 3}, "run_name": "outer", "run_id": None}
    wrapped = screen().wrap(Arguments())
    expected = {"kwargs": {"stop": ["x"]}, "tags": ["t"], "n": 3}
    assert await lane(wrapped, "invoke", "x", config, stop=["x"]) == expected
    assert await lane(wrapped, "batch", ["x", "y"], config, stop=["x"]) == [expected] * 2
    assert await lane.collect(wrapped, "stream", "x", config, stop=["x"]) == [expected]
    await lane(screen().wrap(FakeListChatModel(responses=["a"])), "invoke", "x", config)
    outer, inner = recorder.of("outer")[-1], recorder.of("FakeListChatModel")[0]
    assert inner.parent_run_id == outer.id
    assert inner.tags == ["t"]


async def test_wrapping_a_graph(lane: Lane) -> None:
    guard = fake_guard()
    wrapped = screen(guard=guard).wrap(graph_of(FakeListChatModel(responses=["with flour"])))
    history = [SystemMessage("be kind"), HumanMessage("hello"), AIMessage("yes?"), HumanMessage("bread?")]
    state = await lane(wrapped, "invoke", {"messages": history})
    assert [message.content for message in state["messages"]] == ["be kind", "hello", "yes?", "bread?", "with flour"]
    assert asked(guard)[:4] == ["be kind", "hello", "yes?", "bread?"]
    assert asked(guard)[4:] == ["with flour"], "what was judged on the way in is not judged again"
    assert [turn.content for turn in guard.calls[1][0].turns] == ["be kind", "hello", "yes?", "bread?", "with flour"]
    refused = await lane(
        screen(on_block="refuse").wrap(graph_of(FakeListChatModel(responses=[BAD]))), "invoke", {"messages": history}
    )
    assert refused["messages"][-1].content == REFUSAL
    assert "bomb" not in repr(refused)


def test_an_answer_in_another_context_is_judged_again() -> None:
    """ "Yes" was judged as the answer to one question; as the answer to another it is another matter."""
    guard = fake_guard()
    wrapped = screen(guard=guard).wrap(graph_of(FakeListChatModel(responses=["Yes"])))
    wrapped.invoke({"messages": [HumanMessage("Rain?"), AIMessage("Yes"), HumanMessage("Shall I jump?")]})
    assert asked(guard) == ["Rain?", "Yes", "Shall I jump?", "Yes"]


@pytest.mark.parametrize("mode", ["values", "updates", "messages", ["messages", "updates"]])
async def test_streams_of_graphs(mode: StreamMode | list[StreamMode], lane: Lane) -> None:
    value = {"messages": [HumanMessage("x")]}
    wrapped = screen().wrap(graph_of(ChunkModel.of("f", "ine")))
    plain = await lane.collect(graph_of(ChunkModel.of("f", "ine")), "stream", value, stream_mode=mode)
    chunks = await lane.collect(wrapped, "stream", value, stream_mode=mode)
    assert [type(chunk) for chunk in chunks] == [type(chunk) for chunk in plain]
    with pytest.raises(BlockedError):
        await lane.collect(screen().wrap(graph_of(ChunkModel.of("bo", "mb"))), "stream", value, stream_mode=mode)


async def test_in_the_middle_of_a_chain(lane: Lane) -> None:
    chain = PROMPT | screen(on_block="refuse").wrap(ChunkModel.of("with ", "flour")) | StrOutputParser()
    assert await lane(chain, "invoke", {"question": "x"}) == "with flour"
    assert "".join(await lane.collect(chain, "stream", {"question": "x"})) == "with flour"
    assert await lane(chain, "invoke", {"question": BAD}) == REFUSAL


async def test_retrieval(lane: Lane) -> None:
    documents = [Document("flour"), Document(BAD)]
    chain = RunnablePassthrough.assign(docs=lambda _: documents) | screen({"points": {"document": "drop"}})
    wrapped = screen().wrap(chain | (lambda state: "".join(d.page_content for d in state["docs"])))
    assert await lane(wrapped, "invoke", {"question": "x"}) == "flour"


def test_nothing_is_changed_by_wrapping() -> None:
    step, chain = screen(), PROMPT | FakeListChatModel(responses=["fine"])
    before = step.model_dump(), chain.model_dump()
    wrapped = step.wrap(chain).with_config(tags=["x"])
    wrapped.invoke({"question": "x"})
    assert (step.model_dump(), chain.model_dump()) == before
    assert wrapped.bound.bound is chain  # type: ignore[attr-defined]
    with pytest.raises(ValidationError):
        GuardedChain(screen=step, bound="chain")


def test_the_graph_and_the_schemas() -> None:
    wrapped = screen().wrap(PROMPT | FakeListChatModel(responses=["x"]))
    names = [node.name for node in wrapped.get_graph().nodes.values()]
    assert names.count("Qwen3GuardRunnable") == 2
    assert "FakeListChatModel" in names
    assert wrapped.get_input_schema().model_json_schema()["required"] == ["question"]
    assert screen().wrap(graph_of(FakeListChatModel(responses=["x"]))).get_graph().draw_mermaid()


async def test_configurable_models_inside(lane: Lane) -> None:
    model = FakeListChatModel(responses=["a"]).configurable_fields(responses=ConfigurableField(id="answers"))
    wrapped = screen().wrap(model)
    assert (await lane(wrapped, "invoke", "x", {"configurable": {"answers": ["b"]}})).content == "b"
    with pytest.raises(BlockedError):
        await lane(wrapped.with_config(configurable={"answers": [BAD]}), "invoke", "x")


async def test_a_cancelled_run_ends_at_once() -> None:
    wrapped = screen(guard=fake_guard(delay=30)).wrap(ChunkModel.of("fine"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wrapped.ainvoke("x"), 0.05)


async def test_messages_and_chunks_come_out_as_they_went_in(lane: Lane) -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    chunks: list[AIMessageChunk] = [
        AIMessageChunk(content="a", id="run-7"),
        AIMessageChunk(content="", id="run-7", usage_metadata=usage, response_metadata={"model_name": "m"}),
    ]
    source: Any = RunnableLambda(lambda _: chunks[0] + chunks[1])
    plain: list[AnyMessage] = await lane.collect(source, "stream", "x")
    assert [chunk.model_dump() for chunk in await lane.collect(screen().wrap(source), "stream", "x")] == [
        chunk.model_dump() for chunk in plain
    ]
