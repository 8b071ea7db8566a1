"""Structured prediction of LLMs that ask their provider past the guarded methods, as some providers' do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from pydantic import BaseModel, Field

from qwen3guard_integrations import BlockedError, GuardUnavailableError
from qwen3guard_integrations.llama_index import Qwen3GuardQueryEngine, guard_llm

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, ChatLLM, fake_guard, listening, says

PROMPT = PromptTemplate("An album about {topic}.")
SAFE = ("Bread", "and jam")
UNSAFE = ("Bread", f"a {CANARY}")


class Album(BaseModel):
    """A structure."""

    songs: list[str] = []


class DirectLLM(ChatLLM):
    """Asks its client for structures, or itself, as others do."""

    songs: tuple[str, ...] = ()
    by_chat: bool = False
    sent: list[str] = Field(default_factory=list)

    def _client(self, prompt: PromptTemplate, **args: Any) -> Album:
        self.sent.append(repr(prompt.format_messages(**args)))
        return Album(songs=list(self.songs))

    def structured_predict(self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any) -> Any:
        if self.by_chat:
            return Album(songs=[str(self.chat(prompt.format_messages(**args)).message.content)])
        return self._client(prompt, **args)

    async def astructured_predict(self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any) -> Any:
        if self.by_chat:
            return Album(songs=[str((await self.achat(prompt.format_messages(**args))).message.content)])
        return self._client(prompt, **args)

    def stream_structured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any
    ) -> Generator[Any, None, None]:
        if self.by_chat:
            for response in self.stream_chat(prompt.format_messages(**args)):
                yield Album(songs=[str(response.message.content)])
            return
        album = self._client(prompt, **args)
        for count in range(1, len(album.songs) + 1):
            yield Album(songs=album.songs[:count])

    async def astream_structured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any
    ) -> AsyncGenerator[Any, None]:
        async def albums() -> AsyncGenerator[Any, None]:
            if self.by_chat:
                async for response in await self.astream_chat(prompt.format_messages(**args)):
                    yield Album(songs=[str(response.message.content)])
                return
            for album in ChatLLM.__mro__ and list(
                DirectLLM.stream_structured_predict(self, output_cls, prompt, llm_kwargs, **args)
            ):
                yield album

        return albums()


def direct(*songs: str, **settings: Any) -> DirectLLM:
    answers = [says(" ".join(songs))]
    return DirectLLM(answers=answers, asked=[], pulled=[], closed=[], songs=songs, sent=[], **settings)


async def predicted(lane: Lane, llm: Any, streaming: bool, topic: str = "food") -> list[Any]:
    if not streaming:
        return [await lane(llm, "structured_predict", Album, PROMPT, topic=topic)]
    if lane.is_async:
        return [album async for album in await llm.astream_structured_predict(Album, PROMPT, topic=topic)]
    return list(llm.stream_structured_predict(Album, PROMPT, topic=topic))


STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])


@STREAMING
async def test_what_is_safe_is_the_same(streaming: bool, lane: Lane) -> None:
    judge, llm = fake_guard(), direct(*SAFE)
    assert await predicted(lane, guard_llm(llm, judge), streaming) == await predicted(lane, direct(*SAFE), streaming)
    assert len(llm.sent) == 1
    assert [len(call) for call in judge.calls] == [1, 1], "the prompt, and the answer"
    assert [turn.role for turn in judge.calls[1][0].turns] == ["user", "assistant"]


@STREAMING
@pytest.mark.parametrize("on_block", ["refuse", "raise"])
async def test_an_unsafe_answer_is_an_error_without_it(on_block: Any, streaming: bool, lane: Lane) -> None:
    with listening() as (events, spans), pytest.raises(BlockedError) as raised:
        await predicted(lane, guard_llm(direct(*UNSAFE), fake_guard(), on_block=on_block), streaming)
    assert isinstance(raised.value, ValueError) is (on_block == "refuse"), "as what LlamaIndex cannot read"
    assert raised.value.decision.point == "response"
    assert CANARY not in repr((raised.value, raised.value.__context__, events, spans))


@STREAMING
async def test_a_blocked_prompt_reaches_no_provider(streaming: bool, lane: Lane) -> None:
    llm = direct(*SAFE)
    with pytest.raises(BlockedError):
        await predicted(lane, guard_llm(llm, fake_guard()), streaming, f"a {CANARY}")
    redacting = guard_llm(llm, fake_guard(), {"points": {"prompt": "redact"}, "redaction": "[gone {topic}]"})
    await predicted(lane, redacting, streaming, f"a {CANARY}")
    assert len(llm.sent) == 1
    assert CANARY not in llm.sent[0]
    assert "[gone {topic}]" in llm.sent[0]


@STREAMING
async def test_a_dead_guard_lets_nothing_through(streaming: bool, lane: Lane) -> None:
    llm = direct(*SAFE)
    with pytest.raises(GuardUnavailableError):
        await predicted(lane, guard_llm(llm, fake_guard(error=GuardUnavailableError("down"))), streaming)
    off = guard_llm(llm, fake_guard(error=GuardUnavailableError("down")), prompt="off")
    with pytest.raises(GuardUnavailableError):
        await predicted(lane, off, streaming)


@STREAMING
async def test_what_goes_through_a_guarded_method_is_judged_there(streaming: bool, lane: Lane) -> None:
    judge = fake_guard()
    bare = await predicted(lane, direct(*SAFE, by_chat=True), streaming)
    assert await predicted(lane, guard_llm(direct(*SAFE, by_chat=True), judge), streaming) == bare
    judged = [one.judged.content for call in judge.calls for one in call]
    assert len(judged) == len(set(judged)), "nothing is paid twice"
    unsafe = await predicted(lane, guard_llm(direct(*UNSAFE, by_chat=True), judge), streaming)
    assert CANARY not in repr(unsafe)
    assert REFUSAL in repr(unsafe)


async def test_query_engines_refuse(lane: Lane) -> None:
    index = VectorStoreIndex([TextNode(text="bread")], embed_model=MockEmbedding(embed_dim=8))
    for songs in (SAFE, UNSAFE):
        inner = index.as_query_engine(llm=direct(*songs), output_cls=Album)
        response = await lane(Qwen3GuardQueryEngine(inner, fake_guard()), "query", "hi")
        if songs is SAFE:
            assert response.response == Album(songs=list(SAFE))
        else:
            assert str(response) == REFUSAL
            assert CANARY not in repr(response)
