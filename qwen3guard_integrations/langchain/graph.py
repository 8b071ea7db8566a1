"""LangGraph without an agent: a node that screens the state, and an edge that only looks."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import END
from langgraph.types import Command

from ..core.decision import Decision, stopping
from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.protocol import Guard
from .history import screened
from .messages import refusal_message, said_only
from .screener import Screener
from .values import DROPPED, read

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
        messages = _messages_in(state, self._messages_key)
        if any(message.id is None for message in messages):
            raise GuardConfigurationError(
                f"the messages in {self._messages_key!r} have no ids: what may not pass could not be taken out",
                hint="annotate this entry of the state with LangGraph's add_messages",
            )
        seen = yield from screened(messages, self.screener.policy, self._known)
        changes = list(seen.changes)
        if seen.stopped is not None:
            closing = [*_without_open_calls(seen.messages), self._refusal(seen.stopped)]
            self._known.add(closing)
            changes += closing
        update = {self._messages_key: changes} if changes else {}
        return Command(update=update, goto=self._then if seen.stopped is None else self._blocked)

    def _entry(self, state: Any, key: str) -> NodeFlow:
        value = _entry_of(state, key)
        reading = read(value, self.screener.scope(self._point))
        decisions = yield list(reading.items)
        released = reading.released(decisions)
        if released is DROPPED:  # dropping all there is leaves nothing to go on with
            decisions = [decision.blocking() for decision in decisions]
            released = reading.released(decisions)
        update = {} if released is value else {key: released}
        return Command(update=update, goto=self._then if stopping(decisions) is None else self._blocked)

    def _refusal(self, decision: Decision) -> AIMessage:
        refusal = refusal_message(self.screener.policy.refused(decision), decision, like=None)
        return refusal.model_copy(update={"id": str(uuid4())})


def _entry_of(state: Any, key: str) -> Any:
    """An entry of a graph's state: of a dictionary or an object.

    Raises:
        KeyError: There is none of that name. A misspelt name lets nothing pass.
    """
    try:
        return state[key] if isinstance(state, Mapping) else getattr(state, key)
    except (KeyError, AttributeError):
        raise KeyError(f"the state has no entry {key!r}, which is to be screened") from None


def _messages_in(state: Any, key: str) -> Sequence[BaseMessage]:
    return state if isinstance(state, list) else _entry_of(state, key) or ()


def _without_open_calls(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """What takes the place of messages with calls that nobody answers any more: providers refuse such a history."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    changes: list[BaseMessage] = []
    for message in messages:
        if not isinstance(message, AIMessage) or {call["id"] for call in message.tool_calls} <= answered:
            continue
        calls = [call for call in message.tool_calls if call["id"] in answered]
        closed = message.model_copy(update={**said_only(message), "tool_calls": calls, "invalid_tool_calls": []})
        changes.append(closed if calls or closed.content else RemoveMessage(id=str(message.id)))
    return changes


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
    would follow a static edge as well, also after a block. Messages that do not pass are replaced in the state, in
    their place; after a block the state ends with the refusal, and no tool call is left without an answer. Where the
    policy says "review", the graph is interrupted until a person has decided, as with `HumanInTheLoopMiddleware`.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        then: The node that comes next.
        blocked: The node that comes after a block.
        messages_key: Where the state holds its messages (with LangGraph's `add_messages`).
        input_key: Screen this entry of the state instead, a text, a document or a list of these; after a block it holds
            the refusal. Nobody is asked about it: "review" blocks, and so does "drop" where nothing would be left.
        point: Of the texts in `input_key`.

    Raises:
        GuardConfigurationError: `guard` is no guard, or both edges are the same.

    When the graph runs: `GuardError` when the guard gives no verdict, unless `Policy.on_guard_error` says otherwise;
    `KeyError` when the state has no such entry; `GuardConfigurationError` when its messages have no ids, without which
    they cannot be replaced.
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

    When the graph runs: `GuardError` when the guard gives no verdict, unless `Policy.on_guard_error` says otherwise;
    `KeyError` when the state has no such entry.
    """
    screener = Screener.of(guard, policy)
    scope = screener.scope(Point.PROMPT)

    def items(state: Any) -> Sequence[Item]:
        return read(list(_messages_in(state, messages_key)), scope).items

    def way(decisions: Sequence[Decision]) -> str:
        return safe if all(decision.passes for decision in decisions) else unsafe

    def look(state: Any) -> str:
        return way(screener.decide(items(state)))

    async def alook(state: Any) -> str:
        return way(await screener.adecide(items(state)))

    return RunnableLambda(look, alook, name="guard_edge")
