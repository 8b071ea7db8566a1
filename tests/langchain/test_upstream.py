"""A stopped stream stops the model: how much it is asked for after a block, and what becomes of its connection."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_openai import ChatOpenAI

from qwen3guard_integrations.guards.windowed import WindowedStreamGuard
from qwen3guard_integrations.langchain import Qwen3GuardRunnable, guard_model
from qwen3guard_integrations.testing import FakeStreamGuard

from ..conftest import Lane
from .helpers import REFUSAL, VIOLENT, ChunkModel, fake_guard
from .sse_server import serving

HARM_AT = 10
WORDS = [" bomb" if number == HARM_AT else f" word{number}" for number in range(1, 1001)]
CLEAN = "".join(WORDS[: HARM_AT - 1])
WINDOW = 8
"""Tokens of a window: a word here is one or two."""

GUARDS: dict[str, tuple[Callable[[], Any], int]] = {
    # the guard, and how many chunks it has to see: two tokens must agree, a window must be full
    "token": (lambda: FakeStreamGuard({"bomb": VIOLENT}), HARM_AT + 1),
    "windowed": (
        lambda: WindowedStreamGuard(fake_guard(), {"first_tokens": WINDOW, "most_tokens": WINDOW}),
        HARM_AT + WINDOW,
    ),
}
CHAINS: dict[str, Callable[[Any, Any], Any]] = {
    "model": guard_model,
    "model | guard": lambda model, guard: model | Qwen3GuardRunnable(guard, on_block="refuse", point="response"),
    "model | parser": lambda model, guard: guard_model(model, guard) | StrOutputParser(),
    "model | guard | parser": lambda model, guard: (
        model | Qwen3GuardRunnable(guard, on_block="refuse", point="response") | StrOutputParser()
    ),
}
every_chain = pytest.mark.parametrize("chain", CHAINS)


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk if isinstance(chunk, str) else str(chunk.text) for chunk in chunks)


async def until(holds: Callable[[], bool]) -> None:
    """Wait, for at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not happen")


def chat(server: Any) -> ChatOpenAI:
    return ChatOpenAI(model="m", base_url=server.base_url, api_key="x", max_retries=0)


@every_chain
@pytest.mark.parametrize("guard", GUARDS)
async def test_a_block_asks_the_model_for_at_most_one_more_chunk(guard: str, chain: str, lane: Lane) -> None:
    make_guard, seen = GUARDS[guard]
    model = ChunkModel.of(*WORDS, slow_from=seen)  # the guard answers before the chunk after that comes
    chunks = await lane.collect(CHAINS[chain](model, make_guard()), "stream", "x")
    text = text_of(chunks)
    assert text.endswith(REFUSAL)
    assert text.removesuffix(f"\n\n{REFUSAL}") == CLEAN if guard == "token" else "bomb" not in text
    await until(lambda: model.closed == [True])  # at once, or when the chunk that is being written has come
    assert HARM_AT <= len(model.pulled) <= seen + 1


@every_chain
async def test_a_block_closes_the_connection(chain: str, lane: Lane) -> None:
    with serving(WORDS, pause=0.005) as server:
        chunks = await lane.collect(CHAINS[chain](chat(server), FakeStreamGuard({"bomb": VIOLENT})), "stream", "x")
        assert text_of(chunks) == f"{CLEAN}\n\n{REFUSAL}"
        assert await asyncio.to_thread(server.done.wait, 10)
        assert server.aborted
        assert server.sent < 200


@every_chain
async def test_a_consumer_who_closes_early_closes_the_connection(chain: str) -> None:
    with serving(WORDS, pause=0.005) as server:
        stream = CHAINS[chain](chat(server), FakeStreamGuard()).astream("x")
        await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(server.done.wait, 10)
        assert server.aborted
        assert server.sent < 200


@pytest.mark.parametrize("chain", ["model", "model | guard"])
def test_a_consumer_who_closes_early_closes_the_connection_without_asyncio(chain: str) -> None:
    """Without a parser behind: on this lane LangChain's own reads whatever is before it to the end when it is closed,
    the bare model as well."""
    with serving(WORDS, pause=0.005) as server:
        runnable: Any = CHAINS[chain](chat(server), FakeStreamGuard())
        stream = runnable.stream("x")
        next(stream)
        stream.close()
        del stream
        gc.collect()  # a sequence leaves its steps to the garbage collector
        assert server.done.wait(10)
        assert server.aborted
        assert server.sent < 200


@every_chain
async def test_a_cancelled_task_closes_the_connection(chain: str) -> None:
    with serving(WORDS, pause=0.005) as server:
        runnable = CHAINS[chain](chat(server), FakeStreamGuard())
        begun = asyncio.Event()

        async def consume() -> None:
            async for _ in runnable.astream("x"):
                begun.set()

        task = asyncio.create_task(consume())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.done.wait, 10)
        assert server.aborted
        assert server.sent < 200


async def test_a_cancelled_invoke_closes_the_connection() -> None:
    """Also where nothing is streamed to the consumer: the guarded model is cancelled with its caller."""
    with serving(WORDS, pause=0.005) as server:
        model = guard_model(chat(server).model_copy(update={"streaming": True}), FakeStreamGuard())
        task = asyncio.create_task(model.ainvoke("x"))
        while not server.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.done.wait, 10)
        assert server.aborted
