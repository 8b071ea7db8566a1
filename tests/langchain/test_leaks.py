"""Nothing leaves a guarded model unjudged: every way of running x every kind of text x both kinds of guard."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from qwen3guard_integrations import Conversation, Point, Policy, Severity, Turn, Verdict
from qwen3guard_integrations.core.gate import Judgement, Piece
from qwen3guard_integrations.guards.protocol import CheckOne, StreamSession
from qwen3guard_integrations.guards.windowed import WindowedStreamGuard
from qwen3guard_integrations.langchain import guard_model
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from .ways import WAYS

WORD = re.compile(r"w(\d+)z")
WORDS = 60
HARM = 25
VIOLENT = Verdict(severity=Severity.UNSAFE)


def numbers_in(value: object) -> set[int]:
    """The numbers of the words that a consumer can read in what it was given."""
    return set(map(int, WORD.findall(repr(value))))


class Witness(CheckOne):
    """A guard that knows at any moment which words have been judged to be safe."""

    def __init__(self, guard: Any) -> None:
        self.guard = guard
        self.judged: set[int] = set()

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self._seen(conversations, self.guard.check_many(conversations))

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self._seen(conversations, await self.guard.acheck_many(conversations))

    def _seen(self, conversations: Sequence[Conversation], verdicts: list[Verdict]) -> list[Verdict]:
        for conversation, verdict in zip(conversations, verdicts, strict=True):
            if verdict.safe:
                self.judged |= numbers_in(conversation.judged)
        return verdicts

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> StreamSession:
        return WitnessSession(self, self.guard.open_stream(context, policy))


class WitnessSession:
    """A session that notes what was judged, once the judgement has come."""

    def __init__(self, witness: Witness, session: StreamSession) -> None:
        self.witness, self.session = witness, session
        self.texts: dict[Point, str] = {}

    def patience(self, pieces: Sequence[Piece], /) -> float:
        return self.session.patience(pieces)

    def judge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> Future[list[Judgement]]:
        self._take(pieces)
        found = self.session.judge(pieces, final=final).result()
        done: Future[list[Judgement]] = Future()
        done.set_result(self._seen(found))
        return done

    async def ajudge(self, pieces: Sequence[Piece], /, *, final: bool = False) -> list[Judgement]:
        self._take(pieces)
        return self._seen(await self.session.ajudge(pieces, final=final))

    def _take(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self.texts[piece.point] = self.texts.get(piece.point, "") + piece.text

    def _seen(self, judgements: list[Judgement]) -> list[Judgement]:
        for judgement in judgements:
            if judgement.verdict.safe:
                self.witness.judged |= numbers_in(self.texts[judgement.point][: judgement.end])
        return judgements

    def rollback(self, lengths: Mapping[Point, int], /) -> None:
        self.session.rollback(lengths)

    def close(self) -> None:
        self.session.close()


class Writer(BaseChatModel):
    """Streams one list of chunks for each call, the last one for ever after; counts what was pulled."""

    turns: list[list[Any]]
    calls: list[int] = Field(default_factory=list)
    pulled: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "writer"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _chunks(self) -> list[AIMessageChunk]:
        self.calls.append(0)
        return self.turns[min(len(self.calls), len(self.turns)) - 1]

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        chunks = self._chunks()
        whole = chunks[0] + chunks[1:]
        kwargs = {"additional_kwargs": whole.additional_kwargs, "tool_calls": whole.tool_calls}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=whole.content, **kwargs))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for place, chunk in enumerate(self._chunks()):
            self.pulled.append(place)
            yield ChatGenerationChunk(message=chunk.model_copy(deep=True))

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


def cut(text: str, seed: int) -> list[str]:
    """`text` in pieces of random sizes."""
    rng, pieces = random.Random(seed), []
    while text:
        size = rng.choice((1, 2, 3, 5, 8, 30))
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def text_chunks(text: str, seed: int) -> list[AIMessageChunk]:
    return [AIMessageChunk(content=piece, id="a") for piece in cut(text, seed)]


def reasoning_chunks(text: str, seed: int) -> list[AIMessageChunk]:
    pieces = [AIMessageChunk(content="", additional_kwargs={"reasoning_content": p}, id="a") for p in cut(text, seed)]
    return [*pieces, AIMessageChunk(content="The end.", id="a")]


def thinking_chunks(text: str, seed: int) -> list[AIMessageChunk]:
    return text_chunks(f"<think>\n{text}\n</think>\n\nThe end.", seed)


def block_chunks(text: str, seed: int) -> list[AIMessageChunk]:
    blocks: list[Any] = [{"type": "reasoning", "reasoning": piece, "index": 0} for piece in cut(text, seed)]
    blocks += [{"type": "text", "text": piece, "index": 1} for piece in cut(text, seed + 1)]
    return [AIMessageChunk(content=[block], id="a") for block in blocks]


def call_chunks(text: str, seed: int) -> list[AIMessageChunk]:
    first: Any = {"name": "search", "args": "", "id": "c", "index": 3}
    calls: list[Any] = [
        first,
        *({**first, "name": None, "id": None, "args": p} for p in cut(f'{{"q": "{text}"}}', seed)),
    ]
    return [AIMessageChunk(content="", tool_call_chunks=[call], id="a") for call in calls]


KINDS = {
    "text": text_chunks,
    "reasoning": reasoning_chunks,
    "thinking": thinking_chunks,
    "blocks": block_chunks,
    "tool call": call_chunks,
}
DONE = [AIMessageChunk(content="Done.", id="b")]
SAFE_WORDS = " ".join(f"w{n}z" for n in range(WORDS))
HARMFUL_WORDS = SAFE_WORDS.replace(f"w{HARM}z", f"w{HARM}z bomb")
GUARDS: dict[str, Any] = {
    "token": lambda: FakeStreamGuard({"bomb": VIOLENT}),
    "lagging token": lambda: FakeStreamGuard({"bomb": VIOLENT}, lag=7),
    "windowed": lambda: WindowedStreamGuard(FakeGuard({"bomb": VIOLENT}), {"first_tokens": 4, "most_tokens": 16}),
}


async def given(way: str, model: Any, witness: Witness) -> set[int]:
    """All words that the consumer was given; each was judged before."""
    seen: set[int] = set()
    async for item in WAYS[way](model, {}):
        new = numbers_in(item)
        assert new <= witness.judged, f"unjudged: {sorted(new - witness.judged)}"
        seen |= new
    return seen


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
async def test_nothing_leaves_unjudged(way: str, kind: str, guard: str) -> None:
    chunks = KINDS[kind]
    for seed in range(2):
        witness = Witness(GUARDS[guard]())
        model = guard_model(Writer(turns=[chunks(HARMFUL_WORDS, seed), DONE]), witness)
        seen = await given(way, model, witness)
        assert not any(number > HARM for number in seen), "text after the harm"
        witness = Witness(GUARDS[guard]())
        model = guard_model(Writer(turns=[chunks(SAFE_WORDS, seed), DONE]), witness)
        await given(way, model, witness)


@pytest.mark.parametrize("way", WAYS)
async def test_the_words_would_be_seen_if_they_leaked(way: str) -> None:
    """The test above can fail: without a guard the consumer is given all of them."""
    kinds = ["text"] if way.startswith("chain") else list(KINDS)
    for kind in kinds:
        seen: set[int] = set()
        pieces = KINDS[kind](HARMFUL_WORDS, 99)
        async for item in WAYS[way](Writer(turns=[pieces, DONE]), {}):
            seen |= numbers_in(item)
        assert any(number > HARM for number in seen), kind
