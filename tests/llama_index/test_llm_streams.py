"""Streams of every form that LLMs have: calls that grow, or come one by one, and what stands beside the text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CitationBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools import FunctionTool

from qwen3guard_integrations.llama_index import guard_agent, guard_llm
from qwen3guard_integrations.llama_index.screener import Screener
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, StreamLLM, chat_llm, fake_guard, says, stream_llm, token_guard

GUARDS = pytest.mark.parametrize("make_guard", [fake_guard, token_guard], ids=["windowed", "token"])
HI = [ChatMessage(content="hi")]
LENIENT = {"points": {"reasoning": "allow"}}


def response(*blocks: Any, delta: str = "", beside: dict[str, Any] | None = None, **kwargs: Any) -> ChatResponse:
    message = says(*blocks)
    message.additional_kwargs = kwargs
    return ChatResponse(message=message, delta=delta, additional_kwargs=beside or {})


def call(arguments: Any, number: str | None = "c1") -> ToolCallBlock:
    return ToolCallBlock(tool_call_id=number, tool_name="search", tool_kwargs=arguments)


async def streamed(lane: Lane, llm: Any, guard: Any, policy: Any = None) -> list[ChatResponse]:
    guarded = guard_llm(llm, guard, policy)
    if lane.is_async:
        return [one async for one in await guarded.astream_chat(HI)]
    return list(guarded.stream_chat(HI))


# --- tool calls ---

GROWING: dict[str, list[Any]] = {
    "text": ['{"q"', '{"q":"a po', f'{{"q":"a {CANARY}', f'{{"q":"a {CANARY}"}}'],
    "parsed": [{}, {"q": "a po"}, {"q": f"a {CANARY}"}, {"q": f"a {CANARY}", "k": [1]}],
    "parsed at last": ['{"q":"a po', f'{{"q":"a {CANARY}', {"q": f"a {CANARY}"}],
}


@GUARDS
@pytest.mark.parametrize("form", GROWING)
@pytest.mark.parametrize("action", ["block", "redact", "drop"])
async def test_nothing_leaves_of_an_unsafe_call_that_grows(make_guard: Any, form: str, action: str, lane: Lane) -> None:
    llm = stream_llm(*(response("Look.", call({"q": "bread"}, "c0"), call(part)) for part in GROWING[form]))
    responses = await streamed(lane, llm, make_guard(), {"points": {"tool_call": action}})
    assert "po" not in repr([one.message.blocks for one in responses])
    if action != "block":
        assert [block for block in responses[-1].message.blocks if isinstance(block, ToolCallBlock)] == [
            call({"q": "bread"}, "c0")
        ]


async def test_a_safe_call_that_grows_is_the_same_and_judged_once(lane: Lane) -> None:
    parts = ['{"q"', '{"q": "bre', '{"q": "bread"}']
    judge = fake_guard()
    responses = await streamed(lane, stream_llm(*(response("Look.", call(part)) for part in parts)), judge)
    assert responses == [response("Look.", call(part)) for part in parts]
    judged = [conversation.judged.content for asked in judge.calls for conversation in asked]
    assert judged == ["hi", "Look.", 'search({"q": "bread"})']


@GUARDS
async def test_calls_that_come_one_by_one_are_all_judged(make_guard: Any, lane: Lane) -> None:
    one_by_one = [response(call({"q": CANARY}, "c1")), response(call({"q": "bread"}, "c2")), response("ok", delta="ok")]
    blocked = await streamed(lane, stream_llm(*one_by_one), make_guard())
    assert CANARY not in repr(blocked)
    assert blocked[-1].message.content == REFUSAL
    safe = await streamed(lane, stream_llm(*one_by_one[1:]), make_guard())
    assert safe == one_by_one[1:]


async def test_a_call_that_turns_into_another_is_judged(lane: Lane) -> None:
    llm = stream_llm(response(call({"q": CANARY})), response(call({"q": "bread"})))
    assert CANARY not in repr(await streamed(lane, llm, fake_guard()))


HOME, INSIDE = {"path": "/home"}, {"path": "/home/me"}


@pytest.mark.parametrize("number", [None, "search", "c1"], ids=["none", "the name of the tool", "of its own"])
@pytest.mark.parametrize("unsafe", ['/home"', "/home/me"])
@pytest.mark.parametrize("form", ["both", "both, turned", "one by one"])
async def test_calls_of_one_tool_are_two_calls(form: str, unsafe: str, number: str | None, lane: Lane) -> None:
    first, second = call(HOME, number), call(INSIDE, None if number is None else number.replace("1", "2"))
    given = {
        "both": [response(first), response(first, second)],
        "both, turned": [response(second), response(second, first)],
        "one by one": [response(first), response(second), response("")],
    }[form]
    guard = FakeGuard({unsafe: "Unsafe"})
    responses = await streamed(lane, stream_llm(*given), guard, {"points": {"tool_call": "drop"}})
    left = [block for one in responses for block in one.message.blocks if isinstance(block, ToolCallBlock)]
    assert {block.tool_kwargs["path"] for block in left if isinstance(block.tool_kwargs, dict)} == {
        "/home" if unsafe == "/home/me" else "/home/me"
    }
    assert await streamed(lane, stream_llm(*given), fake_guard()) == given


async def test_calls_of_a_message_in_any_role_are_judged(lane: Lane) -> None:
    given = [response("ok", delta="ok"), response("ok", call({"q": CANARY}))]
    for one in given:
        one.message.role = MessageRole.USER
    assert CANARY not in repr(await streamed(lane, stream_llm(*given), fake_guard()))


@pytest.mark.parametrize("whole", [False, True])
async def test_calls_that_are_left_out_are_told_of(whole: bool, lane: Lane) -> None:
    screener = Screener.of(token_guard(), {"points": {"tool_call": "drop"}})
    guarded = guard_llm(chat_llm(says("ok", call({"q": "x"}), call({"q": CANARY}, "c2"))), screener)
    if whole:
        await lane(guarded, "chat", HI)
    elif lane.is_async:
        assert [one async for one in await guarded.astream_chat(HI)]
    else:
        assert list(guarded.stream_chat(HI))
    counts = {key: count for key, count in screener.report.counts.items() if key[0] == "tool_call"}
    assert counts == {("tool_call", "allow"): 1, ("tool_call", "drop"): 1}


async def test_a_call_without_arguments_stays_beside_an_unsafe_one(lane: Lane) -> None:
    both = response("Look.", call({}, "c0"), call({"q": CANARY}, "c1"))
    responses = await streamed(lane, stream_llm(both), fake_guard(), {"points": {"tool_call": "drop"}})
    assert responses[-1].message.blocks == [TextBlock(text="Look."), call({}, "c0")]


class FirstLLM(StreamLLM):
    """Answers with the first of its responses."""

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self.responses[0]

    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self.responses[0]


@pytest.mark.parametrize("policy", [None, {"points": {"tool_call": "drop"}}], ids=["block", "drop"])
async def test_calls_beside_the_message_are_judged(policy: Any, lane: Lane) -> None:
    beside = {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": f'{{"q": "{CANARY}"}}'}}]}
    given = response("fine", delta="fine", beside=beside)
    llm = FirstLLM(answers=[says("done")], asked=[], pulled=[], closed=[], responses=[given])
    assert CANARY not in repr(await streamed(lane, llm, fake_guard(), policy))
    assert CANARY not in repr(await lane(guard_llm(llm, fake_guard(), policy), "chat", HI))


class PartialLLM(StreamLLM):
    """Says which tools it calls while it still writes their arguments, as OpenAI's does."""

    def get_tool_calls_from_response(self, response: ChatResponse, *args: Any, **kwargs: Any) -> list[ToolSelection]:
        return [
            ToolSelection(
                tool_id="c1",
                tool_name=block.tool_name,
                tool_kwargs=parse_partial_json(block.tool_kwargs)
                if isinstance(block.tool_kwargs, str)
                else block.tool_kwargs,
            )
            for block in response.message.blocks
            if isinstance(block, ToolCallBlock)
        ]


async def test_no_event_of_an_agent_has_an_unsafe_call_that_grows() -> None:
    parts = [response(call(part)) for part in (f'{{"q": "{CANARY}"', f'{{"q": "{CANARY}"}}')]
    llm = PartialLLM(answers=[says("done")], asked=[], pulled=[], closed=[], responses=parts)
    search = FunctionTool.from_defaults(lambda q="": q, name="search", description="finds")
    handler = guard_agent(FunctionAgent(tools=[search], llm=llm), fake_guard()).run(user_msg="hi")
    events = [event async for event in handler.stream_events()]
    assert str(await handler) == "done"
    assert any(event.tool_calls for event in events if isinstance(event, AgentStream))
    assert CANARY not in repr([event.model_dump() for event in events])


# --- what stands beside the text ---

CITATION: dict[str, Any] = {"citations": ["see page one"]}


@GUARDS
@pytest.mark.parametrize("later", [False, True])
async def test_words_beside_a_text_do_not_cut_it(make_guard: Any, later: bool, lane: Lane) -> None:
    texts = [("poi", "poi"), (CANARY, "son"), (f"{CANARY} here", " here")]
    places = [later and place == 0 for place in range(3)]
    llm = stream_llm(
        *(
            response(text, delta=delta, **({} if bare else CITATION))
            for (text, delta), bare in zip(texts, places, strict=True)
        )
    )
    responses = await streamed(lane, llm, make_guard())
    assert CANARY not in repr(responses)
    assert (responses[-1].message.content or "").endswith(REFUSAL)


@GUARDS
@pytest.mark.parametrize("block", [False, True])
async def test_unsafe_words_beside_a_text_do_not_leave(make_guard: Any, block: bool, lane: Lane) -> None:
    citation = CitationBlock(
        cited_content=TextBlock(text=f"a {CANARY}"), source="s", title="t", additional_location_info={}
    )
    beside: Any = {} if block else {"citations": [f"a {CANARY}"]}
    blocks = [citation] if block else []
    llm = stream_llm(
        response("Bread ", delta="Bread "),
        response("Bread and ", *blocks, delta="and ", **beside),
        *(response("Bread and jam", *blocks, delta=" jam", **beside) for _ in range(30)),
    )
    responses = await streamed(lane, llm, make_guard())
    assert CANARY not in repr(responses)
    assert (responses[-1].message.content or "").endswith(REFUSAL)


@GUARDS
async def test_safe_words_beside_a_text_are_the_same(make_guard: Any, lane: Lane) -> None:
    given = [
        response("Bread ", delta="Bread ", **CITATION),
        response("Bread and ", delta="and ", **CITATION),
        response("Bread and jam.", delta="jam.", citations=["see page one", "see page two"]),
    ]
    judge = make_guard()
    assert await streamed(lane, stream_llm(*given), judge) == given
    beside = [one.judged.content for asked in judge.calls for one in asked if "page" in one.judged.content]
    assert beside == ["see page one", "see page one\nsee page two"], "all so far, when there is more"


PIECES: dict[str, list[ChatResponse]] = {
    "growing": [response("ok", delta="ok", note="look at poi"), response("ok", note=f"look at {CANARY} now")],
    "pieces": [response("ok", delta="ok", beside={"note": "look at poi"}), response("ok", beside={"note": "son now"})],
    "names": [response("ok", beside={"note": part}) for part in ("p", "oi", "son")],
    "one key twice": [response("ok", beside={"note": "all is well"}, note=f"the {CANARY}")],
    "one key for thinking": [
        response("ok", beside={"reasoning_content": f"the {CANARY}"}, reasoning_content="all is well")
    ],
    "an object": [response("ok", note=SimpleNamespace(said=f"the {CANARY}"))],
    "a set": [response("ok", note={f"the {CANARY}"})],
}


@pytest.mark.parametrize("form", PIECES)
async def test_words_beside_a_text_are_judged_in_every_form(form: str, lane: Lane) -> None:
    responses = await streamed(lane, stream_llm(*PIECES[form]), token_guard())
    assert (responses[-1].message.content or "").endswith(REFUSAL)
    assert "son" not in repr([(one.additional_kwargs.get("note"), one.message) for one in responses])


async def test_numbers_beside_each_response_are_no_words(lane: Lane) -> None:
    judge = token_guard()
    given = [
        response("ok", delta="", beside={"id": f"a{place}", "at": f"2026-01-01T00:00:{place}"}) for place in range(9)
    ]
    assert await streamed(lane, stream_llm(*given), judge) == given
    assert [one.judged.content for asked in judge.calls for one in asked] == ["hi"]


async def test_unsafe_words_beside_a_text_can_be_redacted(lane: Lane) -> None:
    given = [response("fine ", delta="fine "), response("fine", beside={"note": f"the {CANARY}"})]
    policy = {"points": {"response": "redact"}, "redaction": "[gone]"}
    responses = await streamed(lane, stream_llm(*given), token_guard(), policy)
    assert responses[-1].message.content == "fine \n\n[gone]"
    assert responses[-1].additional_kwargs["qwen3guard"]["action"] == "redact"


@GUARDS
async def test_words_beside_a_text_open_no_thinking(make_guard: Any, lane: Lane) -> None:
    citation: dict[str, Any] = {"citations": ["<think> of it"]}
    llm = stream_llm(
        response("", **citation), response(f"the {CANARY}", delta=f"the {CANARY}", **citation), response("end")
    )
    responses = await streamed(lane, llm, make_guard(), LENIENT)
    assert CANARY not in repr(responses)
    block = CitationBlock(
        cited_content=TextBlock(text="<think> tag"), source="s s", title="t t", additional_location_info={}
    )
    llm = stream_llm()
    llm.answers = [says(block, f"the {CANARY}")]
    whole = await lane(guard_llm(llm, make_guard(), LENIENT), "chat", HI)
    assert whole.message.content == REFUSAL
