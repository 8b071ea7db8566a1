"""Every way in which LangChain runs a chat model, as iterators of what the consumer is given."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.tools import tool

Way = Callable[[Any, Any], AsyncIterator[Any]]
ASKED = [HumanMessage("q")]
STATE: Any = {"messages": ASKED}


@tool
def search(q: str) -> str:
    """Look something up."""
    return q


def agent(model: Any, config: Any) -> Any:
    """An agent around the model; `config` may hold a list of tools under "tools"."""
    return create_agent(model, config.get("tools", [search]))


async def _drain(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _pass(items: Any) -> AsyncIterator[Any]:
    async for item in items:
        yield item


async def invoke(model: Any, config: Any) -> AsyncIterator[Any]:
    yield model.invoke(ASKED)


async def ainvoke(model: Any, config: Any) -> AsyncIterator[Any]:
    yield await model.ainvoke(ASKED)


def stream(model: Any, config: Any) -> AsyncIterator[Any]:
    return _drain(model.stream(ASKED))


def astream(model: Any, config: Any) -> AsyncIterator[Any]:
    return _pass(model.astream(ASKED))


def chain_stream(model: Any, config: Any) -> AsyncIterator[Any]:
    return _drain((model | StrOutputParser()).stream(ASKED))


def chain_astream(model: Any, config: Any) -> AsyncIterator[Any]:
    return _pass((model | StrOutputParser()).astream(ASKED))


def events(model: Any, config: Any) -> AsyncIterator[Any]:
    return _pass((model | StrOutputParser()).astream_events(ASKED, version="v2"))


def model_v3(model: Any, config: Any) -> AsyncIterator[Any]:
    return _drain(model.stream_events(ASKED, version="v3"))


async def model_av3(model: Any, config: Any) -> AsyncIterator[Any]:
    async for event in await model.astream_events(ASKED, version="v3"):
        yield event


async def agent_invoke(model: Any, config: Any) -> AsyncIterator[Any]:
    yield agent(model, config).invoke(STATE)


async def agent_ainvoke(model: Any, config: Any) -> AsyncIterator[Any]:
    yield await agent(model, config).ainvoke(STATE)


def agent_stream(mode: Any) -> Way:
    return lambda model, config: _drain(agent(model, config).stream(STATE, stream_mode=mode))


def agent_astream(mode: Any) -> Way:
    return lambda model, config: agent(model, config).astream(STATE, stream_mode=mode)


def agent_events(model: Any, config: Any) -> AsyncIterator[Any]:
    return _pass(agent(model, config).astream_events(STATE, version="v2"))


async def agent_v3(model: Any, config: Any) -> AsyncIterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = agent(model, config).stream_events(STATE, version="v3")
        for event in run:
            yield event
        yield run.output


async def agent_av3(model: Any, config: Any) -> AsyncIterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = await agent(model, config).astream_events(STATE, version="v3")
        async for event in run:
            yield event
        yield await run.output()


WAYS: dict[str, Way] = {
    "invoke": invoke,
    "ainvoke": ainvoke,
    "stream": stream,
    "astream": astream,
    "chain stream": chain_stream,
    "chain astream": chain_astream,
    "events v2": events,
    "events v3": model_v3,
    "async events v3": model_av3,
    "agent invoke": agent_invoke,
    "agent ainvoke": agent_ainvoke,
    "agent messages": agent_stream("messages"),
    "agent async messages": agent_astream("messages"),
    "agent updates and values": agent_stream(["updates", "values"]),
    "agent async updates and values": agent_astream(["updates", "values"]),
    "agent events v2": agent_events,
    "agent events v3": agent_v3,
    "agent async events v3": agent_av3,
}
