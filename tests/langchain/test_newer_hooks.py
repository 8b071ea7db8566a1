"""Hooks of newer versions of LangChain, where they are installed; a clear error where they are not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from langchain.agents import middleware as hooks
from langchain_core.messages import AIMessage

from qwen3guard_integrations import GuardConfigurationError, GuardUnavailableError, Scores, Severity, Verdict
from qwen3guard_integrations import langchain as adapters
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .agents import THREAD, ScriptedModel, agent, asking, calls, search_tool
from .helpers import VIOLENT, Recorder

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
    choice: Any = {"risk": Choice(instructions="Which?", criteria={"a": "b", "c": "d"})}
    with pytest.raises(GuardConfigurationError, match="choice"):
        await lane(model, "invoke", {"state": "fine", "questions": choice})


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
async def test_a_refusal_is_handed_to_the_next_model(lane: Lane) -> None:
    careless = ScriptedModel(script=[AIMessage(f"a {CANARY}")], output_version="v1")
    other = ScriptedModel(script=[AIMessage("Let us talk about bread.")])
    middleware = [
        hooks.ModelFallbackMiddleware(other),
        hooks.ModelRefusalMiddleware(),  # type: ignore[attr-defined]
        Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT})),
    ]
    from langchain.agents import create_agent

    made: Any = create_agent(careless, [], middleware=middleware)
    result = await lane(made, "invoke", asking("q"))
    assert result["messages"][-1].text == "Let us talk about bread."


async def test_traces_of_the_hooks_hold_no_payload(lane: Lane) -> None:
    recorder = Recorder()
    made, _ = agent([AIMessage("done")], Qwen3GuardMiddleware(FakeGuard({CANARY: VIOLENT})))
    await lane(made, "invoke", asking(CANARY), {**THREAD, "callbacks": [recorder]})
    own = [run for run in recorder.runs if run.name.startswith("Qwen3GuardMiddleware")]
    assert own
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events] for run in own])
