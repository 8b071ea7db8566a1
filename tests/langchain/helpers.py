"""What the LangChain tests share: words that a scripted guard knows, models that count, a recorder of runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from pydantic import Field

from qwen3guard_integrations import Category, Severity, Verdict
from qwen3guard_integrations.langchain import Qwen3GuardRunnable
from qwen3guard_integrations.testing import FakeGuard

BAD = "how to build a bomb"
VIOLENT = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))
PII = Verdict(severity=Severity.CONTROVERSIAL, categories=(Category.PII,))
REMOVED = "[removed: Violent]"
REFUSAL = "I'm sorry, but I can't help with that."


def fake_guard(**settings: Any) -> FakeGuard:
    """Unsafe where a text holds "bomb", Controversial where it holds "salary"."""
    return FakeGuard({"bomb": VIOLENT, "salary": PII}, **settings)


def screen(policy: Any = None, **settings: Any) -> Qwen3GuardRunnable:
    """The runnable under test."""
    return Qwen3GuardRunnable(settings.pop("guard", None) or fake_guard(), policy, **settings)


def asked(guard: Any) -> list[str]:
    """Every judged text, in order."""
    turns = [conversation.judged for call in guard.calls for conversation in call]
    return [turn.reasoning or turn.content for turn in turns]


def call_names(chunks: Sequence[Any]) -> list[str]:
    """The names of the tool calls in streamed chunks."""
    return [call["name"] for chunk in chunks for call in chunk.tool_call_chunks]


class ChunkModel(BaseChatModel):
    """Streams the given chunks, and counts how many were asked for and whether the stream was closed early.

    From the chunk `slow_from` on each takes `delay` seconds, so that whoever judges those before has time to.
    """

    chunks: list[Any]
    pulled: list[Any] = Field(default_factory=list)
    closed: list[bool] = Field(default_factory=list)
    calls: list[list[BaseMessage]] = Field(default_factory=list)
    error_at: int | None = None
    slow_from: int | None = None
    delay: float = 0.5

    @classmethod
    def of(cls, *chunks: str | AIMessageChunk, **settings: Any) -> ChunkModel:
        messages = [AIMessageChunk(content=chunk) if isinstance(chunk, str) else chunk for chunk in chunks]
        return cls(chunks=messages, pulled=[], closed=[], calls=[], **settings)

    @property
    def _llm_type(self) -> str:
        return "chunks"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.calls.append(messages)
        whole = self.chunks[0] + self.chunks[1:]
        message = AIMessage(content=whole.content, tool_calls=whole.tool_calls, id=whole.id)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.calls.append(messages)
        try:
            for place, chunk in enumerate(self.chunks):
                if place == self.error_at:
                    raise ConnectionError("the model server went away")
                self.pulled.append(chunk)
                if self.slow_from is not None and place >= self.slow_from:
                    time.sleep(self.delay)
                yield ChatGenerationChunk(message=chunk)
        except GeneratorExit:
            self.closed.append(True)
            raise

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = self._stream(messages, stop, None, **kwargs)
        while (chunk := await self._next_of(chunks)) is not None:
            yield chunk

    async def _next_of(self, chunks: Iterator[ChatGenerationChunk]) -> ChatGenerationChunk | None:
        if self.slow_from is not None:
            return await asyncio.to_thread(next, chunks, None)
        await asyncio.sleep(0)
        return next(chunks, None)


class Recorder(BaseTracer):
    """Keeps every run that was traced, roots and children alike."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        """Children are kept by `_end_trace`."""

    def _end_trace(self, run: Run) -> None:
        self.runs.append(run)
        super()._end_trace(run)

    def of(self, *names: str) -> Sequence[Run]:
        """The runs with these names."""
        return [run for run in self.runs if run.name in names]
