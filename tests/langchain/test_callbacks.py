"""Callback handlers: what they stop, what they can only observe, and that they say so; on LangChain's real paths."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send

from qwen3guard_integrations import (
    Action,
    BlockedError,
    GuardConfigurationError,
    GuardTimeoutError,
    Point,
    Policy,
    Verdict,
)
from qwen3guard_integrations.core import flow
from qwen3guard_integrations.core.gate import Piece
from qwen3guard_integrations.guards.windowed import WindowedStreamGuard
from qwen3guard_integrations.langchain import (
    AsyncQwen3GuardCallbackHandler,
    Qwen3GuardCallbackHandler,
    Qwen3GuardWarning,
)
from qwen3guard_integrations.langchain.callback_runs import AnswerRun, Runs
from qwen3guard_integrations.langchain.chunks import whole
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane
from .helpers import VIOLENT, ChunkModel, Recorder, asked
from .sse_server import serving

pytestmark = pytest.mark.filterwarnings("ignore::Warning", "error::qwen3guard_integrations.langchain.Qwen3GuardWarning")

WORDS = ["a ", "b ", "bomb ", "d ", "e ", "f "]
ALL = "".join(WORDS)
ASKED = [HumanMessage("q")]
STATE: Any = {"messages": ASKED}
EAGER = Policy(debounce=1)
HANDLERS: dict[str, Any] = {"sync": Qwen3GuardCallbackHandler, "async": AsyncQwen3GuardCallbackHandler}


class Reporting(ChunkModel):
    """A model that reports its tokens itself where it can, as ChatOpenAI does."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in super()._stream(messages, stop, None, **kwargs):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in super()._stream(messages, stop, None, **kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class Scripted(ChunkModel):
    """Gives one scripted answer after the other, and takes tools."""

    script: list[AIMessageChunk]

    @classmethod
    def says(cls, *script: AIMessageChunk) -> Scripted:
        return cls(chunks=[], script=list(script), pulled=[], closed=[], calls=[])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.chunks = [self.script[len(self.calls)]]
        return super()._stream(*args, **kwargs)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        self.chunks = [self.script[len(self.calls)]]
        return super()._generate(*args, **kwargs)


# --- the ways of running: what the consumer is given, text by text ---

Way = Callable[[Any, Any], AsyncIterator[str]]


def graph(model: Any) -> Any:
    """A graph with one node, which invokes the model."""

    def node(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def anode(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("n", RunnableLambda(node, anode))
    builder.add_edge(START, "n")
    builder.add_edge("n", END)
    return builder.compile()


def handing_on(model: Any) -> Any:
    """A graph whose node gives its own config to the model."""

    async def anode(state: Any, config: RunnableConfig) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    def node(state: Any, config: RunnableConfig) -> Any:
        return {"messages": [model.invoke(state["messages"], config)]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("n", RunnableLambda(node, anode))
    builder.add_edge(START, "n")
    builder.add_edge("n", END)
    return builder.compile()


def chain(model: Any) -> Any:
    return ChatPromptTemplate([("human", "{q}")]) | model | StrOutputParser()


async def model_stream(model: Any, config: Any) -> AsyncIterator[str]:
    for chunk in model.stream(ASKED, config):
        yield chunk.text


async def model_astream(model: Any, config: Any) -> AsyncIterator[str]:
    async for chunk in model.astream(ASKED, config):
        yield chunk.text


async def chain_stream(model: Any, config: Any) -> AsyncIterator[str]:
    for text in chain(model).stream({"q": "q"}, config):
        yield text


async def chain_astream(model: Any, config: Any) -> AsyncIterator[str]:
    async for text in chain(model).astream({"q": "q"}, config):
        yield text


async def model_events_v2(model: Any, config: Any) -> AsyncIterator[str]:
    async for event in model.astream_events(ASKED, config=config, version="v2"):
        if event["event"] == "on_chat_model_stream":
            yield event["data"]["chunk"].text


async def model_v3(model: Any, config: Any) -> AsyncIterator[str]:
    for text in model.stream_events(ASKED, config, version="v3").text:
        yield text


async def model_av3(model: Any, config: Any) -> AsyncIterator[str]:
    async for text in (await model.astream_events(ASKED, config, version="v3")).text:
        yield text


def messages(app: Any, **settings: Any) -> Way:
    async def way(model: Any, config: Any) -> AsyncIterator[str]:
        for item in app(model).stream(STATE, config, stream_mode="messages", **settings):
            yield (item["data"] if settings else item)[0].text

    return way


def amessages(app: Any, **settings: Any) -> Way:
    async def way(model: Any, config: Any) -> AsyncIterator[str]:
        async for item in app(model).astream(STATE, config, stream_mode="messages", **settings):
            yield (item["data"] if settings else item)[0].text

    return way


async def graph_events_v2(model: Any, config: Any) -> AsyncIterator[str]:
    async for event in graph(model).astream_events(STATE, config=config, version="v2"):
        if event["event"] == "on_chat_model_stream":
            yield event["data"]["chunk"].text


async def graph_v3(model: Any, config: Any) -> AsyncIterator[str]:
    for message in graph(model).stream_events(STATE, config, version="v3").messages:
        for text in message.text:
            yield text


async def graph_av3(model: Any, config: Any) -> AsyncIterator[str]:
    run = await graph(model).astream_events(STATE, config, version="v3")
    async for message in run.messages:
        async for text in message.text:
            yield text


async def invoke(model: Any, config: Any) -> AsyncIterator[str]:
    yield model.invoke(ASKED, config).text


async def ainvoke(model: Any, config: Any) -> AsyncIterator[str]:
    yield (await model.ainvoke(ASKED, config)).text


async def agent_invoke(model: Any, config: Any) -> AsyncIterator[str]:
    yield agent(model).invoke(STATE, config)["messages"][-1].text


async def agent_ainvoke(model: Any, config: Any) -> AsyncIterator[str]:
    yield (await agent(model).ainvoke(STATE, config))["messages"][-1].text


def agent(model: Any) -> Any:
    return create_agent(model, [])


WHOLE: dict[str, Way] = {
    "invoke": invoke,
    "async invoke": ainvoke,
    "agent invoke": agent_invoke,
    "agent async invoke": agent_ainvoke,
}
STREAMED: dict[str, Way] = {
    "stream": model_stream,
    "async stream": model_astream,
    "chain stream": chain_stream,
    "chain async stream": chain_astream,
    "events v2 async": model_events_v2,
    "agent messages": messages(agent),
    "agent messages v2": messages(agent, version="v2"),
    "agent async messages": amessages(agent),
    "graph messages": messages(graph),
    "graph async messages": amessages(graph),
    "graph events v2 async": graph_events_v2,
    "graph v3": graph_v3,
    "graph async v3": graph_av3,
    "model v3": model_v3,
    "model async v3": model_av3,
}


async def delivered(way: Way, model: Any, *handlers: Any) -> tuple[str, bool]:
    """What the consumer got, and whether the run was ended by a block."""
    got: list[str] = []
    try:
        async for text in way(model, {"callbacks": list(handlers)}):
            got.append(text)  # noqa: PERF401  # what came before the error counts
    except BlockedError:
        return "".join(got), True
    return "".join(got), False


async def soon(condition: Callable[[], bool]) -> bool:
    """Whether it holds: the task that reads a model for version 3 ends a little later than its consumer."""
    for _ in range(100):
        if not condition():
            await asyncio.sleep(0.01)
    return condition()


def token_guard() -> FakeStreamGuard:
    return FakeStreamGuard({"bomb": VIOLENT})


def window_guard() -> WindowedStreamGuard:
    """Its windows of the answer: "a b ", then "bomb d e ", then the rest."""
    return WindowedStreamGuard(
        FakeGuard({"bomb": VIOLENT}), {"first_tokens": 1, "most_tokens": 2, "sentence_tokens": 9}
    )


GUARDS: dict[str, Any] = {"tokens": (token_guard, "a b "), "windows": (window_guard, "a b bomb d ")}


# --- the table ---


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", [ChunkModel, Reporting])
@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("handler", HANDLERS)
async def test_what_of_a_stream_is_delivered(handler: str, way: str, kind: Any, guard: str) -> None:
    make, before = GUARDS[guard]
    made = make()
    watching = HANDLERS[handler](made, EAGER)
    model = kind.of(*WORDS)
    late = "model" in way and "v3" in way and kind is ChunkModel
    unheard = handler == "async" and "async" not in way
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Qwen3GuardWarning)
        got, blocked = await delivered(STREAMED[way], model, watching)
    if unheard:
        assert (got, blocked) == (ALL, False)
        # The decision is there all the same.
        assert any(not decision.passes for _, decision in watching.decisions)
    else:
        stopper = WORDS[len(before.split())]
        assert (got, blocked) == (before + (stopper if late else ""), True)
        assert len(model.pulled) < len(WORDS)
    said = [str(one.message) for one in caught if isinstance(one.message, Qwen3GuardWarning)]
    assert ["synchronous run" in words for words in said if "synchronous run" in words] == [True] * unheard
    assert ["do not report" in words or "not report" in words for words in said if "not report" in words] == [
        True
    ] * late
    assert len(said) == unheard + late
    if guard == "tokens":
        assert await soon(lambda: made.open_sessions == 0)
        assert len(watching._screen.runs) == 0


@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_whole_answer_is_judged_before_anybody_gets_it(handler: str, way: str) -> None:
    guard = token_guard()
    watching = HANDLERS[handler](guard, EAGER)
    if handler == "async" and "async" not in way:
        with pytest.warns(Qwen3GuardWarning, match="only observes"):
            assert await delivered(WHOLE[way], ChunkModel.of(*WORDS), watching) == (ALL, False)
    else:
        assert await delivered(WHOLE[way], ChunkModel.of(*WORDS), watching) == ("", True)
    assert [str(decision.point) for _, decision in watching.decisions if not decision.passes] == ["response"]
    assert guard.open_sessions == 0
    assert not guard.asked, "no session for an answer that is not streamed"


@pytest.mark.parametrize("way", [*STREAMED, *WHOLE])
@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", [ChunkModel, Reporting])
async def test_a_good_answer_is_left_alone_and_judged_once(way: str, guard: str, kind: Any) -> None:
    made = GUARDS[guard][0]()
    watching = Qwen3GuardCallbackHandler(made, EAGER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = await delivered((STREAMED | WHOLE)[way], kind.of("fine ", "and ", "good. "), watching)
    assert got == ("fine and good. ", False)
    assert await soon(lambda: len(watching.decisions) == 2)
    assert [decision.point for _, decision in watching.decisions] == [Point.PROMPT, Point.RESPONSE]
    if guard == "tokens":
        assert "".join(piece.text for pieces in made.asked for piece in pieces) in {"fine and good. ", ""}


@pytest.mark.parametrize("way", [*STREAMED, *WHOLE])
async def test_thinking_in_the_text_is_judged_once_at_its_point(way: str) -> None:
    watching = Qwen3GuardCallbackHandler(token_guard(), {"points": {"reasoning": "flag"}, "debounce": 1})
    model = ChunkModel.of("<think>", "A bomb? ", "</think>\n\n", "No, ", "bread.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = await delivered((STREAMED | WHOLE)[way], model, watching)
    assert got == ("<think>A bomb? </think>\n\nNo, bread.", False)
    assert await soon(lambda: len(watching.decisions) == 3)
    told = [(decision.point, str(decision.action)) for _, decision in watching.decisions]
    assert told[0] == (Point.PROMPT, "allow")
    assert sorted(told[1:]) == [(Point.REASONING, "flag"), (Point.RESPONSE, "allow")]


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("guard", GUARDS)
async def test_openai_over_http(way: str, guard: str) -> None:
    make, before = GUARDS[guard]
    with serving(WORDS * 20, pause=0.005) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)
        handler = HANDLERS["async" if "async" in way else "sync"](make(), EAGER)
        assert await delivered(STREAMED[way], model, handler) == (before, True)
        assert await asyncio.to_thread(server.done.wait, 10)
        assert server.aborted
        assert server.sent < len(WORDS) * 20


# --- what has left before the stop ---


async def test_debounce_lets_the_first_token_go(lane: Lane) -> None:
    """Two tokens have to agree, and a handler cannot hold the first one back."""
    way = STREAMED["async stream" if lane.is_async else "stream"]
    words = ["a", " bomb", " d", " e"]
    handler = HANDLERS[lane.name]
    assert await delivered(way, ChunkModel.of(*words), handler(token_guard())) == ("a bomb", True)
    assert await delivered(way, ChunkModel.of(*words), handler(token_guard(), EAGER)) == ("a", True)


async def test_harm_at_the_end_is_found_at_the_end(lane: Lane) -> None:
    way = STREAMED["async stream" if lane.is_async else "stream"]
    got = await delivered(way, ChunkModel.of("a ", "b ", "bo", "mb"), HANDLERS[lane.name](window_guard()))
    assert got == ("a b bomb", True), "delivered, as documented; but the run fails"


@pytest.mark.parametrize("way", STREAMED)
async def test_harm_in_the_last_window_and_in_tool_calls_ends_every_run(way: str) -> None:
    """Readers of a model's own events may not see an error of `on_llm_end`: there each block is judged before."""
    for chunks in (["a ", "b ", "bo", "mb"], [calls("search", "bomb")]):
        for kind in (ChunkModel, Reporting):
            guard = FakeGuard({"bomb": VIOLENT})
            handler = HANDLERS["async" if "async" in way else "sync"](guard)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert (await delivered(STREAMED[way], kind.of(*chunks), handler))[1]
            assert sum("bomb" in text for text in asked(guard)) == 1


async def test_what_only_the_end_shows_in_events_of_a_model_is_warned_of() -> None:
    """Two tokens have to agree, and the second one is the end of the answer."""
    handler = AsyncQwen3GuardCallbackHandler(token_guard())
    with pytest.warns(Qwen3GuardWarning, match="only when it was complete"):  # noqa: PT031
        assert await delivered(model_av3, Reporting.of("a", " bomb"), handler) == ("a bomb", False)
        assert await soon(lambda: bool(handler._screen._warned))
    assert [str(decision.action) for _, decision in handler.decisions] == ["allow", "block"]


@pytest.mark.parametrize("way", ["model v3", "model async v3", "graph v3", "invoke", "stream"])
async def test_a_tool_call_is_judged_once(way: str) -> None:
    guard = token_guard()
    handler = Qwen3GuardCallbackHandler(guard)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await delivered((STREAMED | WHOLE)[way], ChunkModel.of("fine", calls("search", "bread")), handler)
    assert await soon(lambda: len(handler.decisions) == 3)
    assert sum("bread" in text for text in asked(guard)) == 1


@pytest.mark.parametrize("way", ["agent messages", "agent async messages"])
@pytest.mark.parametrize("how", ["callbacks", "with_config"])
async def test_attached_at_the_model_it_warns(way: str, how: str) -> None:
    handler = HANDLERS["async" if "async" in way else "sync"](token_guard(), EAGER)
    if how == "callbacks":
        model: Any = ChunkModel.of(*WORDS, callbacks=[handler])
        app = agent
    else:
        model = ChunkModel.of(*WORDS).with_config(callbacks=[handler])
        app = handing_on
    run = (amessages if "async" in way else messages)(app)
    with pytest.warns(Qwen3GuardWarning, match="attached at the model itself"):
        assert await delivered(run, model) == ("a b bomb ", True), "delivered, as documented"


@pytest.mark.parametrize("where", ["config", "with_config"])
async def test_attached_at_the_agent_it_does_not_warn(where: str, lane: Lane) -> None:
    handler = HANDLERS[lane.name](token_guard(), EAGER)
    app = agent(ChunkModel.of("fine"))
    if where == "with_config":
        await lane(app.with_config(callbacks=[handler]), "invoke", STATE)
    else:
        await lane(app, "invoke", STATE, {"callbacks": [handler]})
    assert len(handler.decisions) == 2


# --- prompts, tools, documents, completion models ---


async def test_a_blocked_prompt_never_reaches_the_model(lane: Lane) -> None:
    model, guard = ChunkModel.of("fine"), token_guard()
    handler = HANDLERS[lane.name](guard)
    for method, call in (("invoke", lane), ("stream", lane.collect)):
        with pytest.raises(BlockedError) as error:
            await call(model, method, [("system", "s"), ("user", "a bomb")], {"callbacks": [handler]})
        assert error.value.point is Point.PROMPT
    assert not model.calls
    assert len(handler._screen.runs) == 0


async def test_the_answer_is_judged_with_its_question(lane: Lane) -> None:
    def verdict(conversation: Any) -> Verdict:
        return VIOLENT if len(conversation.turns) > 1 else Verdict(severity="Safe")

    handler = HANDLERS[lane.name](FakeStreamGuard(verdict), EAGER)
    with pytest.raises(BlockedError) as error:
        await lane.collect(ChunkModel.of("yes"), "stream", "q", {"callbacks": [handler]})
    assert error.value.point is Point.RESPONSE


RAN: list[str] = []


@tool
def search(q: str) -> str:
    """Look something up."""
    RAN.append(q)
    return f"found {q}"


@tool
async def asearch(q: str) -> str:
    """Look something up."""
    RAN.append(q)
    return f"found {q}"


def calls(name: str, q: str) -> AIMessageChunk:
    return AIMessageChunk(
        content="", tool_call_chunks=[{"name": name, "args": f'{{"q": "{q}"}}', "id": "1", "index": 1}]
    )


async def test_a_tool_call_is_stopped_before_the_tool_runs(lane: Lane) -> None:
    RAN.clear()
    for method, call in (("invoke", lane), ("stream", lane.collect)):
        app = create_agent(Scripted.says(calls("search", "bomb"), AIMessageChunk(content="x")), [search])
        with pytest.raises(BlockedError) as error:
            await call(app, method, STATE, {"callbacks": [HANDLERS[lane.name](token_guard())]})
        assert error.value.point is Point.TOOL_CALL
    assert not RAN


@pytest.mark.parametrize("harmful", ["call", "output"])
async def test_tools_by_themselves(harmful: str, lane: Lane) -> None:
    RAN.clear()
    what = {"call": {"search": VIOLENT}, "output": {"found": VIOLENT}}[harmful]
    chosen = asearch if lane.is_async else search
    with pytest.raises(BlockedError) as error:
        await lane(chosen, "invoke", {"q": "bread"}, {"callbacks": [HANDLERS[lane.name](FakeGuard(what))]})
    assert error.value.point is (Point.TOOL_CALL if harmful == "call" else Point.TOOL_OUTPUT)
    assert len(RAN) == (harmful == "output")


@pytest.mark.parametrize("method", ["invoke", "ainvoke"])
async def test_a_plain_tool_is_stopped_by_the_sync_handler(method: str) -> None:
    RAN.clear()
    call = Lane("async" if method == "ainvoke" else "sync")
    with pytest.raises(BlockedError):
        await call(search, "invoke", {"q": "bomb"}, {"callbacks": [Qwen3GuardCallbackHandler(token_guard())]})
    assert not RAN


async def test_the_async_handler_does_not_block_the_loop() -> None:
    """Forty slow judgements in twenty runs at once take no longer than a few of them."""
    handler = AsyncQwen3GuardCallbackHandler(FakeStreamGuard(delay=0.05))
    loop = asyncio.get_running_loop()
    began = loop.time()
    runs = (ChunkModel.of(*WORDS).ainvoke(ASKED, {"callbacks": [handler]}) for _ in range(20))
    await asyncio.gather(*runs)
    assert loop.time() - began < 20 * 2 * 0.05 / 2


async def test_a_plain_tool_is_only_observed_by_the_async_handler() -> None:
    RAN.clear()
    handler = AsyncQwen3GuardCallbackHandler(FakeGuard({"search": VIOLENT}))
    with pytest.warns(Qwen3GuardWarning, match="synchronous tools"):
        assert await search.ainvoke({"q": "bread"}, {"callbacks": [handler]}) == "found bread"
    assert [decision.point for _, decision in handler.decisions if not decision.passes] == [Point.TOOL_CALL]


@pytest.mark.parametrize(
    "output",
    [
        "a bomb",
        {"results": [{"text": "a bomb"}]},
        [Document("a bomb")],
        Command(update={"messages": [AIMessage("a bomb")]}),
        Command(goto=[Send("node", {"text": "a bomb"})]),
    ],
    ids=lambda output: type(output).__name__,
)
def test_whatever_a_tool_returns_is_read(output: Any) -> None:
    @tool
    def look(q: str) -> Any:
        """Look."""
        return output

    with pytest.raises(BlockedError):
        look.invoke({"q": "x"}, {"callbacks": [Qwen3GuardCallbackHandler(token_guard())]})


def test_what_cannot_be_read_does_not_pass() -> None:
    @tool
    def look(q: str) -> Any:
        """Look."""
        return object()

    with pytest.raises(TypeError):
        look.invoke({"q": "x"}, {"callbacks": [Qwen3GuardCallbackHandler(token_guard())]})
    observing = Qwen3GuardCallbackHandler(token_guard(), mode="observe")
    look.invoke({"q": "x"}, {"callbacks": [observing]})
    assert [decision.guard_failed for _, decision in observing.decisions] == [False, True]
    silent = Policy(points={"tool_output": {"unsafe": "allow"}})
    look.invoke({"q": "x"}, {"callbacks": [Qwen3GuardCallbackHandler(token_guard(), silent)]})


class Shelf(BaseRetriever):
    """Always finds the same two documents."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document("bread"), Document("a bomb")]


@pytest.mark.parametrize("action", ["block", "drop", "redact", "review"])
async def test_documents(action: str, lane: Lane) -> None:
    handler = HANDLERS[lane.name](token_guard(), Policy(points={"document": action}))
    with pytest.raises(BlockedError) as error:
        await lane(Shelf(), "invoke", "q", {"callbacks": [handler]})
    expected = Action.REVIEW if action == "review" else Action.BLOCK
    assert error.value.decision.action is expected
    assert [decision.action for _, decision in handler.decisions] == [Action.ALLOW, expected]


async def test_completion_models(lane: Lane) -> None:
    handler = HANDLERS[lane.name](token_guard(), EAGER)
    config: Any = {"callbacks": [handler]}
    with pytest.raises(BlockedError) as error:
        await lane(FakeListLLM(responses=["fine"]), "invoke", "a bomb", config)
    assert error.value.point is Point.PROMPT
    with pytest.raises(BlockedError) as error:
        await lane(FakeListLLM(responses=["a bomb"]), "invoke", "q", config)
    assert error.value.point is Point.RESPONSE
    with pytest.raises(BlockedError):  # it reports no tokens: everything is delivered, and the run fails
        await lane.collect(FakeListLLM(responses=["a bomb"]), "stream", "q", config)


# --- what is judged of an answer ---


def block(kind: str, text: str, index: int) -> AIMessageChunk:
    return AIMessageChunk(content=[{"type": kind, kind: text, "index": index}])


ANSWERS: dict[str, list[Any]] = {
    "text": ["a ", "bomb"],
    "split word": ["a b", "om", "b"],
    "blocks": [block("text", "a ", 0), block("text", "bomb", 0)],
    "reasoning block": [block("reasoning", "a ", 0), block("reasoning", "bomb", 0), block("text", "fine", 1)],
    "reasoning beside": [AIMessageChunk(content="", additional_kwargs={"reasoning_content": "bomb"}), "fine"],
    "thinking tags": ["<thi", "nk>a bomb</th", "ink>fine"],
    "tool call": [calls("search", "bomb")],
    "broken tool call": [
        AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": '{"q": "bomb', "id": "1", "index": 1}])
    ],
    "other block": [AIMessageChunk(content=[{"type": "widget", "caption": "a bomb", "index": 0}])],
}


@pytest.mark.parametrize("action", ["block", "redact"])
@pytest.mark.parametrize("way", ["stream", "graph messages", "model v3", "graph v3", "invoke"])
@pytest.mark.parametrize("kind", [ChunkModel, Reporting])
@pytest.mark.parametrize("chunks", ANSWERS.values(), ids=ANSWERS)
async def test_every_kind_of_text_is_judged(chunks: list[Any], kind: Any, way: str, action: str) -> None:
    guard = token_guard()
    handler = Qwen3GuardCallbackHandler(guard, Policy(debounce=1, unsafe=action))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind.of(*chunks)
        if way == "invoke":
            model = GenericFakeChatModel(messages=iter([whole(model.chunks)]))
        _, blocked = await delivered((STREAMED | WHOLE)[way], model, handler)
    assert blocked
    assert guard.open_sessions == 0


def test_events_that_are_complete_blocks_are_judged() -> None:
    """Providers that stream nothing but finished blocks, as version 3 allows."""
    run = AnswerRun(guard=token_guard(), policy=EAGER)
    start = {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": "a"}}
    delta = {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": " b"}}
    finish = {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "a b c"}}
    other = {"event": "content-block-finish", "index": 1, "content": {"type": "text", "text": "d"}}
    texts = [piece.text for event in (start, delta, finish, other) for piece in run.pieces_of_event(event)]
    assert texts == ["a", " b", " c", "d"]


@given(st.text("ab <think>/", max_size=30), st.data())
def test_what_two_sources_bring_is_judged_once(text: str, data: st.DataObject) -> None:
    guard = token_guard()
    run = AnswerRun(guard=guard, policy=EAGER)
    left: dict[Any, str] = {"tokens": text, "events": text}
    while source := data.draw(st.sampled_from([name for name, rest in left.items() if rest] or [None])):
        size = data.draw(st.integers(1, len(left[source])))
        piece, left[source] = left[source][:size], left[source][size:]
        flow.run(run.written([Piece(Point.RESPONSE, piece)], source), Qwen3GuardCallbackHandler(guard)._screen.reply)
    flow.run(run.ended(LLMResult(generations=[])), Qwen3GuardCallbackHandler(guard)._screen.reply)
    judged = "".join(piece.text for pieces in guard.asked for piece in pieces)
    assert judged == text or "<" in text
    assert len(judged) + 7 * text.count("<think>") + 8 * text.count("</think>") >= len(text) >= len(judged)
    run.close()


def test_sources_that_differ_are_both_judged() -> None:
    guard, run_id = token_guard(), uuid4()
    handler = Qwen3GuardCallbackHandler(guard, EAGER)
    handler.on_llm_new_token("a", run_id=run_id)
    event = {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": " bomb"}}
    with pytest.raises(BlockedError):
        handler.on_stream_event(event, run_id=run_id)
    with pytest.raises(BlockedError):  # also when somebody swallowed it
        handler.on_llm_new_token(" c", run_id=run_id)
    handler.on_llm_error(ValueError(), run_id=run_id)
    assert guard.open_sessions == 0


# --- observing ---


@pytest.mark.parametrize("way", [*STREAMED, *WHOLE])
@pytest.mark.parametrize("handler", HANDLERS)
async def test_observing_changes_nothing_and_records_the_same(handler: str, way: str) -> None:
    guard, seen = token_guard(), []
    watching = HANDLERS[handler](
        guard,
        {"unsafe": "redact"},
        mode="observe",
        on_decision=lambda run_id, decision: seen.append((run_id, decision)),
    )
    assert await delivered((STREAMED | WHOLE)[way], ChunkModel.of(*WORDS), watching) == (ALL, False)
    assert await soon(lambda: guard.open_sessions == 0)
    assert [(str(d.point), str(d.action)) for _, d in watching.decisions] == [
        ("prompt", "allow"),
        ("response", "redact"),
    ]
    assert seen == watching.decisions
    assert len({run_id for run_id, _ in seen}) == 1


@pytest.mark.parametrize("mode", ["stop", "observe"])
@pytest.mark.parametrize("setting", ["raise", "block", "allow"])
@pytest.mark.parametrize("fail_after", [0, 1])
async def test_a_guard_that_fails(setting: Any, mode: Any, fail_after: int, lane: Lane) -> None:
    """The prompt is trusted here, so that it is the stream on which the guard fails."""
    guard = FakeStreamGuard(error=GuardTimeoutError("late"), fail_after=fail_after)
    policy = Policy(on_guard_error=setting, points={"prompt": "allow"})
    handler = HANDLERS[lane.name](guard, policy, mode=mode)
    call = lane.collect(ChunkModel.of(*WORDS), "stream", ASKED, {"callbacks": [handler]})
    if mode == "observe" or setting == "allow":
        assert "".join(chunk.text for chunk in await call) == ALL
    else:
        with pytest.raises(GuardTimeoutError if setting == "raise" else BlockedError):
            await call
    failed = [decision.passes for _, decision in handler.decisions if decision.guard_failed]
    assert failed == ([] if mode == "stop" and setting == "raise" else [setting == "allow"])
    assert guard.open_sessions == 0


@pytest.mark.parametrize("setting", ["raise", "block", "allow"])
async def test_a_guard_that_fails_on_whole_texts(setting: Any, lane: Lane) -> None:
    guard = FakeGuard(error=GuardTimeoutError("late"))
    observing = HANDLERS[lane.name](guard, Policy(on_guard_error=setting), mode="observe")
    await lane(ChunkModel.of("fine"), "invoke", ASKED, {"callbacks": [observing]})
    assert [decision.guard_failed for _, decision in observing.decisions] == [True, True]
    stopping = HANDLERS[lane.name](guard, Policy(on_guard_error=setting))
    call = lane(ChunkModel.of("fine"), "invoke", ASKED, {"callbacks": [stopping]})
    if setting == "allow":
        await call
    else:
        with pytest.raises(GuardTimeoutError if setting == "raise" else BlockedError):
            await call


# --- runs ---


async def test_interleaved_runs_do_not_mix(lane: Lane) -> None:
    """The harm is in two halves: one in each run."""
    guard = token_guard()
    handler = HANDLERS[lane.name](guard, EAGER)
    streams: list[Any] = [
        getattr(ChunkModel.of(*words), "astream" if lane.is_async else "stream")(ASKED, {"callbacks": [handler]})
        for words in (["a bo", "at ", "ride"], ["co", "mb ", "it"])
    ]
    got = ["", ""]
    for _ in range(3):
        for place, stream in enumerate(streams):
            got[place] += (await anext(stream) if lane.is_async else next(stream)).text
    assert got == ["a boat ride", "comb it"]
    assert guard.open_sessions == 2
    for stream in streams:
        await stream.aclose() if lane.is_async else stream.close()
    assert guard.open_sessions == 0
    assert len(handler._screen.runs) == 0


async def test_a_model_that_fails_leaves_nothing_behind(lane: Lane) -> None:
    guard = token_guard()
    handler = HANDLERS[lane.name](guard)
    with pytest.raises(ConnectionError):
        await lane.collect(ChunkModel.of("a ", "b ", error_at=1), "stream", ASKED, {"callbacks": [handler]})
    assert guard.open_sessions == 0
    assert [decision.point for _, decision in handler.decisions] == [Point.PROMPT, Point.RESPONSE]


def test_runs_that_never_end_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("qwen3guard_integrations.langchain.callback_runs.time.monotonic", lambda: now[0])
    guard, runs = token_guard(), Runs(most=2, idle=10)

    def opened() -> AnswerRun:
        run = AnswerRun(guard=guard, policy=EAGER)
        run._opened()
        return run

    ids = [uuid4() for _ in range(4)]
    for run_id in ids[:2]:
        runs.put(run_id, opened())
    assert runs.get(ids[0]) is not None  # used: the other one is the oldest now
    runs.put(ids[2], opened())
    assert runs.get(ids[1]) is None
    runs.put(ids[2], opened())  # the same id again
    assert guard.open_sessions == len(runs) == 2
    now[0] = 11
    runs.put(ids[3], opened())
    assert guard.open_sessions == len(runs) == 1


async def test_decisions_are_bounded() -> None:
    handler = Qwen3GuardCallbackHandler(FakeGuard(), mode="observe")
    model = ChunkModel.of("fine")
    for _ in range(600):
        model.invoke(ASKED, {"callbacks": [handler]})
    assert len(handler.decisions) == 1000


async def test_a_batch_of_runs_in_threads(lane: Lane) -> None:
    guard = FakeStreamGuard({"bomb": VIOLENT}, delay=0.005)
    handler = HANDLERS[lane.name](guard, EAGER)
    prompts = [f"question {n}" + (" bomb" if n == 3 else "") for n in range(8)]
    outcomes = await lane(ChunkModel.of("fine"), "batch", prompts, {"callbacks": [handler]}, return_exceptions=True)
    assert [isinstance(outcome, BlockedError) for outcome in outcomes] == [n == 3 for n in range(8)]
    assert len(handler.decisions) == 15


# --- settings, messages, words ---


@pytest.mark.parametrize("handler", HANDLERS)
def test_settings(handler: str) -> None:
    stopping = HANDLERS[handler](FakeGuard())
    assert stopping.raise_error
    assert stopping.run_inline
    observing = HANDLERS[handler](FakeGuard(), mode="observe")
    assert not observing.raise_error
    with pytest.raises(GuardConfigurationError, match="mode"):
        HANDLERS[handler](FakeGuard(), mode="block")
    with pytest.raises(GuardConfigurationError, match="check_many"):
        HANDLERS[handler](object())


async def test_messages_are_not_changed(lane: Lane) -> None:
    message = HumanMessage("my bomb", name="me")
    before = message.model_copy(deep=True)
    handler = HANDLERS[lane.name](token_guard(), {"unsafe": "redact"}, mode="observe")
    answer = await lane(ChunkModel.of("bomb"), "invoke", [message], {"callbacks": [handler]})
    assert message == before
    assert answer.content == "bomb"


@pytest.mark.parametrize("mode", ["stop", "observe"])
@pytest.mark.parametrize("where", ["prompt", "answer", "tool"])
async def test_no_text_in_errors_logs_and_traces(
    where: str, mode: Any, lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="langchain_core")
    canary = "canary7f3a"
    babble = Verdict(severity=VIOLENT.severity, other_categories=(canary,))
    handler = HANDLERS[lane.name](FakeStreamGuard({canary: babble}), EAGER, mode=mode)
    recorder = Recorder()
    config: Any = {"callbacks": [handler, recorder]}
    error: BaseException | None = None
    try:
        if where == "tool":
            await lane(asearch if lane.is_async else search, "invoke", {"q": canary}, config)
        else:
            question = canary if where == "prompt" else "q"
            await lane.collect(ChunkModel.of("a ", canary, " b"), "stream", question, config)
    except BlockedError as caught:
        error = caught
    assert (error is None) is (mode == "observe")
    assert canary not in f"{error}{error!r}{caplog.text}"
    assert canary not in "".join(run.error or "" for run in recorder.runs)


async def test_nothing_is_asked_that_the_policy_does_not_judge(lane: Lane) -> None:
    guard = token_guard()
    points: Any = dict.fromkeys(["prompt", "response", "reasoning", "tool_call", "tool_output", "document"], "allow")
    handler = HANDLERS[lane.name](guard, Policy(points=points))
    await lane.collect(ChunkModel.of(*WORDS), "stream", "bomb", {"callbacks": [handler]})
    await lane(Shelf(), "invoke", "q", {"callbacks": [handler]})
    assert not guard.calls
    assert not guard.asked
    assert not handler.decisions


async def test_an_agent_with_tools_end_to_end(lane: Lane) -> None:
    """Nothing harmful: the handler is silent, and every point was judged."""
    RAN.clear()
    chosen = asearch if lane.is_async else search
    guard = FakeGuard()
    handler = HANDLERS[lane.name](guard)
    app = create_agent(Scripted.says(calls(chosen.name, "bread"), AIMessageChunk(content="Flour.")), [chosen])
    result = await lane(app, "invoke", STATE, {"callbacks": [handler]})
    assert result["messages"][-1].text == "Flour."
    assert RAN == ["bread"]
    points = {str(decision.point) for _, decision in handler.decisions}
    assert points == {"prompt", "tool_call", "tool_output", "response"}
    assert "found bread" in asked(guard)
