"""What guarding a stream costs: time to the first token, CPU per chunk, and what a stopped model writes in vain.

    python bench/streaming.py --check    # exit status 1 if a bar is missed

A fake model in this process, bare and through `guard_model`, in turns; of the figures of each the best round counts,
since other work on the machine only ever adds to them. Every figure is taken on both lanes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field

from qwen3guard_integrations import Conversation, Point, Policy, Severity, Turn, Verdict
from qwen3guard_integrations.core.gate import Judgement, Piece
from qwen3guard_integrations.guards.windowed import WindowedStreamGuard
from qwen3guard_integrations.langchain import Qwen3GuardRunnable, guard_model
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

TOLERANCE = 0.1  # of the expected time to the first token
CPU_BAR = 0.05  # milliseconds per chunk
VAIN_BAR = 1  # chunks after the one that decides
CHUNKS = 2000
LANES = ("sync", "async")
SAFE = Verdict(severity=Severity.SAFE)


class Model(BaseChatModel):
    """Writes one word per chunk, each after a pause; counts what it was asked for."""

    words: Sequence[str]
    pause: float = 0.0
    first_pause: float | None = None
    asked: list[int] = Field(default_factory=lambda: [0])

    @property
    def _llm_type(self) -> str:
        return "bench"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        raise NotImplementedError

    def _paced(self) -> Iterator[tuple[float, ChatGenerationChunk]]:
        self.asked[0] = 0
        for number, word in enumerate(self.words):
            self.asked[0] += 1
            pause = self.first_pause if self.first_pause is not None and number == 0 else self.pause
            yield pause, ChatGenerationChunk(message=AIMessageChunk(content=word, id="a"))

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for pause, chunk in self._paced():
            if pause:
                time.sleep(pause)
            yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for pause, chunk in self._paced():
            if pause:
                await asyncio.sleep(pause)
            yield chunk


class NoOpGuard:
    """Says Safe about everything it is given, in one judgement, and does nothing else."""

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return [SAFE for _ in conversations]

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self.check_many(conversations)

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> NoOpSession:
        return NoOpSession()


class NoOpSession:
    def __init__(self) -> None:
        self.ends: dict[Point, int] = {}

    def patience(self, pieces: Sequence[Piece], /) -> float:
        return 0.0

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        done: Future[list[Judgement]] = Future()
        done.set_result(self._judgements(pieces))
        return done

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        return self._judgements(pieces)

    def _judgements(self, pieces: Sequence[Piece]) -> list[Judgement]:
        for piece in pieces:
            self.ends[piece.point] = self.ends.get(piece.point, 0) + len(piece.text)
        return [Judgement(point, end, SAFE, settled=True) for point, end in self.ends.items()]

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free."""


# --- running ---


def consumed(lane: str, runnable: Any, enough: Callable[[Any], bool], clock: Callable[[], float]) -> float:
    """Seconds of `clock` from the call until a chunk is `enough`, or until the end."""

    def run() -> float:
        start = clock()
        stream = runnable.stream("x")
        for chunk in stream:
            if enough(chunk):
                break
        spent = clock() - start
        stream.close()
        return spent

    async def arun() -> float:
        start = clock()
        stream = runnable.astream("x")
        async for chunk in stream:
            if enough(chunk):
                break
        spent = clock() - start
        await stream.aclose()
        return spent

    return run() if lane == "sync" else asyncio.run(arun())


def first_token(lane: str, runnable: Any) -> float:
    """Milliseconds to the first chunk with text."""
    return 1000 * consumed(lane, runnable, lambda chunk: bool(chunk.content), time.perf_counter)


def cpu_per_chunk(lane: str, runnable: Any) -> float:
    """Milliseconds of CPU for each chunk of an answer that is read to its end."""
    return 1000 * consumed(lane, runnable, lambda _: False, time.process_time) / CHUNKS


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The least of each measure, taken in turns."""
    for measure in measures:
        measure()
    return [min(column) for column in zip(*([measure() for measure in measures] for _ in range(rounds)), strict=True)]


class Report:
    """Prints each figure beside its bar, and knows whether one was missed."""

    missed = False

    def line(self, what: str, figures: str, kept: bool) -> None:
        self.missed |= not kept
        print(f"{what:46} {figures}{'' if kept else '   MISSED'}")


# --- what is measured ---


def first_tokens(report: Report, rounds: int) -> None:
    """Time to the first token: against the bare model, and against what the guard needs to have."""
    words = [f"word{number} " for number in range(40)]
    model = Model(words=words, pause=0.02)
    token = guard_model(model, FakeStreamGuard(), prompt="off")
    # The first window is the first sentence: five words; then comes one judgement of 50 ms.
    sentence = Model(words=[*words[:4], "end. ", *words[5:]], pause=0.02)
    windowed = guard_model(sentence, WindowedStreamGuard(FakeGuard(delay=0.05)), prompt="off")
    for lane in LANES:
        bare, guarded, window = in_turns(
            rounds,
            partial(first_token, lane, model),
            partial(first_token, lane, token),
            partial(first_token, lane, windowed),
        )
        report.line(
            f"first token, {lane}, token by token",
            f"{guarded:6.2f} ms, bare {bare:6.2f} ms: {guarded / bare:.2f} times",
            guarded <= (1 + TOLERANCE) * bare,
        )
        expected = 5 * bare + 50
        report.line(
            f"first token, {lane}, windows, guard 50 ms",
            f"{window:6.2f} ms, first window and one judgement {expected:6.2f} ms: {window / expected:.2f} times",
            window <= (1 + TOLERANCE) * expected,
        )


def parallel_prompts(report: Report, rounds: int) -> None:
    """A prompt judged beside the model: only what the guard takes longer than the model is added."""
    for guard_ms, model_ms in ((50, 20), (20, 50)):
        model = Model(words=["word "] * 4, first_pause=model_ms / 1000)
        guards = [_SlowPrompts(guard_ms / 1000) for _ in range(2)]
        parallel = guard_model(model, guards[0], prompt="parallel")
        before = guard_model(model, guards[1], prompt="before")
        for lane in LANES:
            bare, beside, one_by_one = in_turns(
                rounds,
                partial(first_token, lane, model),
                partial(first_token, lane, parallel),
                partial(first_token, lane, before),
            )
            expected = bare + max(0, guard_ms - model_ms)
            report.line(
                f"prompt in parallel, {lane}, {guard_ms} ms beside {model_ms} ms",
                f"{beside:6.2f} ms, expected {expected:6.2f} ms: {beside / expected:.2f} times "
                f"(one after the other {one_by_one:.2f} ms)",
                beside <= (1 + TOLERANCE) * expected,
            )


class _SlowPrompts(NoOpGuard):
    """Takes its time for whole texts, and none for a stream."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        time.sleep(self.delay)
        return super().check_many(conversations)

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        await asyncio.sleep(self.delay)
        return super().check_many(conversations)


def added_cpu(report: Report, rounds: int) -> None:
    """CPU that the gate adds to each chunk, with a guard that costs nothing."""
    model = Model(words=["word "] * CHUNKS)
    guarded = guard_model(model, NoOpGuard(), prompt="off")
    windowed = guard_model(model, WindowedStreamGuard(NoOpGuard()), prompt="off")
    for lane in LANES:
        bare, token, window = in_turns(
            rounds,
            partial(cpu_per_chunk, lane, model),
            partial(cpu_per_chunk, lane, guarded),
            partial(cpu_per_chunk, lane, windowed),
        )
        report.line(
            f"CPU per chunk, {lane}",
            f"{token:.4f} ms, bare {bare:.4f} ms: +{token - bare:.4f} ms (bar {CPU_BAR} ms); "
            f"in windows +{window - bare:.4f} ms",
            token - bare <= CPU_BAR,
        )


def upstream_stop(report: Report) -> None:
    """How many chunks a model is asked for after the one that decides, of the 990 that would follow."""
    # Harm in the tenth word; two tokens have to agree, so the eleventh decides.
    words = [" bomb" if number == 9 else f" word{number}" for number in range(1000)]
    deciding = 11
    for lane in LANES:
        for kind in ("model", "chain"):
            model = Model(words=words, pause=0.001)
            guard = FakeStreamGuard({"bomb": Severity.UNSAFE})
            runnable = (
                guard_model(model, guard)
                if kind == "model"
                else model | Qwen3GuardRunnable(guard, on_block="refuse", point=Point.RESPONSE)
            )
            consumed(lane, runnable, lambda _: False, time.perf_counter)
            vain = model.asked[0] - deciding
            report.line(
                f"upstream stop, {lane}, {kind}",
                f"{vain} chunks more than the {deciding} that decide (bar {VAIN_BAR})",
                vain <= VAIN_BAR,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds in turns (default 9)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is missed")
    options = parser.parse_args()
    report = Report()
    first_tokens(report, options.rounds)
    parallel_prompts(report, options.rounds)
    added_cpu(report, options.rounds)
    upstream_stop(report)
    return int(report.missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
