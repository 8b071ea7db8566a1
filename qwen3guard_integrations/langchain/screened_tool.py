"""A view of a tool, for one call, whose result is screened before callbacks, traces and streams see it.

LangChain tells its callbacks what a tool returned as soon as `_run` or `_arun` has returned it; so the screening stands
inside of these.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException

T = TypeVar("T", bound=BaseTool)


class Screen(Protocol):
    """Screens what a tool returned: the value that goes on in its place, or an error."""

    def released(self, output: Any, /) -> Any:
        """What goes on."""
        ...

    async def areleased(self, output: Any, /) -> Any:
        """What goes on."""
        ...


def screened_tool(tool: T, screen: Screen) -> T:
    """A view of `tool` whose results go through `screen`. Same class and fields otherwise, arguments as they are."""
    view = tool.model_copy()
    view.__class__ = _screened_class(type(tool))
    object.__setattr__(view, _SCREEN, screen)
    return view


_SCREEN = "_qwen3guard_screen"


@lru_cache(maxsize=256)
def _screened_class(base: type[BaseTool]) -> Any:
    metaclass: Any = type(base)
    namespace = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_run": _screened_run(base._run),
        "_arun": _screened_arun(base),
        "ainvoke": _ainvoke,
    }
    return metaclass(base.__name__, (base,), namespace)


def _screened_run(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)  # LangChain reads the signature
    def _run(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen: Screen = getattr(self, _SCREEN)
        try:
            output = inner(self, *args, **kwargs)
        except ToolException as error:  # its words are for the model
            raise _said(error, screen.released(str(error))) from None
        return screen.released(output)

    return _run


def _said(error: ToolException, released: str) -> ToolException:
    return error if released == str(error) else ToolException(released)


def _screened_arun(base: type[BaseTool]) -> Callable[..., Awaitable[Any]]:
    """An `_arun` that waits for the screen on the event loop, also where only the tool itself needs a thread."""
    own = base._arun is not BaseTool._arun

    @functools.wraps(base._arun if own else base._run)
    async def _arun(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen: Screen = getattr(self, _SCREEN)
        try:
            if own and _is_async(self):
                output = await base._arun(self, *args, **kwargs)
            else:
                if manager := kwargs.get("run_manager"):
                    kwargs["run_manager"] = manager.get_sync()
                output = await run_in_executor(None, base._run, self, *args, **kwargs)
        except ToolException as error:
            raise _said(error, await screen.areleased(str(error))) from None
        return await screen.areleased(output)

    return _arun


def _is_async(tool: BaseTool) -> bool:
    """Whether `_arun` does the work itself; without a coroutine LangChain's own kinds of tools use their `_run`."""
    return not isinstance(tool, StructuredTool | Tool) or tool.coroutine is not None


async def _ainvoke(self: Any, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
    """By way of `_arun`; LangChain's own kinds of tools would run all of it in a thread."""
    return await BaseTool.ainvoke(cast("BaseTool", self), input, config, **kwargs)
