"""Graphs without an agent: the node that screens, the edge that looks, subgraphs, the functional API."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from qwen3guard_integrations import GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.langchain import Qwen3GuardRunnable, guard_edge, guard_model, guard_node
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .agents import THREAD, ScriptedModel, asking, calls
from .helpers import REFUSAL, VIOLENT, asked

CANARY = "canary7f3a"
REMOVED = "[removed: Violent]"


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: VIOLENT}, **settings)


def answers(state: MessagesState) -> Any:
    return {"messages": [AIMessage(f"answer to {len(state['messages'])}")]}


def graph(node: Any, **settings: Any) -> Any:
    made = StateGraph(MessagesState)
    made.add_node("guard", node)
    made.add_node("model", answers)
    made.add_edge(START, "guard")
    made.add_edge("model", END)
    return made.compile(checkpointer=InMemorySaver(), **settings)


async def test_a_safe_state_goes_on_and_is_judged_once(lane: Lane) -> None:
    judge = guard()
    made = graph(guard_node(judge, then="model"))
    await lane(made, "invoke", asking("one"), THREAD)
    result = await lane(made, "invoke", asking("two"), THREAD)
    assert [message.text for message in result["messages"]] == ["one", "answer to 1", "two", "answer to 3"]
    assert asked(judge) == ["one", "answer to 1", "two"]


@pytest.mark.parametrize("mode", ["values", "updates", "messages"])
async def test_a_block_ends_the_graph_and_leaves_nothing(mode: Any, lane: Lane) -> None:
    made = graph(guard_node(guard(), then="model"))
    await lane.collect(made, "stream", asking(f"a {CANARY}"), THREAD, stream_mode=mode)
    assert CANARY not in repr(made.get_state(THREAD))
    assert [message.text for message in made.get_state(THREAD).values["messages"]] == [REMOVED, REFUSAL]
    result = await lane(made, "invoke", asking("and now?"), THREAD)
    assert result["messages"][-1].text == "answer to 3"


async def test_a_tool_call_keeps_its_answer(lane: Lane) -> None:
    made = graph(guard_node(guard(), then="model"))
    state = {"messages": [HumanMessage("q"), calls("x"), ToolMessage(CANARY, tool_call_id="c0", artifact=CANARY)]}
    result = await lane(made, "invoke", state, THREAD)
    answer = result["messages"][2]
    assert (answer.text, answer.tool_call_id, answer.status, answer.artifact) == (REMOVED, "c0", "error", None)
    assert CANARY not in repr(result)


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([HumanMessage("q"), calls("x", text=f"a {CANARY}")], ["q", REMOVED, REFUSAL]),
        ([HumanMessage("q"), calls("x", CANARY, text="")], ["q", REMOVED, REFUSAL]),
        ([HumanMessage(CANARY), calls("x", text="")], [REMOVED, REFUSAL]),
        ([HumanMessage("q"), calls("x"), ToolMessage("y", tool_call_id="c0"), HumanMessage(CANARY)], None),
    ],
    ids=["its text", "another call", "another message", "answered"],
)
async def test_no_tool_call_is_left_open_after_a_block(messages: Any, left: Any, lane: Lane) -> None:
    made = graph(guard_node(guard(), then="model"))
    after = (await lane(made, "invoke", {"messages": messages}, THREAD))["messages"]
    if left is None:
        assert after[1].tool_calls == messages[1].tool_calls
    else:
        assert [message.text for message in after] == left
        assert not any(message.tool_calls for message in after if isinstance(message, AIMessage))


async def test_what_the_guard_put_in_its_place_is_not_judged(lane: Lane) -> None:
    judge = guard()
    made = graph(guard_node(judge, then="model"))
    await lane(made, "invoke", asking(CANARY), THREAD)
    await lane(made, "invoke", asking("and now?"), THREAD)
    assert asked(judge) == [CANARY, "and now?"]


async def test_messages_that_could_not_be_replaced_are_refused(lane: Lane) -> None:
    class State(TypedDict):
        messages: Annotated[list[Any], operator.add]

    made = StateGraph(State)
    made.add_node("guard", guard_node(guard(), {"unsafe": "redact"}, then="model"))
    made.add_node("model", lambda state: answers(state))
    made.add_edge(START, "guard")
    with pytest.raises(GuardConfigurationError, match="add_messages"):
        await lane(made.compile(), "invoke", asking(CANARY))


@pytest.mark.parametrize("setting", ["messages_key", "input_key"])
async def test_a_misspelt_entry_lets_nothing_pass(setting: str, lane: Lane) -> None:
    settings: Any = {setting: "mesages"}
    with pytest.raises(KeyError, match="mesages"):
        await lane(graph(guard_node(guard(), then="model", **settings)), "invoke", asking(CANARY), THREAD)
    if setting == "messages_key":
        with pytest.raises(KeyError, match="mesages"):
            await lane(guard_edge(guard(), safe="model", **settings), "invoke", asking(CANARY))


async def test_what_is_redacted_goes_on(lane: Lane) -> None:
    made = graph(guard_node(guard(), {"unsafe": "redact"}, then="model"))
    result = await lane(made, "invoke", asking(CANARY), THREAD)
    assert [message.text for message in result["messages"]] == [REMOVED, "answer to 1"]


def test_the_drawing_has_its_two_edges() -> None:
    drawn = graph(guard_node(guard(), then="model")).get_graph()
    assert {edge.target for edge in drawn.edges if edge.source == "guard"} == {"model", "__end__"}


@pytest.mark.parametrize("action", ["block", "drop", "review"])
async def test_an_entry_that_is_no_message(action: str, lane: Lane) -> None:
    class State(TypedDict):
        question: str

    made = StateGraph(State)
    made.add_node("guard", guard_node(guard(), {"unsafe": action}, then="model", input_key="question"))
    made.add_node("model", lambda state: {"question": state["question"].upper()})
    made.add_edge(START, "guard")
    made.add_edge("model", END)
    compiled = made.compile()
    assert await lane(compiled, "invoke", {"question": "x"}) == {"question": "X"}
    assert await lane(compiled, "invoke", {"question": CANARY}) == {"question": REFUSAL}


async def test_a_person_decides_once(lane: Lane) -> None:
    judge = guard()
    made = graph(guard_node(judge, {"points": {"prompt": "review"}}, then="model"))
    [pending] = (await lane(made, "invoke", asking(CANARY), THREAD))["__interrupt__"]
    assert pending.value["review_configs"][0]["allowed_decisions"] == ["approve", "edit", "reject"]
    result = await lane(made, "invoke", Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert [message.text for message in result["messages"]] == [CANARY, "answer to 1"]
    assert len(judge.calls) == 1
    assert "__interrupt__" not in await lane(made, "invoke", asking("more"), THREAD)


EDIT = {"type": "edit", "edited_action": {"name": "prompt", "args": {"text": "a loaf"}}}


@pytest.mark.parametrize(
    ("decision", "texts"),
    [(EDIT, ["a loaf", "answer to 1"]), ({"type": "reject"}, [REMOVED, REFUSAL])],
    ids=["edit", "reject"],
)
async def test_what_a_person_does_not_approve_is_gone(decision: Any, texts: list[str], lane: Lane) -> None:
    made = graph(guard_node(guard(), {"points": {"prompt": "review"}}, then="model"))
    await lane(made, "invoke", asking(CANARY), THREAD)
    result = await lane(made, "invoke", Command(resume={"decisions": [decision]}), THREAD)
    assert [message.text for message in result["messages"]] == texts
    assert CANARY not in repr(made.get_state(THREAD))


async def test_an_answer_that_is_no_decision_lets_nothing_pass(lane: Lane) -> None:
    made = graph(guard_node(guard(), {"points": {"prompt": "review"}}, then="model"))
    await lane(made, "invoke", asking(CANARY), THREAD)
    with pytest.raises(GuardConfigurationError, match="without 1 decisions"):
        await lane(made, "invoke", Command(resume="yes"), THREAD)


async def test_the_edge_only_looks(lane: Lane) -> None:
    made = StateGraph(MessagesState)
    made.add_node("first", lambda state: {})
    made.add_node("model", answers)
    made.add_edge(START, "first")
    made.add_conditional_edges("first", guard_edge(guard(), safe="model"), ["model", END])
    made.add_edge("model", END)
    compiled = made.compile()
    assert len((await lane(compiled, "invoke", asking("x")))["messages"]) == 2
    assert len((await lane(compiled, "invoke", asking(CANARY)))["messages"]) == 1


async def test_verdicts_come_as_custom_events_from_subgraphs_too(lane: Lane) -> None:
    inner = StateGraph(MessagesState)
    inner.add_node("guard", guard_node(guard(), then="model"))
    inner.add_node("model", answers)
    inner.add_edge(START, "guard")
    outer = StateGraph(MessagesState)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    items = await lane.collect(outer.compile(), "stream", asking(CANARY), stream_mode="custom", subgraphs=True)
    [(_, event)] = items
    assert (event["type"], event["point"], event["action"]) == ("qwen3guard.verdict", "prompt", "block")
    assert CANARY not in repr(items)


async def test_other_interrupts_are_not_swallowed(lane: Lane) -> None:
    made = StateGraph(MessagesState)
    made.add_node("guard", guard_node(guard(), then="ask"))
    made.add_node("ask", lambda state: {"messages": [AIMessage(interrupt("really?"))]})
    made.add_edge(START, "guard")
    compiled = made.compile(checkpointer=InMemorySaver())
    assert (await lane(compiled, "invoke", asking("x"), THREAD))["__interrupt__"][0].value == "really?"
    assert (await lane(compiled, "invoke", Command(resume="yes"), THREAD))["messages"][-1].text == "yes"


async def test_the_functional_api(lane: Lane) -> None:
    model = guard_model(ScriptedModel(script=[AIMessage(f"a {CANARY}")]), guard())
    screen = Qwen3GuardRunnable(guard(), on_block="refuse")

    if lane.is_async:

        @task
        async def aanswer(text: str) -> str:
            return str((await model.ainvoke(text)).text)

        @entrypoint(checkpointer=InMemorySaver())
        async def flow(text: str) -> Any:
            question = await screen.ainvoke(text)
            return question, await aanswer(question)

        result = await flow.ainvoke("x", THREAD)
    else:

        @task
        def answer(text: str) -> str:
            return str(model.invoke(text).text)

        @entrypoint(checkpointer=InMemorySaver())
        def flow(text: str) -> Any:
            question = screen.invoke(text)
            return question, answer(question).result()

        result = flow.invoke("x", THREAD)
    assert result == ("x", REFUSAL)


async def test_a_dead_guard_stops_the_graph(lane: Lane) -> None:
    with pytest.raises(GuardUnavailableError):
        await lane(
            graph(guard_node(guard(error=GuardUnavailableError("down")), then="model")), "invoke", asking("x"), THREAD
        )


def test_two_equal_edges_are_refused() -> None:
    with pytest.raises(GuardConfigurationError, match="same node"):
        guard_node(guard(), then="model", blocked="model")
