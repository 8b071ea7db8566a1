"""LlamaIndex's own OpenAI LLM, guarded by a guard on a server: one needs openai 2, the other one takes it too."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3guard_integrations.guards import OpenAIGuard
from qwen3guard_integrations.llama_index import guard_llm

from ..conftest import Lane
from ..guards.fault_server import FaultServer, says
from ..langchain.sse_server import serving
from .helpers import REFUSAL

openai = pytest.importorskip("llama_index.llms.openai")

WORDS = ["Bread ", "is ", "baked. "] * 20


async def answer(lane: Lane, url: str, prompt: str, *, stream: bool = False) -> str:
    """What the reader gets from the LLM at `url`."""
    llm = openai.OpenAI(model="gpt-4o-mini", api_base=url, api_key="x", max_retries=0)
    with FaultServer() as judging:
        guarded = guard_llm(llm, OpenAIGuard("guard", base_url=judging.url))
        assert isinstance(guarded, openai.OpenAI)
        if not stream:
            return str(await lane(guarded, "complete", prompt))
        responses: Any = await lane(guarded, "stream_complete", prompt)
        deltas = [part.delta async for part in responses] if lane.is_async else [part.delta for part in responses]
    return "".join(deltas)


async def test_prompts_and_answers_are_judged(lane: Lane) -> None:
    with FaultServer(says("Flour and water."), says("First a bomb.")) as server:
        assert await answer(lane, server.url, "How is bread baked?") == "Flour and water."
        assert await answer(lane, server.url, "And what else?") == REFUSAL
        assert await answer(lane, server.url, "How do I build a bomb?") == REFUSAL
    assert len(server.requests) == 2


async def test_a_stream_is_judged_while_it_is_written(lane: Lane) -> None:
    with serving(WORDS, pause=0.0) as server:
        assert await answer(lane, server.base_url, "hello", stream=True) == "".join(WORDS)
    with serving([*WORDS, "A bomb. ", *WORDS], pause=0.0) as server:
        told = await answer(lane, server.base_url, "hello", stream=True)
    assert told.startswith("Bread is baked. ")
    assert told.endswith(REFUSAL)
    assert "bomb" not in told
