"""The faults of other guards in agents, by name (see the survey of peers): ours has none of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelFallbackMiddleware,
    ModelResponse,
    ModelRetryMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from qwen3guard_integrations import BlockedError
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .agents import THREAD, ScriptedModel, agent, asking, calls, search_tool
from .helpers import REFUSAL, VIOLENT, Recorder, asked

CANARY = "canary7f3a"


def guarding(**settings: Any) -> Qwen3GuardMiddleware:
    return Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}), **settings)


def done(text: str = "done") -> AIMessage:
    return AIMessage(text)


def last(result: Any) -> str:
    return str(result["messages"][-1].text)


async def test_two_human_turns_in_a_row_bypass_the_guard(lane: Lane) -> None:
    made, model = agent([done()], guarding())
    messages = [HumanMessage(f"a {CANARY}"), HumanMessage("and hello")]
    assert last(await lane(made, "invoke", {"messages": messages}, THREAD)) == REFUSAL
    assert not model.calls


async def test_supplied_history_is_never_screened(lane: Lane) -> None:
    made, model = agent([done()], guarding())
    messages = [HumanMessage("hi"), AIMessage(f"a {CANARY}"), HumanMessage("go on")]
    assert last(await lane(made, "invoke", {"messages": messages}, THREAD)) == REFUSAL
    assert not model.calls


async def test_a_message_that_holds_only_tool_calls_raises(lane: Lane) -> None:
    made, _ = agent([calls("a", text=""), done()], guarding(), tools=[search_tool()[0]])
    assert last(await lane(made, "invoke", asking("q"), THREAD)) == "done"


async def test_structured_content_is_corrupted_or_not_read(lane: Lane) -> None:
    blocks: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}},
    ]
    made, model = agent([done()], guarding())
    await lane(made, "invoke", {"messages": [HumanMessage(blocks)]}, THREAD)
    assert model.calls[0][0].content == blocks
    blocks[0]["text"] = CANARY
    assert last(await lane(made, "invoke", {"messages": [HumanMessage(blocks)]}, THREAD)) == REFUSAL


@pytest.mark.parametrize("exit_behavior", ["end", "replace"])
async def test_a_flagged_tool_call_still_runs(exit_behavior: Any, lane: Lane) -> None:
    search, ran = search_tool()
    made, _ = agent([calls(CANARY, "b"), done()], guarding(exit_behavior=exit_behavior), tools=[search])
    await lane(made, "invoke", asking("q"), THREAD)
    assert ran == ["b"]


async def test_an_agent_that_uses_a_tool_loses_its_messages(lane: Lane) -> None:
    made, _ = agent([calls("a"), done()], guarding(), tools=[search_tool()[0]])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert [message.text for message in result["messages"]] == ["q", "I will look. ", "found a", "done"]


async def test_the_unsafe_text_stays_in_state_although_the_user_saw_a_replacement(lane: Lane) -> None:
    for exit_behavior in ("end", "replace"):
        made, _ = agent([done(f"a {CANARY}")], guarding(exit_behavior=exit_behavior))
        assert last(await lane(made, "invoke", asking("q"), THREAD)) == REFUSAL
        assert CANARY not in repr(list(made.get_state_history(THREAD)))


async def test_one_conversation_leaks_into_another() -> None:
    made, model = agent([done()], guarding())
    threads: list[Any] = [{"configurable": {"thread_id": str(number)}} for number in range(20)]
    texts = [CANARY if number % 3 == 0 else f"q{number}" for number in range(20)]
    runs = (made.ainvoke(asking(text), thread) for text, thread in zip(texts, threads, strict=True))
    results = await asyncio.gather(*runs)
    assert [last(result) == REFUSAL for result in results] == [text == CANARY for text in texts]
    assert CANARY not in repr(model.calls)


async def test_a_sync_call_inside_a_running_loop_fails() -> None:
    made, _ = agent([done()], guarding())
    assert last(made.invoke(asking("q"), THREAD)) == "done"


def test_one_guard_cannot_be_used_from_two_loops() -> None:
    made, _ = agent([done()], guarding())
    for number in range(3):
        thread: Any = {"configurable": {"thread_id": str(number)}}
        assert last(asyncio.run(made.ainvoke(asking("q"), thread))) == "done"


async def test_harm_after_ten_thousand_characters_is_not_seen(lane: Lane) -> None:
    long = "All is well. " * 1000
    made, model = agent([done()], guarding())
    assert last(await lane(made, "invoke", asking(f"{long}{CANARY}"), THREAD)) == REFUSAL
    assert not model.calls
    search, _ = search_tool({"a": f"{long}{CANARY}"})
    made, _ = agent([calls("a"), done()], guarding(exit_behavior="replace"), tools=[search])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert CANARY not in repr(result)


async def test_the_event_loop_stands_still_while_the_guard_works() -> None:
    guard = FakeGuard(delay=0.05)
    made, _ = agent([calls("a"), done()], Qwen3GuardMiddleware(guard), tools=[search_tool()[0]])
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    beating = asyncio.create_task(beat())
    await made.ainvoke(asking("q"), THREAD)
    beating.cancel()
    assert len(guard.calls) == 4
    assert beats >= 20  # of about forty in 4 x 50 ms


async def test_one_tool_result_after_another_is_judged(lane: Lane) -> None:
    guard = FakeGuard({CANARY: VIOLENT})
    made, _ = agent([calls(*"abcd"), done()], Qwen3GuardMiddleware(guard), tools=[search_tool()[0]])
    await lane(made, "invoke", asking("q"), THREAD)
    assert max(len(call) for call in guard.calls) == 5  # the text of the answer and its four calls
    assert 4 in [len(call) for call in guard.calls]


async def test_the_same_human_message_is_judged_again_in_every_loop(lane: Lane) -> None:
    guard = FakeGuard({CANARY: VIOLENT})
    script = [calls("a", text="one "), calls("b", text="two "), done()]
    made, _ = agent(script, Qwen3GuardMiddleware(guard), tools=[search_tool()[0]])
    await lane(made, "invoke", asking("q"), THREAD)
    texts = asked(guard)
    assert len(texts) == len(set(texts)) == 8


class Adds(AgentMiddleware[Any, Any, Any]):
    """Writes unsafe words into the prompt, as a summary or a retrieval may."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(messages=[*request.messages, HumanMessage(CANARY)]))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(messages=[*request.messages, HumanMessage(CANARY)]))


@pytest.mark.parametrize("outer", [True, False])
async def test_the_order_of_middleware_decides_what_is_screened(outer: bool, lane: Lane) -> None:
    made, model = agent([done()], *([Adds(), guarding()] if outer else [guarding(), Adds()]))
    assert last(await lane(made, "invoke", asking("q"), THREAD)) == REFUSAL
    assert not model.calls


async def test_the_exception_text_is_shown_to_the_user(lane: Lane) -> None:
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="continue")
    made, _ = agent([done(f"a {CANARY}")], retry, guarding(exit_behavior="error"))
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert CANARY not in repr(result)


async def test_a_fallback_model_answers_unguarded(lane: Lane) -> None:
    fallback = ModelFallbackMiddleware(ScriptedModel(script=[done(f"another {CANARY}")]))
    made, _ = agent([done(f"a {CANARY}")], fallback, guarding(exit_behavior="error"))
    with pytest.raises(BlockedError):
        await lane(made, "invoke", asking("q"), THREAD)


class Routes(AgentMiddleware[Any, Any, Any]):
    """Asks another model, as routers and fallbacks do."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(model=self.model))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(model=self.model))


class Answers(AgentMiddleware[Any, Any, Any]):
    """Answers in place of the model, as caches do."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return ModelResponse(result=[AIMessage(CANARY, id="k")])

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return ModelResponse(result=[AIMessage(CANARY, id="k")])


@pytest.mark.parametrize("mode", ["values", "messages", "updates"])
async def test_a_model_that_an_inner_middleware_chooses_is_not_guarded(mode: Any, lane: Lane) -> None:
    search, ran = search_tool()
    routed = Routes(ScriptedModel(script=[calls(CANARY, "b"), done(f"a {CANARY}")]))
    made, _ = agent([done()], guarding(), routed, tools=[search])
    items = await lane.collect(made, "stream", asking("q"), THREAD, stream_mode=mode)
    assert CANARY not in repr(items)
    assert CANARY not in repr(list(made.get_state_history(THREAD)))
    assert ran == ["b"]


@pytest.mark.parametrize("word", ["alpha", "beta"])
async def test_a_model_that_an_inner_middleware_chooses_is_guarded_by_the_last_guard_only(
    word: str, lane: Lane
) -> None:
    guards = [Qwen3GuardMiddleware(FakeGuard({one: VIOLENT}), name=one) for one in ("alpha", "beta")]
    made, _ = agent([done()], *guards, Routes(ScriptedModel(script=[done(f"an {word} {word}")])))
    items = await lane.collect(made, "stream", asking("q"), THREAD, stream_mode="messages")
    assert word not in repr(items)
    assert "".join(chunk.text for chunk, _ in items) == REFUSAL


async def test_an_inner_middleware_that_answers_by_itself_is_not_judged(lane: Lane) -> None:
    made, _ = agent([done()], guarding(), Answers())
    assert last(await lane(made, "invoke", asking("q"), THREAD)) == REFUSAL
    assert CANARY not in repr(list(made.get_state_history(THREAD)))


CHANGES: dict[str, Callable[[AIMessage], list[Any]]] = {
    "another": lambda said: [AIMessage(f"a {CANARY}")],
    "in place": lambda said: [_changed(said, "content", f"a {CANARY}")],
    "beside": lambda said: [_changed(said, "additional_kwargs", {"reasoning_content": CANARY})],
    "a call": lambda said: [_changed(said, "tool_calls", calls(CANARY).tool_calls)],
    "one more": lambda said: [said, HumanMessage(CANARY)],
    "a result": lambda said: [said, ToolMessage(CANARY, tool_call_id="c0", name="search")],
}


def _changed(message: AIMessage, name: str, value: Any) -> AIMessage:
    setattr(message, name, value)
    return message


class Changes(AgentMiddleware[Any, Any, Any]):
    """Makes something else of what the model has answered."""

    def __init__(self, change: Callable[[AIMessage], list[Any]]) -> None:
        super().__init__()
        self.change = change

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return ModelResponse(result=self.change(handler(request).result[0]))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return ModelResponse(result=self.change((await handler(request)).result[0]))


@pytest.mark.parametrize("way", ["before", "parallel"])
@pytest.mark.parametrize("change", CHANGES)
async def test_what_an_inner_middleware_makes_of_an_answer_is_not_judged(change: str, way: Any, lane: Lane) -> None:
    search, ran = search_tool()
    made, _ = agent([done(), done()], guarding(prompt=way), Changes(CHANGES[change]), tools=[search])
    assert last(await lane(made, "invoke", asking("q"), THREAD)) == REFUSAL
    assert CANARY not in repr(list(made.get_state_history(THREAD)))
    assert not ran


async def test_what_is_not_changed_is_judged_again(lane: Lane) -> None:
    guard = FakeGuard({CANARY: VIOLENT})
    named = Changes(lambda said: [_changed(said, "response_metadata", {"model_name": "m"})])
    made, _ = agent([done()], Qwen3GuardMiddleware(guard), named, name="bob")
    assert last(await lane(made, "invoke", asking("q"), THREAD)) == "done"
    assert asked(guard) == ["q", "done"]


async def test_words_beside_the_content_stay_when_it_is_removed(lane: Lane) -> None:
    made, model = agent([done()], guarding(exit_behavior="replace"))
    message = HumanMessage("hi", additional_kwargs={"reasoning_content": CANARY})
    await lane(made, "invoke", {"messages": [message]}, THREAD)
    assert CANARY not in repr(model.calls)


@pytest.mark.parametrize("call_id", ["call 1", "c" * 80])
async def test_a_review_is_skipped_by_a_strange_id(call_id: str, lane: Lane) -> None:
    search, ran = search_tool()
    asks = AIMessage("", tool_calls=[{"name": "search", "args": {"q": CANARY}, "id": call_id}])
    made, _ = agent([asks, done()], guarding(policy={"points": {"tool_call": "review"}}), tools=[search])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert "__interrupt__" in result or last(result) == "done"
    assert not ran


async def test_a_review_that_nobody_answers_lets_the_call_through(lane: Lane) -> None:
    search, ran = search_tool()
    made, model = agent([calls(CANARY), done()], guarding(policy={"points": {"tool_call": "review"}}), tools=[search])
    await lane(made, "invoke", asking("q"), THREAD)
    result = await lane(made, "invoke", asking("never mind"), THREAD)
    assert last(result) == "done"
    assert CANARY not in repr(model.calls[1:])
    assert CANARY not in repr(made.get_state(THREAD).values["messages"])
    assert not ran


async def test_an_error_names_what_it_came_from(lane: Lane) -> None:
    @tool("search")
    def fails(q: str) -> str:
        """Fail."""
        raise ValueError("fine") from KeyError(CANARY)

    recorder = Recorder()
    made, _ = agent([calls("a"), done()], guarding(), tools=[fails])
    with pytest.raises(ToolException):
        await lane(made, "invoke", asking("q"), {**THREAD, "callbacks": [recorder]})
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events] for run in recorder.runs])


class Retells(AgentMiddleware[Any, Any, Any]):
    """Puts something else in place of a tool's result."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        handler(request)
        return ToolMessage(f"raw {CANARY}", tool_call_id=request.tool_call["id"], name="search")

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        await handler(request)
        return ToolMessage(f"raw {CANARY}", tool_call_id=request.tool_call["id"], name="search")


@pytest.mark.parametrize("found", [CANARY, "fine"])
async def test_what_an_inner_middleware_makes_of_a_result_is_not_judged(found: str, lane: Lane) -> None:
    search, _ = search_tool({"a": found})
    made, model = agent([calls("a"), done()], guarding(exit_behavior="replace"), Retells(), tools=[search])
    await lane(made, "invoke", asking("q"), THREAD)
    assert CANARY not in repr(model.calls)
    assert CANARY not in repr(list(made.get_state_history(THREAD)))


async def test_a_block_is_taken_for_a_failure_of_the_tool(lane: Lane) -> None:
    search, _ = search_tool({"a": CANARY})
    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0.0)
    made, _ = agent([calls("a"), done()], guarding(exit_behavior="error"), retry, tools=[search])
    with pytest.raises(BlockedError):
        await lane(made, "invoke", asking("q"), THREAD)


class Counts(BaseTool):
    """Knows how often it was called."""

    name: str = "counts"
    description: str = "Count."
    calls: int = 0

    def _run(self, q: str) -> str:
        self.calls += 1
        return f"call {self.calls}"


async def test_a_tool_loses_its_state(lane: Lane) -> None:
    counts = Counts()
    script = [calls("a", name="counts", text="one "), calls("b", name="counts", text="two "), done()]
    made, _ = agent(script, guarding(), tools=[counts])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert [message.text for message in result["messages"] if isinstance(message, ToolMessage)] == ["call 1", "call 2"]
    assert counts.calls == 2


class Weather(BaseModel):
    """An answer with fields."""

    text: str


async def test_a_structured_answer_is_not_screened(lane: Lane) -> None:
    answer = AIMessage("", tool_calls=[{"name": "Weather", "args": {"text": f"a {CANARY}"}, "id": "w1"}])
    model = ScriptedModel(script=[answer])
    made: Any = create_agent(model, [], middleware=[guarding()], response_format=Weather, checkpointer=InMemorySaver())
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert last(result) == REFUSAL
    assert result.get("structured_response") is None
    assert CANARY not in repr(list(made.get_state_history(THREAD)))


async def test_the_guard_s_own_calls_appear_in_the_user_s_stream(lane: Lane) -> None:
    made, _ = agent([done()], guarding())
    items = await lane.collect(made, "stream", asking("q"), THREAD, stream_mode="messages")
    assert "".join(chunk.text for chunk, _ in items) == "done"


class Counter(BaseCallbackHandler):
    """Counts model runs, and the threads they came from."""

    def __init__(self) -> None:
        self.runs = 0
        self.threads: set[int] = set()

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.runs += 1
        self.threads.add(threading.get_ident())


async def test_the_caller_s_callbacks_see_nothing_of_the_model_run(lane: Lane) -> None:
    counter = Counter()
    made, _ = agent([done()], guarding())
    await lane(made, "invoke", asking("q"), {**THREAD, "callbacks": [counter]})
    assert counter.runs == 1
