"""Structured prediction of LLMs that ask their provider past the guarded methods, as some providers' do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.schema import TextNode
from pydantic import BaseModel, Field, ValidationError

from qwen3guard_integrations import BlockedError, GuardUnavailableError
from qwen3guard_integrations.llama_index import Qwen3GuardQueryEngine, guard_llm
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, ChatLLM, chat_llm, fake_guard, listening, says

PROMPT = PromptTemplate("An album about {topic}.")
SAFE = ("Bread", "and jam")
UNSAFE = ("Bread", f"a {CANARY}")


class Album(BaseModel):
    """A structure."""

    songs: list[str] = []


class DirectLLM(ChatLLM):
    """Asks its client for structures, or itself, as others do.

    Attributes:
        other: An LLM that its client asks too.
        error: What its client raises, `late`: after its answer.
    """

    songs: tuple[str, ...] = ()
    by_chat: bool = False
    sent: list[str] = Field(default_factory=list)
    other: Any = None
    error: Any = None
    late: bool = False

    def _client(self, prompt: PromptTemplate, **args: Any) -> list[Album]:
        self.sent.append(repr((prompt.format_messages(**args), prompt.format(**args))))
        if self.other is not None:
            self.other.chat([ChatMessage(content="hi")])
        if self.error is not None and not self.late:
            raise self.error
        return [Album(songs=[*self.songs[:count]]) for count in range(1, len(self.songs) + 1)]

    def _end(self) -> None:
        if self.late:
            raise self.error

    def structured_predict(self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any) -> Any:
        if self.by_chat:
            return Album(songs=[str(self.chat(prompt.format_messages(**args)).message.content)])
        album = self._client(prompt, **args)[-1]
        self._end()
        return album

    async def astructured_predict(self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any) -> Any:
        if self.by_chat:
            return Album(songs=[str((await self.achat(prompt.format_messages(**args))).message.content)])
        album = self._client(prompt, **args)[-1]
        self._end()
        return album

    def stream_structured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any
    ) -> Generator[Any, None, None]:
        if self.by_chat:
            for response in self.stream_chat(prompt.format_messages(**args)):
                yield Album(songs=[str(response.message.content)])
            return
        yield from self._client(prompt, **args)
        self._end()

    async def astream_structured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **args: Any
    ) -> AsyncGenerator[Any, None]:
        made = [] if self.by_chat else self._client(prompt, **args)

        async def albums() -> AsyncGenerator[Any, None]:
            if self.by_chat:
                async for response in await self.astream_chat(prompt.format_messages(**args)):
                    yield Album(songs=[str(response.message.content)])
                return
            for album in made:
                yield album
            self._end()

        return albums()


def direct(*songs: str, **settings: Any) -> DirectLLM:
    answers = [says(" ".join(songs))]
    return DirectLLM(answers=answers, asked=[], pulled=[], closed=[], songs=songs, sent=[], **settings)


async def predicted(
    lane: Lane, llm: Any, streaming: bool, topic: str = "food", prompt: Any = PROMPT, told: list[Any] | None = None
) -> list[Any]:
    """What comes, put into `told` as it comes."""
    told = [] if told is None else told
    if not streaming:
        told.append(await lane(llm, "structured_predict", Album, prompt, topic=topic))
    elif lane.is_async:
        async for album in await llm.astream_structured_predict(Album, prompt, topic=topic):
            told.append(album)
    else:
        for album in llm.stream_structured_predict(Album, prompt, topic=topic):
            told.append(album)
    return told


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
    with pytest.raises(BlockedError) as raised:
        await predicted(lane, guard_llm(direct(*UNSAFE, by_chat=True), judge), streaming)
    assert raised.value.decision.point == "response"


@STREAMING
async def test_another_guarded_llm_vouches_for_nobody(streaming: bool, lane: Lane) -> None:
    other, told = guard_llm(chat_llm(says("bread")), fake_guard()), list[Any]()
    with pytest.raises(BlockedError):
        await predicted(lane, guard_llm(direct(*UNSAFE, other=other), fake_guard()), streaming, told=told)
    assert not told
    safe = guard_llm(direct(*SAFE, other=other), fake_guard())
    assert await predicted(lane, safe, streaming) == await predicted(lane, direct(*SAFE), streaming)


def test_an_llm_that_asks_itself_later_vouches_for_nothing_before() -> None:
    class Asking(DirectLLM):
        def stream_structured_predict(self, *args: Any, **kwargs: Any) -> Generator[Any, None, None]:
            yield from super().stream_structured_predict(*args, **kwargs)
            yield Album(songs=[str(self.chat([ChatMessage(content="hi")]).message.content)])

    llm = guard_llm(Asking(answers=[says("bread")], songs=UNSAFE), fake_guard())
    with pytest.raises(BlockedError):
        next(llm.stream_structured_predict(Album, PROMPT, topic="food"))


def unreadable(song: str) -> ValidationError:
    """The error about an answer that is no structure, which shows the ends of it and keeps all."""
    with pytest.raises(ValidationError) as raised:
        Album.model_validate({"songs": song})
    return raised.value


@STREAMING
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("around", ["", "bread " * 20], ids=["short", "long"])
async def test_an_error_may_not_say_what_an_answer_may_not(
    around: str, late: bool, streaming: bool, lane: Lane
) -> None:
    error = unreadable(f"{around}{CANARY} {around}")
    llm, told = guard_llm(direct(*SAFE, error=error, late=late), fake_guard()), list[Any]()
    with listening() as (events, spans), pytest.raises(ValueError, match="block at response") as raised:
        await predicted(lane, llm, streaming, told=told)
    assert isinstance(raised.value, BlockedError)
    assert raised.value.__context__ is None
    assert not told
    assert CANARY not in repr((events, spans))


@STREAMING
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
async def test_an_error_that_may_pass_is_raised_as_it_is(late: bool, streaming: bool, lane: Lane) -> None:
    error, bare, told = unreadable("bread"), list[Any](), list[Any]()
    llm = direct(*SAFE, error=error, late=late)
    for asked, items in ((llm, bare), (guard_llm(llm, fake_guard()), told)):
        with pytest.raises(ValidationError) as raised:
            await predicted(lane, asked, streaming, told=items)
        assert raised.value is error
    assert told == bare


@STREAMING
async def test_the_prompt_that_is_judged_is_the_one_that_is_sent(streaming: bool, lane: Lane) -> None:
    topics = ["food", CANARY]
    changing = PromptTemplate("An album about {topic}.", function_mappings={"topic": lambda **_: topics.pop(0)})
    llm = direct(*SAFE)
    await predicted(lane, guard_llm(llm, fake_guard()), streaming, prompt=changing)
    assert topics == [CANARY], "filled in once"
    assert "An album about food." in llm.sent[0]


@STREAMING
@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT,
        ChatPromptTemplate([ChatMessage(content="An album about {topic}.")]),
        ChatPromptTemplate(
            [
                ChatMessage(role=MessageRole.SYSTEM, content='{"songs": {{}}}'),
                ChatMessage(blocks=[TextBlock(text="{topic}"), ImageBlock(url="http://localhost/{topic}.png")]),
            ]
        ),
    ],
    ids=["text", "message", "messages"],
)
async def test_a_prompt_is_sent_as_it_is(prompt: Any, streaming: bool, lane: Lane) -> None:
    llm = direct(*SAFE)
    for asked in (llm, guard_llm(llm, fake_guard())):
        await predicted(lane, asked, streaming, "{topic} {x} {{y}}", prompt)
    assert llm.sent[0] == llm.sent[1]


@STREAMING
@pytest.mark.parametrize("action", ["drop", "redact"])
async def test_a_call_that_is_left_out_is_no_structure(action: str, streaming: bool, lane: Lane) -> None:
    def calling(*songs: str) -> ChatLLM:
        call = ToolCallBlock(tool_call_id="1", tool_name="Album", tool_kwargs={"songs": [*songs]})
        return guard_llm(chat_llm(says(call)), fake_guard(), {"points": {"tool_call": action}})

    told: list[Any] = []
    with pytest.raises(BlockedError) as raised:
        await predicted(lane, calling(*UNSAFE), streaming, told=told)
    assert not told
    assert raised.value.decision.point == "tool_call"
    if not streaming:  # LlamaIndex reads no blocks of streams
        assert await predicted(lane, calling(*SAFE), streaming) == [Album(songs=[*SAFE])]


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


@pytest.mark.parametrize("by_chat", [False, True], ids=["client", "chat"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("which", ["inner", "outer"])
async def test_two_guards_judge_one_after_the_other(which: str, streaming: bool, by_chat: bool, lane: Lane) -> None:
    def twice(*songs: str) -> tuple[FakeGuard, Any]:
        strict, mild = fake_guard(), FakeGuard()
        inner, outer = (strict, mild) if which == "inner" else (mild, strict)
        return mild, guard_llm(guard_llm(direct(*songs, by_chat=by_chat), inner), outer)

    mild, llm = twice(*SAFE)
    bare = await predicted(lane, direct(*SAFE, by_chat=by_chat), streaming)
    assert await predicted(lane, llm, streaming) == bare
    assert mild.calls
    with pytest.raises(BlockedError):
        await predicted(lane, twice(*UNSAFE)[1], streaming)
    with pytest.raises(BlockedError):
        await predicted(lane, twice(*SAFE)[1], streaming, topic=CANARY)
