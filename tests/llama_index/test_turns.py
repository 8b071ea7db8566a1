"""Many queries at once hold up the event loop no longer than one of them."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3guard_integrations.llama_index import Qwen3GuardNodePostprocessor, Qwen3GuardQueryEngine
from qwen3guard_integrations.llama_index.turns import turn

from .helpers import fake_guard, words_llm

AT_ONCE = 2  # one in each turn of the loop, of which the count may fall between two of them


@asynccontextmanager
async def counted_turns() -> AsyncIterator[list[int]]:
    """The number of the turn that the loop is in, as the only element."""
    loop = asyncio.get_running_loop()
    number = [0]
    counting = True

    def count() -> None:
        number[0] += 1
        if counting:
            loop.call_soon(count)

    loop.call_soon(count)
    try:
        yield number
    finally:
        counting = False


async def test_one_goes_on_in_each_turn_of_the_loop_first_come_first() -> None:
    went: list[tuple[int, int]] = []

    async def come(place: int) -> None:
        for _ in range(3):
            await turn()
        went.append((number[0], place))

    async with counted_turns() as number:
        await asyncio.gather(*(come(place) for place in range(50)))
    assert max(Counter(at for at, _ in went).values()) <= AT_ONCE
    assert [place for _, place in went] == list(range(50))
    assert went[-1][0] < 4 * 50  # and all of them soon


async def test_one_alone_does_not_wait() -> None:
    coroutine = turn()
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    else:
        raise AssertionError("it waits")
    finally:
        coroutine.close()


async def test_who_is_cancelled_takes_no_turn_of_others() -> None:
    went: list[int] = []

    async def come(place: int) -> None:
        await turn()
        went.append(place)

    tasks = [asyncio.create_task(come(place)) for place in range(40)]
    await asyncio.sleep(0)
    for task in tasks[AT_ONCE:30]:
        task.cancel()
    await asyncio.wait(tasks, timeout=5)
    assert went == [*range(AT_ONCE), *range(30, 40)]
    await asyncio.wait_for(asyncio.gather(*(come(place) for place in range(8))), 5)


def test_event_loops_and_threads_have_turns_of_their_own() -> None:
    async def come() -> weakref.ref[asyncio.AbstractEventLoop]:
        await asyncio.gather(*(turn() for _ in range(20)))
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(come()) for _ in range(3)]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(come()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 4
    gc.collect()
    assert [loop() for loop in (*loops, *found)] == [None] * 7, "a loop that is over is kept"


class Retrieves(BaseRetriever):
    """Says in which turn of the loop it was asked."""

    def __init__(self, number: list[int]) -> None:
        super().__init__()
        self.turns: Counter[int] = Counter()
        self._number = number

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.turns[self._number[0]] += 1
        return [NodeWithScore(node=TextNode(text=f"bread for {query_bundle.query_str}"))]


async def test_64_questions_to_the_query_engine() -> None:
    async with counted_turns() as number:
        llm = words_llm("Bread.")
        retriever = Retrieves(number)
        inner = RetrieverQueryEngine.from_args(retriever, llm=llm)
        engine = Qwen3GuardQueryEngine(inner, fake_guard(delay=0.02))
        answers = await asyncio.gather(*(engine.aquery(f"question {place}") for place in range(64)))
    assert [str(answer) for answer in answers] == ["Bread."] * 64
    assert retriever.turns.total() == 64
    assert max(retriever.turns.values()) <= AT_ONCE


async def test_64_questions_to_an_engine_with_the_postprocessor() -> None:
    async with counted_turns() as number:
        asked: Counter[int] = Counter()
        llm = words_llm("Bread.")

        class Counts(type(llm)):  # type: ignore[misc]
            def complete(self, *args: Any, **kwargs: Any) -> Any:
                asked[number[0]] += 1
                return super().complete(*args, **kwargs)

        index = VectorStoreIndex([TextNode(text="bread")], embed_model=MockEmbedding(embed_dim=8))
        screen = Qwen3GuardNodePostprocessor(guard=fake_guard(delay=0.02), with_query=True)
        counting = Counts(words=["Bread."], asked=[], pulled=[], closed=[])
        engine = index.as_query_engine(llm=counting, node_postprocessors=[screen])
        await asyncio.gather(*(engine.aquery(f"question {place}") for place in range(64)))
    assert asked.total() == 64
    assert max(asked.values()) <= AT_ONCE, "LlamaIndex goes on from our answer with one at a time"
