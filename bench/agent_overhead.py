"""CPU time that `Qwen3GuardMiddleware` adds to one turn of an agent, and how long the results of eight tools wait.

    python bench/agent_overhead.py --check

The agents are real, the model is a fake that answers at once, and the guard says Safe at once. The agent with the
middleware and the one without run in turns in one process; of each the best round counts. The eight tools of the
second part return at once, and the guard takes 50 ms for each question, however many texts are in it. A turn has four
questions, one after another: the prompt, the answer with the calls, their results, the last answer; with
`prompt="parallel"` the first two are asked together. `max_concurrency` is 8 there: without asyncio LangGraph has a
thread for each processor and four more, and results that no thread runs for cannot be in the step's one question.
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


CONFIG: Any = {"max_concurrency": 8}


def milliseconds(made: Any, lane: str, turns: int, *, clock: Any = time.process_time, config: Any = None) -> float:
    """Milliseconds of one turn."""

    async def run() -> None:
        for _ in range(turns):
            await made.ainvoke({"messages": [HumanMessage("q")]}, config)

    start = clock()
    if lane == "async":
        asyncio.run(run())
    else:
        for _ in range(turns):
            made.invoke({"messages": [HumanMessage("q")]}, config)
    return float(1000 * (clock() - start) / turns)


def added(queries: int, lane: str, rounds: int, turns: int) -> tuple[float, float]:
    """Milliseconds of CPU of a turn without the middleware, and what it adds."""
    bare, guarded = agent(queries), agent(queries, Qwen3GuardMiddleware(NoOpGuard()))
    best = {"bare": float("inf"), "guarded": float("inf")}
    for _ in range(rounds):
        for name, made in (("bare", bare), ("guarded", guarded)):
            best[name] = min(best[name], milliseconds(made, lane, turns))
    return best["bare"], best["guarded"] - best["bare"]


def waited(lane: str, rounds: int, prompt: Any) -> tuple[float, float]:
    """Milliseconds that a step of eight tools, and its whole turn, take longer with a guard that takes 50 ms."""
    bare = min(milliseconds(agent(8), lane, 1, clock=time.perf_counter, config=CONFIG) for _ in range(rounds))
    turns = []
    for _ in range(rounds):
        made = agent(8, Qwen3GuardMiddleware(FakeGuard(delay=DELAY), prompt=prompt))
        turns.append(milliseconds(made, lane, 1, clock=time.perf_counter, config=CONFIG) - bare)
    others = 3 if prompt == "before" else 2
    return min(turns) - 1000 * DELAY * others, min(turns)


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
    for prompt in ("before", "parallel"):
        for lane in ("sync", "async"):
            step, turn = waited(lane, 10, prompt)
            worst.append(step / STEP_BAR)
            print(
                f"eight tools, {lane}, prompt {prompt}: the step waits {step:.0f} ms (bar {STEP_BAR:.0f} ms), "
                f"the turn {turn:.0f} ms more (bar {TURN_BAR:.0f} ms)"
            )
    return int(arguments.check and max(worst) > 1)


if __name__ == "__main__":
    sys.exit(main())
