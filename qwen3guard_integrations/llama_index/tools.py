"""`guard_tool`: guarded copies of tools, for every agent and workflow."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, overload

from llama_index.core.tools import BaseTool, FunctionTool, ToolOutput
from llama_index.core.tools.types import BaseToolAsyncAdapter
from llama_index_instrumentation import get_dispatcher
from workflows import Context
from workflows.runtime.types.results import WaitingForEvent

from ..core.conversation import Conversation, Turn
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import CALL_WITHHELD, Policy, filled
from ..core.screening import Item
from ..core.words import tool_call_text
from ..guards.protocol import Guard
from ..reporting import decision_in
from .calls import WITHHELD
from .reporting import tagging
from .review import Question, approved
from .screener import Screener
from .tool_values import words_of_error, words_of_output
from .undecorated import named, undecorated

T = TypeVar("T", bound=BaseTool)
OnBlock = Literal["message", "raise"]

_CONTEXT: Final = "qwen3guard_context"
"""By this name an agent passes its context to a guarded tool that does not want one."""


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
    """A copy of `tool` whose arguments are judged before it runs, and whose output before anybody gets it.

    Class, metadata and the injection of a workflow's `Context` stay what they were. Of the output everything is judged
    that an agent's events show: the blocks and the `raw_output`. What a tool raises is judged too, since agents show it
    to the model. Event handlers and spans get the clean output. In an agent, `guard_agent` does all of this, and more.

    Args:
        tool: Any tool of LlamaIndex, or several.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts at the points `tool_call` and `tool_output`. "review" at `tool_call` asks a
            person, in a workflow: an `InputRequiredEvent` with the call, answered by a `HumanResponseEvent` with the
            same `call_id` and `response="approve"`; the answer holds for equal calls that come later in the same run.
            Elsewhere it blocks.
        on_block: "message": the model reads that the call or its output was withheld, as a `ToolOutput` with
            `is_error`. "raise": a `BlockedError`.

    Returns:
        The copy, or a list of copies for several tools. A tool that the same guard guards already, with equal settings,
        comes back as it is.

    Raises:
        GuardConfigurationError: `tool` is no tool, or `on_block` is unknown.

    When the tool runs: `BlockedError` as above; `GuardError` when the guard gives no verdict (the tool does not run, or
    its output goes nowhere), unless `Policy.on_guard_error` says otherwise.
    """
    if on_block not in ("message", "raise"):
        raise GuardConfigurationError(f"on_block={on_block!r}: it is 'message' or 'raise'")
    screener = Screener.of(guard, policy)
    tools = tool if isinstance(tool, Sequence) else [tool]
    guarded = [_guarded(one, _ToolScreen(screener, on_block == "raise")) for one in tools]
    return guarded if isinstance(tool, Sequence) else guarded[0]


def _guarded(tool: T, screen: _ToolScreen) -> T:
    if not isinstance(tool, BaseTool):
        raise GuardConfigurationError(
            f"guard_tool takes tools, not {type(tool).__name__}",
            hint="FunctionTool.from_defaults makes one of a function",
        )
    base = type(tool)
    if _repeats(screen, base) or (isinstance(tool, BaseToolAsyncAdapter) and _repeats(screen, type(tool.base_tool))):
        return tool
    made = copy.copy(tool)
    made.__class__ = _guarded_class(base, screen)
    return made


def _repeats(screen: _ToolScreen, kind: type) -> bool:
    return any(screen.repeats(vars(base).get("_screen")) for base in kind.__mro__)


# --- what is judged, for both lanes ---

Asks = Generator[Any, Any, Any]
"""Yields items to decide about, or a question to a person; returns what is given in the end."""


@dataclass(frozen=True, slots=True)
class _ToolScreen:
    """Screens calls of tools, and what they give."""

    screener: Screener
    raises: bool

    def repeats(self, other: object) -> bool:
        """Whether a tool that goes through `other` would be judged twice here, to the same end."""
        return isinstance(other, _ToolScreen) and other.raises == self.raises and self.screener.repeats(other.screener)

    def before(self, tool: BaseTool, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asks:
        """What is given in place of the tool's output, if the call may not pass."""
        if WITHHELD in kwargs:  # the model's own words were not let through
            decision = decision_in(kwargs[WITHHELD])
            return self._instead(tool, decision or Decision(point=Point.TOOL_CALL, action=Action.BLOCK))
        written = {key: value for key, value in kwargs.items() if not isinstance(value, Context)}
        if args:
            written = {**written, "input": args[0] if len(args) == 1 else list(args)}
        call = {"name": tool.metadata.name, "args": written}
        text = tool_call_text(call)
        (decision,) = yield [Item(Point.TOOL_CALL, Conversation(turns=(Turn(role="assistant", content=text),)))]
        if decision.action is Action.REVIEW and (yield Question(decision, tool.metadata.get_name(), written)):
            return None
        return None if decision.passes else self._instead(tool, decision)

    def after(self, tool: BaseTool, output: Any) -> Asks:
        """The output, if it may pass."""
        failed = yield from self._failed(words_of_output(output))
        return output if failed is None else self._instead(tool, failed)

    def after_error(self, error: Exception) -> Asks:
        """The error, if its words may pass; one that says what may be said, if not."""
        failed = yield from self._failed(words_of_error(error))
        if failed is None:
            return error
        return (
            BlockedError(failed) if self.raises and failed.stops else ToolError(self.screener.policy.redacted(failed))
        )

    def _failed(self, text: str) -> Generator[Sequence[Item], list[Decision], Decision | None]:
        if not text.strip():
            return None
        (decision,) = yield [Item(Point.TOOL_OUTPUT, Conversation(turns=(Turn(role="tool", content=text),)))]
        return None if decision.passes else decision

    def _instead(self, tool: BaseTool, decision: Decision) -> ToolOutput:
        """What the model reads in place of the output."""
        if self.raises and stopping([decision]) is not None:
            raise BlockedError(decision)
        text = CALL_WITHHELD if decision.point is Point.TOOL_CALL else self.screener.policy.redaction
        return ToolOutput(
            tool_name=tool.metadata.get_name(),
            content=filled(text, decision),
            raw_input={},
            raw_output=None,
            is_error=True,
        )


class ToolError(Exception):
    """Raised in place of a tool's error that may not say what it says."""


# --- guarded classes ---


@lru_cache(maxsize=256)
def _guarded_class(base: type[BaseTool], screen: _ToolScreen) -> Any:
    """`base` with its ways of calling replaced. The screen belongs to the class, so that no copy of a tool loses it."""
    metaclass: Any = type(base)
    made = metaclass(base.__name__, (base,), {"__module__": base.__module__, "__doc__": base.__doc__})
    # After the class is made: LlamaIndex would put a span around each method, which tells the arguments unjudged.
    made._screen, made._beneath = screen, _bare_class(base)
    span = get_dispatcher(base.__module__).span
    for name in _methods_of(base):
        setattr(made, name, _judging(name))
        setattr(made, f"_told_{name}", span(_telling(name)))
    # As of any tool: a FunctionTool would give away its function.
    made.to_langchain_tool = BaseTool.to_langchain_tool
    made.to_langchain_structured_tool = BaseTool.to_langchain_structured_tool
    if screen.screener.policy.reviews(Point.TOOL_CALL) and issubclass(base, FunctionTool):
        # An agent passes its context to tools that want one: here, to ask a person.
        made.requires_context = property(lambda self: True)
        made.ctx_param_name = property(lambda self: vars(self)["ctx_param_name"] or _CONTEXT)
    return made


@lru_cache(maxsize=256)
def _bare_class(base: type[BaseTool]) -> Any:
    """`base` with methods that tell nobody what they return."""
    metaclass: Any = type(base)
    made = metaclass(base.__name__, (base,), {"__module__": base.__module__})
    for name in _methods_of(base):
        setattr(made, name, undecorated(getattr(base, name)))
    return made


def _methods_of(base: type[BaseTool]) -> list[str]:
    return [name for name in ("__call__", "call", "acall") if hasattr(base, name)]


def _beneath(guarded: Any) -> Any:
    """The tool without the guard: another view of the same state."""
    view = object.__new__(guarded._beneath)
    object.__setattr__(view, "__dict__", vars(guarded))
    return view


def _judging(name: str) -> Any:
    """The method of a guarded tool: judges the arguments, and lets `_told_<name>` do the rest."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop(_CONTEXT, None)
        screen: _ToolScreen = self._screen
        decisions: list[Decision] = []

        def answer(ask: Any) -> Any:
            if isinstance(ask, Question):  # nobody can be asked here
                return False
            decisions.extend(screen.screener.decide(ask))
            return decisions

        instead = run(screen.before(self, args, kwargs), answer)
        with tagging(decisions):
            return getattr(self, f"_told_{name}")(*args, **kwargs) if instead is None else instead

    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen: _ToolScreen = self._screen
        context = kwargs.pop(_CONTEXT, None) or next((one for one in kwargs.values() if isinstance(one, Context)), None)
        decisions: list[Decision] = []

        async def answer(ask: Any) -> Any:
            if isinstance(ask, Question):
                return await approved(context, ask)
            decisions.extend(await screen.screener.adecide(ask))
            return decisions

        instead = await arun(screen.before(self, args, kwargs), answer)
        with tagging(decisions):
            return await getattr(self, f"_told_{name}")(*args, **kwargs) if instead is None else instead

    return named(acall if name == "acall" else call, name)


def _telling(name: str) -> Any:
    """What the tool gives, judged: of this event handlers and spans are told."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen: _ToolScreen = self._screen
        try:
            output = getattr(_beneath(self), name)(*args, **kwargs)
        except WaitingForEvent:
            raise
        except Exception as error:  # noqa: BLE001  # it is raised again, or another in its place
            caught = error
        else:
            return run(screen.after(self, output), screen.screener.decide)
        # Here, where nothing that is raised has a context that says the same words.
        raise run(screen.after_error(caught), screen.screener.decide)

    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        screen: _ToolScreen = self._screen
        try:
            output = await getattr(_beneath(self), name)(*args, **kwargs)
        except WaitingForEvent:
            raise
        except Exception as error:  # noqa: BLE001  # it is raised again, or another in its place
            caught = error
        else:
            return await arun(screen.after(self, output), screen.screener.adecide)
        raise await arun(screen.after_error(caught), screen.screener.adecide)

    return named(acall if name == "acall" else call, name)
