"""Streams of query engines: the words of guarded LLMs pass as they come; those of anybody else are judged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import aclosing, closing
from dataclasses import replace
from itertools import chain
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse

from ..reporting import entry
from .answer import Answer
from .asked import Asked
from .llm import astream_screened, stream_screened


def streaming(response: StreamingResponse, answer: Answer, asked: Asked) -> StreamingResponse:
    """`response`, of which the reader gets what was let through inside of the engine, and what is let through here.

    When it has ended, its metadata has the decision about an answer that was stopped.
    """

    def gen() -> Generator[str, None, None]:
        with closing(_heard(response.response_gen, asked)) as tokens:
            for token in tokens:
                if not token or asked.is_saying(answer.begun + token):
                    answer.begun += token
                    yield token
                    continue
                with closing(stream_screened(answer, _responses(answer.begun, chain((token,), tokens)))) as stream:
                    yield from (item.delta or "" for item in stream)
                break
        made.metadata = _metadata(response, answer, asked)

    made = replace(response, response_gen=gen())
    return made


def astreaming(response: AsyncStreamingResponse, answer: Answer, asked: Asked) -> AsyncStreamingResponse:
    """As `streaming`."""

    async def gen() -> AsyncGenerator[str, None]:
        async with aclosing(_aheard(response.response_gen, asked)) as tokens:
            async for token in tokens:
                if not token or asked.is_saying(answer.begun + token):
                    answer.begun += token
                    yield token
                    continue
                async with aclosing(astream_screened(answer, _aresponses(answer.begun, token, tokens))) as stream:
                    async for item in stream:
                        yield item.delta or ""
                break
        made.metadata = _metadata(response, answer, asked)

    made = replace(response, response_gen=gen())
    return made


def _metadata(response: Any, answer: Answer, asked: Asked) -> dict[str, Any] | None:
    """The metadata of an answer that has ended: with the decision, where it was stopped."""
    stopped = answer.gate.stopped or asked.failed
    own: dict[str, Any] | None = response.metadata
    return {**(own or {}), "qwen3guard": entry(stopped)} if stopped else own


def _heard(source: Any, asked: Asked) -> Generator[str, None, None]:
    """The tokens of an engine's stream. Some engines ask their LLM only when the first one is wanted."""
    tokens = iter(source)
    try:
        while True:
            with asked.answered_here():
                token = next(tokens, None)
            if token is None:
                return
            yield token
    finally:
        if callable(close := getattr(source, "close", None)):
            close()


async def _aheard(source: Any, asked: Asked) -> AsyncGenerator[str, None]:
    """As `_heard`."""
    tokens = aiter(source)
    try:
        while True:
            with asked.answered_here():
                token = await anext(tokens, None)
            if token is None:
                return
            yield token
    finally:
        if callable(close := getattr(source, "aclose", None)):
            await close()


def _responses(said: str, tokens: Iterable[str]) -> Generator[CompletionResponse, None, None]:
    """Tokens as an LLM streams them, after what was said already."""
    if said:
        yield CompletionResponse(text=said, delta="")
    for token in tokens:
        said += token
        yield CompletionResponse(text=said, delta=token)


async def _aresponses(said: str, first: str, tokens: AsyncIterable[str]) -> AsyncGenerator[CompletionResponse, None]:
    """As `_responses`."""
    for response in _responses(said, (first,)):
        yield response
    said += first
    async for token in tokens:
        said += token
        yield CompletionResponse(text=said, delta=token)
