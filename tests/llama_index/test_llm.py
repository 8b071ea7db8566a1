"""`guard_llm`: every method of it on both lanes, what it gives, what it leaves alone, and who hears of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.extractors import KeywordExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation.dispatcher import instrument_tags
from pydantic import BaseModel

from qwen3guard_integrations import (
    BlockedError,
    GuardConfigurationError,
    GuardError,
    GuardUnavailableError,
    load_guard,
)
from qwen3guard_integrations.guards.journal import innermost
from qwen3guard_integrations.guards.load import how_loaded
from qwen3guard_integrations.llama_index import Qwen3GuardVerdictEvent, guard_llm
from qwen3guard_integrations.llama_index.screener import Screener

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, WordsLLM, chat_llm, fake_guard, listening, says, token_guard, words_llm

GUARDS = pytest.mark.parametrize("make_guard", [fake_guard, token_guard], ids=["windowed", "token"])
KINDS = pytest.mark.parametrize("kind", ["chat", "complete", "stream_chat", "stream_complete"])
WORDS = ("one ", "two ", f"a {CANARY} ", "four ", *["more "] * 40)


def given(kind: str, text: str = "hi") -> Any:
    return [ChatMessage(content=text)] if kind.endswith("chat") else text


async def answers(lane: Lane, llm: Any, kind: str, prompt: Any = None) -> list[Any]:
    """All responses, of a method that gives one too."""
    prompt = given(kind) if prompt is None else prompt
    if "stream" not in kind:
        return [await lane(llm, kind, prompt)]
    if lane.is_async:
        return [response async for response in await getattr(llm, f"a{kind}")(prompt)]
    return list(getattr(llm, kind)(prompt))


def text_of(response: Any) -> str:
    return (response.message.content or "") if isinstance(response, ChatResponse) else response.text


def said(responses: list[Any]) -> str:
    """What the readers of deltas get; those of whole answers where there are none."""
    return "".join(response.delta or "" for response in responses) or text_of(responses[-1])


@pytest.fixture(params=["words", "chat"])
def make_llm(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A model on which LlamaIndex builds seven of the methods, and one that has all eight."""
    return words_llm if request.param == "words" else lambda *words: chat_llm(says("".join(words).rstrip()))


# --- what passes ---


@GUARDS
@KINDS
async def test_a_clean_answer_is_the_same(make_guard: Any, kind: str, make_llm: Any, lane: Lane) -> None:
    bare = await answers(lane, make_llm("Bread ", "and ", "jam."), kind)
    guarded = await answers(lane, guard_llm(make_llm("Bread ", "and ", "jam."), make_guard()), kind)
    assert guarded == bare
    assert said(guarded) == "Bread and jam."


@pytest.mark.parametrize("kind", ["chat", "stream_chat"])
async def test_thinking_and_tool_calls_of_a_clean_answer_are_the_same(kind: str, lane: Lane) -> None:
    message = says(
        ThinkingBlock(content="Let me look it up."),
        "One moment.",
        ToolCallBlock(tool_call_id="c1", tool_name="search", tool_kwargs={"q": "bread"}),
        ToolCallBlock(tool_call_id="c2", tool_name="search", tool_kwargs={"q": "jam"}),
    )
    bare = await answers(lane, chat_llm(message), kind)
    guarded = await answers(lane, guard_llm(chat_llm(message), fake_guard()), kind)
    assert guarded == bare
    assert {block.block_type for block in guarded[-1].message.blocks} == {"thinking", "text", "tool_call"}


def test_the_copy_is_of_the_llms_class_and_the_llm_is_not_changed() -> None:
    llm, judge = words_llm("a"), fake_guard()
    guarded = guard_llm(llm, judge)
    assert isinstance(guarded, type(llm))
    assert type(llm).__name__ == "WordsLLM"
    assert guarded.class_name() == llm.class_name()
    assert guarded.metadata == llm.metadata
    assert guard_llm(guarded, judge) is guarded, "the same guard does not judge twice"
    assert guard_llm(guarded, fake_guard()) is not guarded
    assert "guard" not in str(guarded.to_dict()).lower()


@pytest.mark.parametrize(
    "again",
    [lambda llm: pickle.loads(pickle.dumps(llm)), copy, deepcopy, lambda llm: llm.model_copy(deep=True)],
    ids=["pickle", "copy", "deepcopy", "model_copy"],
)
@KINDS
async def test_what_is_made_again_is_guarded_alike(kind: str, again: Any, lane: Lane) -> None:
    for llm in (words_llm("fine ", "words"), chat_llm(says("fine words"))):
        guarded = guard_llm(llm, fake_guard(), {"refusal": "No."})
        made = again(guarded)
        assert type(made).__mro__[1] is type(llm)
        assert made.metadata == llm.metadata
        assert said(await answers(lane, made, kind)) == "fine words"
        assert said(await answers(lane, made, kind, given(kind, f"a {CANARY}"))) == "No."
        with pytest.raises(BlockedError):
            await answers(lane, again(guard_llm(guarded, fake_guard(), on_block="raise")), kind, given(kind, CANARY))


def test_a_pickle_has_the_guard_by_its_name_and_shares_it() -> None:
    screener = Screener("demo")
    one, other = pickle.loads(pickle.dumps([guard_llm(MockLLM(), screener), guard_llm(MockLLM(), screener)]))
    assert one._screens.screener is other._screens.screener
    assert how_loaded(innermost(one._screens.screener.guard)) == {"guard": "demo"}


def test_no_secret_of_a_guard_is_in_a_pickle() -> None:
    server: Any = {"base_url": "http://localhost:1/v1", "api_key": "sk-canary"}
    assert b"sk-canary" not in pickle.dumps(guard_llm(MockLLM(), load_guard("openai:any", **server)))
    secret = load_guard("openai:any", default_headers={"x": "sk-canary"}, **server)
    with pytest.raises(GuardConfigurationError, match="OpenAIGuard cannot be pickled") as raised:
        pickle.dumps(guard_llm(MockLLM(), secret))
    assert "sk-canary" not in str(raised.value)


def test_an_extractor_in_several_processes_has_a_guarded_llm() -> None:
    llm = guard_llm(words_llm("fine"), fake_guard(), prompt="off")
    blocked = guard_llm(words_llm(f"a {CANARY}"), fake_guard(), prompt="off")
    for one, keywords in ((llm, "fine"), (blocked, REFUSAL)):
        pipeline = IngestionPipeline(transformations=[KeywordExtractor(llm=one)], disable_cache=True)
        found = pipeline.run(nodes=[TextNode(text="a"), TextNode(text="b")], num_workers=2)
        assert [node.metadata["excerpt_keywords"] for node in found] == [keywords] * 2


async def test_a_method_that_calls_another_is_judged_once(lane: Lane) -> None:
    judge = fake_guard()
    await lane(guard_llm(words_llm("fine"), judge), "chat", [ChatMessage(content="hi")])
    assert [len(call) for call in judge.calls] == [1, 1], "the prompt, and the answer"


class CodeLLM(WordsLLM):
    """Has a method of its own, as some providers' do."""

    def fill_in_middle(self, prompt: str, suffix: str) -> CompletionResponse:
        return CompletionResponse(text=f"{prompt}{CANARY}{suffix}")


def test_a_method_past_the_guard_is_closed() -> None:
    llm = CodeLLM(words=["fine"])
    with pytest.raises(GuardConfigurationError, match=r"CodeLLM\.fill_in_middle asks its provider past the guard"):
        guard_llm(llm, fake_guard()).fill_in_middle("a", "b")
    assert llm.fill_in_middle("a", "b").text == f"a{CANARY}b", "the LLM itself is as before"
    assert not hasattr(guard_llm(words_llm("fine"), fake_guard()), "fill_in_middle")


# --- what does not pass ---


@GUARDS
@KINDS
async def test_a_blocked_answer_ends_with_the_refusal(make_guard: Any, kind: str, make_llm: Any, lane: Lane) -> None:
    llm = make_llm(*WORDS)
    responses = await answers(lane, guard_llm(llm, make_guard()), kind)
    assert CANARY not in repr(responses)
    assert said(responses).endswith(REFUSAL)
    assert said(responses) == text_of(responses[-1]), "deltas and cumulative texts say the same"
    assert responses[-1].additional_kwargs["qwen3guard"]["action"] == "block"
    if "stream" in kind and make_guard is token_guard:
        assert said(responses) == f"one two \n\n{REFUSAL}" or said(responses) == f"one two a\n\n{REFUSAL}"
        assert len(llm.pulled) < len(WORDS) / 2, "the model is stopped"
        assert llm.closed == [True]


@KINDS
async def test_a_blocked_prompt_reaches_no_llm(kind: str, make_llm: Any, lane: Lane) -> None:
    llm = make_llm("fine")
    with listening() as (events, spans):
        responses = await answers(lane, guard_llm(llm, fake_guard()), kind, given(kind, f"a {CANARY}"))
    assert said(responses) == REFUSAL
    assert llm.asked == []
    assert CANARY not in repr((events, spans))
    assert [event.class_name() for event in events] == ["Qwen3GuardVerdictEvent"]


@KINDS
async def test_blocks_can_be_raised(kind: str, make_llm: Any, lane: Lane) -> None:
    for text, words in ((f"a {CANARY}", ("fine",)), ("hi", WORDS)):
        guarded = guard_llm(make_llm(*words), token_guard(), on_block="raise")
        with pytest.raises(BlockedError) as raised:
            await answers(lane, guarded, kind, given(kind, text))
        assert CANARY not in str(raised.value)


@KINDS
@pytest.mark.parametrize("fails", ["prompt", "answer"])
async def test_a_dead_guard_lets_nothing_through(kind: str, fails: str, make_llm: Any, lane: Lane) -> None:
    error = GuardUnavailableError("down")
    judge: Any = token_guard(error=error)
    guarded = guard_llm(make_llm("fine ", "words"), judge, prompt="before" if fails == "prompt" else "off")
    seen: list[Any] = []
    with pytest.raises(GuardError):
        seen += await answers(lane, guarded, kind)
    assert seen == []


async def test_the_whole_history_is_judged_with_one_question(lane: Lane) -> None:
    judge, llm = fake_guard(), chat_llm(says("fine"))
    history = [
        ChatMessage(role=MessageRole.SYSTEM, content="Be kind."),
        ChatMessage(content=f"a {CANARY}"),
        ChatMessage(role=MessageRole.ASSISTANT, content="no"),
        ChatMessage(content="then something else"),
    ]
    response = await lane(guard_llm(llm, judge), "chat", history)
    assert response.message.content == REFUSAL
    assert llm.asked == []
    assert len(judge.calls) == 1


async def test_redacted_and_dropped_messages_do_not_reach_the_llm(lane: Lane) -> None:
    history = [ChatMessage(content=f"a {CANARY}"), ChatMessage(content="something else")]
    for action, expected in (("redact", 2), ("drop", 1)):
        llm = chat_llm(says("fine"))
        response = await lane(guard_llm(llm, fake_guard(), {"points": {"prompt": action}}), "chat", history)
        assert response.message.content == "fine"
        assert CANARY not in repr(llm.asked)
        assert len(llm.asked[0]) == expected
        assert history[0].content == f"a {CANARY}", "the caller's own messages stay as they are"


# --- thinking ---

PLANS = says(ThinkingBlock(content=f"I plan a {CANARY} now"), "All is well.")


@pytest.mark.parametrize("kind", ["chat", "stream_chat"])
@GUARDS
async def test_unsafe_thinking_can_be_left_out_of_a_safe_answer(make_guard: Any, kind: str, lane: Lane) -> None:
    guarded = guard_llm(chat_llm(PLANS), make_guard(), {"points": {"reasoning": "drop"}})
    with listening() as (events, spans):
        responses = await answers(lane, guarded, kind)
    assert CANARY not in repr((responses, events, spans))
    assert text_of(responses[-1]) == "All is well."
    blocked = await answers(lane, guard_llm(chat_llm(PLANS), make_guard()), kind)
    assert CANARY not in repr(blocked)
    assert text_of(blocked[-1]).endswith(REFUSAL)


@KINDS
async def test_thinking_in_the_text_is_judged(kind: str, lane: Lane) -> None:
    words = ("<think>", f"a {CANARY}", "</think>", "fine")
    responses = await answers(lane, guard_llm(words_llm(*words), token_guard()), kind)
    assert CANARY not in repr(responses)
    assert said(responses).endswith(REFUSAL)


THOUGHT = f"<think>\na {CANARY}\n</think>\n\n"


@pytest.mark.parametrize("kind", ["chat", "complete"])
async def test_unsafe_thinking_in_a_whole_text_can_be_left_out(kind: str, make_llm: Any, lane: Lane) -> None:
    policy = {"points": {"reasoning": "drop"}}
    (response,) = await answers(lane, guard_llm(make_llm(THOUGHT, "All is well."), fake_guard(), policy), kind)
    assert text_of(response) == "All is well."
    assert response.additional_kwargs["qwen3guard"]["point"] == "reasoning"
    assert CANARY not in repr(response)


@pytest.mark.parametrize("kind", ["chat", "complete"])
async def test_thinking_in_a_whole_text_is_judged_at_its_point(kind: str, make_llm: Any, lane: Lane) -> None:
    judge = fake_guard()
    (response,) = await answers(lane, guard_llm(make_llm("<think>Salt?</think>", "Bread."), judge), kind)
    assert text_of(response) == "<think>Salt?</think>Bread.", "a clean answer is the model's own"
    turns = [(turn.reasoning, turn.content) for turn in (one.judged for one in judge.calls[1])]
    assert turns == [("Salt?", ""), ("", "Bread.")]


async def test_thinking_in_several_blocks_of_a_whole_answer_can_be_left_out(lane: Lane) -> None:
    call = ToolCallBlock(tool_call_id="c1", tool_name="search", tool_kwargs={"q": "bread"})
    message = says(f"<think>a {CANARY}", "and more</think>", "All is", call, "well.")
    guarded = guard_llm(chat_llm(message), fake_guard(), {"points": {"reasoning": "drop"}})
    response = await lane(guarded, "chat", given("chat"))
    assert response.message.blocks == [TextBlock(text="All is"), call, TextBlock(text="well.")]


async def test_earlier_thinking_is_no_context(lane: Lane) -> None:
    judge = fake_guard()
    history = [
        ChatMessage(content="hi"),
        ChatMessage(role=MessageRole.ASSISTANT, content="<think>Salt?</think>Bread."),
        ChatMessage(content="and jam?"),
    ]
    await lane(guard_llm(chat_llm(says("fine")), judge), "chat", history)
    assert [turn.content for turn in judge.calls[-1][0].turns] == ["hi", "Bread.", "and jam?", "fine"]


@pytest.mark.parametrize("kind", ["stream_chat", "stream_complete"])
async def test_a_refusal_after_thinking_is_none_of_it(kind: str, lane: Lane) -> None:
    words = ("<think>", "Bread ", "and ", "salt ", f"or a {CANARY} ", "</think>", *["fine "] * 20)
    responses = await answers(lane, guard_llm(words_llm(*words), token_guard()), kind)
    assert said(responses) == f"<think>Bread and salt </think>\n\n{REFUSAL}"
    assert said(responses) == text_of(responses[-1])


# --- tool calls ---


def calls(*arguments: str) -> ChatMessage:
    blocks = [
        ToolCallBlock(tool_call_id=f"c{n}", tool_name="search", tool_kwargs={"q": q}) for n, q in enumerate(arguments)
    ]
    return says("Looking.", *blocks)


@pytest.mark.parametrize("kind", ["chat", "stream_chat"])
@pytest.mark.parametrize("action", ["block", "redact", "drop"])
async def test_an_unsafe_tool_call_leaves_no_llm(kind: str, action: str, lane: Lane) -> None:
    llm = chat_llm(calls("bread", f"a {CANARY}"))
    guarded = guard_llm(llm, fake_guard(), {"points": {"tool_call": action}})
    with listening() as (events, spans):
        responses = await answers(lane, guarded, kind)
    assert CANARY not in repr((responses, events, spans))
    left = llm.get_tool_calls_from_response(responses[-1])
    assert [call.tool_kwargs for call in left] == ([] if action == "block" else [{"q": "bread"}])


async def test_calls_in_additional_keywords_are_judged(lane: Lane) -> None:
    message = says("Looking.")
    message.additional_kwargs = {
        "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": f'{{"q": "{CANARY}"}}'}}]
    }
    response = await lane(guard_llm(chat_llm(message), fake_guard()), "chat", [ChatMessage(content="hi")])
    assert CANARY not in repr(response)


# --- what is built on the methods ---


async def test_prediction_and_function_calling_are_guarded(lane: Lane) -> None:
    template = PromptTemplate("{text}")
    guarded = guard_llm(words_llm(*WORDS), token_guard())
    assert await lane(guarded, "predict", template, text="hi") == REFUSAL
    if lane.is_async:
        tokens = [token async for token in await guarded.astream(template, text="hi")]
    else:
        tokens = list(guarded.stream(template, text="hi"))
    assert "".join(tokens).endswith(REFUSAL)
    tool = FunctionTool.from_defaults(lambda q: q, name="search")
    caller: Any = guard_llm(chat_llm(calls(f"a {CANARY}")), fake_guard())
    response = await lane(caller, "chat_with_tools", [tool], user_msg="hi")
    assert caller.get_tool_calls_from_response(response) == []


class Note(BaseModel):
    """A note."""

    text: str


async def test_structured_prediction_is_guarded(lane: Lane) -> None:
    llm = words_llm('{"text": "', f"a {CANARY}", '"}')
    with pytest.raises(BlockedError) as raised:
        await lane(guard_llm(llm, fake_guard()), "structured_predict", Note, PromptTemplate("{q}"), q="hi")
    assert isinstance(raised.value, ValueError), "as LlamaIndex's own error for an answer that is no structure"
    assert CANARY not in str(raised.value)
    safe = guard_llm(words_llm('{"text": "', "bread", '"}'), fake_guard())
    assert await lane(safe, "structured_predict", Note, PromptTemplate("{q}"), q="hi") == Note(text="bread")


async def test_responses_of_every_form_are_judged(lane: Lane) -> None:
    """Messages that are not cumulative, deltas that say more than the text, texts without deltas."""

    class Odd(WordsLLM):
        forms: list[tuple[str, str | None]]

        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            return (CompletionResponse(text=text, delta=delta) for text, delta in self.forms)

    for forms in (
        [("", "fine "), ("", f"a {CANARY}")],
        [("fine ", None), (f"fine a {CANARY}", None)],
        [("fine ", "fine "), (CANARY, CANARY)],
        [("fine", "fine"), ("fine", CANARY)],
        [("poi", "poi"), ("poison", "son")],
    ):
        responses = await answers(lane, guard_llm(Odd(words=[], forms=forms), token_guard()), "stream_complete")
        assert CANARY not in repr(responses)
        assert said(responses).endswith(REFUSAL)


# --- who hears of it ---


@KINDS
async def test_event_handlers_and_spans_hear_what_the_caller_gets(kind: str, make_llm: Any, lane: Lane) -> None:
    with listening() as (events, spans):
        await answers(lane, guard_llm(make_llm(*WORDS), token_guard()), kind)
    assert CANARY not in repr((events, spans))
    names = [event.class_name() for event in events]
    start = "LLMChatStartEvent" if kind.endswith("chat") else "LLMCompletionStartEvent"
    assert names.count(start) == 1
    assert names.count(start.replace("Start", "End")) == 1
    assert any(kind in id_ and way == "out" for id_, way, _ in spans)


@KINDS
async def test_spans_have_tags_with_what_was_decided_about_the_prompt(kind: str, make_llm: Any, lane: Lane) -> None:
    with listening() as (events, spans), instrument_tags({"mine": "kept"}):
        await answers(lane, guard_llm(make_llm("fine"), fake_guard()), kind)
    start = next(event for event in events if event.class_name().endswith("StartEvent"))
    assert start.tags == {"mine": "kept", "qwen3guard.prompt": "allow"}
    assert any(way == "tags" and heard == start.tags for _, way, heard in spans)


async def test_every_verdict_is_an_event_without_the_text(lane: Lane) -> None:
    with listening() as (events, _):
        await lane(guard_llm(words_llm(*WORDS), fake_guard()), "complete", "hi")
    verdicts = [event for event in events if isinstance(event, Qwen3GuardVerdictEvent)]
    assert [(event.point, event.action) for event in verdicts] == [("prompt", "allow"), ("response", "block")]
    tags = {"qwen3guard.point": "response", "qwen3guard.action": "block"}
    assert verdicts[1].tags == {**tags, "qwen3guard.prompt": "allow"}
    assert verdicts[1].span_id


# --- settings ---


def test_wrong_settings_are_named() -> None:
    wrong: Any
    for wrong in ({"on_block": "explode"}, {"prompt": "later"}):
        with pytest.raises(GuardConfigurationError, match=r"(on_block|prompt)='(explode|later)': it is"):
            guard_llm(words_llm("a"), fake_guard(), **wrong)
    wrong = "gpt"
    with pytest.raises(GuardConfigurationError, match="takes an LLM of LlamaIndex, not str"):
        guard_llm(wrong, fake_guard())


async def test_the_prompt_can_be_left_to_others(lane: Lane) -> None:
    judge, llm = fake_guard(), words_llm("fine")
    await lane(guard_llm(llm, judge, prompt="off"), "complete", f"a {CANARY}")
    assert len(llm.asked) == 1
    assert [[one.judged.content for one in call] for call in judge.calls] == [["fine"]]


async def test_mocks_of_llama_index_work_guarded(lane: Lane) -> None:
    assert (await lane(guard_llm(MockLLM(), fake_guard()), "complete", "hello")).text == "hello"

    def generate(messages: Any, **kwargs: Any) -> ChatMessage:
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=f"a {CANARY}")])

    mock = guard_llm(MockFunctionCallingLLM(response_generator=generate), fake_guard())
    for kind in ("chat", "stream_chat"):
        assert CANARY not in repr(await answers(lane, mock, kind))


# --- what stands beside the text ---


@pytest.mark.parametrize("role", ["user", "tool", "assistant"])
async def test_keywords_that_an_llm_would_write_into_its_prompt_are_judged(role: str, lane: Lane) -> None:
    llm = words_llm("fine")
    messages = [
        ChatMessage(role=role, content="hi", additional_kwargs={"note": f"a {CANARY}"}),
        ChatMessage(content="and?"),
    ]
    assert text_of(await lane(guard_llm(llm, fake_guard()), "chat", messages)) == REFUSAL
    points = dict.fromkeys(("prompt", "tool_output", "response"), "redact")
    redacting = guard_llm(llm, fake_guard(), {"points": points})
    await lane(redacting, "chat", messages)
    assert len(llm.asked) == 1
    assert CANARY not in repr(llm.asked)
    await lane(guard_llm(llm, fake_guard()), "chat", [messages[1]])
    assert "and?" in llm.asked[-1]


@KINDS
@pytest.mark.parametrize("place", ["message", "response"])
async def test_keywords_of_an_answer_are_judged(place: str, kind: str, lane: Lane) -> None:
    beside = {"citations": [{"title": f"a {CANARY}"}]}

    class Cites(WordsLLM):
        def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
            message = ChatMessage(
                role=MessageRole.ASSISTANT, content="fine", additional_kwargs=beside if place == "message" else {}
            )
            return ChatResponse(message=message, delta="fine", additional_kwargs=beside if place == "response" else {})

        def complete(self, prompt: Any, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            return CompletionResponse(text="fine", delta="fine", additional_kwargs=beside)

        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            yield self.chat(messages)

        def stream_complete(self, prompt: Any, formatted: bool = False, **kwargs: Any) -> Any:
            yield self.complete(prompt)

        async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
            return self.chat(messages)

        async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
            async def responses() -> Any:
                yield self.chat(messages)

            return responses()

    llm = guard_llm(Cites(words=[], asked=[], pulled=[], closed=[]), fake_guard())
    responses = await answers(lane, llm, kind)
    assert CANARY not in repr(responses)
    assert said(responses).endswith(REFUSAL)
