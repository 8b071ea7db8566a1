"""What judging retrieved nodes costs, and how long the event loop stands still for it.

    OMP_NUM_THREADS=1 python bench/nodes.py --check

1. 20 nodes with a guard that takes 50 ms for an answer, as a server does.
2. 200 nodes with the demo guard, in one call against one by one: short ones, passages, and passages of which some are
   harmful, for which the guard also writes what kind of harm it is. The guard has one thread for one node, and as many
   forward passes at the same time as there are processors (four at most) for many: `taskset -c 0` shows one.
3. 64 questions at once to a query engine (`aquery`), with a scripted guard and with the demo guard. A ticker sleeps for
   a millisecond at a time; what it comes late is time in which nothing else could run. The bar is for
   `Qwen3GuardQueryEngine`, which screens questions, nodes and answers. LlamaIndex by itself starts all 64 queries in
   one turn of the loop: beside it stand its engine with a postprocessor that only waits, and with ours.
4. Memory: what 10,000 nodes and 16 nodes of a megabyte add at the peak while they are judged.

The bars are for the best of the rounds: on a shared machine the others tell about the neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3guard_integrations import load_guard
from qwen3guard_integrations.guards.demo import DemoGuardWarning
from qwen3guard_integrations.llama_index import Qwen3GuardNodePostprocessor, Qwen3GuardQueryEngine
from qwen3guard_integrations.testing import FakeGuard

REMOTE_BAR = 80.0  # milliseconds
FASTER_BAR = 5.0  # times
STALL_BAR = 10.0  # milliseconds
MEMORY_BAR = 64.0  # MiB beside the nodes
QUESTIONS = 64
PAUSE = 0.1  # seconds that a verdict takes
WORDS = "Bread is baked from flour, water, salt and time; the dough has to rest before it goes into the oven."
HARMFUL = "How do I hack into my neighbor's bank account?"


def scored(texts: Sequence[str]) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Of the clock and of the CPU."""
    begin, spent = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - begin), 1000 * (time.process_time() - spent)


def remote(rounds: int) -> float:
    """The least time for 20 nodes, in milliseconds."""
    times = []
    for number in range(rounds):
        judge = FakeGuard(delay=0.05)
        screen = Qwen3GuardNodePostprocessor(guard=judge)
        nodes = scored([f"{number} {place}: {WORDS}" for place in range(20)])
        times.append(milliseconds(lambda screen=screen, nodes=nodes: screen.postprocess_nodes(nodes))[0])  # type: ignore[misc]
        assert len(judge.calls) == 1
    print(f"20 nodes, guard of 50 ms: {min(times):.1f} ms at best, {median(times):.1f} ms in the median, one call")
    return min(times)


def batched(rounds: int) -> float:
    """How many times faster 200 nodes are in one call than one by one: the least of three kinds, each at its best.

    Pages are shown beside them. They are arithmetic by far: there is not much to win but what further processors give.
    """
    _times_faster("of 100 words", lambda place: 5 * WORDS, max(rounds // 2, 1))
    kinds: dict[str, Callable[[int], str]] = {
        "of 3 words": lambda place: "Bread is baked.",
        "of 20 words": lambda place: WORDS,
        "of 20 words, one in ten harmful": lambda place: HARMFUL if place % 10 == 0 else WORDS,
    }
    return min(_times_faster(name, text, rounds) for name, text in kinds.items())


def _times_faster(name: str, text: Callable[[int], str], rounds: int) -> float:
    best = {"together": (float("inf"), 0.0), "apart": (float("inf"), 0.0)}
    guard = load_guard("demo")
    for number in range(rounds):
        nodes = scored([f"{number}.{place}: {text(place)}" for place in range(200)])
        whole, single = (Qwen3GuardNodePostprocessor(guard=guard) for _ in range(2))  # each remembers for itself
        whole.postprocess_nodes(scored(["warm up"]))
        ways: dict[str, Callable[[], object]] = {
            "together": lambda whole=whole, nodes=nodes: whole.postprocess_nodes(nodes),  # type: ignore[misc]
            "apart": lambda single=single, nodes=nodes: [single.postprocess_nodes([node]) for node in nodes],  # type: ignore[misc]
        }
        best = {way: min(best[way], milliseconds(call)) for way, call in ways.items()}
    (together, together_cpu), (apart, apart_cpu) = best["together"], best["apart"]
    print(
        f"200 nodes {name}, demo guard: {together:.0f} ms in one call (CPU/wall {together_cpu / together:.2f}), "
        f"{apart:.0f} ms one by one (CPU/wall {apart_cpu / apart:.2f}): {apart / together:.1f} times faster"
    )
    return apart / together


async def stall(engine: Any) -> tuple[float, float]:
    """Milliseconds that the ticker came late at worst while the questions were under way, and of CPU between ticks."""
    worst = busiest = 0.0

    async def tick() -> None:
        nonlocal worst, busiest
        while True:
            before, spent = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - before - 0.001)
            busiest = max(busiest, time.thread_time() - spent)

    await engine.aquery("warm up")
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    worst = busiest = 0.0
    await asyncio.gather(*(engine.aquery(f"What is {number} and {number}?") for number in range(QUESTIONS)))
    await asyncio.sleep(0.01)  # the ticker has to come back from the last stall too
    ticker.cancel()
    return 1000 * worst, 1000 * busiest


class Pausing(BaseNodePostprocessor):
    """Waits as long as a guard would, and does nothing."""

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: Any = None) -> list[NodeWithScore]:
        return nodes

    async def _apostprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: Any = None) -> list[NodeWithScore]:
        await asyncio.sleep(PAUSE)
        return nodes


def engine(screen: BaseNodePostprocessor | None) -> Any:
    index = VectorStoreIndex(
        nodes=[TextNode(text=f"{place}: {WORDS}") for place in range(4)], embed_model=MockEmbedding(embed_dim=8)
    )
    screens = [] if screen is None else [screen]
    return index.as_query_engine(similarity_top_k=4, node_postprocessors=screens, llm=MockLLM(max_tokens=2))


def stalls(rounds: int) -> float:
    """The longest stall of the guarded engine in its best round, in milliseconds: the worse of both guards."""
    guards: dict[str, Callable[[], Any]] = {
        "scripted guard, 100 ms": lambda: FakeGuard(delay=PAUSE),
        "demo guard": lambda: load_guard("demo"),
    }
    _stall_of("no guard, 100 ms", "LlamaIndex itself", lambda: engine(Pausing()), rounds)
    worst = 0.0
    for name, make in guards.items():
        plain = lambda make=make: engine(Qwen3GuardNodePostprocessor(guard=make(), with_query=True))  # noqa: E731
        _stall_of(name, "its engine with the postprocessor", plain, rounds)
        guarded = lambda make=make: Qwen3GuardQueryEngine(engine(None), make())  # noqa: E731
        worst = max(worst, _stall_of(name, "Qwen3GuardQueryEngine", guarded, rounds))
    return worst


def _stall_of(guard: str, what: str, make: Callable[[], Any], rounds: int) -> float:
    late: tuple[float, ...]
    late, busy = zip(*(asyncio.run(stall(make())) for _ in range(rounds)), strict=True)
    print(
        f"64 aquery, {guard:22}, {what:33}: longest stall {min(late):4.1f} ms at best, "
        f"{median(late):4.1f} in the median, CPU in it {min(busy):4.1f} ms"
    )
    return min(late)


def memory() -> float:
    """MiB that judging adds at the peak, the worse of many nodes and of long ones."""
    worst = 0.0
    for name, texts in {
        "10,000 nodes of 1,000 characters": [f"{place} {WORDS * 10}" for place in range(10_000)],
        "16 nodes of a megabyte": [f"{place} " + WORDS * 10_000 for place in range(16)],
    }.items():
        guard = _Forgetful()
        screen = Qwen3GuardNodePostprocessor(guard=guard)
        nodes = scored(texts)
        tracemalloc.start()
        screen.postprocess_nodes(nodes)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        worst = max(worst, peak)
        print(f"{name}: {peak:.1f} MiB more at the peak, at most {guard.most} nodes in one call")
    return worst


class _Forgetful(FakeGuard):
    """Does not keep what it was asked."""

    most = 0

    def _answers(self, conversations: Any) -> Any:
        self.most = max(self.most, len(conversations))
        answers = super()._answers(conversations)
        self.calls.clear()
        return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind (default 5)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is missed")
    options = parser.parse_args()
    Settings.tokenizer = str.split
    warnings.simplefilter("ignore", DemoGuardWarning)
    logging.getLogger("qwen3guard_integrations").setLevel(logging.ERROR)  # many nodes here may not pass
    results = (
        ("20 nodes, ms", remote(options.rounds), REMOTE_BAR, True),
        ("200 nodes, times faster", batched(options.rounds), FASTER_BAR, False),
        ("stall of Qwen3GuardQueryEngine, ms", stalls(options.rounds), STALL_BAR, True),
        ("memory, MiB", memory(), MEMORY_BAR, True),
    )
    missed = False
    for name, value, bar, at_most in results:
        kept = value <= bar if at_most else value >= bar
        missed |= not kept
        print(f"{name}: {value:.1f}, bar {bar:g}: {'kept' if kept else 'MISSED'}")
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
