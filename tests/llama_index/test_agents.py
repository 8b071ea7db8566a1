"""`guard_agent`: real agents and workflows, at every point, streamed or not; what is said, run, stored and told."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ThinkingBlock, ToolCallBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent
from pydantic import BaseModel

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.llama_index import guard_agent

from .helpers import CANARY, REFUSAL, ChatLLM, chat_llm, fake_guard, listening, says

STREAMING = pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "whole"])
HELD = "This tool call was withheld by the safety policy (Unsafe): the tool did not run."


def calls(*arguments: str) -> ChatMessage:
    """Thinks, says something, and calls the search."""
    blocks = [
        ToolCallBlock(tool_call_id=f"c{n}", tool_name="search", tool_kwargs={"q": q}) for n, q in enumerate(arguments)
    ]
    return says(ThinkingBlock(content="hm"), "Looking.", *blocks)


@dataclass
class World:
    """One agent, and all that it did."""

    llm: ChatLLM
    ran: list[str] = field(default_factory=list)

    def tool(self) -> FunctionTool:
        async def search(q: str) -> str:
            """Search."""
            self.ran.append(q)
            if q == "fail":
                raise ValueError(f"the {CANARY}")
            return f"the {CANARY}" if q == "leak" else f"found {q}"

        return FunctionTool.from_defaults(async_fn=search)


@dataclass
class Outcome:
    """What came out of a run."""

    result: str
    events: list[Any]
    memory: list[ChatMessage]
    stored: str
    told: str

    @property
    def everything(self) -> str:
        return repr((self.result, [_dump(event) for event in self.events], self.memory, self.stored, self.told))


def _dump(event: Any) -> Any:
    return (type(event).__name__, event.model_dump(), vars(event))


def function_agent(world: World, **settings: Any) -> FunctionAgent:
    return FunctionAgent(name="one", description="d", tools=[world.tool()], llm=world.llm, **settings)


def workflow(world: World, **settings: Any) -> AgentWorkflow:
    output = settings.pop("output_cls", None)
    return AgentWorkflow(agents=[function_agent(world, **settings)], output_cls=output)


AGENTS = pytest.mark.parametrize("make", [function_agent, workflow], ids=["agent", "workflow"])


async def outcome(agent: Any, **given: Any) -> Outcome:
    context: Any = given.pop("ctx", None) or Context(agent)
    given = given or {"user_msg": "hi"}
    with listening() as (events, spans):
        handler = agent.run(ctx=context, **given)
        streamed = [event async for event in handler.stream_events()]
        result = str(await handler)
    memory = await context.store.get("memory", default=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LlamaIndex says that the memory is stored apart
        stored = json.dumps(context.to_dict())
    told = repr([event for event in events if event.class_name() != "WorkflowStartEvent"]) + repr(spans)
    return Outcome(result, streamed, await memory.aget_all() if memory else [], stored, told)


# --- what passes ---


@AGENTS
@STREAMING
async def test_a_clean_run_is_the_same(make: Callable[..., Any], streaming: bool) -> None:
    answers = (calls("x", "y"), says(ThinkingBlock(content="now"), "All done."))
    bare_world, world, judge = World(chat_llm(*answers)), World(chat_llm(*answers)), fake_guard()
    bare = await outcome(make(bare_world, streaming=streaming))
    guarded = await outcome(guard_agent(make(world, streaming=streaming), judge))
    assert guarded.result == bare.result == "All done."
    assert [_dump(event) for event in guarded.events] == [_dump(event) for event in bare.events]
    assert guarded.memory == bare.memory
    assert sorted(world.ran) == sorted(bare_world.ran) == ["x", "y"]
    texts = [one.judged for call in judge.calls for one in call if one.judged.role in {"user", "tool"}]
    assert len(texts) == len(set(texts)), "no text is paid twice"


# --- what does not ---


@AGENTS
@STREAMING
async def test_a_blocked_message_reaches_no_model_and_no_memory(make: Callable[..., Any], streaming: bool) -> None:
    world = World(chat_llm(says("fine")))
    agent = guard_agent(make(world, streaming=streaming), fake_guard())
    context: Any = Context(agent)
    handler = agent.run(user_msg=f"a {CANARY}", ctx=context)
    events = [event async for event in handler.stream_events()]
    assert str(await handler) == REFUSAL
    assert (world.llm.asked, await context.store.get("memory", default=None)) == ([], None)
    assert [type(event).__name__ for event in events] == ["AgentOutput", "StopEvent"]
    assert CANARY not in repr([_dump(event) for event in events])
    after = await outcome(agent, ctx=context, user_msg="something else")
    assert after.result == "fine"
    assert CANARY not in after.everything


@AGENTS
@STREAMING
async def test_an_unsafe_answer_is_nowhere(make: Callable[..., Any], streaming: bool) -> None:
    world = World(chat_llm(says(f"Take the {CANARY} now")))
    end = await outcome(guard_agent(make(world, streaming=streaming), fake_guard()))
    assert end.result.endswith(REFUSAL)
    assert CANARY not in end.everything
    assert [message.role.value for message in end.memory] == ["user", "assistant"]


@AGENTS
@STREAMING
async def test_unsafe_thinking_can_be_left_out(make: Callable[..., Any], streaming: bool) -> None:
    world = World(chat_llm(says(ThinkingBlock(content=f"use the {CANARY}"), "All is well.")))
    policy = {"points": {"reasoning": "drop"}}
    end = await outcome(guard_agent(make(world, streaming=streaming), fake_guard(), policy))
    assert end.result == "All is well."
    assert CANARY not in end.everything


@AGENTS
@STREAMING
async def test_a_blocked_call_is_answered_and_the_others_run(make: Callable[..., Any], streaming: bool) -> None:
    world = World(chat_llm(calls("x", f"a {CANARY}", "y"), says("All done.")))
    end = await outcome(guard_agent(make(world, streaming=streaming), fake_guard()))
    assert end.result == "All done."
    assert sorted(world.ran) == ["x", "y"]
    tools = [message for message in end.memory if message.role is MessageRole.TOOL]
    assert sorted(message.content or "" for message in tools) == sorted(["found x", "found y", HELD])
    assert CANARY not in end.everything
    assert CANARY not in repr(world.llm.asked)


@AGENTS
@STREAMING
@pytest.mark.parametrize("q", ["leak", "fail"])
async def test_an_unsafe_output_reaches_nobody(make: Callable[..., Any], streaming: bool, q: str) -> None:
    world = World(chat_llm(calls(q, "x"), says("All done.")))
    end = await outcome(guard_agent(make(world, streaming=streaming), fake_guard()))
    assert end.result == "All done."
    assert sorted(world.ran) == sorted([q, "x"])
    assert CANARY not in end.everything
    assert CANARY not in repr(world.llm.asked)
    assert "[removed: Unsafe]" in repr(world.llm.asked)


@AGENTS
async def test_blocks_can_be_raised(make: Callable[..., Any]) -> None:
    for given, answer in ((f"a {CANARY}", says("fine")), ("hi", says(f"a {CANARY}"))):
        agent = guard_agent(make(World(chat_llm(answer))), fake_guard(), on_block="raise")
        with pytest.raises(BlockedError) as raised:
            await agent.run(user_msg=given)
        assert CANARY not in str(raised.value)


@AGENTS
async def test_a_dead_guard_lets_nothing_through(make: Callable[..., Any]) -> None:
    world = World(chat_llm(says("fine")))
    agent = guard_agent(make(world), fake_guard(error=GuardUnavailableError("down")))
    with pytest.raises(GuardUnavailableError):
        await agent.run(user_msg="hi")
    assert world.llm.asked == []


# --- what an agent is given ---


@AGENTS
@pytest.mark.parametrize("where", ["chat_history", "memory"])
async def test_history_and_memory_are_judged(make: Callable[..., Any], where: str) -> None:
    history = [ChatMessage(content=f"a {CANARY}"), ChatMessage(role=MessageRole.ASSISTANT, content="no")]

    def given() -> dict[str, Any]:
        memory = ChatMemoryBuffer.from_defaults(chat_history=list(history))
        return {"user_msg": "hi", where: list(history) if where == "chat_history" else memory}

    world = World(chat_llm(says("fine")))
    assert (await guard_agent(make(world), fake_guard()).run(**given())).response.content == REFUSAL
    assert world.llm.asked == []
    redacting = guard_agent(make(world), fake_guard(), {"points": {"prompt": "redact"}})
    end = await outcome(redacting, **given())
    assert end.result == "fine"
    assert CANARY not in repr((world.llm.asked, end.memory))
    assert [message.content for message in end.memory] == ["[removed: Unsafe]", "no", "hi", "fine"]


async def test_without_the_message_itself_there_is_nothing_to_answer() -> None:
    world = World(chat_llm(says("fine")))
    agent = guard_agent(function_agent(world), fake_guard(), {"points": {"prompt": "drop"}})
    history = [ChatMessage(content="old"), says("yes")]
    end = await outcome(agent, user_msg=f"a {CANARY}", chat_history=history)
    assert (end.result, world.llm.asked) == (REFUSAL, [])
    end = await outcome(agent, user_msg="hi", chat_history=[ChatMessage(content=f"a {CANARY}"), *history])
    assert end.result == "fine"
    assert CANARY not in repr((world.llm.asked, end.memory, [_dump(event) for event in end.events]))


async def test_a_kept_memory_remembers_what_was_clean() -> None:
    world = World(chat_llm(says("one"), says("two")))
    agent = guard_agent(function_agent(world), fake_guard())
    memory = ChatMemoryBuffer.from_defaults()
    for message in ("first", f"a {CANARY}", "third"):
        await agent.run(user_msg=message, memory=memory)
    assert [message.content for message in memory.get_all()] == ["first", "one", "third", "two"]


# --- other agents ---


@STREAMING
async def test_the_thoughts_of_a_react_agent_are_judged(streaming: bool) -> None:
    thought = says(f"Thought: I will use the {CANARY}.\nAnswer: done")
    world = World(chat_llm(thought))
    agent = ReActAgent(tools=[world.tool()], llm=world.llm, streaming=streaming)
    end = await outcome(guard_agent(agent, fake_guard()))
    assert CANARY not in end.everything
    world = World(
        chat_llm(says('Thought: look.\nAction: search\nAction Input: {"q": "x"}'), says("Thought: ok\nAnswer: done"))
    )
    agent = ReActAgent(tools=[world.tool()], llm=world.llm, streaming=streaming)
    end = await outcome(guard_agent(agent, fake_guard()))
    assert (end.result, world.ran) == ("done", ["x"])


@STREAMING
async def test_every_agent_of_a_workflow_is_guarded_and_so_are_hand_offs(streaming: bool) -> None:
    def hand_off(reason: str) -> ChatMessage:
        call = ToolCallBlock(tool_call_id="h", tool_name="handoff", tool_kwargs={"to_agent": "two", "reason": reason})
        return says("Over to two.", call)

    def agents(first: World, second: World) -> AgentWorkflow:
        return AgentWorkflow(
            agents=[
                FunctionAgent(name="one", description="1", tools=[], llm=first.llm, streaming=streaming),
                FunctionAgent(name="two", description="2", tools=[second.tool()], llm=second.llm, streaming=streaming),
            ],
            root_agent="one",
        )

    first, second = World(chat_llm(hand_off("it knows"))), World(chat_llm(calls("leak"), says(f"Take the {CANARY}")))
    end = await outcome(guard_agent(agents(first, second), fake_guard()))
    assert second.ran == ["leak"]
    assert end.result.endswith(REFUSAL)
    assert CANARY not in end.everything
    assert CANARY not in repr((first.llm.asked, second.llm.asked))
    first, second = World(chat_llm(hand_off(f"the {CANARY}"), says("never mind"))), World(chat_llm(says("fine")))
    end = await outcome(guard_agent(agents(first, second), fake_guard()))
    assert (end.result, second.llm.asked) == ("never mind", [])
    assert CANARY not in end.everything


@pytest.mark.parametrize("q", ["leak", f"a {CANARY}"])
async def test_a_guarded_agent_keeps_its_guard_in_a_workflow_without_one(q: str) -> None:
    world = World(chat_llm(calls("x", q), says("All done.")))
    end = await outcome(AgentWorkflow(agents=[guard_agent(function_agent(world), fake_guard())]))
    assert end.result == "All done."
    assert sorted(world.ran) == (["leak", "x"] if q == "leak" else ["x"])
    assert CANARY not in end.everything


async def test_code_that_an_agent_writes_is_judged_before_it_runs() -> None:
    ran: list[str] = []

    def execute(code: str) -> str:
        """Run code."""
        ran.append(code)
        return "ran"

    def writes(code: str) -> ChatMessage:
        return says(f"<execute>\n{code}\n</execute>")

    for code, expected in (("print(1)", ["print(1)"]), (f"print('{CANARY}')", [])):
        ran.clear()
        llm = chat_llm(writes(code), says("All done."))
        agent = CodeActAgent(code_execute_fn=execute, tools=[], llm=llm, streaming=False)
        end = await outcome(guard_agent(agent, fake_guard()))
        assert [one.strip() for one in ran] == expected
        assert CANARY not in end.everything


def test_the_agent_itself_stays_as_it_is() -> None:
    agent = function_agent(World(chat_llm(says("fine"))))
    llm, kind = agent.llm, type(agent)
    guarded = guard_agent(agent, fake_guard())
    assert isinstance(guarded, FunctionAgent)
    assert (agent.llm, type(agent)) == (llm, kind)
    assert guarded.name == "one"


class Song(BaseModel):
    """A structure that anything fits."""

    title: str = "none"


@pytest.mark.parametrize("policy", [None, {"points": {"tool_call": "review"}}], ids=["block", "review"])
@AGENTS
async def test_an_unsafe_structure_is_none(make: Callable[..., Any], policy: Any) -> None:
    for title, expected in (("Bread", {"title": "Bread"}), (CANARY, None)):
        song = ToolCallBlock(tool_call_id="c1", tool_name="Song", tool_kwargs={"title": title})
        world = World(chat_llm(says("fine"), says(song)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LlamaIndex says that there is no structure
            output = await guard_agent(make(world, output_cls=Song), fake_guard(), policy).run(user_msg="hi")
        assert output.structured_response == expected
        assert CANARY not in repr(output)


@pytest.mark.parametrize("named", [{"tool_name": f"the {CANARY} recipe"}, {"tool_call_id": f"the {CANARY} recipe"}])
@AGENTS
async def test_of_a_withheld_call_no_words_stay(make: Callable[..., Any], named: dict[str, str]) -> None:
    call = ToolCallBlock(**{"tool_call_id": "c1", "tool_name": "search", "tool_kwargs": {"q": "x"}, **named})
    world = World(chat_llm(says(call), says("All done.")))
    end = await outcome(guard_agent(make(world), fake_guard()))
    assert end.result == "All done."
    assert world.ran == []
    assert CANARY not in end.everything


# --- a person decides ---

REVIEW = {"points": {"tool_call": "review", "tool_output": "flag", "prompt": "flag"}}


async def questions(handler: Any, *answers: str) -> list[Any]:
    """What is asked until the run ends; the answers are given in turn, the last one to all that is left."""
    asked: list[Any] = []
    async with asyncio.timeout(10):
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                answer = answers[min(len(asked), len(answers) - 1)]
                asked.append(event)
                handler.ctx.send_event(HumanResponseEvent(response=answer, call_id=event.call_id))
        assert str(await handler) == "All done."
    return asked


@AGENTS
@pytest.mark.parametrize("says_yes", [True, False])
async def test_a_person_decides_about_a_call_once(make: Callable[..., Any], says_yes: bool) -> None:
    world = World(chat_llm(calls(f"a {CANARY}"), calls(f"a {CANARY}"), says("All done.")))
    agent = guard_agent(make(world), fake_guard(), REVIEW)
    (question,) = await questions(agent.run(user_msg="hi"), "approve" if says_yes else "reject")
    assert (question.tool_name, question.tool_kwargs) == ("search", {"q": f"a {CANARY}"})
    assert CANARY not in question.prefix
    assert world.ran == ([f"a {CANARY}"] * 2 if says_yes else [])


@AGENTS
@pytest.mark.parametrize(("answers", "runs"), [(["approve"], 6), (["no"], 0), (["no", "approve", "no"], 1)])
async def test_equal_calls_of_one_step_are_asked_about_one_by_one(
    make: Callable[..., Any], answers: list[str], runs: int
) -> None:
    """More of them than a workflow has workers for."""
    world = World(chat_llm(calls(*[f"a {CANARY}"] * 6), says("All done.")))
    agent = guard_agent(make(world), fake_guard(), REVIEW)
    asked = await questions(agent.run(user_msg="hi"), *answers)
    assert len({question.call_id for question in asked}) == 6
    assert world.ran == [f"a {CANARY}"] * runs


@AGENTS
async def test_the_next_run_with_a_context_asks_anew(make: Callable[..., Any]) -> None:
    world = World(chat_llm(calls(f"a {CANARY}"), says("All done.")))
    agent = guard_agent(make(world), fake_guard(), REVIEW)
    context: Any = Context(agent)
    for answer, ran in (("approve", 1), ("no", 1), ("approve", 2)):
        assert len(await questions(agent.run(user_msg="hi", ctx=context), answer)) == 1
        assert world.ran == [f"a {CANARY}"] * ran


@pytest.mark.filterwarnings("ignore:Skipping serialization")
@pytest.mark.parametrize("pause", [0.2, 0], ids=["late", "at once"])
async def test_a_run_that_goes_on_from_a_saved_context_takes_the_answers(pause: float) -> None:
    """Answers that come at once a workflow gives to every call that waits: to none of them more than it was given."""
    world = World(chat_llm(calls(f"a {CANARY}", f"b {CANARY}", f"b {CANARY}"), says("All done.")))
    agent = guard_agent(function_agent(world), fake_guard(), REVIEW)
    handler = agent.run(user_msg="hi")
    asked: list[Any] = []
    async with asyncio.timeout(10):
        async for event in handler.stream_events():
            asked += [event] if isinstance(event, InputRequiredEvent) else []
            if len(asked) == 3:
                break
    await asyncio.sleep(0.1)  # until the last one waits
    saved = json.loads(json.dumps(handler.ctx.to_dict()))
    await handler.cancel_run()
    again = agent.run(ctx=Context.from_dict(agent, saved))
    await again.ctx.store.set("memory", ChatMemoryBuffer.from_defaults())  # LlamaIndex does not save it
    await asyncio.sleep(pause)
    for question, answer in zip(asked, ("no", "approve", "no"), strict=True):
        again.ctx.send_event(HumanResponseEvent(response=answer, call_id=question.call_id))
    asked_again = await questions(again, "no")
    approved = [asked[1].tool_kwargs["q"]]
    assert world.ran == approved if pause else world.ran in ([], approved)
    assert not (pause and asked_again)


def test_wrong_settings_are_named() -> None:
    wrong: Any = "agent"
    with pytest.raises(GuardConfigurationError, match="takes an agent of LlamaIndex, not str"):
        guard_agent(wrong, fake_guard())
    wrong = "explode"
    with pytest.raises(GuardConfigurationError, match="on_block='explode'"):
        guard_agent(function_agent(World(chat_llm())), fake_guard(), on_block=wrong)
