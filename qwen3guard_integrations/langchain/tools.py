"""`guard_tool`: a guarded copy of a tool, wherever it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.tools.base import _get_runnable_config_param, get_all_basemodel_annotations

from ..core.decision import Decision, stopping
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.points import Point
from ..core.policy import CALL_WITHHELD, Policy, filled
from ..guards.protocol import Guard
from .screened_tool import call_id, lasting_screened_tool, screens_of
from .screener import Screener
from .tool_values import read_call, read_result
from .values import Reading

T = TypeVar("T", bound=BaseTool)
OnBlock = Literal["message", "raise"]


@overload
def guard_tool(
    tool: T,
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    on_block: OnBlock = "message",
) -> T: ...


@overload
def guard_tool(
    tool: Sequence[T],
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    on_block: OnBlock = "message",
) -> list[T]: ...


def guard_tool(
    tool: T | Sequence[T],
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    on_block: OnBlock = "message",
) -> T | list[T]:
    """A copy of `tool` whose arguments are judged before it runs, and whose results before anybody gets them.

    The class, the schema, injected arguments (state, store, runtime, configuration) and the artifact stay what they
    were. Callbacks, traces and streams get the clean result; with `on_tool_start` LangChain tells them the arguments
    before any tool can look at them. In an agent `Qwen3GuardMiddleware` does all of this, and more: its tools need no
    guard of their own.

    Args:
        tool: Any LangChain tool, or several.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts at the points `tool_call` and `tool_output`. What is redacted or dropped is
            replaced by the policy's `redaction`.
        on_block: "message": the model reads that the call or its result was withheld, as a tool message with the status
            "error" where the tool was called with a tool call. "raise": a `BlockedError`.

    Returns:
        The copy, or a list of copies for several tools. A tool that the same guard guards already, with equal settings,
        comes back as it is.

    Raises:
        GuardConfigurationError: `tool` is no tool, or `on_block` is unknown.

    When the tool runs: `BlockedError` as above; `GuardError` when the guard gives no verdict (the tool does not run, or
    its result goes nowhere), unless `Policy.on_guard_error` says otherwise; `TypeError` for a result in which no texts
    can be found.
    """
    if on_block not in ("message", "raise"):
        raise GuardConfigurationError(f"on_block={on_block!r}: it is 'message' or 'raise'")
    screener = Screener.of(guard, policy)
    tools = tool if isinstance(tool, Sequence) else [tool]
    guarded = [_guarded(one, screener, raises=on_block == "raise") for one in tools]
    return guarded if isinstance(tool, Sequence) else guarded[0]


def _guarded(tool: T, screener: Screener, *, raises: bool) -> T:
    if not isinstance(tool, BaseTool):
        raise GuardConfigurationError(
            f"guard_tool takes tools, not {type(tool).__name__}", hint="make one of a function with @tool"
        )
    screen = _ToolScreen(screener, tool, raises)
    return tool if any(map(screen.repeats, screens_of(tool))) else lasting_screened_tool(tool, screen)


class _ToolScreen:
    """Screens the calls of one tool, and what it returns."""

    def __init__(self, screener: Screener, tool: BaseTool, raises: bool) -> None:
        self._screener = screener
        self._name = tool.name
        self._paired = tool.response_format == "content_and_artifact"
        self._raises = raises
        self._injected = _injected(tool)

    def repeats(self, other: object) -> bool:
        """Whether a tool that goes through `other` would be judged twice here, to the same end."""
        return (
            isinstance(other, _ToolScreen)
            and other._screener.guard.guard is self._screener.guard.guard
            and (other._screener.policy, other._raises) == (self._screener.policy, self._raises)
        )

    def before(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Any:
        """The message that the call is withheld, if it is."""
        return self._instead(self._screener.decide(self._call(args, kwargs).items))

    async def abefore(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Any:
        """The message that the call is withheld, if it is."""
        return self._instead(await self._screener.adecide(self._call(args, kwargs).items))

    def after(self, output: Any, /) -> Any:
        """The output, if it may pass."""
        reading = self._reading(output)
        return self._released(output, reading, self._screener.decide(reading.items))

    async def aafter(self, output: Any, /) -> Any:
        """The output, if it may pass."""
        reading = self._reading(output)
        return self._released(output, reading, await self._screener.adecide(reading.items))

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Reading:
        """The reading of what the model wrote; injected arguments are not its words."""
        if args:
            written: dict[str, Any] = {"input": args[0] if len(args) == 1 else list(args)}
        else:
            written = {key: value for key, value in kwargs.items() if not self._is_injected(key, value)}
        return read_call(self._name, written, self._screener.scope(Point.TOOL_CALL))

    def _is_injected(self, key: str, value: object) -> bool:
        return key in self._injected or isinstance(value, BaseRunManager)

    def _instead(self, decisions: Sequence[Decision]) -> Any:
        failed = self._failed(decisions)
        return None if failed is None else self._as_output(self._error(filled(CALL_WITHHELD, failed)))

    def _reading(self, output: Any) -> Reading:
        call = {"name": self._name, "id": call_id()}
        return read_result(self._content_of(output), call, self._screener.scope(Point.TOOL_OUTPUT))

    def _released(self, output: Any, reading: Reading, decisions: Sequence[Decision]) -> Any:
        if self._failed(decisions) is None:
            return output
        released = reading.released(decisions)
        return self._as_output(self._error(released) if isinstance(released, str) else released)

    def _failed(self, decisions: Sequence[Decision]) -> Decision | None:
        failed = [decision for decision in decisions if not decision.passes]
        if self._raises and (stop := stopping(failed)) is not None:
            raise BlockedError(stop)
        return max(failed, key=lambda decision: decision.action) if failed else None

    def _error(self, text: str) -> str | ToolMessage:
        """`text` as the result of the tool; a tool message where there is a call that it can answer."""
        answered = call_id()
        if answered is None:
            return text
        return ToolMessage(text, name=self._name, tool_call_id=answered, status="error")

    def _as_output(self, content: Any) -> Any:
        return (content, None) if self._paired else content

    def _content_of(self, output: Any) -> Any:
        return output[0] if self._paired and isinstance(output, tuple) and len(output) == 2 else output


def _injected(tool: BaseTool) -> frozenset[str]:
    """The arguments that the model cannot see. Others than these are its own, also those that no schema names."""
    configs = filter(None, map(_get_runnable_config_param, (tool._run, tool._arun)))
    hidden = (
        () if isinstance(tool.args_schema, dict) else _fields(tool.get_input_schema()) - _fields(tool.tool_call_schema)
    )
    return frozenset((*configs, *tool._injected_args_keys, *hidden))


def _fields(schema: Any) -> set[str]:
    return set(get_all_basemodel_annotations(schema))
