"""LangChain's own tests for chat models and tools, on guarded ones and on bare ones: both pass the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ChatModelIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, ToolsUnitTests

from qwen3guard_integrations.langchain import guard_model, guard_tool
from qwen3guard_integrations.testing import FakeGuard

from .helpers import asked

USAGE: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


class Polite(BaseChatModel):
    """Greets, word by word where it streams. Asked with tools, it calls the one it is to choose, or the first."""

    model: str = "polite"
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = None

    @property
    def _llm_type(self) -> str:
        return "polite"

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], tool_choice=tool_choice, **kwargs)

    def _chunks(
        self, messages: list[BaseMessage], *, model: str = "", tools: Any = (), tool_choice: Any = None, **_: Any
    ) -> list[AIMessageChunk]:
        end = AIMessageChunk(
            content="",
            usage_metadata=USAGE,
            response_metadata={"model_name": model or self.model},
            chunk_position="last",
        )
        named = [one["function"] for one in tools if one["function"]["name"] == tool_choice]
        if tools and isinstance(messages[-1], HumanMessage):
            return [*_called((named or [tools[0]["function"]])[0], messages[-1].text), end]
        return [*(AIMessageChunk(content=word) for word in ("Hello ", "there, ", "good ", "friend.")), end]

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        first, *rest = self._chunks(messages, **kwargs)
        whole = add_ai_message_chunks(first, *rest)
        message = AIMessage(
            content=whole.content,
            tool_calls=whole.tool_calls,
            usage_metadata=whole.usage_metadata,
            response_metadata=whole.response_metadata,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, **kwargs):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, **kwargs):
            yield ChatGenerationChunk(message=chunk)


def _called(function: dict[str, Any], said: str) -> list[AIMessageChunk]:
    """A call with 3 for every number and the user's words for every text, in three pieces."""
    wanted = function["parameters"]["properties"]
    written = json.dumps({name: 3 if one.get("type") == "integer" else said for name, one in wanted.items()})
    pieces: list[Any] = [
        {"name": function["name"], "args": "", "id": "call-1", "index": 0},
        {"name": None, "args": written[:7], "id": None, "index": 0},
        {"name": None, "args": written[7:], "id": None, "index": 0},
    ]
    return [AIMessageChunk(content="", tool_call_chunks=[piece]) for piece in pieces]


JUDGE = FakeGuard()
GUARDED: Any = type(guard_model(Polite(), JUDGE))


def test_the_guarded_class_guards() -> None:
    JUDGE.calls.clear()
    message = GUARDED().bind_tools([add]).invoke("Add.")
    assert message.tool_calls
    assert asked(JUDGE) == ["Add.", 'add({"a": 3, "b": 3})']


class TestBareUnit(ChatModelUnitTests):
    """Without a guard."""

    @property
    def chat_model_class(self) -> Any:
        return Polite

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {}


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
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "very-polite"


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
