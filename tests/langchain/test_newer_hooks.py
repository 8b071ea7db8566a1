"""Hooks of newer versions of LangChain, where they are installed; a clear error where they are not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents import middleware as hooks
from langchain_core.messages import AIMessage

from qwen3guard_integrations import GuardConfigurationError, GuardUnavailableError, Scores, Severity, Verdict
from qwen3guard_integrations import langchain as adapters
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .agents import THREAD, ScriptedModel, agent, asking, calls, search_tool
from .helpers import REFUSAL, VIOLENT, Recorder

CANARY = "canary7f3a"
HAS_DECISIONS = find_spec("langchain_core.decisions") is not None
newer = pytest.mark.skipif(not HAS_DECISIONS, reason="langchain-core 1.8 has it")


@pytest.mark.skipif(HAS_DECISIONS, reason="langchain-core 1.8 has it")
def test_an_older_version_says_what_is_needed() -> None:
    with pytest.raises(ImportError, match=r"langchain-core 1\.8"):
        _ = adapters.Qwen3GuardDecisionModel


@newer
async def test_auto_mode_blocks_what_the_guard_does_not_let_pass(lane: Lane) -> None:
    search, ran = search_tool()
    auto = hooks.AutoModeMiddleware(  # type: ignore[attr-defined]
        tools=[search], classifier=adapters.Qwen3GuardDecisionModel(FakeGuard({CANARY: VIOLENT}))
    )
    made, _ = agent([calls(CANARY, "b"), AIMessage("done")], auto, tools=[search])
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert [message.status for message in result["messages"][2:4]] == ["error", "success"]
    assert ran == ["b"]


@newer
async def test_the_answer_is_the_probability(lane: Lane) -> None:
    from langchain_core.decisions import Choice, Noul  # type: ignore[import-not-found]

    scores = Scores(safe=0.3, controversial=0.1, unsafe=0.6)
    verdict = Verdict(severity=Severity.UNSAFE, scores=scores)
    model = adapters.Qwen3GuardDecisionModel(FakeGuard({CANARY: verdict}))
    question = {"risk": Noul(instructions="Is it harmful?")}
    response = await lane(model, "invoke", {"state": f"a {CANARY}", "questions": question})
    assert response.nouls["risk"].noul == pytest.approx(0.7)
    response = await lane(model, "invoke", {"state": "fine", "questions": question})
    assert response.nouls["risk"].noul == 0
    choice = Choice(instructions="Which?", criteria={"a": "b", "c": "d"})
    for other in (choice, choice.model_dump()):
        with pytest.raises(GuardConfigurationError, match="yes/no"):
            await lane(model, "invoke", {"state": "fine", "questions": {"risk": other}})


@newer
@pytest.mark.parametrize(
    ("policy", "scores", "severity", "risk"),
    [
        ("loose", (0.2, 0.7, 0.1), "Controversial", 0.1),  # of what passes nothing counts
        ("strict", (0.2, 0.7, 0.1), "Controversial", 0.8),
        ("strict", (0.4, 0.3, 0.3), "Safe", 0.49),  # it passes: less than one half, whatever the sum
        ({"thresholds": {"unsafe": 0.3}, "mode": "loose"}, (0.6, 0.05, 0.35), "Safe", 0.51),  # it does not
        ({"points": {"prompt": "flag"}}, (0.1, 0.1, 0.8), "Unsafe", 0.0),
        ({"points": {"prompt": "review"}}, (0.1, 0.1, 0.8), "Unsafe", 0.9),
    ],
)
async def test_the_answer_is_on_the_side_of_the_decision(
    policy: Any, scores: tuple[float, ...], severity: str, risk: float, lane: Lane
) -> None:
    from langchain_core.decisions import Noul

    safe, controversial, unsafe = scores
    all_scores = Scores(safe=safe, controversial=controversial, unsafe=unsafe)
    guard = FakeGuard({CANARY: Verdict(severity=Severity(severity), scores=all_scores)})
    model = adapters.Qwen3GuardDecisionModel(guard, policy)
    request = {"state": CANARY, "questions": {"risk": Noul(instructions="Is it harmful?")}}
    response = await lane(model, "invoke", request)
    assert response.nouls["risk"].noul == pytest.approx(risk)


@newer
async def test_its_trace_holds_the_answer_and_none_of_the_text(lane: Lane) -> None:
    recorder = Recorder()
    search, _ = search_tool()
    classifier = adapters.Qwen3GuardDecisionModel(FakeGuard({CANARY: VIOLENT}))
    auto = hooks.AutoModeMiddleware(tools=[search], classifier=classifier)  # type: ignore[attr-defined]
    made, _ = agent([calls(CANARY), AIMessage("done")], auto, tools=[search])
    await lane(made, "invoke", asking(CANARY), {**THREAD, "callbacks": [recorder]})
    [own] = recorder.of("Qwen3GuardDecisionModel")
    assert CANARY not in repr([own.inputs, own.outputs, own.error, own.events])
    assert "noul=1.0" in repr(own.outputs)


@newer
async def test_its_decisions_are_reported(lane: Lane) -> None:
    search, _ = search_tool()
    classifier = adapters.Qwen3GuardDecisionModel(FakeGuard({CANARY: VIOLENT}))
    auto = hooks.AutoModeMiddleware(tools=[search], classifier=classifier)  # type: ignore[attr-defined]
    made, _ = agent([calls(CANARY), AIMessage("done")], auto, tools=[search])
    told = await lane.collect(made, "stream", asking(CANARY), THREAD, stream_mode="custom")
    assert [(entry["point"], entry["action"]) for entry in told] == [("tool_call", "block")]
    assert classifier.screener.report.counts == {("tool_call", "block"): 1}


@newer
async def test_a_dead_guard_lets_no_tool_run(lane: Lane) -> None:
    search, ran = search_tool()
    dead = adapters.Qwen3GuardDecisionModel(FakeGuard(error=GuardUnavailableError("down")))
    auto = hooks.AutoModeMiddleware(tools=[search], classifier=dead)  # type: ignore[attr-defined]
    made, _ = agent([calls("a"), AIMessage("done")], auto, tools=[search])
    with pytest.raises(GuardUnavailableError):
        await lane(made, "invoke", asking("q"), THREAD)
    assert not ran


@newer
@pytest.mark.parametrize(("on_guard_error", "runs"), [("block", []), ("allow", ["a"])])
async def test_the_policy_may_say_otherwise(on_guard_error: str, runs: list[str], lane: Lane) -> None:
    search, ran = search_tool()
    dead = FakeGuard(error=GuardUnavailableError("down"))
    classifier = adapters.Qwen3GuardDecisionModel(dead, {"on_guard_error": on_guard_error})
    auto = hooks.AutoModeMiddleware(tools=[search], classifier=classifier)  # type: ignore[attr-defined]
    made, _ = agent([calls("a"), AIMessage("done")], auto, tools=[search])
    await lane(made, "invoke", asking("q"), THREAD)
    assert ran == runs


@newer
async def test_a_refusal_is_handed_to_the_next_model(lane: Lane) -> None:
    made = handing_on(ScriptedModel(script=[AIMessage(f"a {CANARY}")], output_version="v1"), "Let us talk about bread.")
    result = await lane(made, "invoke", asking("q"))
    assert [message.text for message in result["messages"]] == ["q", "Let us talk about bread."]
    streamed = await lane.collect(made, "stream", asking("q"), stream_mode="messages")
    text = "".join(chunk.text for chunk, _ in streamed)
    assert CANARY not in text
    assert text.endswith("Let us talk about bread.")


@newer
async def test_the_next_model_is_screened_too(lane: Lane) -> None:
    made = handing_on(ScriptedModel(script=[AIMessage(f"a {CANARY}")], output_version="v1"), f"another {CANARY}")
    result = await lane(made, "invoke", asking("q"))
    assert CANARY not in repr(result)


@newer
async def test_a_refusal_in_plain_text_is_the_answer(lane: Lane) -> None:
    made = handing_on(ScriptedModel(script=[AIMessage(f"a {CANARY}")]), "Let us talk about bread.")
    result = await lane(made, "invoke", asking("q"))
    assert result["messages"][-1].text == REFUSAL


@newer
async def test_the_error_of_a_refusal_holds_none_of_the_answer(lane: Lane) -> None:
    from langchain_core.exceptions import ModelRefusalError  # type: ignore[attr-defined, unused-ignore]

    model = ScriptedModel(script=[AIMessage(f"a {CANARY}")], output_version="v1")
    refusals = hooks.ModelRefusalMiddleware()  # type: ignore[attr-defined]
    made: Any = create_agent(model, [], middleware=[refusals, Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}))])
    with pytest.raises(ModelRefusalError, match="I can't help") as caught:
        await lane(made, "invoke", asking("q"))
    assert CANARY not in repr([caught.value, caught.value.raw_message])


async def test_a_block_that_raises_is_handed_on_whatever_the_model_writes(lane: Lane) -> None:
    other = ScriptedModel(script=[AIMessage("Let us talk about bread.")])
    guarding = Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT}), exit_behavior="error")
    made, _ = agent([AIMessage(f"a {CANARY}")], hooks.ModelFallbackMiddleware(other), guarding)
    result = await lane(made, "invoke", asking("q"), THREAD)
    assert result["messages"][-1].text == "Let us talk about bread."


def handing_on(model: Any, answer: str) -> Any:
    """An agent whose refusals are handed to a second model, which says `answer`."""
    middleware = [
        hooks.ModelFallbackMiddleware(ScriptedModel(script=[AIMessage(answer)])),
        hooks.ModelRefusalMiddleware(),  # type: ignore[attr-defined]
        Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT})),
    ]
    return create_agent(model, [], middleware=middleware)


async def test_traces_of_the_hooks_hold_no_payload(lane: Lane) -> None:
    recorder = Recorder()
    made, _ = agent([AIMessage("done")], Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT})))
    await lane(made, "invoke", asking(CANARY), {**THREAD, "callbacks": [recorder]})
    own = [run for run in recorder.runs if run.name.startswith("Qwen3GuardMiddleware")]
    assert own
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events] for run in own])
