"""LangChain's own tests for chat models and tools, on guarded ones and on bare ones: both pass the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_tests.integration_tests import ChatModelIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, ToolsUnitTests

from qwen3guard_integrations.langchain import guard_model, guard_tool
from qwen3guard_integrations.testing import FakeGuard

USAGE: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


class Polite(BaseChatModel):
    """Greets, word by word where it streams."""

    model: str = "polite"
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = None

    @property
    def _llm_type(self) -> str:
        return "polite"

    def _chunks(self) -> list[AIMessageChunk]:
        chunks = [AIMessageChunk(content=word) for word in ("Hello ", "there, ", "good ", "friend.")]
        return [
            *chunks,
            AIMessageChunk(
                content="", usage_metadata=USAGE, response_metadata={"model_name": self.model}, chunk_position="last"
            ),
        ]

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        text = "".join(str(chunk.content) for chunk in self._chunks())
        message = AIMessage(text, usage_metadata=USAGE, response_metadata={"model_name": self.model})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            yield ChatGenerationChunk(message=chunk)


GUARDED: Any = type(guard_model(Polite(), FakeGuard()))


class TestBareUnit(ChatModelUnitTests):
    """Without a guard."""

    @property
    def chat_model_class(self) -> Any:
        return Polite

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


class TestGuardedUnit(TestBareUnit):
    """With a guard."""

    @property
    def chat_model_class(self) -> Any:
        return GUARDED


class TestBareIntegration(ChatModelIntegrationTests):
    """Without a guard."""

    @property
    def chat_model_class(self) -> Any:
        return Polite

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


class TestGuardedIntegration(TestBareIntegration):
    """With a guard."""

    @property
    def chat_model_class(self) -> Any:
        return GUARDED


@tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


class TestGuardedTool(ToolsUnitTests):
    """A guarded tool."""

    @property
    def tool_constructor(self) -> Any:
        return guard_tool(add, FakeGuard())

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"a": 1, "b": 2}


class TestGuardedToolIntegration(ToolsIntegrationTests):
    """A guarded tool."""

    @property
    def tool_constructor(self) -> Any:
        return guard_tool(add, FakeGuard())

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"a": 1, "b": 2}
