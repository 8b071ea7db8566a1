"""`guard_model`: what it gives, what it leaves alone, and what follows a block. Leaks are in `test_leaks`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableGenerator, RunnablePassthrough
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from qwen3guard_integrations import (
    BlockedError,
    Conversation,
    GuardConfigurationError,
    GuardError,
    GuardUnavailableError,
    Policy,
    Severity,
    Verdict,
)
from qwen3guard_integrations.langchain import guard_model
from qwen3guard_integrations.langchain.answer import HAS_REFUSAL_BLOCKS
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane
from .helpers import BAD, PII, REFUSAL, VIOLENT, ChunkModel, Recorder, asked, call_names, fake_guard
from .sse_server import serving

WORDS = ["one ", "two ", "three ", "a bomb ", "five ", "six ", *["more "] * 40]


def token_guard(**settings: Any) -> FakeStreamGuard:
    """Unsafe from the word "bomb" on, token by token."""
    return FakeStreamGuard({"bomb": VIOLENT, "salary": PII}, **settings)


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.text for chunk in chunks)


# --- a clean run ---

USAGE: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
CLEAN = [
    AIMessageChunk(content="", id="a", additional_kwargs={"reasoning_content": "hm"}),
    AIMessageChunk(content="Bread ", id="a", response_metadata={"model_name": "m"}),
    AIMessageChunk(content="and jam.", id="a"),
    AIMessageChunk(content="", id="a", tool_call_chunks=[{"name": "f", "args": '{"q": 1}', "id": "c", "index": 0}]),
    AIMessageChunk(content="", id="a", response_metadata={"finish_reason": "tool_calls"}),
    AIMessageChunk(content="", id="a", usage_metadata=USAGE, chunk_position="last"),
]


@pytest.mark.parametrize("make_guard", [token_guard, fake_guard], ids=["token", "windowed"])
@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_a_clean_run_is_the_same_byte_for_byte(make_guard: Any, output_version: str, lane: Lane) -> None:
    def model() -> ChunkModel:
        chunks = [chunk.model_copy(deep=True) for chunk in CLEAN]
        return ChunkModel(chunks=chunks, pulled=[], closed=[], calls=[], output_version=output_version)

    guarded = await lane.collect(guard_model(model(), make_guard()), "stream", "x")
    assert guarded == await lane.collect(model(), "stream", "x")
    whole = await lane(guard_model(model(), make_guard()), "invoke", "x")
    bare = await lane(model(), "invoke", "x")
    assert whole.model_copy(update={"id": None}) == bare.model_copy(update={"id": None})


async def test_a_clean_run_over_http(lane: Lane) -> None:
    with serving(["Bread ", "and ", "jam."]) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)
        bare = await lane.collect(model, "stream", "x")
    with serving(["Bread ", "and ", "jam."]) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)
        guarded = await lane.collect(guard_model(model, token_guard()), "stream", "x")
    assert [chunk.model_copy(update={"id": None}) for chunk in guarded] == [
        chunk.model_copy(update={"id": None}) for chunk in bare
    ]


# --- it stays the model that it was ---


def test_the_copy_is_of_the_models_class_and_the_model_is_not_changed() -> None:
    model, guard = ChunkModel.of("a"), token_guard()
    guarded = guard_model(model, guard)
    assert isinstance(guarded, ChunkModel)
    assert type(model) is ChunkModel
    assert type(guard_model(model, guard)) is type(guarded), "the class is made once"
    assert type(guard_model(model, token_guard())) is not type(guarded)
    assert guarded._llm_type == model._llm_type


async def test_the_state_of_the_model_is_its_own(lane: Lane) -> None:
    model = guard_model(FakeListChatModel(responses=["one", "two"]), token_guard())
    assert [(await lane(model, "invoke", "x")).text for _ in range(3)] == ["one", "two", "one"]


async def test_a_guarded_model_can_be_guarded_again_by_another(lane: Lane) -> None:
    guard = token_guard()
    once = guard_model(ChunkModel.of(*WORDS), guard)
    assert type(guard_model(once, guard)) is type(once), "the same guard does not judge twice"
    twice = guard_model(once, FakeStreamGuard({"two": "Unsafe"}))
    assert text_of(await lane.collect(twice, "stream", "x")) == f"one \n\n{REFUSAL}"
    other = guard_model(once, FakeStreamGuard())
    assert "bomb" not in text_of(await lane.collect(other, "stream", "x"))
    assert (await lane(other, "invoke", "x")).text == REFUSAL


async def test_tools_structured_output_and_config_stay_guarded(lane: Lane) -> None:
    class Answer(BaseModel):
        """An answer."""

        text: str

    model = guard_model(ChatOpenAI(model="m", base_url="http://localhost:9", api_key="x"), token_guard())
    assert isinstance(model.bind_tools([Answer]).bound, type(model))  # type: ignore[attr-defined]
    assert model.with_structured_output(Answer) is not None
    bad = guard_model(ChunkModel.of(*WORDS), token_guard())
    for wrapped in (bad.with_config(tags=["t"]), bad.bind(stop=["x"]), bad.with_retry(), bad.with_fallbacks([bad])):
        assert "bomb" not in (await lane(wrapped, "invoke", "x")).text


async def test_configurable_fields_stay_guarded(lane: Lane) -> None:
    """LangChain makes the model anew for them: a guard kept in the instance would be lost."""
    from langchain_core.runnables import ConfigurableField

    model = guard_model(ChunkModel.of(*WORDS), token_guard())
    wrapped = model.configurable_fields(error_at=ConfigurableField(id="error_at"))
    released = await lane.collect(wrapped, "stream", "x", {"configurable": {"error_at": 30}})
    assert text_of(released) == f"one two three \n\n{REFUSAL}"


async def test_models_without_streaming(lane: Lane) -> None:
    model = FakeListChatModel(responses=[BAD])
    assert (await lane(guard_model(model, fake_guard()), "invoke", "x")).text == REFUSAL

    class NoStream(ChunkModel):
        _stream = ChunkModel.__mro__[1]._stream  # type: ignore[attr-defined]
        _astream = ChunkModel.__mro__[1]._astream  # type: ignore[attr-defined]

    bare = NoStream.of("a ", "bomb")
    released = await lane.collect(guard_model(bare, fake_guard()), "stream", "x")
    assert text_of(released) == REFUSAL


async def test_models_that_stream_in_one_lane_only(lane: Lane) -> None:
    """GenericFakeChatModel has `_stream` and no `_astream`: LangChain reads it in threads."""
    messages = iter([AIMessage("one two three bomb five six"), AIMessage("one two three bomb five six")])
    model = GenericFakeChatModel(messages=messages)
    released = await lane.collect(guard_model(model, token_guard()), "stream", "x")
    assert text_of(released) == f"one two three \n\n{REFUSAL}", "it streams, although its `_stream` calls `_generate`"
    assert (await lane(guard_model(model, token_guard()), "invoke", "x")).text == REFUSAL


async def test_the_cache_of_the_model_and_of_the_guarded_copy_are_apart(lane: Lane) -> None:
    cache = InMemoryCache()
    model = ChunkModel.of("a ", BAD, cache=cache)
    assert (await lane(model, "invoke", "x")).text == f"a {BAD}"
    guarded = guard_model(model, fake_guard())
    assert (await lane(guarded, "invoke", "x")).text == REFUSAL
    assert (await lane(guarded, "invoke", "x")).text == REFUSAL
    assert (await lane(model, "invoke", "x")).text == f"a {BAD}"
    flags = guard_model(model, fake_guard(), {"unsafe": "flag", "controversial": "flag"})
    assert (await lane(flags, "invoke", "x")).text == f"a {BAD}"
    lenient = guard_model(model, FakeGuard())
    assert (await lane(lenient, "invoke", "x")).text == f"a {BAD}"
    assert (await lane(guard_model(model, fake_guard()), "invoke", "x")).text == REFUSAL, "another guard's answer"
    with pytest.raises(BlockedError):
        await lane(guard_model(model, fake_guard(), on_block="raise"), "invoke", "x")


def test_wrong_settings_fail_at_once() -> None:
    with pytest.raises(GuardConfigurationError, match="chat model"):
        guard_model(StrOutputParser(), token_guard())  # type: ignore[type-var]
    for setting in ({"on_block": "x"}, {"prompt": "x"}, {"retries": -1}):
        with pytest.raises(GuardConfigurationError):
            guard_model(ChunkModel.of("a"), token_guard(), **setting)


# --- a block ---


async def test_a_blocked_stream_ends_with_the_refusal(lane: Lane) -> None:
    model = ChunkModel.of(*[AIMessageChunk(content=word, id="a") for word in WORDS])
    released = await lane.collect(guard_model(model, token_guard()), "stream", "x")
    assert text_of(released) == f"one two three \n\n{REFUSAL}"
    last = released[-1]
    assert last.id == "a"
    assert last.response_metadata["finish_reason"] == "content_filter"
    assert last.response_metadata["qwen3guard"]["severity"] == "Unsafe"
    assert last.response_metadata["qwen3guard"]["verdict"]["categories"] == ["Violent"]
    whole = released[0]
    for chunk in released[1:]:
        whole = whole + chunk
    assert whole.response_metadata["finish_reason"] == "content_filter"
    assert len(model.pulled) <= 6, "the model was stopped"


async def test_a_blocked_answer_is_replaced_whole(lane: Lane) -> None:
    model = ChunkModel.of(*WORDS)
    message = await lane(guard_model(model, token_guard()), "invoke", "x")
    assert message.text == REFUSAL
    assert message.response_metadata["finish_reason"] == "content_filter"
    assert not message.tool_calls


async def test_a_block_can_raise(lane: Lane) -> None:
    model = guard_model(ChunkModel.of(*WORDS), token_guard(), on_block="raise")
    with pytest.raises(BlockedError) as error:
        await lane(model, "invoke", "x")
    assert "bomb" not in str(error.value)
    with pytest.raises(BlockedError):
        await lane.collect(model, "stream", "x")


async def test_blocked_tool_calls_do_not_leave(lane: Lane) -> None:
    call: Any = {"name": "f", "args": '{"q": "bomb"}', "id": "c", "index": 0}
    model = ChunkModel.of("Let me see. ", AIMessageChunk(content="", tool_call_chunks=[call]))
    released = await lane.collect(guard_model(model, token_guard()), "stream", "x")
    assert text_of(released) == f"Let me see. \n\n{REFUSAL}"
    assert call_names(released) == []
    assert not (await lane(guard_model(model, token_guard()), "invoke", "x")).tool_calls


async def test_a_redacted_stream_ends_with_the_redaction(lane: Lane) -> None:
    policy = Policy.model_validate({"unsafe": "redact"})
    model = guard_model(ChunkModel.of(*WORDS), token_guard(), policy, on_block="raise")
    assert text_of(await lane.collect(model, "stream", "x")) == "one two three \n\n[removed: Violent]"


async def test_the_refusal_is_a_block_of_its_own_where_content_is_blocks(lane: Lane) -> None:
    model = ChunkModel.of(*WORDS, output_version="v1")
    released = await lane.collect(guard_model(model, token_guard()), "stream", "x")
    assert all(isinstance(chunk.content, list) for chunk in released)
    assert text_of(released).endswith(REFUSAL)
    whole = await lane(guard_model(ChunkModel.of(*WORDS, output_version="v1"), token_guard()), "invoke", "x")
    assert whole.text == REFUSAL
    for messages in (released, [whole]):
        blocks = [block for message in messages for block in message.content_blocks]
        refusals = [block["refusal"] for block in blocks if block["type"] == "refusal"]
        assert refusals == ([REFUSAL] if HAS_REFUSAL_BLOCKS else [])


async def test_callbacks_and_traces_see_the_guarded_answer_only(lane: Lane) -> None:
    recorder = Recorder()
    model = guard_model(ChunkModel.of(*WORDS), token_guard())
    config: Any = {"callbacks": [recorder]}
    await lane.collect(model, "stream", "x", config)
    await lane(model, "invoke", "x", config)
    assert recorder.runs
    assert "bomb" not in repr([(run.outputs, run.events, run.error) for run in recorder.runs])


class SlowPrompt(FakeStreamGuard):
    """Takes its time for whole texts, of which the prompt is one."""

    def check_many(self, conversations: Any) -> Any:
        time.sleep(0.05 if conversations[0].judged.role == "user" else 0.01)
        return super().check_many(conversations)

    async def acheck_many(self, conversations: Any) -> Any:
        await asyncio.sleep(0.05 if conversations[0].judged.role == "user" else 0.01)
        return await super().acheck_many(conversations)


def call_piece(args: str) -> AIMessageChunk:
    call: Any = {"name": "f", "args": args, "id": "c", "index": 0}
    return AIMessageChunk(content="", tool_call_chunks=[call])


@pytest.mark.parametrize("prompt", ["before", "parallel"])
@pytest.mark.parametrize("fill", ["", "x" * 450], ids=["short", "long"])
async def test_a_tool_call_leaves_only_when_all_of_it_is_judged(prompt: Any, fill: str, lane: Lane) -> None:
    """Not when the prompt passes after the end, and not by a look that was taken on the way."""
    model = ChunkModel.of(call_piece('{"q": "'), call_piece(fill), call_piece('bomb"}'))
    guarded = guard_model(model, SlowPrompt({"bomb": VIOLENT}), prompt=prompt)
    released = await lane.collect(guarded, "stream", "x")
    assert call_names(released) == []
    assert text_of(released) == REFUSAL


@pytest.mark.parametrize(
    "pieces",
    [
        [
            AIMessageChunk(content="", additional_kwargs={"reasoning_content": p, "reasoning_details": [{"text": p}]})
            for p in ("the ", "b", "om", "b ", "goes ", "here")
        ],
        [AIMessageChunk(content=[{"type": "refusal", "refusal": p, "index": 0}]) for p in ("a bo", "mb ", "is ", "it")],
        [call_piece('{"q": "bomb", "q": "x"}')],
        [AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": "{}", "id": "a bomb", "index": 0}])],
    ],
    ids=["reasoning twice", "other blocks", "a key twice", "an id that speaks"],
)
async def test_harm_in_odd_places(pieces: list[AIMessageChunk], lane: Lane) -> None:
    released = await lane.collect(guard_model(ChunkModel.of(*pieces), token_guard()), "stream", "x")
    assert text_of(released).endswith(REFUSAL)
    assert call_names(released) == []


async def test_what_is_left_out_is_left_out_of_the_metadata_too(lane: Lane) -> None:
    chunks = [
        AIMessageChunk(
            content="", additional_kwargs={"reasoning_content": p}, response_metadata={"logprobs": {"content": [p]}}
        )
        for p in ("a ", "bomb ", "again ")
    ]
    policy = {"points": {"reasoning": "drop"}}
    released = await lane.collect(guard_model(ChunkModel.of(*chunks, "Hello"), token_guard(), policy), "stream", "x")
    assert "bomb" not in repr(released)
    assert text_of(released) == "Hello"


async def test_a_dropped_answer_is_a_blocked_one(lane: Lane) -> None:
    guarded = guard_model(ChunkModel.of(*WORDS), token_guard(), {"unsafe": "drop"}, on_block="raise")
    with pytest.raises(BlockedError, match="block"):
        await lane(guarded, "invoke", "x")
    with pytest.raises(BlockedError, match="block"):
        await lane.collect(guarded, "stream", "x")


# --- the prompt ---


async def test_every_turn_of_the_prompt_is_judged_before_the_model_is_asked(lane: Lane) -> None:
    model, guard = ChunkModel.of("fine"), token_guard()
    messages = [
        SystemMessage("Be kind."),
        HumanMessage("hello"),
        AIMessage("", tool_calls=[{"name": "f", "args": {"q": "x"}, "id": "1"}]),
        ToolMessage("found a bomb", tool_call_id="1"),
    ]
    for method in ("invoke", "stream"):
        act = lane(guard_model(model, guard), "invoke", messages) if method == "invoke" else None
        released = [await act] if act else await lane.collect(guard_model(model, guard), "stream", messages)
        assert text_of(released) == REFUSAL
        assert released[-1].response_metadata["qwen3guard"]["point"] == "tool_output"
    assert model.calls == []


async def test_what_the_policy_redacts_of_the_prompt_the_model_does_not_get(lane: Lane) -> None:
    model = ChunkModel.of("fine")
    policy = Policy.model_validate({"points": {"tool_output": {"unsafe": "redact"}}})
    messages = [HumanMessage("hello"), ToolMessage("a bomb", tool_call_id="1")]
    await lane.collect(guard_model(model, token_guard(), policy), "stream", messages)
    await lane(guard_model(model, token_guard(), policy), "invoke", messages)
    assert [call[-1].content for call in model.calls] == ["[removed: Violent]"] * 2
    assert messages[1].content == "a bomb"


async def test_the_prompt_can_be_judged_while_the_model_works(lane: Lane) -> None:
    guard = token_guard(delay=0.02)
    for words, released in ((["fine ", "day"], REFUSAL), (["a bomb"], REFUSAL)):
        model = ChunkModel.of(*words)
        guarded = guard_model(model, guard, prompt="parallel")
        assert text_of(await lane.collect(guarded, "stream", BAD)) == released
        assert (await lane(guarded, "invoke", BAD)).text == released
        assert model.calls, "the model was asked"
    model = ChunkModel.of("fine ", "day")
    guarded = guard_model(model, guard, prompt="parallel")
    assert text_of(await lane.collect(guarded, "stream", "hello")) == "fine day"
    assert (await lane(guarded, "invoke", "hello")).text == "fine day"


async def test_a_blocked_prompt_cancels_the_model() -> None:
    cancelled = []

    class Slow(ChunkModel):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.append("generate")
                raise

        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            try:
                await asyncio.sleep(30)
                yield None
            except asyncio.CancelledError:
                cancelled.append("stream")
                raise

    guarded = guard_model(Slow.of("x"), token_guard(delay=0.01), prompt="parallel")
    assert (await guarded.ainvoke(BAD)).text == REFUSAL
    assert text_of([chunk async for chunk in guarded.astream(BAD)]) == REFUSAL
    assert cancelled == ["generate", "stream"]


def test_a_blocked_prompt_does_not_wait_for_a_blocking_model() -> None:
    class Slow(ChunkModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            time.sleep(1.5)
            return super()._generate(*args, **kwargs)

    guarded = guard_model(Slow.of("x"), token_guard(), prompt="parallel")
    begin = time.monotonic()
    assert guarded.invoke(BAD).text == REFUSAL
    assert time.monotonic() - begin < 1.4, "the refusal came first"


async def test_the_prompt_can_be_left_to_others(lane: Lane) -> None:
    guarded = guard_model(ChunkModel.of("fine"), token_guard(), prompt="off")
    assert text_of(await lane.collect(guarded, "stream", BAD)) == "fine"


# --- detect, roll back, try again ---


class Turns(ChunkModel):
    """Streams other chunks each time."""

    turns: list[list[Any]]

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.chunks = [AIMessageChunk(content=word) for word in self.turns[min(len(self.calls), len(self.turns) - 1)]]
        return super()._stream(messages, *args, **kwargs)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.chunks = [AIMessageChunk(content=word) for word in self.turns[min(len(self.calls), len(self.turns) - 1)]]
        return super()._generate(messages, *args, **kwargs)


def turns(*turns_: list[str]) -> Turns:
    return Turns(chunks=[], pulled=[], closed=[], calls=[], turns=list(turns_))


@pytest.mark.parametrize("make_guard", [token_guard, fake_guard], ids=["token", "windowed"])
async def test_the_model_goes_on_anew_from_the_last_clean_place(make_guard: Any, lane: Lane) -> None:
    model = turns(["one. ", "two. ", "three. ", "bomb ", "x ", "y "], ["four. ", "five."])
    guarded = guard_model(model, make_guard(), on_block="regenerate", buffer_tokens=3)
    released = await lane.collect(guarded, "stream", "q")
    text = text_of(released)
    assert text.endswith("four. five.")
    assert "bomb" not in text
    kept = text.removesuffix("four. five.")
    again = model.calls[1]
    assert [message.text for message in again if isinstance(message, AIMessage)] == ([kept] if kept else [])
    assert "taken back" in again[-1].text, "the intervention"
    effort = released[-1].response_metadata["qwen3guard"]
    assert effort["retries"] == 1
    assert effort["wait_tokens"] >= 2
    assert len({chunk.id for chunk in released}) == 1, "one answer has one id"


def harm_between_both_ends(conversation: Conversation) -> Verdict:
    """What no window shows: Unsafe only where the first and the last words stand together."""
    harmful = {"one", "bomb"} <= set(conversation.judged.content.split())
    return VIOLENT if harmful else Verdict(severity=Severity.SAFE)


@pytest.mark.parametrize("script", [{"bomb": VIOLENT}, harm_between_both_ends], ids=["last window", "whole answer"])
async def test_a_model_that_is_faster_than_the_guard_can_be_taken_back(script: Any, lane: Lane) -> None:
    model = turns(["one ", *["word "] * 75, "and. ", "a ", "bomb ", "there."], ["fresh."])
    guarded = guard_model(model, FakeGuard(script, delay=0.02), on_block="regenerate")
    released = await lane.collect(guarded, "stream", "q")
    kept = text_of(released).removesuffix("fresh.")
    assert "fresh." in text_of(released)
    assert len(kept.split()) <= 40, "40 of the 80 tokens are kept until the last word of the guard"
    assert released[-1].response_metadata["qwen3guard"]["wait_tokens"] >= 40


async def test_after_all_retries_comes_the_refusal(lane: Lane) -> None:
    model = turns(["a ", "bomb ", "x ", "y "])
    guarded = guard_model(model, token_guard(), on_block="regenerate", retries=2)
    released = await lane.collect(guarded, "stream", "q")
    assert text_of(released) == REFUSAL
    assert len(model.calls) == 3
    assert released[-1].response_metadata["qwen3guard"]["retries"] == 2
    message = await lane(guarded, "invoke", "q")
    assert message.text == REFUSAL
    assert len(model.calls) == 6


async def test_a_whole_answer_is_tried_again_too(lane: Lane) -> None:
    model = turns([BAD], ["fine"])
    assert (await lane(guard_model(model, token_guard(), on_block="regenerate"), "invoke", "q")).text == "fine"


@pytest.mark.parametrize(("on_block", "own"), [("refuse", 1), ("regenerate", 3), ("raise", 1)])
async def test_a_second_model_takes_over(on_block: Any, own: int, lane: Lane) -> None:
    model, second = turns(["a ", "bomb ", "x ", "y "]), ChunkModel.of("a safe ", "answer")
    guarded = guard_model(model, token_guard(), on_block=on_block, retries=2, fallback_model=second, buffer_tokens=3)
    assert text_of(await lane.collect(guarded, "stream", "q")).endswith("a safe answer")
    assert (await lane(guarded, "invoke", "q")).text == "a safe answer"
    assert len(model.calls) == 2 * own


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("settings", "effort"),
    [
        ({"on_block": "regenerate"}, {"retries": 1}),
        ({"fallback_model": None}, {"retries": 1, "fallback": True}),
        ({"on_block": "regenerate", "retries": 0, "fallback_model": None}, {"retries": 1, "fallback": True}),
    ],
    ids=["regenerated", "fallback", "regenerated by the fallback"],
)
async def test_an_answer_that_is_not_the_first_says_so(settings: Any, effort: Any, way: str, lane: Lane) -> None:
    settings = settings | ({"fallback_model": ChunkModel.of("fine")} if "fallback_model" in settings else {})
    guarded = guard_model(turns(["a ", "bomb ", "x ", "y "], ["fine"]), token_guard(), **settings)
    if way == "stream":
        first, *rest = await lane.collect(guarded, "stream", "q")
        answer, effort = sum(rest, first), {**effort, "wait_tokens": answer_waited(rest)}
    else:
        answer = await lane(guarded, "invoke", "q")
    assert answer.text.endswith("fine")
    assert answer.response_metadata["qwen3guard"] == effort


def answer_waited(chunks: list[Any]) -> int:
    """The tokens that were written in vain, as the last chunk says."""
    waited: int = chunks[-1].response_metadata["qwen3guard"]["wait_tokens"]
    assert waited > 0
    return waited


async def test_a_mark_leaves_the_rest_of_an_answer_as_it_is(lane: Lane) -> None:
    told = AIMessage(
        "fine", id="7", response_metadata={"model_name": "m", "qwen3guard": {"a": 1}}, usage_metadata=USAGE
    )
    second = GenericFakeChatModel(messages=iter([told]))
    answer = await lane(guard_model(ChunkModel.of(BAD), token_guard(), fallback_model=second), "invoke", "q")
    mark = {"a": 1, "retries": 1, "fallback": True}
    assert answer == told.model_copy(update={"response_metadata": {"model_name": "m", "qwen3guard": mark}})
    assert told.response_metadata["qwen3guard"] == {"a": 1}


@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_a_refusal_is_nobodys_answer(way: str, lane: Lane) -> None:
    guarded = guard_model(turns([BAD]), fake_guard(), fallback_model=ChunkModel.of("a ", BAD))
    last = await lane(guarded, "invoke", "q") if way == "invoke" else (await lane.collect(guarded, "stream", "q"))[-1]
    said = last.response_metadata["qwen3guard"]
    assert (said["action"], said["retries"], "fallback" in said) == ("block", 1, False)


async def test_an_answer_of_the_second_model_that_loses_its_thinking_says_whose_it_is(lane: Lane) -> None:
    second = GenericFakeChatModel(messages=iter([AIMessage(f"<think>{BAD}</think>fine")]))
    policy = {"points": {"reasoning": "drop"}}
    answer = await lane(guard_model(ChunkModel.of(BAD), token_guard(), policy, fallback_model=second), "invoke", "q")
    assert (answer.text, answer.response_metadata["qwen3guard"]) == ("fine", {"retries": 1, "fallback": True})


async def test_the_second_model_goes_on_from_what_has_left(lane: Lane) -> None:
    second = ChunkModel.of("a safe ", "end")
    guarded = guard_model(turns(["one ", "two ", "bomb ", "x ", "y "]), token_guard(), fallback_model=second)
    assert text_of(await lane.collect(guarded, "stream", "q")) == "one two a safe end"
    assert [message.text for message in second.calls[0][:2]] == ["q", "one two "]


async def test_the_second_model_is_guarded_too(lane: Lane) -> None:
    guarded = guard_model(turns([BAD]), fake_guard(), fallback_model=ChunkModel.of("a ", BAD))
    assert text_of(await lane.collect(guarded, "stream", "q")) == REFUSAL
    assert (await lane(guarded, "invoke", "q")).text == REFUSAL


async def test_a_blocked_prompt_is_not_tried_again(lane: Lane) -> None:
    model = turns(["fine"])
    guarded = guard_model(model, token_guard(), on_block="regenerate", fallback_model=ChunkModel.of("x"))
    assert text_of(await lane.collect(guarded, "stream", BAD)) == REFUSAL
    assert model.calls == []


# --- the guard fails ---


@pytest.mark.parametrize("make_guard", [FakeStreamGuard, FakeGuard], ids=["token", "windowed"])
async def test_a_dead_guard_lets_nothing_through(make_guard: Any, lane: Lane) -> None:
    guard = make_guard(error=GuardUnavailableError("down"))
    model = ChunkModel.of("fine ", "day")
    with pytest.raises(GuardError):
        await lane.collect(guard_model(model, guard), "stream", "x")
    with pytest.raises(GuardError):
        await lane.collect(guard_model(model, guard, prompt="off"), "stream", "x")
    with pytest.raises(GuardError):
        await lane(guard_model(model, guard, prompt="parallel"), "invoke", "x")
    block = guard_model(model, guard, Policy(on_guard_error="block"))
    assert text_of(await lane.collect(block, "stream", "x")) == REFUSAL
    allow = guard_model(model, guard, Policy(on_guard_error="allow"))
    assert text_of(await lane.collect(allow, "stream", "x")) == "fine day"


def noting(seen: list[str]) -> tuple[Any, Any]:
    """Steps that note each chunk that comes by, in both lanes."""

    def note(chunks: Any) -> Any:
        for chunk in chunks:
            seen.append(chunk.text)
            yield chunk

    async def anote(chunks: Any) -> Any:
        async for chunk in chunks:
            seen.append(chunk.text)
            yield chunk

    return note, anote


async def test_a_guard_that_dies_on_the_way(lane: Lane) -> None:
    guard = token_guard(error=GuardUnavailableError("down"), fail_after=2)
    guarded = guard_model(ChunkModel.of("a ", "b ", "c ", "d "), guard, prompt="off")
    seen: list[str] = []
    with pytest.raises(GuardUnavailableError):
        await lane.collect(RunnablePassthrough() | guarded | RunnableGenerator(*noting(seen)), "stream", "x")
    assert seen == ["a ", "b "]
    assert guard.open_sessions == 0


async def test_sessions_are_closed(lane: Lane) -> None:
    guard = token_guard()
    for words in (WORDS, ["fine"]):
        await lane.collect(guard_model(ChunkModel.of(*words), guard), "stream", "x")
    assert guard.open_sessions == 0
    assert asked(guard)
