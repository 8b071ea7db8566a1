"""`Qwen3GuardChatEngine`: a conversation over documents of which the memory never holds what was blocked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.chat_engine.types import (
    AGENT_CHAT_RESPONSE_TYPE,
    AgentChatResponse,
    BaseChatEngine,
    StreamingAgentChatResponse,
)

from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.policy import Policy
from ..guards.protocol import Guard
from ..reporting import entry
from .answer import OnBlock, Prompt, Screens
from .forms import ChatForm
from .inside import Inside
from .noticing import Inner, noticing
from .screener import Screener

_MESSAGES = ChatForm()


class Qwen3GuardChatEngine(BaseChatEngine):
    """A chat engine around another one: nothing passes unjudged, and nothing that was blocked is remembered.

    The user's message, and a history that comes with it, are judged before the engine gets them; retrieved nodes before
    they reach a prompt; the answer, and the question that some engines write for the retriever, inside of the LLM, so
    that the memory and a stream get only what may pass. The memory is the one of the engine; what it holds before is
    judged with the first message. What the blocks of a `Memory` bring is judged as a document each time, and left out
    where it may not pass.

    Args:
        engine: A chat engine with an LLM (`index.as_chat_engine(...)`, `SimpleChatEngine` and the like). It is copied.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        on_block: "refuse": the answer is the policy's refusal, and `metadata["qwen3guard"]` has the decision; answers
            that are streamed have no metadata. "raise": a `BlockedError`. Blocked nodes and memory blocks are left out.

    Raises:
        GuardConfigurationError: `engine` is no chat engine, there is no LLM in it that could be guarded, or a setting
            is unknown.

    While it answers: `BlockedError` as above; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise.
    """

    def __init__(
        self,
        engine: BaseChatEngine,
        guard: Guard | Screener | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        *,
        on_block: OnBlock = "refuse",
    ) -> None:
        if not isinstance(engine, BaseChatEngine):
            raise GuardConfigurationError(f"Qwen3GuardChatEngine takes a chat engine, not {type(engine).__name__}")
        if on_block not in ("refuse", "raise"):
            raise GuardConfigurationError(f"on_block={on_block!r}: it is 'refuse' or 'raise'")
        screener = Screener.of(guard, policy)
        inside = Inside(Screens(screener, on_block, prompt=False))
        self._screens = Screens(screener, on_block)
        self._engine = inside.guarded(engine)
        self._unjudged = list(engine.chat_history)
        if not inside.guarded_llms:
            raise GuardConfigurationError(
                f"there is no LLM in {type(engine).__name__} that could be guarded",
                hint="guard its model with guard_llm and its nodes with Qwen3GuardNodePostprocessor",
            )

    def reset(self) -> None:
        """Forget the conversation."""
        self._unjudged = []
        self._engine.reset()

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The conversation so far."""
        return self._engine.chat_history

    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AGENT_CHAT_RESPONSE_TYPE:
        """An answer."""
        turn = _Turn.of(self, message, chat_history)
        run(turn.prompt.screened(), self._screens.screener.decide)
        if turn.prompt.stopped:
            return self._refusal(turn.refusal())
        with noticing(Inner()) as inner:
            return _with_decision(self._engine.chat(*turn.given()), inner)

    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AGENT_CHAT_RESPONSE_TYPE:
        """An answer."""
        turn = _Turn.of(self, message, chat_history)
        await arun(turn.prompt.screened(), self._screens.screener.adecide)
        if turn.prompt.stopped:
            return self._refusal(turn.refusal())
        with noticing(Inner()) as inner:
            return _with_decision(await self._engine.achat(*turn.given()), inner)

    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> StreamingAgentChatResponse:
        """An answer, token by token (`response_gen`)."""
        turn = _Turn.of(self, message, chat_history)
        run(turn.prompt.screened(), self._screens.screener.decide)
        if turn.prompt.stopped is None:
            return self._engine.stream_chat(*turn.given())
        return StreamingAgentChatResponse(chat_stream=_only(turn.refusal()), is_writing_to_memory=False)

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """An answer, token by token (`async_response_gen`)."""
        turn = _Turn.of(self, message, chat_history)
        await arun(turn.prompt.screened(), self._screens.screener.adecide)
        if turn.prompt.stopped is None:
            return await self._engine.astream_chat(*turn.given())
        return StreamingAgentChatResponse(achat_stream=_aonly(turn.refusal()), is_writing_to_memory=False)

    @staticmethod
    def _refusal(refusal: ChatResponse) -> AgentChatResponse:
        return AgentChatResponse(response=refusal.message.content or "", metadata=refusal.additional_kwargs)


def _with_decision(response: AGENT_CHAT_RESPONSE_TYPE, inner: Inner) -> AGENT_CHAT_RESPONSE_TYPE:
    """`response`, with the decision for which its LLM has refused in its metadata."""
    if inner.refused is not None and isinstance(response, AgentChatResponse):
        response.metadata = {**(response.metadata or {}), "qwen3guard": entry(inner.refused)}
    return response


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn of the conversation: what the user gives, and, with the first one, what the memory held before."""

    engine: Qwen3GuardChatEngine
    history: list[ChatMessage] | None  # None: the engine's memory
    unjudged: list[ChatMessage]
    prompt: Prompt

    @classmethod
    def of(cls, engine: Qwen3GuardChatEngine, message: str, chat_history: list[ChatMessage] | None) -> _Turn:
        """A turn that begins now; others may be under way."""
        unjudged = engine._unjudged
        history = unjudged if chat_history is None else chat_history
        prompt = Prompt(engine._screens, _MESSAGES, [*history, ChatMessage(content=message)], answers_last=True)
        return cls(engine, chat_history, unjudged, prompt)

    def refusal(self) -> ChatResponse:
        """The refusal in place of an answer."""
        refusal = self.prompt.refusal(streamed=True)
        assert isinstance(refusal, ChatResponse)
        return refusal

    def given(self) -> tuple[str, list[ChatMessage] | None]:
        """Message and history without what may not pass; no history where the engine's memory may stay as it is."""
        *history, message = self.prompt.given
        is_first = self.engine._unjudged is self.unjudged  # else another turn has cleaned the memory meanwhile
        if is_first:
            self.engine._unjudged = []
        same = [*map(id, history)] == [*map(id, self.unjudged)]
        if self.history is None and (same or not is_first):
            return message.content or "", None
        return message.content or "", history


def _only(response: ChatResponse) -> Generator[ChatResponse, None, None]:
    yield response


async def _aonly(response: ChatResponse) -> AsyncGenerator[ChatResponse, None]:
    yield response
