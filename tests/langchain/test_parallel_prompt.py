"""Agents whose prompt is judged while the model already writes: nothing of the answer gets out before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents.middleware import wrap_model_call
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.types import Command

from qwen3guard_integrations import GuardConfigurationError, GuardUnavailableError, Policy
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane
from .agents import RUNS, THREAD, agent, asking, calls, search_tool
from .helpers import REFUSAL, VIOLENT, asked

CANARY = "canary7f3a"
ANSWER = "Here is what I know of it."
DELAY = 0.05


def parallel(guard: Any = None, policy: Any = None, **settings: Any) -> tuple[Qwen3GuardMiddleware, Any]:
    guard = guard or FakeGuard({CANARY: VIOLENT})
    return Qwen3GuardMiddleware(guard, policy, prompt="parallel", **settings), guard


def _until(holds: Callable[[], bool]) -> None:
    """Wait, for at most ten seconds."""
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize("kind", [FakeGuard, FakeStreamGuard])
@pytest.mark.parametrize("way", RUNS)
async def test_a_prompt_that_may_not_pass_ends_the_agent_and_is_gone(way: str, kind: Any) -> None:
    class Waiting(kind):  # type: ignore[misc]
        """Judges once the model has been asked."""

        def check_many(self, conversations: Any, /) -> Any:
            _until(lambda: bool(model.calls))
            return super().check_many(conversations)

        async def acheck_many(self, conversations: Any, /) -> Any:
            await asyncio.to_thread(_until, lambda: bool(model.calls))
            return await super().acheck_many(conversations)

    middleware, _ = parallel(Waiting({CANARY: VIOLENT}))
    search, ran = search_tool()
    made, model = agent([calls("a", text=ANSWER), AIMessage("done")], middleware, tools=[search])
    given = [item async for item in RUNS[way](made, asking(f"tell me of {CANARY}"))]
    assert len(model.calls) == 1  # it was asked at once
    assert ANSWER not in repr(given)
    assert not ran
    assert middleware.screener.report.counts["prompt", "block"] == 1  # told once
    human, refusal = made.get_state(THREAD).values["messages"]
    assert (human.text, refusal.text) == ("[removed: Violent]", REFUSAL)
    assert ANSWER not in repr(list(made.get_state_history(THREAD)))
    made.invoke(asking("and now?"), THREAD)  # the conversation goes on, without what was blocked
    assert CANARY not in repr(model.calls[1:])
    assert made.get_state(THREAD).values["messages"][-1].text == "done"


@pytest.mark.parametrize("way", RUNS)
async def test_what_is_safe_is_untouched(way: str) -> None:
    script = [calls("a", "b", id="m1"), AIMessage("done", id="m2")]
    states = []
    for used in ([parallel()[0]], []):
        made, _ = agent(script, *used, tools=[search_tool()[0]])
        async for _ in RUNS[way](made, {"messages": [HumanMessage("q", id="h1")]}):
            pass
        states.append([message.model_dump(exclude={"id"}) for message in made.get_state(THREAD).values["messages"]])
    assert states[0] == states[1]


async def test_every_text_is_judged_once(lane: Lane) -> None:
    middleware, guard = parallel()
    made, _ = agent([calls("a", text="step", id="m1"), AIMessage("done")], middleware, tools=[search_tool()[0]])
    await lane(made, "invoke", asking("q"), THREAD)
    assert sorted(asked(guard)) == sorted(["q", "step", 'search({"q": "a"})', "found a", "done"])
    await lane(made, "invoke", asking("more"), THREAD)
    assert asked(guard).count("q") == 1


async def test_prompt_and_answer_are_judged_at_the_same_time(lane: Lane) -> None:
    guard = _Counting(DELAY)
    made, _ = agent([AIMessage(ANSWER)], parallel(guard)[0])
    await lane(made, "invoke", asking("q"), THREAD)
    assert guard.most == 2
    assert len(guard.calls) == 2


class _Counting(FakeGuard):
    """Counts how many questions are under way."""

    now = most = 0

    def __init__(self, delay: float) -> None:
        super().__init__()
        self._wait = delay

    def _enter(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def check_many(self, conversations: Any, /) -> Any:
        self._enter()
        time.sleep(self._wait)
        self.now -= 1
        return super().check_many(conversations)

    async def acheck_many(self, conversations: Any, /) -> Any:
        self._enter()
        await asyncio.sleep(self._wait)
        self.now -= 1
        return await super().acheck_many(conversations)


async def test_what_the_policy_redacts_ends_the_agent_too(lane: Lane) -> None:
    middleware, _ = parallel(policy={"points": {"prompt": "redact"}})
    made, _ = agent([AIMessage(ANSWER)], middleware)
    result = await lane(made, "invoke", asking(f"tell me of {CANARY}"), THREAD)
    assert [message.text for message in result["messages"]] == ["[removed: Violent]", REFUSAL]


async def test_a_guard_that_fails_lets_nothing_pass(lane: Lane) -> None:
    made, _ = agent([AIMessage(ANSWER)], parallel(FakeGuard(error=GuardUnavailableError("down")))[0])
    with pytest.raises(GuardUnavailableError):
        await lane(made, "invoke", asking("q"), THREAD)
    assert ANSWER not in repr(list(made.get_state_history(THREAD)))


@wrap_model_call
def answers_itself(request: Any, handler: Any) -> Any:
    """Stands in for the model."""
    return AIMessage(ANSWER)


@pytest.mark.parametrize("action", ["block", "redact"])
def test_an_inner_middleware_that_answers_in_place_of_the_model(action: str) -> None:
    middleware, _ = parallel(policy={"points": {"prompt": action}})
    made, model = agent([], middleware, answers_itself)
    result = made.invoke(asking(f"tell me of {CANARY}"), THREAD)
    assert [message.text for message in result["messages"]] == ["[removed: Violent]", REFUSAL]
    assert not model.calls
    assert middleware.screener.report.counts == {("prompt", action): 1}  # told once


@wrap_model_call
def asks_something_else(request: Any, handler: Any) -> Any:
    """Hides the conversation from the model."""
    return handler(request.override(messages=[HumanMessage("hi")]))


@pytest.mark.parametrize("action", ["block", "redact"])
def test_a_prompt_that_the_model_was_not_shown(action: str) -> None:
    middleware, _ = parallel(policy={"points": {"prompt": action}})
    search, ran = search_tool()
    made, _ = agent([calls("a", text=ANSWER), AIMessage("done")], middleware, asks_something_else, tools=[search])
    result = made.invoke(asking(f"tell me of {CANARY}"), THREAD)
    assert [message.text for message in result["messages"]] == ["[removed: Violent]", REFUSAL]
    assert not ran


async def test_nobody_is_asked_about_what_the_model_has_read(lane: Lane) -> None:
    middleware, _ = parallel(policy={"points": {"response": "review"}})
    made, model = agent([AIMessage(ANSWER)], middleware)
    history = [HumanMessage("q"), AIMessage(f"It is {CANARY}."), HumanMessage("more")]
    result = await lane(made, "invoke", {"messages": history}, THREAD)
    assert "__interrupt__" not in result
    assert [message.text for message in result["messages"]] == ["q", "[removed: Violent]", "more", REFUSAL]
    assert len(model.calls) <= 1


async def test_an_answer_waits_beside_its_prompt(lane: Lane) -> None:
    middleware, guard = parallel(policy={"points": {"response": "review"}})
    made, model = agent([AIMessage(f"It is {CANARY}.")], middleware)
    assert "__interrupt__" not in await lane(made, "invoke", asking(f"tell me of {CANARY}"), THREAD)
    assert "__interrupt__" in await lane(made, "invoke", asking("q"), THREAD)
    result = await lane(made, "invoke", Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert result["messages"][-1].text == f"It is {CANARY}."
    assert [str(call[-1].text) for call in model.calls].count("q") == asked(guard).count("q") == 1


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ({"exit_behavior": "error"}, None),
        ({"exit_behavior": "replace"}, None),
        ({}, Policy(points={"prompt": "review"})),
    ],
)
def test_settings_that_do_not_go_together(settings: Any, policy: Any) -> None:
    with pytest.raises(GuardConfigurationError, match='set exit_behavior="end"'):
        parallel(FakeGuard(), policy, **settings)
    with pytest.raises(GuardConfigurationError, match="check_input"):
        Qwen3GuardMiddleware(FakeGuard(), prompt="off")  # type: ignore[arg-type]
