"""LLMs that say what they are told and remember what they were asked; listeners that keep all they hear."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index_instrumentation import get_dispatcher
from pydantic import Field

from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

CANARY = "poison"
REFUSAL = "I'm sorry, but I can't help with that."


def fake_guard(**settings: Any) -> FakeGuard:
    """Judges whole texts."""
    return FakeGuard({CANARY: "Unsafe"}, **settings)


def token_guard(**settings: Any) -> FakeStreamGuard:
    """Judges token by token too."""
    return FakeStreamGuard({CANARY: "Unsafe"}, **settings)


class WordsLLM(CustomLLM):
    """Completes with its words; everything else LlamaIndex makes of that."""

    words: list[str]
    asked: list[str] = Field(default_factory=list)
    pulled: list[str] = Field(default_factory=list)
    closed: list[bool] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="words")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.asked.append(prompt)
        return CompletionResponse(text="".join(self.words), raw={"whole": "".join(self.words)})

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        self.asked.append(prompt)

        def responses() -> Generator[CompletionResponse, None, None]:
            text = ""
            try:
                for word in self.words:
                    self.pulled.append(word)
                    text += word
                    yield CompletionResponse(text=text, delta=word, raw={"delta": word})
            finally:
                self.closed.append(True)

        return responses()


class ChatLLM(FunctionCallingLLM):
    """A chat model with methods of its own on both lanes: answers with its messages, one after another, streamed as
    providers do: cumulative, thinking first, tool calls last."""

    answers: list[ChatMessage]
    asked: list[list[ChatMessage]] = Field(default_factory=list)
    pulled: list[str] = Field(default_factory=list)
    closed: list[bool] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="chat", is_chat_model=True, is_function_calling_model=True)

    def _answer(self, messages: Sequence[ChatMessage]) -> ChatMessage:
        self.asked.append([message.model_copy(deep=True) for message in messages])
        return self.answers[(len(self.asked) - 1) % len(self.answers)].model_copy(deep=True)

    def _responses(self, messages: Sequence[ChatMessage]) -> Generator[ChatResponse, None, None]:
        answer = self._answer(messages)
        blocks: list[Any] = []
        try:
            for block in answer.blocks:
                for part, delta, extra in _parts(block):
                    self.pulled.append(delta or extra.get("thinking_delta", "") or "call")
                    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[*blocks, part])
                    yield ChatResponse(message=message, delta=delta, raw={"delta": delta}, additional_kwargs=extra)
                blocks.append(block)
        finally:
            self.closed.append(True)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        message = self._answer(messages)
        return ChatResponse(message=message, raw={"whole": str(message)})

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        message = self._answer(messages)
        return ChatResponse(message=message, raw={"whole": str(message)})

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[ChatResponse, None, None]:
        return self._responses(messages)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> AsyncGenerator[ChatResponse, None]:
        async def responses() -> AsyncGenerator[ChatResponse, None]:
            for response in self._responses(messages):
                yield response

        return responses()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion(self.chat([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion(await self.achat([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        return (_completion(response) for response in self.stream_chat([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncGenerator[CompletionResponse, None]:
        async def responses() -> AsyncGenerator[CompletionResponse, None]:
            async for response in await self.astream_chat([ChatMessage(content=prompt)]):
                yield _completion(response)

        return responses()

    def _prepare_chat_with_tools(
        self,
        tools: Any,
        user_msg: Any = None,
        chat_history: Any = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = [*(chat_history or ())]
        if user_msg is not None:
            messages.append(ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg)
        return {"messages": messages}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        return [
            ToolSelection(tool_id=call.tool_call_id or "", tool_name=call.tool_name, tool_kwargs=call.tool_kwargs)
            for call in calls
            if isinstance(call.tool_kwargs, dict)
        ]


def _parts(block: Any) -> Iterator[tuple[Any, str | None, dict[str, Any]]]:
    """The block as it grows: so far, the new text, and what stands beside it."""
    if isinstance(block, ThinkingBlock | TextBlock):
        thinks = isinstance(block, ThinkingBlock)
        text = (block.content if isinstance(block, ThinkingBlock) else block.text) or ""
        so_far = ""
        for word in text.split(" "):
            delta = f" {word}" if so_far else word
            so_far += delta
            part = ThinkingBlock(content=so_far) if thinks else TextBlock(text=so_far)
            yield part, "" if thinks else delta, {"thinking_delta": delta} if thinks else {}
    else:
        yield block, None, {}


def _completion(response: ChatResponse) -> CompletionResponse:
    return CompletionResponse(text=response.message.content or "", delta=response.delta, raw=response.raw)


class StreamLLM(ChatLLM):
    """Streams exactly these responses, and once more asked, the last of its answers."""

    responses: list[ChatResponse]

    def _responses(self, messages: Sequence[ChatMessage]) -> Generator[ChatResponse, None, None]:
        if self.asked:
            yield from super()._responses(messages)
            return
        self._answer(messages)
        yield from self.responses


def stream_llm(*responses: ChatResponse) -> StreamLLM:
    """A model of its own for one test."""
    return StreamLLM(answers=[says("done")], asked=[], pulled=[], closed=[], responses=list(responses))


def says(*blocks: Any) -> ChatMessage:
    """An assistant's message; a string is its text."""
    made = [TextBlock(text=block) if isinstance(block, str) else block for block in blocks]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=made)


def chat_llm(*answers: ChatMessage) -> ChatLLM:
    """A model of its own for one test."""
    return ChatLLM(answers=list(answers), asked=[], pulled=[], closed=[])


def words_llm(*words: str) -> WordsLLM:
    """A model of its own for one test."""
    return WordsLLM(words=list(words), asked=[], pulled=[], closed=[])


class Events(BaseEventHandler):
    """Keeps every event."""

    events: list[BaseEvent] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)


class Spans(BaseSpanHandler[Any]):
    """Keeps what every span was given and gave."""

    heard: list[Any] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Spans"

    def new_span(self, id_: str, bound_args: Any, *args: Any, tags: Any = None, **kwargs: Any) -> None:
        self.heard += [(id_, "in", bound_args.arguments), (id_, "tags", tags)]

    def prepare_to_exit_span(self, id_: str, bound_args: Any, *args: Any, result: Any = None, **kwargs: Any) -> None:
        self.heard.append((id_, "out", result))

    def prepare_to_drop_span(self, id_: str, bound_args: Any, *args: Any, err: Any = None, **kwargs: Any) -> None:
        self.heard.append((id_, "error", err))


@contextmanager
def listening() -> Iterator[tuple[list[BaseEvent], list[Any]]]:
    """What the root dispatcher's handlers hear of events and of spans inside of the block."""
    root = get_dispatcher()
    events, spans = Events(), Spans()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    try:
        yield events.events, spans.heard
    finally:
        root.event_handlers = [handler for handler in root.event_handlers if handler is not events]
        root.span_handlers = [handler for handler in root.span_handlers if handler is not spans]
