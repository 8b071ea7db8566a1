"""`Qwen3GuardChatEngine`: what is said, what is streamed, and what is remembered, by every kind of chat engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.memory import BaseMemoryBlock, ChatMemoryBuffer, InsertMethod, Memory
from pydantic import Field

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardError, GuardUnavailableError
from qwen3guard_integrations.llama_index import Qwen3GuardChatEngine, Qwen3GuardVerdictEvent
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, REFUSAL, fake_guard, listening, token_guard, words_llm
from .test_query_engine import SAFE, WORDS, index_of

MODES = pytest.mark.parametrize("mode", ["simple", "context", "condense_question", "condense_plus_context"])
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
GUARDS = pytest.mark.parametrize("make_guard", [fake_guard, token_guard], ids=["windowed", "token"])


def engine_of(mode: str, llm: Any, *texts: str) -> BaseChatEngine:
    if mode == "simple":
        return SimpleChatEngine.from_defaults(llm=llm)
    index = index_of(*(texts or ("bread",)))
    return index.as_chat_engine(chat_mode=ChatMode(mode), llm=llm, similarity_top_k=4)


async def answer(lane: Lane, engine: Any, streaming: bool, *args: Any) -> str:
    if not streaming:
        return str(await lane(engine, "chat", *args))
    response = await lane(engine, "stream_chat", *args)
    if lane.is_async:
        return "".join([token async for token in response.async_response_gen()])
    return "".join(response.response_gen)


@MODES
@STREAMING
@GUARDS
async def test_a_clean_conversation_is_the_same(mode: str, streaming: bool, make_guard: Any, lane: Lane) -> None:
    bare, guarded = (
        engine_of(mode, words_llm(*SAFE)),
        Qwen3GuardChatEngine(engine_of(mode, words_llm(*SAFE)), make_guard()),
    )
    for question in ("hi", "and then?"):
        assert await answer(lane, guarded, streaming, question) == await answer(lane, bare, streaming, question)
    assert guarded.chat_history == bare.chat_history
    assert len(guarded.chat_history) == 4


@MODES
@STREAMING
@GUARDS
async def test_an_unsafe_answer_is_neither_said_nor_remembered(
    mode: str, streaming: bool, make_guard: Any, lane: Lane
) -> None:
    engine = Qwen3GuardChatEngine(engine_of(mode, words_llm(*WORDS)), make_guard())
    for question in ("hi", "and then?"):
        text = await answer(lane, engine, streaming, question)
        assert CANARY not in text
        assert text.rstrip().endswith(REFUSAL)
    assert CANARY not in repr(engine.chat_history)
    assert len(engine.chat_history) == 4


@MODES
async def test_the_decision_about_a_refused_answer_is_told(mode: str, lane: Lane) -> None:
    engine = Qwen3GuardChatEngine(engine_of(mode, words_llm(*WORDS)), fake_guard())
    response = await lane(engine, "chat", "hi")
    assert response.metadata["qwen3guard"]["point"] == "response"
    clean = await lane(Qwen3GuardChatEngine(engine_of(mode, words_llm(*SAFE)), fake_guard()), "chat", "hi")
    assert "qwen3guard" not in (clean.metadata or {})


@MODES
@STREAMING
async def test_a_blocked_message_reaches_nobody_and_is_not_remembered(mode: str, streaming: bool, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    engine = Qwen3GuardChatEngine(engine_of(mode, llm), fake_guard())
    assert await answer(lane, engine, streaming, f"a {CANARY}") == REFUSAL
    assert (llm.asked, engine.chat_history) == ([], [])
    assert await answer(lane, engine, streaming, "then something else") == "Bread and jam."
    assert CANARY not in repr((llm.asked, engine.chat_history))


@pytest.mark.parametrize("mode", ["context", "condense_question", "condense_plus_context"])
@STREAMING
async def test_unsafe_nodes_reach_no_prompt(mode: str, streaming: bool, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    engine = Qwen3GuardChatEngine(engine_of(mode, llm, "bread", f"a {CANARY}"), fake_guard())
    assert await answer(lane, engine, streaming, "hi") == "Bread and jam."
    assert "bread" in repr(llm.asked)
    assert CANARY not in repr(llm.asked)


HISTORY = [ChatMessage(content=f"a {CANARY}"), ChatMessage(role=MessageRole.ASSISTANT, content="no")]


@STREAMING
async def test_a_history_that_comes_with_the_message_is_judged(streaming: bool, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    engine = Qwen3GuardChatEngine(engine_of("simple", llm), fake_guard())
    assert await answer(lane, engine, streaming, "hi", HISTORY) == REFUSAL
    assert (llm.asked, engine.chat_history) == ([], [])
    redacting = Qwen3GuardChatEngine(engine_of("simple", llm), fake_guard(), {"points": {"prompt": "redact"}})
    assert await answer(lane, redacting, streaming, "hi", HISTORY) == "Bread and jam."
    assert CANARY not in repr((llm.asked, redacting.chat_history))
    assert len(redacting.chat_history) == 4


@STREAMING
async def test_what_the_memory_held_before_is_judged_once(streaming: bool, lane: Lane) -> None:
    llm, judge = words_llm(*SAFE), fake_guard()
    memory = ChatMemoryBuffer.from_defaults(chat_history=list(HISTORY))
    inner = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    engine = Qwen3GuardChatEngine(inner, judge)
    assert await answer(lane, engine, streaming, "hi") == REFUSAL
    engine.reset()
    assert await answer(lane, engine, streaming, "hi") == "Bread and jam."
    memory = ChatMemoryBuffer.from_defaults(chat_history=list(HISTORY))
    inner = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    redacting = Qwen3GuardChatEngine(inner, judge, {"points": {"prompt": "redact"}})
    assert await answer(lane, redacting, streaming, "hi") == "Bread and jam."
    judged = len(judge.calls)
    assert await answer(lane, redacting, streaming, "again") == "Bread and jam."
    assert [len(call) for call in judge.calls[judged:]] == [1, 1], "the new message, and its answer"
    assert CANARY not in repr((llm.asked, redacting.chat_history))


class Slow(FakeGuard):
    """Takes its time about the second message."""

    async def acheck_many(self, conversations: Any, /) -> Any:
        if any("second" in conversation.judged.content for conversation in conversations):
            await asyncio.sleep(0.1)
        return await super().acheck_many(conversations)


@pytest.mark.parametrize("action", ["block", "redact"])
async def test_two_messages_at_once_lose_nothing_of_the_memory(action: str) -> None:
    old = [ChatMessage(content="old"), ChatMessage(role=MessageRole.ASSISTANT, content="old answer")]
    if action == "redact":
        old.append(ChatMessage(content=f"a {CANARY}"))
    memory = ChatMemoryBuffer.from_defaults(chat_history=old)
    inner = SimpleChatEngine.from_defaults(llm=words_llm(*SAFE), memory=memory)
    engine = Qwen3GuardChatEngine(inner, Slow({CANARY: "Unsafe"}), {"points": {"prompt": action}})
    await asyncio.gather(engine.achat("first"), engine.achat("second"))
    asked = [message.content for message in engine.chat_history if message.role is MessageRole.USER]
    assert asked[0] == "old"
    assert asked[-2:] == ["first", "second"]
    assert CANARY not in repr(engine.chat_history)


@STREAMING
async def test_without_the_message_itself_there_is_nothing_to_answer(streaming: bool, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    engine = Qwen3GuardChatEngine(engine_of("simple", llm), fake_guard(), {"points": {"prompt": "drop"}})
    assert await answer(lane, engine, streaming, "hi") == "Bread and jam."
    assert await answer(lane, engine, streaming, f"a {CANARY}") == REFUSAL
    history = [ChatMessage(content="old"), ChatMessage(role=MessageRole.ASSISTANT, content="yes")]
    assert await answer(lane, engine, streaming, f"a {CANARY}", history) == REFUSAL
    assert len(llm.asked) == 1
    assert await answer(lane, engine, streaming, "and?", [ChatMessage(content=f"a {CANARY}"), *history]) != REFUSAL
    assert CANARY not in repr((llm.asked, engine.chat_history))


@STREAMING
async def test_blocks_can_be_raised(streaming: bool, lane: Lane) -> None:
    engine = Qwen3GuardChatEngine(engine_of("simple", words_llm(*SAFE)), fake_guard(), on_block="raise")
    with pytest.raises(BlockedError):
        await answer(lane, engine, streaming, f"a {CANARY}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@STREAMING
async def test_a_dead_guard_lets_nothing_through(streaming: bool, lane: Lane) -> None:
    engine = Qwen3GuardChatEngine(
        engine_of("simple", words_llm(*SAFE)), fake_guard(error=GuardUnavailableError("down"))
    )
    with pytest.raises(GuardError):
        await answer(lane, engine, streaming, "hi")
    assert engine.chat_history == []


def test_the_decision_about_a_refused_message() -> None:
    response: Any = Qwen3GuardChatEngine(engine_of("simple", words_llm()), fake_guard()).chat(f"a {CANARY}")
    assert response.metadata["qwen3guard"]["point"] == "prompt"


def test_wrong_settings_are_named() -> None:
    wrong: Any = "engine"
    with pytest.raises(GuardConfigurationError, match="takes a chat engine, not str"):
        Qwen3GuardChatEngine(wrong, fake_guard())
    wrong = "explode"
    with pytest.raises(GuardConfigurationError, match="on_block='explode'"):
        Qwen3GuardChatEngine(engine_of("simple", words_llm()), fake_guard(), on_block=wrong)


def test_an_engine_whose_model_cannot_be_found_is_refused() -> None:
    inner = engine_of("simple", words_llm())
    guarded = Qwen3GuardChatEngine(inner, fake_guard())
    vars(inner)["_llm"] = None
    with pytest.raises(GuardConfigurationError, match="no LLM in SimpleChatEngine"):
        Qwen3GuardChatEngine(inner, fake_guard())
    assert guarded.chat_history == []


class Block(BaseMemoryBlock[Any]):
    """Brings what it is told to bring, and remembers what it was given."""

    name: str = "block"
    holds: Any
    given: list[ChatMessage] = Field(default_factory=list)

    async def _aget(self, messages: Any = None, **block_kwargs: Any) -> Any:
        return self.holds

    async def _aput(self, messages: list[ChatMessage]) -> None:
        self.given.extend(messages)

    async def atruncate(self, content: Any, tokens_to_truncate: int) -> Any:
        return f"less of {CANARY}"


def with_blocks(mode: str, llm: Any, *held: Any, **settings: Any) -> tuple[BaseChatEngine, Memory]:
    blocks: list[BaseMemoryBlock[Any]] = [Block(name=f"block{n}", holds=one) for n, one in enumerate(held)]
    memory = Memory.from_defaults(memory_blocks=blocks, **settings)
    engine = engine_of(mode, llm)
    vars(engine)["_memory"] = memory
    return engine, memory


# LlamaIndex's own: the default store keeps its connection for loops that are closed.
THREADS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def thinking(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.ASSISTANT, blocks=[ThinkingBlock(content=text), TextBlock(text=f"so {text}")])]


@THREADS
@pytest.mark.parametrize("method", InsertMethod)
@MODES
@STREAMING
async def test_memory_blocks_bring_only_what_may_pass(
    mode: str, method: InsertMethod, streaming: bool, lane: Lane
) -> None:
    llm = words_llm(*SAFE)
    inner, memory = with_blocks(mode, llm, "the facts", f"a {CANARY}", insert_method=method)
    engine = Qwen3GuardChatEngine(inner, fake_guard())
    for question in ("hi", "and then?"):
        assert await answer(lane, engine, streaming, question) == "Bread and jam."
    assert "the facts" in repr(llm.asked)
    assert CANARY not in repr(llm.asked)
    assert engine.chat_history == memory.get_all(), "it is the same conversation"
    assert len(engine.chat_history) == 4
    assert CANARY in repr(memory.get()), "the memory itself stays as it is"


@THREADS
@pytest.mark.parametrize(
    "hold",
    [lambda text: [TextBlock(text=text)], lambda text: [ChatMessage(content=text)], thinking],
    ids=["blocks", "messages", "thinking"],
)
async def test_memory_blocks_of_every_kind(hold: Any, lane: Lane) -> None:
    llm = words_llm(*SAFE)
    inner, _ = with_blocks("simple", llm, hold("the facts"), hold(f"a {CANARY}"))
    assert await answer(lane, Qwen3GuardChatEngine(inner, fake_guard()), False, "hi") == "Bread and jam."
    assert "the facts" in repr(llm.asked)
    assert CANARY not in repr(llm.asked)


@THREADS
@MODES
async def test_safe_memory_blocks_bring_the_same(mode: str, lane: Lane) -> None:
    bare_llm, llm = words_llm(*SAFE), words_llm(*SAFE)
    bare, _ = with_blocks(mode, bare_llm, "the facts")
    guarded = Qwen3GuardChatEngine(with_blocks(mode, llm, "the facts")[0], fake_guard())
    assert await answer(lane, guarded, False, "hi") == await answer(lane, bare, False, "hi")
    assert llm.asked == bare_llm.asked


@THREADS
async def test_memory_blocks_can_be_redacted_and_are_told_as_documents(lane: Lane) -> None:
    llm = words_llm(*SAFE)
    inner, _ = with_blocks("simple", llm, f"a {CANARY}")
    engine = Qwen3GuardChatEngine(inner, fake_guard(), {"points": {"document": "redact"}})
    with listening() as (events, _):
        await answer(lane, engine, False, "hi")
    assert "[removed: Unsafe]" in repr(llm.asked)
    assert CANARY not in repr(llm.asked)
    told = [(event.point, event.action) for event in events if isinstance(event, Qwen3GuardVerdictEvent)]
    assert ("document", "redact") in told


@THREADS
async def test_memory_blocks_get_what_falls_out_of_the_history_and_may_shorten_what_they_bring(lane: Lane) -> None:
    llm = words_llm(*SAFE)
    inner, memory = with_blocks("simple", llm, "word " * 50, token_limit=40, tokenizer_fn=str.split)
    block: Any = memory.memory_blocks[0]
    block.priority, block.accept_short_term_memory = 1, True
    engine = Qwen3GuardChatEngine(inner, fake_guard())
    for question in ("one " * 20, "two " * 20, "three"):
        await answer(lane, engine, False, question)
    assert "one one" in repr(block.given)
    assert CANARY not in repr(llm.asked)


@THREADS
async def test_a_dead_guard_lets_no_memory_block_through(lane: Lane) -> None:
    class Dies(FakeGuard):
        async def acheck_many(self, conversations: Any, /) -> Any:
            if any("facts" in conversation.judged.content for conversation in conversations):
                raise GuardUnavailableError("down")
            return await super().acheck_many(conversations)

    llm = words_llm(*SAFE)
    inner, _ = with_blocks("simple", llm, "the facts")
    with pytest.raises(GuardError):
        await answer(lane, Qwen3GuardChatEngine(inner, Dies()), False, "hi")
    assert llm.asked == []
