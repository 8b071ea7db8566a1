"""`guard_step`: the texts that go into a step of a workflow, and those that come out of it."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Final, TypeVar

from llama_index.core.workflow import Event, StopEvent

from ..core.conversation import Conversation, Role, Turn
from ..core.decision import Decision, stopping
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.protocol import Guard
from .answer import OnBlock
from .screener import Screener

_RESULT: Final = "_result"  # where a StopEvent keeps what it gives
F = TypeVar("F", bound=Callable[..., Any])
_ROLES: Final[Mapping[Point, Role]] = {
    Point.RESPONSE: "assistant",
    Point.REASONING: "assistant",
    Point.TOOL_CALL: "assistant",
    Point.TOOL_OUTPUT: "tool",
}


def guard_step(
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    takes: Mapping[str, Point | str] | None = None,
    gives: Mapping[str, Point | str] | None = None,
    on_block: OnBlock = "refuse",
) -> Callable[[F], F]:
    """A decorator for steps of your own workflows: named texts of the events are judged on their way.

    It stands below `@step`:

        @step
        @guard_step(guard, takes={"question": "prompt"}, gives={"result": "response"})
        async def answer(self, ev: StartEvent) -> StopEvent: ...

    What the step takes is judged before it begins, what it gives before the event goes on, each with one question.
    What the policy redacts or drops is replaced by its `redaction` in a copy of the event. Steps that give the same
    guard a `Screener` pay for no text twice. What a step itself writes into the stream of events, no decorator can see.
    A step that is a plain `def` stays one, and waits for the guard in the thread that LlamaIndex gives it.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes. There is nobody to ask: "review" blocks.
        takes: Fields of the event that the step takes, and their screening points. None is left alone; anything else
            must be a string. Of a step for several kinds of events each is judged by the fields that it has.
        gives: Fields of the event that it gives.
        on_block: "refuse": the workflow ends with a `StopEvent` whose result is the policy's refusal. "raise": the step
            raises a `BlockedError`.

    Raises:
        GuardConfigurationError: No field is named; a point is unknown; or `on_block` is, or is "refuse" for a step that
            gives no `StopEvent`, or whose event is one with fields of its own.

    While the step runs: `BlockedError` as above; `TypeError` for a field that is no string; `GuardConfigurationError`
    for one that the event does not have; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise.
    """
    if not (takes or gives):
        raise GuardConfigurationError(
            "guard_step judges nothing: no field is named", hint='such as takes={"question": "prompt"}'
        )
    if on_block not in ("refuse", "raise"):
        raise GuardConfigurationError(f"on_block={on_block!r}: it is 'refuse' or 'raise'")
    screener = Screener.of(guard, policy)
    taken, given = _points(takes), _points(gives)

    def decorate(function: F) -> F:
        screen = _StepScreen(screener, taken, given, on_block == "raise", *_several(function))
        if on_block == "refuse" and not _may_stop(function):
            raise GuardConfigurationError(
                f"{function.__name__} cannot end the workflow with a refusal: it gives no StopEvent",
                hint='add StopEvent to what it is annotated to return, or choose on_block="raise"',
            )
        decide, adecide = screener.decide, screener.adecide

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            flow = screen.around(partial(function, *args, **kwargs))
            return run(flow, lambda ask: ask() if isinstance(ask, partial) else decide(ask))

        @wraps(function)
        async def aguarded(*args: Any, **kwargs: Any) -> Any:
            async def answer(ask: Any) -> Any:
                return await (ask() if isinstance(ask, partial) else adecide(ask))

            return await arun(screen.around(partial(function, *args, **kwargs)), answer)

        return aguarded if inspect.iscoroutinefunction(function) else guarded  # type: ignore[return-value]

    return decorate


@dataclass(frozen=True, slots=True)
class _StepScreen:
    """Screens what a step takes and gives.

    Attributes:
        takes_several: The step takes events of several kinds, of which each may lack fields of the others.
        gives_several: It gives some.
    """

    screener: Screener
    takes: Mapping[str, Point]
    gives: Mapping[str, Point]
    raises: bool
    takes_several: bool
    gives_several: bool

    def around(self, step: partial[Any]) -> Generator[Any, Any, Any]:
        """What the step gives; yields what is to be decided, and the step when it is to be called."""
        policy = self.screener.policy
        event = next((one for one in (*step.args, *step.keywords.values()) if isinstance(one, Event)), None)
        texts = _texts(event, self.takes, self.takes_several)
        stopped, changed = yield from _screened(event, texts, (), policy)
        if stopped is None:
            args = [changed if one is event else one for one in step.args]
            kwargs = {name: changed if one is event else one for name, one in step.keywords.items()}
            result = yield partial(step.func, *args, **kwargs)
            asked = tuple(Turn(role="user", content=text) for _, point, text in texts if point is Point.PROMPT)
            stopped, changed = yield from _screened(
                result, _texts(result, self.gives, self.gives_several), asked, policy
            )
        if stopped is None:
            return changed
        if self.raises:
            raise BlockedError(stopped)
        return StopEvent(result=policy.refused(stopped))


def _points(fields: Mapping[str, Point | str] | None) -> dict[str, Point]:
    try:
        return {name: Point(point) for name, point in (fields or {}).items()}
    except ValueError as error:
        raise GuardConfigurationError(str(error), hint=f"known are {', '.join(Point)}") from None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """What a step is annotated with; as strings where it names events that only the function knows in which the
    workflow is defined."""
    function = inspect.unwrap(function)
    try:
        return typing.get_type_hints(function)
    except NameError:
        return {name: str(hint) for name, hint in function.__annotations__.items()}


def _may_stop(function: Callable[..., Any]) -> bool:
    """Whether a plain `StopEvent` is among what a step is annotated to give."""
    hint = _hints(function).get("return")
    if isinstance(hint, str):
        return "StopEvent" in re.findall(r"\w+", hint)
    return StopEvent in (hint, *typing.get_args(hint))


def _several(function: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether a step takes, and gives, events of several kinds."""
    hints = _hints(function)
    given = hints.pop("return", None)
    return any(map(_is_union, hints.values())), _is_union(given)


def _is_union(hint: Any) -> bool:
    if isinstance(hint, str):
        return "|" in hint or "Union" in hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and len(kinds) > 1


Text = tuple[str, Point, str]


def _texts(event: Any, fields: Mapping[str, Point], several: bool) -> list[Text]:
    """The texts in the fields of an event; one that the only kind of event lacks is a mistake."""
    found = []
    for name, point in fields.items():
        if event is not None and not several and not hasattr(event, name):
            raise GuardConfigurationError(
                f"guard_step: {type(event).__name__} has no field {name!r}", hint="name another one, or give it None"
            )
        text = getattr(event, name, None)
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{type(event).__name__}.{name} is a {type(text).__name__}; guard_step judges strings")
        if text and text.strip():
            found.append((name, point, text))
    return found


def _screened(
    event: Any, texts: Sequence[Text], context: tuple[Turn, ...], policy: Policy
) -> Generator[Sequence[Item], list[Decision], tuple[Decision | None, Any]]:
    """What stops the workflow, and the event that goes on: the same one where all passes."""
    decisions = yield [Item(point, _conversation(point, text, context)) for _, point, text in texts]
    failed = {name: decision for (name, *_), decision in zip(texts, decisions, strict=True) if not decision.passes}
    stopped = stopping(decisions)
    if stopped is not None or not failed:
        return stopped, event
    copy = event.model_copy()
    copy._data = dict(event._data)  # the fields that no class declares
    for name, decision in failed.items():
        setattr(copy, _RESULT if name == "result" and isinstance(event, StopEvent) else name, policy.redacted(decision))
    return None, copy


def _conversation(point: Point, text: str, context: tuple[Turn, ...]) -> Conversation:
    reasoning = point is Point.REASONING
    turn = Turn(role=_ROLES.get(point, "user"), content="" if reasoning else text, reasoning=text if reasoning else "")
    return Conversation(turns=(*(context if turn.role == "assistant" else ()), turn))
