"""A hundred guarded streams at a time, which end in every way: nothing is left behind, and no text is mixed."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field

from qwen3guard_integrations.guards.windowed import WindowedStreamGuard
from qwen3guard_integrations.langchain import guard_model
from qwen3guard_integrations.testing import FakeStreamGuard

from .helpers import REFUSAL, VIOLENT

STREAMS = 100
WORDS = 30
WORD = re.compile(r"s(\d+)w(\d+)")
FATES = ("end", "end", "cancel", "early", "error", "harm")


class GoneError(Exception):
    """The model server went away."""


class Numbered(BaseChatModel):
    """Writes words with the number of the stream, which is its prompt; counts the streams that are open.

    The prompt is "number fate": "error" breaks off in the middle, "harm" says something harmful there.
    """

    open: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "numbered"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        raise NotImplementedError

    def _paced(self, messages: list[BaseMessage]) -> Iterator[tuple[float, ChatGenerationChunk]]:
        number, fate = str(messages[0].content).split()
        rng = random.Random(number)
        place = rng.randrange(WORDS)
        self.open.append(number)
        try:
            for word in range(WORDS):
                if word == place and fate == "error":
                    raise GoneError
                text = "a bomb bomb" if word == place and fate == "harm" else f" s{number}w{word}"
                pause = rng.choice((0, 0, 0.0005, 0.002))
                yield pause, ChatGenerationChunk(message=AIMessageChunk(content=text, id=number))
        finally:
            self.open.remove(number)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for pause, chunk in self._paced(messages):
            time.sleep(pause)
            yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for pause, chunk in self._paced(messages):
            await asyncio.sleep(pause)
            yield chunk


class Windowed(WindowedStreamGuard):
    """Counts its open sessions, as `FakeStreamGuard` does."""

    def __init__(self, guard: FakeStreamGuard) -> None:
        super().__init__(guard, {"first_tokens": 4, "most_tokens": 16, "idle_seconds": 0.001})
        self.counted = guard

    def open_stream(self, *arguments: Any) -> Any:
        session = super().open_stream(*arguments)
        self.counted.open_sessions += 1
        return Counted(session, self.counted)


class Counted:
    """A session that is counted."""

    def __init__(self, session: Any, guard: FakeStreamGuard) -> None:
        self._session, self._guard = session, guard
        self._open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def close(self) -> None:
        self._session.close()
        self._guard.open_sessions -= self._open
        self._open = False


GUARDS: dict[str, Callable[[FakeStreamGuard], Any]] = {"token": lambda fake: fake, "windowed": Windowed}
every_guard = pytest.mark.parametrize("kind", GUARDS)


def slow_fake() -> FakeStreamGuard:
    return FakeStreamGuard({"bomb": VIOLENT}, delay=0.001)


def check(number: int, fate: str, text: str, *, ended: bool) -> None:
    """The text is this stream's own, in its order, and all of it where the stream went to its end."""
    found = [(int(stream), int(word)) for stream, word in WORD.findall(text)]
    assert found == [(number, word) for word in range(len(found))]
    assert "bomb" not in text
    assert ended or fate != "end"
    if ended:
        assert len(found) == WORDS if fate == "end" else text.endswith(REFUSAL)


def fates(seed: int) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(FATES) for _ in range(STREAMS)]


# --- asyncio ---


async def consume(model: Any, number: int, fate: str) -> None:
    """One consumer, who may have enough early or be cancelled at any point of it."""
    text, ended, enough = "", False, random.Random(number).randrange(WORDS)
    stream = model.astream(f"{number} {'end' if fate in ('cancel', 'early') else fate}")
    try:
        async for count, chunk in _counted(stream):
            text += chunk.text
            if fate == "early" and count == enough:
                await stream.aclose()
                break
        else:
            ended = True
    except GoneError:
        assert fate == "error"
    finally:
        check(number, fate, text, ended=ended and fate not in ("cancel", "early"))


async def _counted(items: AsyncIterator[Any]) -> AsyncIterator[tuple[int, Any]]:
    count = 0
    async for item in items:
        yield count, item
        count += 1


async def round_of(model: Any, seed: int) -> None:
    """A hundred streams at a time; those whose fate it is are cancelled after a random while."""
    rng, loop = random.Random(seed), asyncio.get_running_loop()
    tasks = []
    for number, fate in enumerate(fates(seed)):
        task = asyncio.create_task(consume(model, number, fate))
        if fate == "cancel":
            loop.call_later(rng.random() * 0.15, task.cancel)
        tasks.append(task)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


@every_guard
async def test_nothing_is_left_of_a_hundred_asynchronous_streams(kind: str) -> None:
    for seed in range(2):
        fake, model = slow_fake(), Numbered()
        await round_of(guard_model(model, GUARDS[kind](fake), prompt="off"), seed)
        assert fake.open_sessions == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert model.open == []


async def test_prompts_in_parallel_leave_nothing_behind_either() -> None:
    fake, model = slow_fake(), Numbered()
    await round_of(guard_model(model, fake, prompt="parallel"), 3)
    assert fake.open_sessions == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert model.open == []


async def test_memory_stays_flat() -> None:
    fake, model = FakeStreamGuard({"bomb": VIOLENT}), Numbered()
    guarded = guard_model(model, fake, prompt="off")

    async def used_after(rounds: int) -> int:
        for seed in range(rounds):
            await round_of(guarded, seed)
            fake.asked.clear()
            fake.calls.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await round_of(guarded, 0)
    tracemalloc.start()
    try:
        once = await used_after(1)
        thrice = await used_after(2)
    finally:
        tracemalloc.stop()
    assert thrice - once < 300_000, "less than three kilobytes a stream: an answer that stayed would be tens"


# --- threads ---


@every_guard
def test_nothing_is_left_of_a_hundred_streams_in_threads(kind: str) -> None:
    before = set(threading.enumerate())
    fake, model, failures = slow_fake(), Numbered(), []
    guarded: Any = guard_model(model, GUARDS[kind](fake), prompt="off")

    def consume_here(number: int, fate: str) -> None:
        text, ended, enough = "", False, random.Random(number).randrange(WORDS)
        try:
            stream = guarded.stream(f"{number} {'end' if fate in ('cancel', 'early') else fate}")
            for count, chunk in enumerate(stream):
                text += chunk.text
                if fate in ("cancel", "early") and count == enough:
                    stream.close()
                    break
            else:
                ended = True
        except GoneError:
            assert fate == "error"
        check(number, fate, text, ended=ended and fate not in ("cancel", "early"))

    def noting(number: int, fate: str) -> None:
        try:
            consume_here(number, fate)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=noting, args=pair) for pair in enumerate(fates(7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    give_up = time.monotonic() + 10
    while (model.open or _left(before)) and time.monotonic() < give_up:  # helpers end by themselves, soon
        time.sleep(0.01)
    assert fake.open_sessions == 0
    assert model.open == []
    assert _left(before) == []


def _left(before: set[threading.Thread]) -> list[threading.Thread]:
    """The threads that were begun and have not ended; those that judge windows are kept for the next stream."""
    return [thread for thread in set(threading.enumerate()) - before if "qwen3guard-window" not in thread.name]
