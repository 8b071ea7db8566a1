"""A person decides about answers, thinking and results of tools; what waits is in nobody's hands meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, HumanInTheLoopMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, Interrupt
from pydantic import BaseModel

from qwen3guard_integrations import BlockedError, GuardConfigurationError
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware, guard_checkpointer
from qwen3guard_integrations.langchain.agent_state import GuardState
from qwen3guard_integrations.langchain.tool_values import OWN
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane
from .agents import RUNS, THREAD, ScriptedModel, agent, asking, calls, search_tool
from .helpers import REFUSAL, VIOLENT, Recorder, asked

CANARY = "canary7f3a"
REMOVED = "[removed: Violent]"


def reviewing(*points: str, guard: Any = None, **settings: Any) -> Qwen3GuardMiddleware:
    policy = {"points": dict.fromkeys(points, "review")}
    return Qwen3GuardMiddleware(guard or FakeGuard({CANARY: VIOLENT}), policy, **settings)


def deciding(*decisions: dict[str, Any]) -> Any:
    return Command(resume={"decisions": list(decisions)})


APPROVE, REJECT = {"type": "approve"}, {"type": "reject"}


def editing(text: str) -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": "x", "args": {"text": text}}}


def questions(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What a person is asked."""
    [pending] = result["__interrupt__"]
    requests: list[dict[str, Any]] = pending.value["action_requests"]
    return requests


# --- answers ---

ANSWERS = {
    "response": AIMessage(f"Well, {CANARY} it is.", id="m1"),
    "reasoning": AIMessage("Fine.", additional_kwargs={"reasoning_content": f"I think of {CANARY} now"}, id="m1"),
    "thinking": AIMessage(f"<think>{CANARY} now</think>Fine.", id="m1"),
}


@pytest.mark.parametrize("kind", [FakeGuard, FakeStreamGuard])
@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_waits_unseen_and_comes_when_it_is_approved(answer: AIMessage, way: str, kind: Any) -> None:
    middleware = reviewing("response", "reasoning", guard=kind({CANARY: VIOLENT}))
    recorder = Recorder()
    made, model = agent([answer], middleware)
    made = made.with_config(callbacks=[recorder])
    given = [item async for item in RUNS[way](made, asking("q"))]
    assert CANARY not in repr([_without_interrupts(item) for item in given])
    assert CANARY not in repr([[run.outputs, run.events] for run in recorder.runs if run.run_type == "llm"])
    assert made.get_state(THREAD).values["messages"][-1].text.strip() == REFUSAL
    given = [item async for item in RUNS[way](made, deciding(APPROVE))]
    final = made.get_state(THREAD).values["messages"][-1]
    assert (final.content, final.additional_kwargs) == (answer.content, answer.additional_kwargs)
    assert made.get_state(THREAD).values["messages"][:-1] == made.get_state(THREAD).values["messages"][:1]
    assert len(model.calls) == 1
    if "messages" in way:
        assert CANARY in repr(given)  # who reads the stream of messages gets it too


_ASKED = {"__interrupt__", "interrupts"}


def _without_interrupts(given: Any) -> Any:
    """What the caller is given, without what the person is asked."""
    if isinstance(given, dict):
        return {key: _without_interrupts(one) for key, one in given.items() if key not in _ASKED}
    if isinstance(given, list | tuple):
        return [_without_interrupts(one) for one in given if not isinstance(one, Interrupt)]
    return given


@pytest.mark.parametrize(
    ("decision", "last"), [(APPROVE, f"Well, {CANARY} it is."), (editing("Better."), "Better."), (REJECT, REFUSAL)]
)
async def test_what_a_person_says_about_an_answer(decision: Any, last: str, lane: Lane, tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "x.db")) as sqlite:
        saver = InMemorySaver() if lane.is_async else sqlite
        made, _ = agent([ANSWERS["response"]], reviewing("response"), checkpointer=saver)
        [question] = questions(await lane(made, "invoke", asking("q"), THREAD))
        assert (question["name"], question["args"]) == ("response", {"text": f"Well, {CANARY} it is."})
        # as in another process, days later
        later, model = agent([AIMessage("again")], reviewing("response"), checkpointer=saver)
        result = await lane(later, "invoke", deciding(decision), THREAD)
        assert [message.text for message in result["messages"]] == ["q", last]
        assert "__interrupt__" not in result
        result = await lane(later, "invoke", asking("more"), THREAD)
        assert [message.text for message in result["messages"]] == ["q", last, "more", "again"]
        assert len(model.calls) == 1


async def test_an_approved_answer_goes_on_with_its_tool_calls(lane: Lane) -> None:
    search, ran = search_tool()
    script = [calls("a", text=f"Of {CANARY}. "), AIMessage("done")]
    made, _ = agent(script, reviewing("response"), tools=[search])
    questions(await lane(made, "invoke", asking("q"), THREAD))
    assert not ran
    result = await lane(made, "invoke", deciding(APPROVE), THREAD)
    assert ran == ["a"]
    assert [message.text for message in result["messages"]] == ["q", f"Of {CANARY}. ", "found a", "done"]


async def test_a_rejected_answer_runs_no_tool(lane: Lane) -> None:
    search, ran = search_tool()
    made, _ = agent([calls("a", text=f"Of {CANARY}. "), AIMessage("done")], reviewing("response"), tools=[search])
    await lane(made, "invoke", asking("q"), THREAD)
    result = await lane(made, "invoke", deciding(REJECT), THREAD)
    assert [message.text for message in result["messages"]] == ["q", REFUSAL]
    assert not ran


async def test_what_is_blocked_beside_is_not_asked_about(lane: Lane) -> None:
    both = AIMessage(f"Well, {CANARY}.", additional_kwargs={"reasoning_content": f"{CANARY} now"})
    made, _ = agent([both], reviewing("response"))  # reasoning is blocked
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == REFUSAL


async def test_thinking_and_answer_are_asked_about_together(lane: Lane) -> None:
    both = AIMessage(f"Well, {CANARY}.", additional_kwargs={"reasoning_content": f"{CANARY} now"})
    made, _ = agent([both], reviewing("response", "reasoning"))
    asked_for = questions(await lane(made, "invoke", asking("q"), THREAD))
    assert [one["name"] for one in asked_for] == ["reasoning", "response"]
    result = await lane(made, "invoke", deciding(APPROVE, REJECT), THREAD)
    assert result["messages"][-1].text == REFUSAL


async def test_a_word_about_an_answer_is_not_one_about_another(lane: Lane) -> None:
    made, _ = agent([AIMessage(f"Yes, {CANARY}.")], reviewing("response"))  # which may answer anything
    for question in ("May I take the museum's?", "May I build one?"):
        [about] = questions(await lane(made, "invoke", asking(question), THREAD))
        assert about["args"] == {"text": f"Yes, {CANARY}."}
        result = await lane(made, "invoke", deciding(APPROVE), THREAD)
        assert result["messages"][-1].text == f"Yes, {CANARY}."


class Cleans(AgentMiddleware[Any, Any, Any]):
    """Changes what the model has answered, in the state."""

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        last = state["messages"][-1]
        return {"messages": [last.model_copy(update={"content": last.content.replace(CANARY, "it")})]}


@pytest.mark.parametrize("first", [True, False])
async def test_other_middleware_sees_the_answer_that_a_person_has_let_pass(first: bool, lane: Lane) -> None:
    search, ran = search_tool()
    others = [HumanInTheLoopMiddleware({"search": True}), Cleans()]
    middleware = [reviewing("response"), *others] if first else [*others, reviewing("response")]
    made, model = agent([calls("a", text=f"Of {CANARY}. "), AIMessage("done")], *middleware, tools=[search])
    questions(await lane(made, "invoke", asking("q"), THREAD))
    [about] = questions(await lane(made, "invoke", deciding(APPROVE), THREAD))
    assert (about["name"], about["args"]) == ("search", {"q": "a"})
    assert made.get_state(THREAD).values["messages"][-1].text == "Of it. "
    assert not ran
    result = await lane(made, "invoke", deciding(REJECT), THREAD)
    assert result["messages"][-1].text == "done"
    assert (ran, len(model.calls)) == ([], 2)


class Sorts(AgentMiddleware[Any, Any, Any]):
    """Asks the agent's model what to do before it asks for the answer, with fewer messages."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        self.said.append(request.model.invoke([HumanMessage("which tools?")]).text)
        return handler(request.override(messages=request.messages[-1:]))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        self.said.append((await request.model.ainvoke([HumanMessage("which tools?")])).text)
        return await handler(request.override(messages=request.messages[-1:]))


@pytest.mark.parametrize("system", [None, "Be kind."])
async def test_an_approved_answer_is_one_to_its_question(system: Any, lane: Lane) -> None:
    sorts = Sorts()
    script = [AIMessage("none"), ANSWERS["response"], AIMessage("none")]
    made, model = agent(script, reviewing("response"), sorts, system_prompt=system)
    history = [HumanMessage("hi"), AIMessage("hello"), HumanMessage("q")]
    questions(await lane(made, "invoke", {"messages": history}, THREAD))
    result = await lane(made, "invoke", deciding(APPROVE), THREAD)
    assert result["messages"][-1].text == f"Well, {CANARY} it is."
    assert sorts.said == ["none", "none"]
    assert len(model.calls) == 3


class Weather(BaseModel):
    """An answer with fields."""

    text: str


STRUCTURED: dict[str, tuple[Any, AIMessage]] = {
    "tool": (
        ToolStrategy(Weather),
        AIMessage(f"Of {CANARY}.", tool_calls=[{"name": "Weather", "args": {"text": "fine"}, "id": "w"}]),
    ),
    "provider": (ProviderStrategy(Weather), AIMessage(f'{{"text": "{CANARY}"}}')),
}


@pytest.mark.parametrize("kind", STRUCTURED)
async def test_a_structured_answer_comes_when_it_is_approved(kind: str, lane: Lane) -> None:
    strategy, answer = STRUCTURED[kind]
    made, model = agent([answer], reviewing("response"), response_format=strategy)
    result = await lane(made, "invoke", asking("q"), THREAD)
    questions(result)
    assert result.get("structured_response") is None
    result = await lane(made, "invoke", deciding(APPROVE), {**THREAD, "recursion_limit": 20})
    assert result["structured_response"] == Weather(text="fine" if answer.tool_calls else CANARY)
    assert len(model.calls) == 1


@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_an_approved_answer_is_what_the_model_would_have_given(version: str, lane: Lane) -> None:
    answer = AIMessage(f"Of {CANARY}.", response_metadata={"finish_reason": "stop"}, id="m1")
    given = []
    for used in ([reviewing("response")], []):
        model = Informing(script=[answer], output_version=version)
        made = create_agent(model, middleware=used, checkpointer=InMemorySaver(), name="bob")
        await lane(made, "invoke", asking("q"), THREAD)
        if used:
            await lane(made, "invoke", deciding(APPROVE), THREAD)
        given.append(made.get_state(THREAD).values["messages"][-1].model_dump(exclude={"id"}))
    assert given[0] == given[1]


class Informing(ScriptedModel):
    """Says something beside its answer."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        result = super()._generate(*args, **kwargs)
        result.generations[0].generation_info = {"system_fingerprint": "x"}
        return result


# --- what tools return ---


@tool
def failing(q: str) -> str:
    """Fails."""
    raise ToolException(f"no {CANARY} here")


failing.handle_tool_error = True


@tool
def speaking(q: str) -> Any:
    """Makes its message itself."""
    return ToolMessage(f"said {CANARY}", tool_call_id="c0", name="speaking", artifact={"a": 1})


@tool(response_format="content_and_artifact")
def retrieving(q: str) -> Any:
    """Gives documents beside its answer."""
    return f"found {CANARY}", [Document(f"a {CANARY} document")]


RESULTS = {
    "text": (calls(CANARY), f"found {CANARY}"),
    "structure": (calls("structure"), f'{{"x": ["{CANARY}"]}}'),
    "error": (calls("a", name="failing"), f"no {CANARY} here"),
    "message": (calls("a", name="speaking"), f"said {CANARY}"),
    "artifact": (calls("a", name="retrieving"), f"found {CANARY}"),
}


@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("kind", RESULTS)
async def test_a_result_waits_unseen_and_comes_when_it_is_approved(kind: str, way: str) -> None:
    call, text = RESULTS[kind]
    search, ran = search_tool({"structure": {"x": [CANARY]}})
    policy = {"points": {"tool_output": "review", "tool_call": "flag"}}
    middleware = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}), policy)
    recorder = Recorder()
    made, model = agent([call, AIMessage("done")], middleware, tools=[search, failing, speaking, retrieving])
    made = made.with_config(callbacks=[recorder])
    given = [item async for item in RUNS[way](made, asking("q"))]
    found = [_without_interrupts(item) for item in given]
    assert text not in repr(found)
    assert text not in repr([[run.outputs, run.events] for run in recorder.runs if run.run_type == "tool"])
    assert len(model.calls) == 1  # it has not read it
    runs = list(ran)
    async for _ in RUNS[way](made, deciding(APPROVE)):
        pass
    assert ran == runs  # the tool has not run again
    result = model.calls[1][-1]
    assert isinstance(result, ToolMessage)
    assert (result.text, result.tool_call_id) == (text, "c0")
    assert made.get_state(THREAD).values["messages"][-1].text == "done"
    if kind == "artifact":
        assert made.get_state(THREAD).values["messages"][-2].artifact[0]["page_content"] == f"a {CANARY} document"
    assert (result.status == "error") == (kind == "error")


@pytest.mark.parametrize(
    ("decision", "read", "last"),
    [(APPROVE, f"found a {CANARY}", "done"), (editing("nothing"), "nothing", "done"), (REJECT, REMOVED, REFUSAL)],
)
async def test_what_a_person_says_about_one_of_two_results(decision: Any, read: str, last: str, lane: Lane) -> None:
    policy = {"points": {"tool_output": "review", "tool_call": "flag"}}
    guard = FakeGuard({CANARY: VIOLENT})
    search, ran = search_tool()
    saver = InMemorySaver()
    made, _ = agent(
        [calls(f"a {CANARY}", "b"), AIMessage("done")], Qwen3GuardMiddleware(guard, policy), tools=[search],
        checkpointer=saver,
    )  # fmt: skip
    [question] = questions(await lane(made, "invoke", asking("q"), THREAD))
    assert question["args"] == {"text": f"found a {CANARY}"}
    before = len(asked(guard))
    result = await lane(made, "invoke", deciding(decision), THREAD)
    assert [message.text for message in result["messages"]] == ["q", "I will look. ", read, "found b", last]
    assert sorted(ran) == sorted([f"a {CANARY}", "b"])
    assert f"found a {CANARY}" not in asked(guard)[before:]
    later, _ = agent([AIMessage("again")], Qwen3GuardMiddleware(guard, policy), tools=[search], checkpointer=saver)
    result = await lane(later, "invoke", asking("more"), THREAD)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == "again"


async def test_several_results_are_one_question(lane: Lane) -> None:
    policy = {"points": {"tool_output": "review", "tool_call": "flag"}}
    middleware = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}), policy)
    search, _ = search_tool()
    made, _ = agent([calls(f"a {CANARY}", f"b {CANARY}"), AIMessage("done")], middleware, tools=[search])
    asked_for = questions(await lane(made, "invoke", asking("q"), THREAD))
    assert {one["args"]["text"] for one in asked_for} == {f"found a {CANARY}", f"found b {CANARY}"}
    decisions = [REJECT if "found a" in one["args"]["text"] else APPROVE for one in asked_for]
    result = await lane(made, "invoke", deciding(*decisions), THREAD)
    assert result["messages"][-1].text == REFUSAL
    assert {message.text for message in result["messages"][2:4]} == {REMOVED, f"found b {CANARY}"}


@pytest.mark.parametrize(("decision", "last"), [(APPROVE, "done"), (REJECT, REFUSAL)])
async def test_nobody_is_asked_twice_about_the_same_text(decision: Any, last: str, lane: Lane) -> None:
    policy = {"points": {"tool_output": "review"}}
    search, ran = search_tool({"a": CANARY, "b": CANARY})
    saver = InMemorySaver()
    for question, call in {"q": calls("a", "b"), "more": calls("a")}.items():
        middleware = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}), policy)  # as in another process
        made, _ = agent([call, AIMessage("done")], middleware, tools=[search], checkpointer=saver)
        result = await lane(made, "invoke", asking(question), THREAD)
        if question == "q":
            assert len(questions(result)) == 1  # two results of the same words
            result = await lane(made, "invoke", deciding(decision), THREAD)
        assert "__interrupt__" not in result
        assert result["messages"][-1].text == last
    assert len(ran) > 2


class CleansResults(AgentMiddleware[Any, Any, Any]):
    """Changes what tools have returned, before the model reads it."""

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
        cleaned = [one.model_copy(update={"content": one.text.replace(CANARY, "it")}) for one in results]
        return {"messages": cleaned} if cleaned else None


async def test_other_middleware_sees_the_result_that_a_person_has_let_pass(lane: Lane) -> None:
    search, ran = search_tool({"a": f"found {CANARY}", "b": f"b {CANARY}"})
    middleware = reviewing("tool_output", exit_behavior="replace")
    made, model = agent([calls("a", "b"), AIMessage("done")], middleware, CleansResults(), tools=[search])
    asked_for = questions(await lane(made, "invoke", asking("q"), THREAD))
    decisions = [APPROVE if "found" in one["args"]["text"] else REJECT for one in asked_for]
    result = await lane(made, "invoke", deciding(*decisions), THREAD)
    assert [message.text for message in model.calls[-1][2:]] == ["found it", REMOVED]
    assert result["messages"][-1].text == "done"
    assert sorted(ran) == ["a", "b"]


@tool(return_direct=True)
def direct(q: str) -> str:
    """Its result is the agent's."""
    return f"found {CANARY}"


@pytest.mark.parametrize("exit_behavior", ["end", "replace", "error"])
@pytest.mark.parametrize(("decision", "last"), [(APPROVE, f"found {CANARY}"), (REJECT, REMOVED)])
async def test_a_result_that_no_model_reads(decision: Any, last: str, exit_behavior: Any, lane: Lane) -> None:
    middleware = reviewing("tool_output", exit_behavior=exit_behavior)
    made, model = agent([calls("a", name="direct")], middleware, tools=[direct])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert questions(result)[0]["args"] == {"text": f"found {CANARY}"}
    assert result["messages"][-1].text == REMOVED
    if (decision, exit_behavior) == (REJECT, "error"):
        with pytest.raises(BlockedError):
            await lane(made, "invoke", deciding(decision), THREAD)
    else:
        await lane(made, "invoke", deciding(decision), THREAD)
    assert made.get_state(THREAD).values["messages"][-1].text == last
    assert len(model.calls) == 1


# --- what else may happen ---


EDITED: dict[str, tuple[Any, Any]] = {
    "prompt": (HumanMessage("hi", name=f"a {CANARY}", additional_kwargs={"x": CANARY}), [AIMessage("done")]),
    "response": (
        HumanMessage("q"),
        [AIMessage(f"Of {CANARY}.", response_metadata={"logprobs": {"content": [{"token": CANARY}]}})],
    ),
    "tool_output": (HumanMessage("q"), [calls("a", name="retrieving"), AIMessage("done")]),
}


@pytest.mark.parametrize("point", EDITED)
async def test_nothing_is_left_of_what_a_person_has_edited(point: str, lane: Lane) -> None:
    asks, script = EDITED[point]
    made, _ = agent(script, reviewing(point), tools=[retrieving])
    questions(await lane(made, "invoke", {"messages": [asks]}, THREAD))
    result = await lane(made, "invoke", deciding(editing("Better.")), THREAD)
    assert CANARY not in repr(result["messages"])
    [edited] = [message for message in result["messages"] if message.text == "Better."]
    assert getattr(edited, "status", "success") == "success"


async def test_several_guards_of_one_agent(lane: Lane) -> None:
    for point in ("response", "tool_output"):
        for words in ("alpha", "beta", "alpha beta"):
            for recorded in (True, False):
                await _two_guards(point, words, recorded, lane)


async def _two_guards(point: str, words: str, recorded: bool, lane: Lane) -> None:
    """The first blocks "alpha", about "beta" the second asks."""
    blocks = Qwen3GuardMiddleware(FakeGuard({"alpha": VIOLENT}), name="A", record_verdicts=recorded)
    asks = reviewing(point, guard=FakeGuard({"beta": VIOLENT}), name="B", record_verdicts=recorded)
    search, _ = search_tool({"a": f"found {words}"})
    script = [AIMessage(words)] if point == "response" else [calls("a"), AIMessage("done")]
    recorder = Recorder()
    made, _ = agent(script, blocks, asks, tools=[search])
    result = await lane(made, "invoke", asking("q"), {**THREAD, "callbacks": [recorder]})
    assert words not in repr([[run.outputs, run.events] for run in recorder.runs if run.run_type in ("tool", "llm")])
    if "alpha" in words:
        assert "__interrupt__" not in result
        assert result["messages"][-1].text == REFUSAL
    else:
        questions(result)
        result = await lane(made, "invoke", deciding(APPROVE), THREAD)
        assert result["messages"][-1].text == (words if point == "response" else "done")


@pytest.mark.parametrize("point", ["response", "tool_output"])
async def test_what_a_person_tells_one_guard_is_judged_by_the_other(point: str, lane: Lane) -> None:
    asks = reviewing(point, guard=FakeGuard({"alpha": VIOLENT}), name="A")
    blocks = Qwen3GuardMiddleware(FakeGuard({"beta": VIOLENT}), name="B")
    search, _ = search_tool({"a": "alpha beta"})
    made, model = agent(
        [AIMessage("alpha beta")] if point == "response" else [calls("a"), AIMessage("done")], asks, blocks,
        tools=[search],
    )  # fmt: skip
    questions(await lane(made, "invoke", asking("q"), THREAD))
    result = await lane(made, "invoke", deciding(APPROVE), THREAD)
    assert result["messages"][-1].text == REFUSAL
    assert "beta" not in repr([result, model.calls])


def test_what_guards_keep_in_a_state_is_no_text() -> None:
    assert GuardState.__annotations__.keys() - AgentState.__annotations__.keys() == OWN


@pytest.mark.parametrize("point", ["response", "tool_output"])
async def test_a_rejection_raises_where_a_block_does(point: str, lane: Lane) -> None:
    script = [ANSWERS["response"]] if point == "response" else [calls("a"), AIMessage("done")]
    search, _ = search_tool({"a": CANARY})
    made, _ = agent(script, reviewing(point, exit_behavior="error"), tools=[search])
    questions(await lane(made, "invoke", asking("q"), THREAD))
    with pytest.raises(BlockedError, match=point):
        await lane(made, "invoke", deciding(REJECT), THREAD)
    assert CANARY not in repr(made.get_state(THREAD).values["messages"])


@pytest.mark.parametrize("point", ["response", "tool_output"])
async def test_what_nobody_decides_about_stays_away(point: str, lane: Lane) -> None:
    script = [ANSWERS["response"] if point == "response" else calls("a"), AIMessage("again")]
    search, _ = search_tool({"a": CANARY})
    made, model = agent(script, reviewing(point), tools=[search])
    questions(await lane(made, "invoke", asking("q"), THREAD))
    result = await lane(made, "invoke", asking("more"), THREAD)
    assert "__interrupt__" not in result
    assert CANARY not in repr(model.calls)
    assert CANARY not in repr(made.get_state(THREAD).values)


async def test_with_a_guarded_checkpointer(lane: Lane) -> None:
    middleware = reviewing("response", "tool_output")
    saver = guard_checkpointer(InMemorySaver(), middleware.screener)
    search, _ = search_tool({"a": CANARY})
    made, _ = agent([calls("a"), AIMessage(f"It is {CANARY}.")], middleware, tools=[search], checkpointer=saver)
    questions(await lane(made, "invoke", asking("q"), THREAD))
    questions(await lane(made, "invoke", deciding(APPROVE), THREAD))
    result = await lane(made, "invoke", deciding(APPROVE), THREAD)
    assert [message.text for message in result["messages"][2:]] == [CANARY, f"It is {CANARY}."]


async def test_without_a_checkpointer_nothing_passes(lane: Lane) -> None:
    made = create_agent(ScriptedModel(script=[ANSWERS["response"]]), [], middleware=[reviewing("response")])
    result = await lane(made, "invoke", asking("q"))
    assert CANARY not in repr(result["messages"])


RENAMED = {"type": "edit", "edited_action": {"name": "other", "args": {"q": "b"}}}


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize(
    ("point", "wrong"),
    [
        ("response", "yes"),
        ("response", {"decisions": [APPROVE, APPROVE]}),
        ("response", {"decisions": [{"type": "respond", "message": "no"}]}),
        ("tool_call", {"decisions": [RENAMED]}),
        ("tool_output", {"decisions": []}),
    ],
)
async def test_after_a_wrong_answer_comes_a_right_one(point: str, wrong: Any, by_id: bool, lane: Lane) -> None:
    search, ran = search_tool({"a": CANARY})
    script = [calls(CANARY if point == "tool_call" else "a"), AIMessage("done")]
    made, _ = agent([ANSWERS["response"]] if point == "response" else script, reviewing(point), tools=[search])
    await lane(made, "invoke", asking("q"), THREAD)
    [pending] = made.get_state(THREAD).interrupts
    for _ in range(2):
        with pytest.raises(GuardConfigurationError, match=r"review|decision"):
            await lane(made, "invoke", Command(resume={pending.id: wrong} if by_id else wrong), THREAD)
        assert CANARY not in repr(made.get_state(THREAD).values["messages"][2:])
    right = {"decisions": [REJECT if point == "tool_call" else APPROVE]}
    result = await lane(made, "invoke", Command(resume={pending.id: right} if by_id else right), THREAD)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text in (f"Well, {CANARY} it is.", "done")
    assert CANARY not in ran


class Own(Qwen3GuardMiddleware):
    """Somebody's own, which has no hooks to ask in."""


async def test_a_subclass_that_cannot_ask_blocks(lane: Lane) -> None:
    middleware = Own(FakeGuard({CANARY: VIOLENT}), {"points": {"response": "review"}})
    made, _ = agent([ANSWERS["response"]], middleware)
    result = await lane(made, "invoke", {"messages": [HumanMessage("q")]}, THREAD)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text.strip() == REFUSAL
    assert CANARY not in repr(made.get_state(THREAD))
