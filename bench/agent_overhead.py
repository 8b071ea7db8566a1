"""CPU time that `Qwen3GuardMiddleware` adds to one turn of an agent, and how long the results of eight tools wait.

    python bench/agent_overhead.py --check

The agents are real, the model is a fake that answers at once, and the guard says Safe at once. The agent with the
middleware and the one without run in turns in one process; of each the best round counts. The eight tools of the
second part return at once, and the guard takes 50 ms for each question, however many texts are in it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from bench.runnable_overhead import REPLY, NoOpGuard
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware
from qwen3guard_integrations.testing import FakeGuard

BARS = {"no tool": 0.7, "one tool": 1.3}  # milliseconds of CPU more than the agent without the middleware
STEP_BAR, TURN_BAR = 80.0, 150.0  # milliseconds that the eight results, and the whole turn, may take longer
DELAY = 0.05


@tool
def search(q: str) -> str:
    """Look something up."""
    return f"found {q}"


class Model(BaseChatModel):
    """Calls the search as often as it is told, all at once; then answers."""

    queries: int

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        if self.queries and not isinstance(messages[-1], ToolMessage):
            calls = [{"name": "search", "args": {"q": f"q{n}"}, "id": f"c{n}"} for n in range(self.queries)]
            answer = AIMessage("", tool_calls=calls)
        else:
            answer = AIMessage(REPLY)
        return ChatResult(generations=[ChatGeneration(message=answer)])


def agent(queries: int, *middleware: Qwen3GuardMiddleware) -> Any:
    return create_agent(Model(queries=queries), [search], middleware=list(middleware))


def milliseconds(made: Any, lane: str, turns: int, *, clock: Any = time.process_time) -> float:
    """Milliseconds of one turn."""

    async def run() -> None:
        for _ in range(turns):
            await made.ainvoke({"messages": [HumanMessage("q")]})

    start = clock()
    if lane == "async":
        asyncio.run(run())
    else:
        for _ in range(turns):
            made.invoke({"messages": [HumanMessage("q")]})
    return float(1000 * (clock() - start) / turns)


def added(queries: int, lane: str, rounds: int, turns: int) -> tuple[float, float]:
    """Milliseconds of CPU of a turn without the middleware, and what it adds."""
    bare, guarded = agent(queries), agent(queries, Qwen3GuardMiddleware(NoOpGuard()))
    best = {"bare": float("inf"), "guarded": float("inf")}
    for _ in range(rounds):
        for name, made in (("bare", bare), ("guarded", guarded)):
            best[name] = min(best[name], milliseconds(made, lane, turns))
    return best["bare"], best["guarded"] - best["bare"]


def waited(lane: str, rounds: int) -> tuple[float, float]:
    """Milliseconds that a step of eight tools, and its whole turn, take longer with a guard that takes 50 ms."""
    bare = min(milliseconds(agent(8), lane, 1, clock=time.perf_counter) for _ in range(rounds))
    turns = []
    for _ in range(rounds):
        guard = FakeGuard(delay=DELAY)
        took = milliseconds(agent(8, Qwen3GuardMiddleware(guard)), lane, 1, clock=time.perf_counter)
        turns.append((took - bare, len(guard.calls)))
    turn, _ = min(turns)
    others = 3  # the prompt, the answer with the calls, and the last answer are judged one after another
    return turn - 1000 * DELAY * others, turn


def main() -> int:
    """Print the figures; with --check, fail if one is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a figure is above its bar")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--turns", type=int, default=20, help="turns of the agent in one round")
    arguments = parser.parse_args()
    worst = []
    for name, queries in (("no tool", 0), ("one tool", 1)):
        for lane in ("sync", "async"):
            bare, more = added(queries, lane, arguments.rounds, arguments.turns)
            worst.append(more / BARS[name])
            print(f"{name}, {lane}: {bare:.2f} ms without, {more:+.2f} ms with the middleware (bar {BARS[name]} ms)")
    for lane in ("sync", "async"):
        step, turn = waited(lane, 5)
        print(f"eight tools, {lane}: the step waits {step:.0f} ms, the turn {turn:.0f} ms more with a guard of 50 ms")
    return int(arguments.check and max(worst) > 1)


if __name__ == "__main__":
    sys.exit(main())
