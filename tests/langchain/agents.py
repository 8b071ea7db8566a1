"""Guarded agents for the tests, and every way to run one."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import Field

THREAD: Any = {"configurable": {"thread_id": "1"}}


class ScriptedModel(BaseChatModel):
    """Answers by script, one message after another, word by word where it streams; remembers what it was asked."""

    script: list[AIMessage]
    calls: list[list[BaseMessage]] = Field(default_factory=list)
    words: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(tools=[getattr(one, "name", str(one)) for one in tools])

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        self.calls.append(list(messages))
        return self.script[(len(self.calls) - 1) % len(self.script)].model_copy(deep=True)

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._next(messages)
        for chunk in _chunks_of(answer):
            self.words.append(repr(chunk.content))
            yield ChatGenerationChunk(message=chunk.model_copy(update={"id": answer.id}))


def _chunks_of(answer: AIMessage) -> Iterator[AIMessageChunk]:
    if reasoning := answer.additional_kwargs.get("reasoning_content"):
        for word in re.findall(r"\S+\s*", reasoning):
            yield AIMessageChunk(content="", additional_kwargs={"reasoning_content": word})
    for word in re.findall(r"\S+\s*", str(answer.text)):
        yield AIMessageChunk(content=word)
    for index, call in enumerate(answer.tool_calls, 1):
        args = json.dumps(call["args"])
        for place in range(0, len(args), 8):
            first = place == 0
            piece = {
                "name": call["name"] if first else None,
                "args": args[place : place + 8],
                "id": call["id"] if first else None,
                "index": index,
            }
            yield AIMessageChunk(content="", tool_call_chunks=[{**piece, "type": "tool_call_chunk"}])
    usage = answer.usage_metadata
    yield AIMessageChunk(
        content="", usage_metadata=usage, response_metadata=answer.response_metadata, chunk_position="last"
    )


def calls(*queries: str, text: str = "I will look. ", name: str = "search", **settings: Any) -> AIMessage:
    """An answer that calls the tool once for each query."""
    made = [{"name": name, "args": {"q": query}, "id": f"c{number}"} for number, query in enumerate(queries)]
    return AIMessage(text, tool_calls=made, **settings)


def search_tool(results: dict[str, Any] | None = None) -> tuple[BaseTool, list[str]]:
    """A tool that finds what `results` say, and the list of queries that it was run with."""
    ran: list[str] = []

    @tool
    def search(q: str) -> Any:
        """Look something up."""
        ran.append(q)
        return (results or {}).get(q, f"found {q}")

    return search, ran


def agent(
    script: Sequence[AIMessage], *middleware: Any, tools: Sequence[Any] = (), checkpointer: Any = None, **settings: Any
) -> tuple[Any, ScriptedModel]:
    """A real agent with a checkpointer, and its model."""
    model = ScriptedModel(script=list(script))
    made = create_agent(
        model, list(tools), middleware=list(middleware), checkpointer=checkpointer or InMemorySaver(), **settings
    )
    return made, model


def asking(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


# --- every way to run an agent: iterators of everything that the caller is given ---


async def _invoke(agent: Any, state: Any) -> AsyncIterator[Any]:
    yield agent.invoke(state, THREAD)


async def _ainvoke(agent: Any, state: Any) -> AsyncIterator[Any]:
    yield await agent.ainvoke(state, THREAD)


def _stream(mode: Any) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def run(agent: Any, state: Any) -> AsyncIterator[Any]:
        for item in agent.stream(state, THREAD, stream_mode=mode):
            yield item

    return run


def _astream(mode: Any) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def run(agent: Any, state: Any) -> AsyncIterator[Any]:
        async for item in agent.astream(state, THREAD, stream_mode=mode):
            yield item

    return run


async def _events(agent: Any, state: Any) -> AsyncIterator[Any]:
    async for event in agent.astream_events(state, THREAD, version="v2"):
        yield event


async def _v3(agent: Any, state: Any) -> AsyncIterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = agent.stream_events(state, THREAD, version="v3")
        for event in run:
            yield event
        yield run.output


async def _av3(agent: Any, state: Any) -> AsyncIterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = await agent.astream_events(state, THREAD, version="v3")
        async for event in run:
            yield event
        yield await run.output()


RUNS: dict[str, Callable[[Any, Any], AsyncIterator[Any]]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream("values"),
    "astream": _astream("values"),
    "messages": _stream("messages"),
    "async messages": _astream("messages"),
    "updates": _stream("updates"),
    "async updates": _astream("updates"),
    "everything": _stream(["updates", "values", "messages", "custom", "tasks"]),
    "async everything": _astream(["updates", "values", "messages", "custom", "tasks"]),
    "events v2": _events,
    "events v3": _v3,
    "async events v3": _av3,
}
