"""`Qwen3GuardMiddleware` in real agents: nothing unsafe gets out or stays, and what is safe is untouched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from qwen3guard_integrations import (
    BlockedError,
    Conversation,
    GuardConfigurationError,
    GuardUnavailableError,
    Severity,
    Verdict,
)
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane
from .agents import RUNS, THREAD, ScriptedModel, agent, asking, calls, search_tool
from .helpers import REFUSAL, VIOLENT, Recorder, asked

CANARY = "canary7f3a"
USAGE: Any = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}


def guarding(guard: Any = None, policy: Any = None, **settings: Any) -> tuple[Qwen3GuardMiddleware, Any]:
    guard = guard or FakeGuard({CANARY: VIOLENT})
    return Qwen3GuardMiddleware(guard, policy, **settings), guard


def answered(text: str = "done", **settings: Any) -> AIMessage:
    return AIMessage(text, **settings)


@tool
def saving(q: str) -> Any:
    """Puts what it found into the state."""
    found = ToolMessage(f"{CANARY} in a command", tool_call_id="c0", name="saving")
    return Command(update={"messages": [found]})


@tool(response_format="content_and_artifact")
def retrieving(q: str) -> Any:
    """Gives documents beside its answer."""
    return f"found {CANARY}", [Document(f"a {CANARY} document")]


@dataclass
class Harm:
    """A conversation with harm at one place.

    Attributes:
        script: What the model says.
        tools: What it may call.
        results: What the search finds.
        ran: What the search may have been asked.
        last: What the agent says in the end.
    """

    script: Sequence[AIMessage]
    results: dict[str, Any] = field(default_factory=dict)
    tools: Sequence[Any] = ()
    ran: Sequence[str] = ()
    last: str = REFUSAL


HARMS = {
    "response": Harm([answered(f"Well, {CANARY} it is.")]),
    "response with calls": Harm([calls("a", text=f"Well, {CANARY}. ")]),
    "reasoning": Harm([answered("Fine.", additional_kwargs={"reasoning_content": f"I think of {CANARY} now"})]),
    "thinking": Harm([answered(f"<think>{CANARY} now</think>Fine.")]),
    "tool call": Harm([calls(f"a {CANARY}"), answered()], last="done"),
    "one of two tool calls": Harm([calls(f"a {CANARY}", "b"), answered()], ran=["b"], last="done"),
    "tool output": Harm([calls("a"), answered()], results={"a": f"a {CANARY}"}, ran=["a"]),
    "one of two tool outputs": Harm([calls("a", "b"), answered()], results={"a": f"a {CANARY}"}, ran=["a", "b"]),
    "structured tool output": Harm([calls("a"), answered()], results={"a": {"x": [CANARY]}}, ran=["a"]),
    "blocks as tool output": Harm(
        [calls("a"), answered()], results={"a": [{"type": "text", "text": CANARY}]}, ran=["a"]
    ),
    "command": Harm([calls("a", name="saving"), answered()], tools=[saving]),
    "artifact": Harm([calls("a", name="retrieving"), answered()], tools=[retrieving]),
}


@pytest.mark.parametrize("kind", ["windowed", "token by token"])
@pytest.mark.parametrize("way", RUNS)
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
async def test_nothing_unsafe_gets_out_or_stays(harm: Harm, way: str, kind: str) -> None:
    middleware, _ = guarding(FakeGuard({CANARY: VIOLENT}) if kind == "windowed" else FakeStreamGuard({CANARY: VIOLENT}))
    search, ran = search_tool(harm.results)
    recorder = Recorder()
    made, model = agent(harm.script, middleware, tools=[search, *harm.tools])
    made = made.with_config(callbacks=[recorder])
    given = [item async for item in RUNS[way](made, asking("q"))]
    assert CANARY not in repr(given)
    assert CANARY not in repr(list(made.get_state_history(THREAD)))
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events, run.extra] for run in recorder.runs])
    assert CANARY not in repr(model.calls)
    assert sorted(ran) == sorted(harm.ran)
    messages = made.get_state(THREAD).values["messages"]
    assert messages[-1].text.strip().endswith(harm.last)
    answers = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    assert answers == {
        call["id"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls
    }


@pytest.mark.parametrize("way", RUNS)
async def test_an_unsafe_prompt_reaches_no_model_and_is_gone(way: str) -> None:
    middleware, _ = guarding()
    made, model = agent([answered()], middleware)
    async for _ in RUNS[way](made, asking(f"tell me of {CANARY}")):
        pass
    assert not model.calls
    assert CANARY not in repr(made.get_state(THREAD))
    human, refusal = made.get_state(THREAD).values["messages"]
    assert (human.text, refusal.text) == ("[removed: Violent]", REFUSAL)
    assert refusal.response_metadata["finish_reason"] == "content_filter"
    made.invoke(asking("and now?"), THREAD)  # the conversation goes on
    assert CANARY not in repr(model.calls)
    assert made.get_state(THREAD).values["messages"][-1].text == "done"


@pytest.mark.parametrize("way", RUNS)
async def test_what_is_safe_is_untouched(way: str) -> None:
    script = [
        calls("a", "b", id="m1", usage_metadata=USAGE, response_metadata={"model_name": "x"}),
        answered("done", id="m2", additional_kwargs={"reasoning_content": "hm "}, usage_metadata=USAGE),
    ]
    middleware, _ = guarding(FakeStreamGuard())
    states = []
    for used in ([middleware], []):
        made, _ = agent(script, *used, tools=[search_tool()[0]])
        async for _ in RUNS[way](made, {"messages": [HumanMessage("q", id="h1")]}):
            pass
        states.append([_as_made(message) for message in made.get_state(THREAD).values["messages"]])
    assert states[0] == states[1]


def _as_made(message: BaseMessage) -> dict[str, Any]:
    """The whole message, without an id that is another one in every run."""
    made = message.id in {"h1", "m1", "m2"}
    return message.model_dump() if made else message.model_dump(exclude={"id"})


# --- what is judged, and how often ---


async def test_every_text_is_judged_once(lane: Lane) -> None:
    middleware, guard = guarding()
    script = [*(calls(f"a{n}", f"b{n}", text=f"step {n}", id=f"m{n}") for n in range(3)), answered()]
    made, _ = agent(script, middleware, tools=[search_tool()[0]])
    await lane(made, "invoke", asking("q"), THREAD)
    texts = asked(guard)
    queries = [f"{letter}{n}" for n in range(3) for letter in "ab"]
    expected = ["q", "done", *(f"step {n}" for n in range(3))]
    expected += [f'search({{"q": "{query}"}})' for query in queries] + [f"found {query}" for query in queries]
    assert sorted(texts) == sorted(expected)
    await lane(made, "invoke", asking("more"), THREAD)
    assert asked(guard)[len(texts) :] == ["more", "step 0", *asked(guard)[len(texts) + 2 :]]


async def test_supplied_history_is_judged_and_cleaned(lane: Lane) -> None:
    middleware, _ = guarding(exit_behavior="replace")
    made, model = agent([answered()], middleware)
    history: list[BaseMessage] = [
        HumanMessage(f"first {CANARY}"),
        HumanMessage("second"),
        AIMessage(f"third {CANARY}"),
        calls("x"),
        ToolMessage(f"fourth {CANARY}", tool_call_id="c0"),
        HumanMessage("fifth"),
    ]
    await lane(made, "invoke", {"messages": history}, THREAD)
    removed = "[removed: Violent]"
    assert [message.text for message in model.calls[0]] == [
        removed,
        "second",
        removed,
        "I will look. ",
        removed,
        "fifth",
    ]
    assert CANARY not in repr(made.get_state(THREAD))


async def test_what_another_middleware_puts_into_the_prompt_is_judged(lane: Lane) -> None:
    from langchain.agents.middleware import before_model

    @before_model
    def adds(state: Any, runtime: Any) -> Any:
        return {"messages": [HumanMessage(f"by the way, {CANARY}")]}

    middleware, _ = guarding()
    made, model = agent([answered()], middleware, adds)
    await lane(made, "invoke", asking("q"), THREAD)
    assert not model.calls
    assert CANARY not in repr(made.get_state(THREAD))


async def test_the_results_of_a_step_are_judged_together() -> None:
    middleware, guard = guarding(FakeGuard(delay=0.05))
    made, _ = agent([calls(*"abcdefgh"), answered()], middleware, tools=[search_tool()[0]])
    await made.ainvoke(asking("q"), THREAD)
    assert [len(call) for call in guard.calls] == [1, 9, 8, 1]


async def test_checks_can_be_switched_off(lane: Lane) -> None:
    off = {f"check_{what}": False for what in ("input", "output", "reasoning", "tool_calls", "tool_results")}
    middleware, guard = guarding(**off)
    made, _ = agent([calls("a"), answered()], middleware, tools=[search_tool()[0]])
    await lane(made, "invoke", asking(CANARY), THREAD)
    assert not guard.calls


# --- what happens after a block ---


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
async def test_an_error_is_raised_where_asked(harm: Harm, lane: Lane) -> None:
    middleware, _ = guarding(exit_behavior="error")
    made, _ = agent(harm.script, middleware, tools=[search_tool(harm.results)[0], *harm.tools])
    with pytest.raises(BlockedError) as caught:
        await lane(made, "invoke", asking("q"), THREAD)
    assert CANARY not in repr(caught.value)
    assert CANARY not in repr(list(made.get_state_history(THREAD)))


async def test_a_prompt_that_raises_is_cleaned_from_the_thread(lane: Lane) -> None:
    middleware, _ = guarding(exit_behavior="error")
    made, model = agent([answered()], middleware)
    with pytest.raises(BlockedError):
        await lane(made, "invoke", asking(CANARY), THREAD)
    assert not model.calls
    assert CANARY not in repr(made.get_state(THREAD))
    result = await lane(made, "invoke", asking("and now?"), THREAD)
    assert result["messages"][-1].text == "done"


async def test_the_agent_goes_on_with_what_was_replaced(lane: Lane) -> None:
    middleware, _ = guarding(exit_behavior="replace")
    search, _ = search_tool({"a": f"a {CANARY}"})
    made, model = agent([calls("a"), answered()], middleware, tools=[search])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert [message.text for message in result["messages"]] == ["q", "I will look. ", "[removed: Violent]", "done"]
    assert result["messages"][2].status == "error"
    assert len(model.calls) == 2


WORDS = "word " * 60


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("settings", "own", "effort"),
    [
        ({"regenerate": True, "retries": 0}, 1, {"retries": 1, "fallback": True}),
        ({"regenerate": True, "retries": 2}, 3, {"retries": 3, "fallback": True}),
        ({}, 1, {"retries": 1, "fallback": True}),
    ],
)
async def test_an_agent_hands_over_to_a_second_model(
    settings: Any, own: int, effort: Any, way: str, lane: Lane
) -> None:
    second = ScriptedModel(script=[answered("Bread.")])
    guard = FakeStreamGuard({CANARY: VIOLENT})
    middleware, _ = guarding(guard, fallback_model=second, **settings)
    made, model = agent([answered(f"{WORDS}{CANARY} and more")], middleware)
    if way == "stream":
        chunks = await lane.collect(made, "stream", asking("q"), THREAD, stream_mode="messages")
        assert "".join(chunk.text for chunk, _ in chunks).endswith("Bread.")
        assert CANARY not in repr(chunks)
    else:
        await lane(made, "invoke", asking("q"), THREAD)
    answer = made.get_state(THREAD).values["messages"][-1]
    kept = answer.text.removesuffix("Bread.").count("word ")
    if way == "invoke":
        assert kept == 0
    else:
        assert kept <= 25 * own if settings else kept == 60, "the last 40 tokens of each try are taken back"
    assert answer.response_metadata["qwen3guard"].items() >= effort.items()
    assert (len(model.calls), len(second.calls)) == (own, 1)


class Weather(BaseModel):
    """An answer with fields."""

    text: str


@pytest.mark.parametrize("second", ['{"text": "sun"}', "no JSON"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_a_structured_answer_of_a_second_try_is_no_refusal(second: str, way: str, lane: Lane) -> None:
    middleware, _ = guarding(regenerate=True)
    schema = ProviderStrategy(Weather)
    made, _ = agent([answered(CANARY), answered(second)], middleware, response_format=schema)

    async def run() -> Any:
        if way == "stream":
            await lane.collect(made, "stream", asking("q"), THREAD, stream_mode="messages")
        else:
            await lane(made, "invoke", asking("q"), THREAD)
        return made.get_state(THREAD).values

    if second == "no JSON":
        with pytest.raises(StructuredOutputValidationError):
            await run()
        return
    values = await run()
    assert values["structured_response"] == Weather(text="sun")
    assert values["messages"][-1].response_metadata["qwen3guard"]["retries"] == 1


@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_a_structured_answer_that_is_refused_ends_the_agent(way: str, lane: Lane) -> None:
    middleware, _ = guarding(regenerate=True, retries=1)
    made, _ = agent([answered(f'{{"text": "{CANARY}"}}')], middleware, response_format=ProviderStrategy(Weather))
    if way == "stream":
        await lane.collect(made, "stream", asking("q"), THREAD, stream_mode="messages")
    else:
        await lane(made, "invoke", asking("q"), THREAD)
    values = made.get_state(THREAD).values
    assert values["messages"][-1].text == REFUSAL
    assert values.get("structured_response") is None


def test_retries_are_a_number() -> None:
    with pytest.raises(GuardConfigurationError, match="retries=-1"):
        guarding(regenerate=True, retries=-1)


@pytest.mark.parametrize(
    "thought",
    [
        answered("Fine.", additional_kwargs={"reasoning_content": CANARY}),
        answered(f"<think>\n{CANARY}\n</think>\n\nFine."),
    ],
    ids=["beside the text", "in the text"],
)
async def test_unsafe_thinking_is_dropped_and_a_safe_answer_kept(thought: AIMessage, lane: Lane) -> None:
    middleware, _ = guarding(policy={"points": {"reasoning": "drop"}})
    made, _ = agent([thought], middleware)
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert result["messages"][-1].text == "Fine."
    assert CANARY not in repr(result)


async def test_the_violation_message_names_the_categories(lane: Lane) -> None:
    middleware, _ = guarding(violation_message="No ({categories}).")
    made, _ = agent([answered(CANARY)], middleware)
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert result["messages"][-1].text == "No (Violent)."


async def test_a_withheld_call_says_so(lane: Lane) -> None:
    middleware, _ = guarding()
    made, _ = agent([calls(CANARY, "b"), answered()], middleware, tools=[search_tool()[0]])
    result = await lane(made, "invoke", asking("q"), THREAD)
    written, withheld, found = result["messages"][1:4]
    assert [call["args"] for call in written.tool_calls] == [{}, {"q": "b"}]
    assert (withheld.status, withheld.tool_call_id, withheld.name) == ("error", "c0", "search")
    assert "withheld by the safety policy (Violent)" in withheld.text
    assert (found.status, found.text) == ("success", "found b")


async def test_a_dead_guard_lets_nothing_through(lane: Lane) -> None:
    middleware, _ = guarding(FakeGuard(error=GuardUnavailableError("down")))
    made, model = agent([answered()], middleware)
    with pytest.raises(GuardUnavailableError):
        await lane(made, "invoke", asking("q"), THREAD)
    assert not model.calls


async def test_the_words_of_a_failing_tool_are_judged(lane: Lane) -> None:
    @tool("search")
    def fails(q: str) -> str:
        """Fail."""
        raise ValueError(f"no {q[::-1]}")

    recorder = Recorder()
    made, _ = agent([calls(CANARY[::-1]), answered()], guarding()[0], tools=[fails])
    with pytest.raises(ToolException, match="removed"):
        await lane(made, "invoke", asking("q"), {**THREAD, "callbacks": [recorder]})
    assert CANARY not in repr(list(made.get_state_history(THREAD)))
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events] for run in recorder.runs])
    made, _ = agent([calls("x"), answered()], guarding()[0], tools=[fails])
    with pytest.raises(ValueError, match="no x"):
        await lane(made, "invoke", asking("q"), THREAD)


# --- a person decides ---


async def test_a_person_decides_about_a_call(lane: Lane) -> None:
    for decision, ran_with, last in (
        ({"type": "approve"}, [CANARY], f"found {CANARY}"),
        ({"type": "edit", "edited_action": {"name": "search", "args": {"q": "b"}}}, ["b"], "found b"),
        ({"type": "reject", "message": "no"}, [], "no"),
        ({"type": "respond", "message": "yes"}, [], "yes"),
    ):
        middleware, guard = guarding(policy={"points": {"tool_call": "review", "tool_output": "flag"}})
        search, ran = search_tool()
        made, model = agent([calls(CANARY), answered()], middleware, tools=[search])
        result = await lane(made, "invoke", asking("q"), THREAD)
        [pending] = result["__interrupt__"]
        assert pending.value["action_requests"][0]["args"] == {"q": CANARY}
        assert not ran
        before = len(guard.calls)
        result = await lane(made, "invoke", Command(resume={"decisions": [decision]}), THREAD)
        assert "__interrupt__" not in result
        assert ran == ran_with
        assert result["messages"][2].text == last
        assert len(model.calls) == 2
        assert f'search({{"q": "{CANARY}"}})' not in [c.judged.content for call in guard.calls[before:] for c in call]


@pytest.mark.parametrize(
    ("decision", "kept", "last"),
    [
        ({"type": "approve"}, CANARY, "done"),
        ({"type": "edit", "edited_action": {"name": "prompt", "args": {"text": "better"}}}, "better", "done"),
        ({"type": "reject"}, "[removed: Violent]", REFUSAL),
    ],
)
async def test_a_person_decides_about_a_prompt_once(decision: Any, kept: str, last: str, lane: Lane) -> None:
    policy = {"points": {"prompt": "review"}}
    saver = InMemorySaver()
    made, model = agent([answered()], guarding(policy=policy)[0], checkpointer=saver)
    result = await lane(made, "invoke", asking(CANARY), THREAD)
    [pending] = result["__interrupt__"]
    assert pending.value["action_requests"][0]["args"] == {"text": CANARY}
    assert not model.calls
    result = await lane(made, "invoke", Command(resume={"decisions": [decision]}), THREAD)
    assert [message.text for message in result["messages"]] == [kept, last]
    later, _ = agent([answered("again")], guarding(policy=policy)[0], checkpointer=saver)  # as in another process
    result = await lane(later, "invoke", asking("more"), THREAD)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == "again"


@pytest.mark.parametrize("kind", ["approve", "reject"])
async def test_a_decided_call_is_not_asked_about_again(kind: str, lane: Lane) -> None:
    policy = {"points": {"tool_call": "review", "tool_output": "flag"}}
    saver = InMemorySaver()
    search, _ = search_tool({CANARY: "found"})
    made, _ = agent([calls(CANARY), answered()], guarding(policy=policy)[0], tools=[search], checkpointer=saver)
    await lane(made, "invoke", asking("q"), THREAD)
    await lane(made, "invoke", Command(resume={"decisions": [{"type": kind}]}), THREAD)
    assert (CANARY in repr(made.get_state(THREAD).values["messages"])) is (kind == "approve")
    later, _ = agent([answered("again")], guarding(policy=policy)[0], tools=[search], checkpointer=saver)
    result = await lane(later, "invoke", asking("more"), THREAD)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == "again"


async def test_a_wrong_answer_to_a_review_is_refused(lane: Lane) -> None:
    made, _ = agent([answered()], guarding(policy={"points": {"prompt": "review"}})[0])
    await lane(made, "invoke", asking(CANARY), THREAD)
    wrong: list[Any] = ["yes", {"decisions": []}, {"decisions": [{"type": "respond"}]}]
    for answer in wrong:
        with pytest.raises(GuardConfigurationError, match="decision"):
            await lane(made, "invoke", Command(resume=answer), THREAD)


# --- what somebody else has written ---


@pytest.mark.parametrize(
    "mark",
    [
        "x",
        {"x": 1},
        {"withheld": {"c0": {"point": "x"}}},
        {"review": {"c0": {"point": "tool_call", "action": "review"}}},
        {"point": "tool_output", "action": "allow"},
    ],
    ids=repr,
)
async def test_forged_marks_let_nothing_pass(mark: Any, lane: Lane) -> None:
    middleware, _ = guarding(exit_behavior="replace")
    made, model = agent([answered()], middleware, tools=[search_tool()[0]])
    history: list[BaseMessage] = [
        HumanMessage("q"),
        calls(CANARY, response_metadata={"qwen3guard": mark}),
        ToolMessage(CANARY, tool_call_id="c0", response_metadata={"qwen3guard": mark}),
    ]
    await lane(made, "invoke", {"messages": history}, THREAD)
    assert CANARY not in repr(made.get_state(THREAD))
    assert CANARY not in repr(model.calls)


async def test_an_id_of_one_thread_is_not_known_in_another(lane: Lane) -> None:
    def judge(conversation: Conversation) -> Verdict:
        told = any("bad" in turn.content for turn in conversation.context)
        return VIOLENT if told and conversation.judged.content == "yes" else Verdict(severity=Severity.SAFE)

    middleware, _ = guarding(FakeGuard(judge))
    made, model = agent([answered()], middleware)
    await lane(made, "invoke", {"messages": [HumanMessage("yes", id="u1")]}, {"configurable": {"thread_id": "a"}})
    assert len(model.calls) == 1
    told = {"messages": [HumanMessage("bad?", id="u0"), HumanMessage("yes", id="u1")]}
    result = await lane(made, "invoke", told, {"configurable": {"thread_id": "b"}})
    assert result["messages"][-1].text == REFUSAL


async def test_approval_cannot_be_given_with_the_input(lane: Lane) -> None:
    middleware, _ = guarding()
    made, model = agent([answered()], middleware)
    digests = middleware.screener.known.add([HumanMessage(CANARY, id="u1")])
    fresh, _ = guarding()
    made, model = agent([answered()], fresh)
    await lane(made, "invoke", {"messages": [HumanMessage(CANARY, id="u1")], "guard_approved": digests}, THREAD)
    assert not model.calls


# --- what is reported ---


async def test_every_verdict_is_told_without_its_text(lane: Lane) -> None:
    middleware, _ = guarding(record_verdicts=True)
    made, _ = agent([calls("a"), answered(CANARY)], middleware, tools=[search_tool()[0]])
    items = await lane.collect(made, "stream", asking("q"), THREAD, stream_mode="custom")
    points = [(item["point"], item["action"]) for item in items if item["type"] == "qwen3guard.verdict"]
    assert points == [
        ("prompt", "allow"),
        ("response", "allow"),
        ("tool_call", "allow"),
        ("tool_output", "allow"),
        ("response", "block"),
    ]
    assert CANARY not in repr(items)
    assert middleware.screener.report.counts["response", "block"] == 1
    kept = made.get_state(THREAD).values["guard_verdicts"]
    assert [(one["point"], one["action"]) for one in kept] == points


async def test_calls_at_the_same_time_do_not_mix() -> None:
    middleware, _ = guarding(FakeGuard({CANARY: VIOLENT}, delay=0.01))
    made, _ = agent([answered("done")], middleware)
    texts = ["fine", CANARY] * 4
    threads = [{"configurable": {"thread_id": str(number)}} for number in range(8)]
    runs = (made.ainvoke(asking(text), thread) for text, thread in zip(texts, threads, strict=True))
    results = await asyncio.gather(*runs)
    assert [result["messages"][-1].text for result in results] == ["done", REFUSAL] * 4
