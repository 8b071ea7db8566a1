"""Streams: held until judged, released in the same chunks, stopped upstream when blocked."""

from __future__ import annotations

import gc
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessageChunk
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.runnables import AddableDict, RunnableGenerator, RunnableParallel
from langchain_openai import ChatOpenAI

from qwen3guard_integrations import BlockedError, GuardUnavailableError
from qwen3guard_integrations.core.course import FIRST_LOOK

from ..conftest import Lane
from .helpers import BAD, REFUSAL, REMOVED, ChunkModel, Recorder, asked, fake_guard, screen
from .sse_server import serving

LONG = [f"word{n} " for n in range(2000)]
BAD_EARLY = ["a ", "bomb ", *LONG]


class Source:
    """An upstream that counts what is pulled from it and notes that it was closed."""

    def __init__(self, *chunks: Any, error: Exception | None = None) -> None:
        self.chunks, self.error = chunks, error
        self.pulled = 0
        self.closed = False

    def sync(self) -> Iterator[Any]:
        try:
            for chunk in self.chunks:
                self.pulled += 1
                yield chunk
            if self.error:
                raise self.error
        finally:
            self.closed = True

    async def asynchronous(self) -> AsyncIterator[Any]:
        for chunk in self.sync():
            yield chunk

    def open(self, lane: Lane) -> Any:
        return self.asynchronous() if lane.is_async else self.sync()


async def through(lane: Lane, step: Any, *chunks: Any, config: Any = None) -> list[Any]:
    """What `step` makes of a stream of `chunks`."""
    return await lane.collect(step, "transform", Source(*chunks).open(lane), config)


USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
STREAMS: dict[str, list[Any]] = {
    "empty": [],
    "one": ["a"],
    "strings": ["b", "rea", "", "d", " \n", "?"],
    "messages": [
        AIMessageChunk(content="a", id="1", additional_kwargs={"reasoning_content": "hm"}),
        AIMessageChunk(content=[{"type": "text", "text": "b", "index": 0}], id="1"),
        AIMessageChunk(content="", id="1", usage_metadata=USAGE, response_metadata={"finish_reason": "stop"}),
        AIMessageChunk(content="", id="1", chunk_position="last"),
    ],
    "tool calls": [
        AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": "", "id": "1", "index": 0}]),
        AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": '{"q": ', "id": None, "index": 0}]),
        AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": '"x"}', "id": None, "index": 0}]),
    ],
    "whole message": [AIMessage("with flour")],
    "human chunks": [HumanMessageChunk(content="a"), HumanMessageChunk(content="b")],
    "addable dictionaries": [AddableDict(a="x"), AddableDict(b="y"), AddableDict(a="z")],
    "plain dictionaries": [{"context": ["d"]}, {"question": "q"}],
    "growing dictionaries": [{}, {"a": "b"}, {"a": "br", "n": 1}, {"a": "bread", "n": 12}],
    "tuples": [(AIMessageChunk(content="a"), {"node": "n"}), (AIMessageChunk(content="b"), {"node": "n"})],
    "mixed": ["a", AIMessageChunk(content="b"), None, 3, {"c": "d"}],
}


@pytest.mark.parametrize("chunks", STREAMS.values(), ids=STREAMS)
async def test_the_same_chunks_come_out(chunks: list[Any], lane: Lane) -> None:
    before = repr(chunks)
    released = await through(lane, screen(), *chunks)
    assert len(released) == len(chunks)
    assert all(one is other for one, other in zip(released, chunks, strict=True))
    assert repr(chunks) == before


def call_chunk(args: str) -> AIMessageChunk:
    return AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": args, "id": None, "index": 0}])


HARM_IN_PIECES: dict[str, list[Any]] = {
    "strings": ["a b", "om", "b"],
    "messages": [AIMessageChunk(content="a b"), AIMessageChunk(content="om"), AIMessageChunk(content="b")],
    "blocks": [AIMessageChunk(content=[{"type": "text", "text": text}]) for text in ("a b", "om", "b")],
    "reasoning": [
        AIMessageChunk(content="", additional_kwargs={"reasoning_content": text}) for text in ("a b", "om", "b")
    ],
    "thinking": [AIMessageChunk(content=[{"type": "thinking", "thinking": text}]) for text in ("a b", "om", "b")],
    "tool call": [call_chunk(text) for text in ('{"q": "b', "om", 'b"}')],
    "after a tool call": [call_chunk(text) for text in ('{"q": 1}', " bo", "mb")],
    "addable dictionaries": [AddableDict(a="bo"), AddableDict(b="x"), AddableDict(a="mb")],
    "messages in dictionaries": [
        AddableDict(a=AIMessageChunk(content="bo")),
        AddableDict(a=AIMessageChunk(content="mb")),
    ],
    "replaced in a dictionary": [AddableDict(a={"x": BAD}), AddableDict(a={"x": "fine"})],
    "plain dictionaries": [{"a": "bo"}, {"a": "mb"}],
    "growing dictionaries": [{"a": "b"}, {"a": "bo"}, {"a": "bomb"}, {"a": "bomb", "b": ["x"]}],
    "taken back": [{"a": BAD}, {"a": "fine"}],
    "graph messages": [(AIMessageChunk(content="bo"), {"node": "n"}), (AIMessageChunk(content="mb"), {"node": "n"})],
    "graph modes": [
        ("messages", (AIMessageChunk(content="bo"), {})),
        ("values", {}),
        ("messages", (AIMessageChunk(content="mb"), {})),
    ],
    "graph version 2": [
        {"type": "messages", "data": (AIMessageChunk(content=text), {"n": 1})} for text in ("bo", "mb")
    ],
    "lists": [["x"], ["x", BAD]],
    "replaced documents": [{"docs": [Document(BAD)]}, {"docs": [Document("fine")]}],
    "replaced messages": [{"messages": [AIMessage(BAD)]}, {"messages": [AIMessage("fine")]}],
    "mixed": ["bo", 3, "mb"],
}


@pytest.mark.parametrize("chunks", HARM_IN_PIECES.values(), ids=HARM_IN_PIECES)
@pytest.mark.parametrize("how", ["raise", "refuse", "redact"])
async def test_harm_in_pieces_is_found(chunks: list[Any], how: str, lane: Lane) -> None:
    step = screen({"unsafe": "redact"}) if how == "redact" else screen(on_block=how, point="response")
    if how == "raise":
        with pytest.raises(BlockedError):
            await through(lane, step, *chunks)
    else:
        released = await through(lane, step, *chunks)
        assert len(released) == 1 or how == "redact", "one value in place of all the pieces"
        assert "bomb" not in repr(released)


async def test_growing_dictionaries_are_judged_once(lane: Lane) -> None:
    guard = fake_guard()
    chain = FakeListChatModel(responses=['{"a": ["bread", "butter"], "b": {"c": "jam"}}']) | JsonOutputParser()
    released = await lane.collect(chain | screen(guard=guard), "stream", "x")
    assert released == await lane.collect(chain, "stream", "x")
    assert asked(guard) == ["bread", "butter", "jam"]


@pytest.mark.parametrize(
    ("chunks", "refusal"),
    [
        (["a ", BAD], REFUSAL),
        ([AIMessageChunk(content="a ", id="7"), AIMessageChunk(content=BAD, id="7")], AIMessageChunk),
        ([AIMessage(BAD, id="7")], AIMessage),
    ],
    ids=["string", "chunks", "message"],
)
async def test_a_refusal_of_the_same_kind(chunks: list[Any], refusal: Any, lane: Lane) -> None:
    released = await through(lane, screen(on_block="refuse", point="response"), *chunks)
    if isinstance(refusal, str):
        assert released == [refusal]
    else:
        assert [(type(chunk), chunk.content, chunk.id) for chunk in released] == [(refusal, REFUSAL, "7")]


async def test_redacted_streams(lane: Lane) -> None:
    assert await through(lane, screen({"unsafe": "redact"}), "a ", BAD) == [REMOVED]
    with pytest.raises(BlockedError):
        await through(lane, screen({"unsafe": "drop"}), "a ", BAD)


async def test_nothing_comes_before_the_whole_is_judged(lane: Lane) -> None:
    """Each judgement notes how much was pulled: the first chunk leaves after the one that saw everything."""
    source = Source(*LONG[:500])
    guard = fake_guard()
    released = screen(guard=guard)
    iterator: Any = (released.atransform if lane.is_async else released.transform)(source.open(lane))
    first = await anext(iterator) if lane.is_async else next(iterator)
    assert first is LONG[0]
    assert source.pulled == 500
    assert asked(guard)[-1] == "".join(LONG[:500])


async def test_a_long_stream_is_judged_on_the_way_at_no_more_than_thrice_the_cost(lane: Lane) -> None:
    guard = fake_guard()
    await through(lane, screen(guard=guard), *LONG)
    sizes = [len(text) for text in asked(guard)]
    assert sizes[0] < FIRST_LOOK + 20
    assert all(later >= 2 * earlier for earlier, later in itertools.pairwise(sizes[:-1]))
    assert sum(sizes) <= 3 * sizes[-1]


@pytest.mark.parametrize("kind", [str, AIMessageChunk], ids=["strings", "messages"])
@pytest.mark.parametrize("on_block", ["raise", "refuse"])
async def test_a_block_stops_the_upstream(kind: Callable[[str], Any], on_block: str, lane: Lane) -> None:
    source = Source(*map(kind, BAD_EARLY))
    released = None
    try:
        released = await lane.collect(screen(on_block=on_block), "transform", source.open(lane))
    except BlockedError:
        assert on_block == "raise"
    assert released is None or len(released) == 1
    assert source.closed
    assert source.pulled < 100


@pytest.mark.parametrize(
    "chunks",
    [
        [AIMessageChunk(content="", additional_kwargs={"reasoning_content": word}) for word in BAD_EARLY],
        [call_chunk(word) for word in BAD_EARLY],
    ],
    ids=["reasoning", "tool call"],
)
async def test_reasoning_and_tool_calls_are_stopped_on_the_way_too(chunks: list[Any], lane: Lane) -> None:
    source = Source(*chunks)
    with pytest.raises(BlockedError):
        await lane.collect(screen(), "transform", source.open(lane))
    assert source.pulled < 100


@pytest.mark.parametrize("on_block", ["raise", "refuse"])
async def test_a_block_stops_the_model(on_block: str, lane: Lane) -> None:
    model = ChunkModel.of(*BAD_EARLY)
    chain = model | screen(on_block=on_block) | StrOutputParser()
    try:
        assert await lane.collect(chain, "stream", "x") == [REFUSAL]
    except BlockedError:
        assert on_block == "raise"
    gc.collect()
    assert len(model.pulled) < 100
    assert model.closed


async def test_a_block_behind_the_parser_stops_the_model_too() -> None:
    """On the async lane. On the sync lane LangChain's parser reads the model to its end, as the docstring says."""
    model = ChunkModel.of(*BAD_EARLY)
    chain = model | StrOutputParser() | screen(on_block="refuse")
    assert [chunk async for chunk in chain.astream("x")] == [REFUSAL]
    assert len(model.pulled) < 200


async def test_a_block_aborts_the_request(lane: Lane) -> None:
    with serving(BAD_EARLY) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)
        with pytest.raises(BlockedError):
            await lane.collect(model | screen() | StrOutputParser(), "stream", "x")
        assert server.done.wait(5)
        assert server.aborted
        assert server.sent < 300


async def test_a_guard_error_stops_the_upstream(lane: Lane) -> None:
    source = Source(*LONG)
    guard = fake_guard(error=GuardUnavailableError("down"))
    with pytest.raises(GuardUnavailableError):
        await lane.collect(screen(guard=guard), "transform", source.open(lane))
    assert source.closed
    assert source.pulled < 100


async def test_an_upstream_error_propagates_and_nothing_comes_before_it(lane: Lane) -> None:
    recorder = Recorder()
    source = Source("fine", error=ConnectionError("gone"))
    released: list[Any] = []
    with pytest.raises(ConnectionError):
        released += await lane.collect(screen(), "transform", source.open(lane), {"callbacks": [recorder]})
    assert not released
    assert "ConnectionError" in (recorder.runs[0].error or "")
    model = ChunkModel.of("fine ", "fine ", error_at=1)
    with pytest.raises(ConnectionError):
        await lane.collect(model | screen() | StrOutputParser(), "stream", "x")


async def test_a_consumer_who_has_had_enough_is_no_error(lane: Lane) -> None:
    source, recorder = Source("a", "b", "c"), Recorder()
    config: Any = {"callbacks": [recorder]}
    if lane.is_async:
        iterator: Any = screen().atransform(source.asynchronous(), config)
        await anext(iterator)
        await iterator.aclose()
    else:
        iterator = screen().transform(source.sync(), config)
        next(iterator)
        iterator.close()
    assert source.closed
    assert [(run.error, run.outputs) for run in recorder.runs] == [(None, {"output": ["allow at prompt (Safe)"]})]


async def test_models_that_do_not_stream(lane: Lane) -> None:
    chain = FakeListLLM(responses=["with flour"]) | screen(point="response")
    assert await lane.collect(chain, "stream", "x") == ["with flour"]


async def test_an_answer_that_never_ends_is_cut_off(lane: Lane) -> None:
    def forever(_: Iterator[Any]) -> Iterator[str]:
        yield "bomb "
        while True:
            yield "more "

    async def aforever(_: AsyncIterator[Any]) -> AsyncIterator[str]:
        for chunk in forever(iter(())):
            yield chunk

    chain = RunnableGenerator(forever, aforever) | screen(on_block="refuse")
    assert await lane.collect(chain, "stream", "x") == [REFUSAL]


async def test_parallel_branches_keep_streaming_apart(lane: Lane) -> None:
    chain = RunnableParallel(
        good=ChunkModel.of("fine ", "day") | screen() | StrOutputParser(),
        bad=ChunkModel.of("a ", BAD) | screen(on_block="refuse") | StrOutputParser(),
    )
    chunks = await lane.collect(chain, "stream", "x")
    assert "".join(chunk.get("good", "") for chunk in chunks) == "fine day"
    assert "".join(chunk.get("bad", "") for chunk in chunks) == REFUSAL


def event_of(event: Any) -> tuple[str, str]:
    return event["event"], event["name"]


async def test_events_show_the_released_chunks_and_nothing_blocked_from_the_guard_on() -> None:
    def chain(*chunks: str) -> Any:
        return ChunkModel.of(*chunks) | screen(on_block="refuse").with_config(run_name="guard") | StrOutputParser()

    events = [event async for event in chain("fine ", "day").astream_events("x", version="v2")]
    shown = [event["data"]["chunk"].content for event in events if event_of(event) == ("on_chain_stream", "guard")]
    assert shown[:2] == ["fine ", "day"]  # newer versions of LangChain end with an empty chunk
    assert not any(shown[2:])
    events = [event async for event in chain("a ", BAD).astream_events("x", version="v2")]
    names = {"guard", "StrOutputParser", "RunnableSequence"}
    late = [event for event in events if event["name"] in names]
    assert {event["event"] for event in late} >= {"on_chain_start", "on_chain_stream", "on_chain_end", "on_parser_end"}
    assert "bomb" not in repr(late)
    assert REFUSAL in repr(late)
