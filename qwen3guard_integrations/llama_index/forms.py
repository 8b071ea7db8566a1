"""Chat and completion: the same answer in two forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole

Response = ChatResponse | CompletionResponse


class Form(Protocol):
    """What differs between answers to messages and answers to a text."""

    def messages(self, prompt: Any) -> list[ChatMessage]:
        """The prompt as messages."""

    def prompt(self, messages: Sequence[ChatMessage]) -> Any:
        """Messages as the prompt."""

    def message(self, response: Any) -> ChatMessage:
        """The answer in a response."""

    def response(self, message: ChatMessage, delta: str | None, extra: dict[str, Any]) -> Response:
        """A response with an answer that is not the model's own, or not all of it."""


class ChatForm:
    """Messages in, messages out."""

    def messages(self, prompt: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The prompt itself."""
        return list(prompt)

    def prompt(self, messages: Sequence[ChatMessage]) -> Any:
        """The messages themselves."""
        return list(messages)

    def message(self, response: ChatResponse) -> ChatMessage:
        """The message of the response."""
        return response.message

    def response(self, message: ChatMessage, delta: str | None, extra: dict[str, Any]) -> ChatResponse:
        """Without the provider's raw answer, which repeats what was left out."""
        return ChatResponse(message=message, delta=delta, additional_kwargs=extra)


class CompletionForm:
    """Text in, text out."""

    def messages(self, prompt: str) -> list[ChatMessage]:
        """The text as the user's."""
        return [ChatMessage(content=prompt)]

    def prompt(self, messages: Sequence[ChatMessage]) -> Any:
        """The text of the only message."""
        return messages[0].content or ""

    def message(self, response: CompletionResponse) -> ChatMessage:
        """The text as the assistant's."""
        extra = response.additional_kwargs
        return ChatMessage(role=MessageRole.ASSISTANT, content=response.text, additional_kwargs=extra)

    def response(self, message: ChatMessage, delta: str | None, extra: dict[str, Any]) -> CompletionResponse:
        """Without the provider's raw answer, which repeats what was left out."""
        return CompletionResponse(text=message.content or "", delta=delta, additional_kwargs=extra)
