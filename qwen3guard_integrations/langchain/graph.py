"""LangGraph without an agent: a node that screens the state, and an edge that only looks."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import END
from langgraph.types import Command

from ..core.decision import Decision
from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.protocol import Guard
from .agent_tools import messages_in
from .history import screened
from .messages import refusal_message
from .screener import Screener
from .values import Scope, read, stopping

NodeFlow = Generator[Sequence[Item], list[Decision], Command[Any]]


class GuardNode(Runnable[Any, Command[Any]]):
    """A node that screens the state: what `guard_node` makes."""

    name: str | None = "guard"
    _then: ClassVar[str] = ""
    _blocked: ClassVar[str] = END

    def __init__(self, screener: Screener, messages_key: str, input_key: str | None, point: Point) -> None:
        self.screener = screener
        self._messages_key = messages_key
        self._input_key = input_key
        self._point = point
        self._known = screener.known

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Command[Any]:  # noqa: A002
        """Where the graph goes, with what is changed in the state."""
        return run(self._flow(input), self.screener.decide)

    async def ainvoke(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Command[Any]:
        """Where the graph goes, with what is changed in the state."""
        return await arun(self._flow(input), self.screener.adecide)

    def _flow(self, state: Any) -> NodeFlow:
        return self._messages(state) if self._input_key is None else self._entry(state, self._input_key)

    def _messages(self, state: Any) -> NodeFlow:
        seen = yield from screened(messages_in(state, self._messages_key), self.screener.policy, self._known)
        changes = list(seen.changes)
        if seen.stopped is not None:
            changes.append(self._refusal(seen.stopped))
        update = {self._messages_key: changes} if changes else {}
        return Command(update=update, goto=self._then if seen.stopped is None else self._blocked)

    def _entry(self, state: Any, key: str) -> NodeFlow:
        value = state[key] if isinstance(state, Mapping) else getattr(state, key)
        reading = read(value, Scope(policy=self.screener.policy, point=self._point))
        decisions = yield list(reading.items)
        released = reading.released(decisions)
        update = {} if released is value else {key: released}
        return Command(update=update, goto=self._then if stopping(decisions) is None else self._blocked)

    def _refusal(self, decision: Decision) -> AIMessage:
        message = refusal_message(self.screener.policy.refused(decision), decision, like=None)
        self._known.add([message])
        return message


@lru_cache(maxsize=256)
def _node_class(then: str, blocked: str) -> type[GuardNode]:
    """The class of nodes with these two edges: LangGraph reads them from the type that a node says it returns."""

    def __call__(self: GuardNode, state: Any) -> Any:  # noqa: N807
        return self.invoke(state)

    __call__.__annotations__ = {"return": Command[Literal[then, blocked]]}  # type: ignore[valid-type]
    return type("GuardNode", (GuardNode,), {"_then": then, "_blocked": blocked, "__call__": __call__})


def guard_node(
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    then: str,
    blocked: str = END,
    messages_key: str = "messages",
    input_key: str | None = None,
    point: Point | str = Point.PROMPT,
) -> GuardNode:
    """A node for a `StateGraph`: `graph.add_node("guard", guard_node(guard, then="model"))`.

    It judges every message of the state that it has not judged before, all with one question to the guard, and sends
    the graph on by a `Command`. It owns its outgoing edges, which are drawn right: add none to it, since LangGraph
    would follow a static edge as well, also after a block. Message that do not pass are replaced in the state, in their
    place; after a block the state ends with the refusal. Where the policy says "review", the graph is interrupted until
    a person has decided, as with `HumanInTheLoopMiddleware`.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        then: The node that comes next.
        blocked: The node that comes after a block.
        messages_key: Where the state holds its messages (with LangGraph's `add_messages`).
        input_key: Screen this entry of the state instead, a text, a document or a list of these; after a block it holds
            the refusal.
        point: Of the texts in `input_key`.

    Raises:
        GuardConfigurationError: `guard` is no guard, or both edges are the same.

    When the graph runs: `GuardError` when the guard gives no verdict, unless `Policy.on_guard_error` says otherwise.
    """
    if then == blocked:
        raise GuardConfigurationError("then and blocked are the same node: nothing would be stopped")
    return _node_class(then, blocked)(Screener.of(guard, policy), messages_key, input_key, Point(point))


def guard_edge(
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    safe: str,
    unsafe: str = END,
    messages_key: str = "messages",
) -> Runnable[Any, str]:
    """Where to go, by what the state holds: `graph.add_conditional_edges("x", guard_edge(...), ["model", END])`.

    It only looks and changes nothing: unless every message passes unchanged, it leads to `unsafe`. What is unsafe stays
    in the state; `guard_node` takes it out.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        safe: The node for a state that passes.
        unsafe: The node for any other.
        messages_key: Where the state holds its messages.

    When the graph runs: `GuardError` when the guard gives no verdict, unless `Policy.on_guard_error` says otherwise.
    """
    screener = Screener.of(guard, policy)
    scope = screener.scope(Point.PROMPT)

    def items(state: Any) -> Sequence[Item]:
        return read(list(messages_in(state, messages_key)), scope).items

    def way(decisions: Sequence[Decision]) -> str:
        return safe if all(decision.passes for decision in decisions) else unsafe

    def look(state: Any) -> str:
        return way(screener.decide(items(state)))

    async def alook(state: Any) -> str:
        return way(await screener.adecide(items(state)))

    return RunnableLambda(look, alook, name="guard_edge")
