"""A copy of a tool whose calls and results go through a screen, before callbacks, traces and streams see a result.

LangChain tells its callbacks what a tool returned as soon as `_run` or `_arun` has returned it; so the screen stands
inside of these. The copy is of a class made on the fly from the tool's own, so that `isinstance`, schemas and injected
arguments stay what they were.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException
from langchain_core.tools.base import _format_output, _handle_tool_error, _handle_validation_error
from langgraph.errors import GraphBubbleUp, ParentCommand
from pydantic import ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from ..core.errors import GuardConfigurationError, Qwen3GuardError

T = TypeVar("T", bound=BaseTool)

_LANGCHAINS: Final = (BaseTool.ainvoke, StructuredTool.ainvoke, Tool.ainvoke)
_DEEPEST: Final = 5
_NO_WORDS: Final = (GraphBubbleUp, Qwen3GuardError)  # interrupts, and errors that never hold a text


class Screen(Protocol):
    """Screens the calls of a tool, and what it returns."""

    def before(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Any:
        """What is returned in place of running the tool; None to run it."""
        ...

    async def abefore(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Any:
        """What is returned in place of running the tool; None to run it."""
        ...

    def after(self, output: Any, /) -> Any:
        """What is returned in place of `output`."""
        ...

    async def aafter(self, output: Any, /) -> Any:
        """What is returned in place of `output`."""
        ...


_VIEWED: Final[ContextVar[Mapping[str, Screen]]] = ContextVar("qwen3guard_viewed", default=MappingProxyType({}))
"""The screens of views, each by its place: the guards of one agent may have a view each of the same tool."""


def screened_tool(tool: T, screen: Screen) -> T:
    """A copy of `tool` that goes through `screen`, and through the screens that it went through before."""
    copy = tool.model_copy()
    copy.__class__ = _screened_class(type(tool))
    object.__setattr__(copy, _place_of_screen(type(tool)), screen)
    return copy


def lasting_screened_tool(tool: T, screen: Screen) -> T:
    """As `screened_tool`. The screen belongs to the class, so that no way of copying or rebuilding a tool loses it."""
    hashed: Any = screen
    copy = tool.model_copy()
    copy.__class__ = _screened_class(type(tool), hashed)
    return copy


def screens_of(tool: BaseTool) -> Iterator[Screen]:
    """The screens that `tool` itself goes through."""
    for number in range(getattr(tool, "_qwen3guard_screens", 0)):
        if (screen := getattr(tool, f"_qwen3guard_screen_{number}", None)) is not None:
            yield screen


@contextmanager
def viewing(tool: BaseTool, screen: Screen) -> Iterator[BaseTool]:
    """Another view of `tool`, with the same state, whose calls inside of the block go through `screen`."""
    view: Any = object.__new__(_screened_class(type(tool)))
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(view, name, getattr(tool, name))
    token = _VIEWED.set({**_VIEWED.get(), _place_of_screen(type(tool)): screen})
    try:
        yield view
    finally:
        _VIEWED.reset(token)


def _screen_of(tool: Any, place: str) -> Screen:
    screen: Screen | None = getattr(tool, place, None) or _VIEWED.get().get(place)
    if screen is None:
        raise GuardConfigurationError("a tool that an agent's guard had in its hands was called by somebody else")
    return screen


def _place_of_screen(base: type[BaseTool]) -> str:
    """The attribute for the screen around the methods of `base`; tools may be screened more than once."""
    return f"_qwen3guard_screen_{getattr(base, '_qwen3guard_screens', 0)}"


@lru_cache(maxsize=256)
def _screened_class(base: type[BaseTool], screen: Screen | None = None) -> Any:
    metaclass: Any = type(base)
    place = _place_of_screen(base)
    namespace: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__annotations__": {"_qwen3guard_screens": ClassVar, place: ClassVar},
        "_qwen3guard_screens": getattr(base, "_qwen3guard_screens", 0) + 1,
        "_run": _screened_run(base),
        "_arun": _screened_arun(base),
        **({"ainvoke": _ainvoke} if base.ainvoke in _LANGCHAINS else {}),
        "run": _run_of(base),
        "arun": _arun_of(base),
    }
    if screen is not None:
        namespace[place] = screen
    return metaclass(base.__name__, (base,), namespace)


_CALL_ID: Final[ContextVar[str | None]] = ContextVar("qwen3guard_call_id", default=None)


def call_id() -> str | None:
    """The id of the tool call that is being screened; None where the tool was called without one."""
    return _CALL_ID.get()


def _run_of(base: type[BaseTool]) -> Callable[..., Any]:
    @functools.wraps(base.run)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _CALL_ID.set(kwargs.get("tool_call_id"))
        try:
            return base.run(self, *args, **kwargs)
        finally:
            _CALL_ID.reset(token)

    return run


def _arun_of(base: type[BaseTool]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(base.arun)
    async def arun(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _CALL_ID.set(kwargs.get("tool_call_id"))
        try:
            return await base.arun(self, *args, **kwargs)
        finally:
            _CALL_ID.reset(token)

    return arun


def _screened_run(base: type[BaseTool]) -> Callable[..., Any]:
    place = _place_of_screen(base)

    @functools.wraps(base._run)  # LangChain reads the signature
    def _run(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen = _screen_of(self, place)
        if (instead := screen.before(args, kwargs)) is not None:
            return instead
        try:
            output = base._run(self, *args, **kwargs)
        except ParentCommand as parent:
            caught: Exception = parent
        except _NO_WORDS:
            raise
        except Exception as error:  # noqa: BLE001  # it is raised again, or what is made of it is
            caught = error
        else:
            return screen.after(output)
        # Here, where nothing that is raised has a context that says the same words.
        said = _said_by(self, caught)
        return _result_of(self, caught, said, screen.after(said))

    return _with_hints(_run, base._run)


def _screened_arun(base: type[BaseTool]) -> Callable[..., Awaitable[Any]]:
    """An `_arun` that waits for the screen on the event loop, also where the tool itself needs a thread."""
    place = _place_of_screen(base)
    inner = base._run if base._arun is BaseTool._arun else base._arun

    @functools.wraps(inner)
    async def _arun(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen = _screen_of(self, place)
        if (instead := await screen.abefore(args, kwargs)) is not None:
            return instead
        try:
            output = await _inner_arun(base, self, args, kwargs)
        except ParentCommand as parent:
            caught: Exception = parent
        except _NO_WORDS:
            raise
        except Exception as error:  # noqa: BLE001  # it is raised again, or what is made of it is
            caught = error
        else:
            return await screen.aafter(output)
        said = _said_by(self, caught)
        return _result_of(self, caught, said, await screen.aafter(said))

    return _with_hints(_arun, inner)


async def _inner_arun(base: type[BaseTool], tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The tool's own work, which without a coroutine of its own is done in a thread."""
    if base._arun is not BaseTool._arun and (_is_screened(base) or _is_async(tool)):
        return await base._arun(tool, *args, **kwargs)
    if manager := kwargs.get("run_manager"):
        kwargs["run_manager"] = manager.get_sync()
    return await run_in_executor(None, base._run, tool, *args, **kwargs)


def _is_screened(base: type[BaseTool]) -> bool:
    return hasattr(base, "_qwen3guard_screens")


def _is_async(tool: BaseTool) -> bool:
    """Whether `_arun` does the work itself; without a coroutine LangChain's own kinds of tools use their `_run`."""
    return not isinstance(tool, StructuredTool | Tool) or tool.coroutine is not None


async def _ainvoke(self: Any, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
    """By way of `_arun`; LangChain's own kinds of tools would run all of it in a thread."""
    return await BaseTool.ainvoke(cast("BaseTool", self), input, config, **kwargs)


def _with_hints(wrapper: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    """`wrapper`, with the types of `inner` worked out once: LangChain looks at them in every call."""
    with suppress(Exception):  # a name that exists for type checkers only
        wrapper.__annotations__ = get_type_hints(inner, include_extras=True)
    return wrapper


def _is_handled(tool: BaseTool, error: Exception) -> bool:
    """Whether LangChain makes a result for the model of `error`, because the tool says so."""
    if isinstance(error, ToolException):
        return bool(tool.handle_tool_error)
    return isinstance(error, ValidationError | ValidationErrorV1) and bool(tool.handle_validation_error)


def _said_by(tool: BaseTool, error: Exception) -> Any:
    """What there is to judge of `error`: what the tool makes of it for the model, or else its words.

    These reach callbacks, traces and checkpoints.
    """
    if isinstance(error, ParentCommand):
        return error.args[0]
    if not _is_handled(tool, error):
        return _words_of(error)
    if isinstance(error, ToolException):
        return _handle_tool_error(error, flag=tool.handle_tool_error or None)
    return _handle_validation_error(cast("ValidationError", error), flag=tool.handle_validation_error or True)


def _result_of(tool: BaseTool, error: Exception, said: Any, released: Any) -> Any:
    """The result where the tool handles `error`.

    Raises:
        Exception: `error`, if it is not handled; one that says what may be said, if it says what may not.
    """
    if isinstance(error, ParentCommand):
        raise error if released is said else ParentCommand(released)
    paired = tool.response_format == "content_and_artifact"
    if paired and isinstance(released, tuple):
        released = released[0]
    if _is_handled(tool, error):
        output = _format_output(released, None, call_id(), tool.name, "error")
        return (output, None) if paired else output
    if released == said:
        raise error
    raise ToolException(released if isinstance(released, str) else str(getattr(released, "content", "")))


def _words_of(error: BaseException, depth: int = 0) -> str:
    """All that an error shows of itself, and of those that it came from."""
    said, shown = str(error), repr(error)
    words = [said, *([] if _is_shown(said, shown) else [shown]), *getattr(error, "__notes__", ())]
    if depth < _DEEPEST:
        others = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
        words += [_words_of(other, depth + 1) for other in dict.fromkeys(others) if other is not None]
    return "\n".join(dict.fromkeys(filter(None, words)))


def _is_shown(said: str, shown: str) -> bool:
    """Whether `shown` says nothing but `said`, and the name of the error."""
    name, _, rest = shown.partition("(")
    return name.isidentifier() and rest in (f"{said!r})", f"{said!r},)", ")")
