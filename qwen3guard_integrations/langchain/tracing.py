"""A step's own run in LangChain's traces, with the decisions in it and none of the screened text.

`Runnable._call_with_config` would record input and output word for word, and its streaming counterpart reads the
model to its end after a block; so the run is opened and closed by hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    patch_config,
)

from ..core.decision import Decision


@dataclass(slots=True)
class Run:
    """One run of a step.

    Attributes:
        child: The configuration for runnables that the step calls.
        manager: Who is told what happens in the run.
        decisions: What the step decided so far; the trace shows their summaries as the output of the run.
        stopped: The decision that stopped the value, if one did.
    """

    child: RunnableConfig
    manager: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
    decisions: list[Decision] = field(default_factory=list)
    stopped: Decision | None = None

    @property
    def outputs(self) -> dict[str, Any]:
        return {"output": [decision.summary for decision in self.decisions]}

    def shown(self, chunks: Iterable[Any]) -> Iterator[Any]:
        """`chunks`, which go on, as they pass by those who watch the run (`astream_events`)."""
        passing = iter(chunks)
        for handler in self.manager.handlers:
            if callable(tap := getattr(handler, "tap_output_iter", None)):
                passing = tap(self.manager.run_id, passing)
        return passing

    def ashown(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """`chunks`, which go on, as they pass by those who watch the run (`astream_events`)."""
        passing = chunks
        for handler in self.manager.handlers:
            if callable(tap := getattr(handler, "tap_output_aiter", None)):
                passing = tap(self.manager.run_id, passing)
        return passing


def _opening(runnable: Runnable[Any, Any], config: RunnableConfig) -> dict[str, Any]:
    return {"name": config.get("run_name") or runnable.get_name(), "run_id": config.pop("run_id", None)}


def _child(config: RunnableConfig, manager: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun) -> Run:
    return Run(patch_config(config, callbacks=manager.get_child()), manager)


@contextmanager
def traced(runnable: Runnable[Any, Any], config: RunnableConfig | None) -> Iterator[Run]:
    """A run of `runnable`, ended when the block ends, with the error that it raises if it does."""
    config = ensure_config(config)
    opening = _opening(runnable, config)
    manager = get_callback_manager_for_config(config).on_chain_start(None, {"input": ""}, **opening)
    run = _child(config, manager)
    try:
        yield run
    except GeneratorExit:  # the consumer of a stream has had enough, which is no error
        manager.on_chain_end(run.outputs)
        raise
    except BaseException as error:
        manager.on_chain_error(error)
        raise
    manager.on_chain_end(run.outputs)


@asynccontextmanager
async def atraced(runnable: Runnable[Any, Any], config: RunnableConfig | None) -> AsyncIterator[Run]:
    """A run of `runnable`, ended when the block ends, with the error that it raises if it does."""
    config = ensure_config(config)
    opening = _opening(runnable, config)
    manager = await get_async_callback_manager_for_config(config).on_chain_start(None, {"input": ""}, **opening)
    run = _child(config, manager)
    try:
        yield run
    except GeneratorExit:  # the consumer of a stream has had enough, which is no error
        await manager.on_chain_end(run.outputs)
        raise
    except BaseException as error:
        await manager.on_chain_error(error)
        raise
    await manager.on_chain_end(run.outputs)


@contextmanager
def traced_all(runnable: Runnable[Any, Any], configs: Sequence[RunnableConfig]) -> Iterator[list[Run]]:
    """A run for each input of a batch."""
    with ExitStack() as stack:
        yield [stack.enter_context(traced(runnable, config)) for config in configs]


@asynccontextmanager
async def atraced_all(runnable: Runnable[Any, Any], configs: Sequence[RunnableConfig]) -> AsyncIterator[list[Run]]:
    """A run for each input of a batch."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(atraced(runnable, config)) for config in configs]
