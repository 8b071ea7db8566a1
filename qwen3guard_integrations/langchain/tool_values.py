"""A tool call and what a tool returns, as texts to judge (`values.read`)."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage, RemoveMessage, ToolMessage
from langchain_core.tools.base import TOOL_MESSAGE_BLOCK_TYPES
from langgraph.types import Command, Send
from pydantic import BaseModel

from ..core.conversation import Conversation, Turn
from ..core.decision import Decision, stopping
from ..core.points import Point
from ..core.screening import Item
from ..core.words import is_name
from .messages import parts_of, without
from .values import DROPPED, Reading, Scope, read


def read_call(name: str, args: Mapping[str, Any], scope: Scope) -> Reading:
    """The reading of a tool call: its name and the arguments that the model wrote."""
    return read({"name": name, "args": args}, dataclasses.replace(scope, point=Point.TOOL_CALL))


def read_output(output: Any, scope: Scope) -> Reading:
    """The reading of what a tool returned: text, blocks, a message, a LangGraph `Command`, or a list of these.

    Every text in it is a tool's, whoever is said to speak: a tool cannot make its words those of a trusted role.
    Released is an output of the same kind. What stands in place of a text that does not pass is the policy's
    redaction; a tool message keeps its id and the call's, loses its artifact, and has the status "error".

    Raises:
        TypeError: It holds a value in which texts cannot be found. Nothing passes unread.
    """
    scope = _of_tools(scope)
    if isinstance(output, BaseMessage):
        return _read_message(output, scope)
    if isinstance(output, Command):
        return _read_command(output, scope)
    if isinstance(output, list) and any(isinstance(item, BaseMessage | Command) or _is_spoken(item) for item in output):
        return _together([read_output(item, scope) for item in output], lambda released: released, output)
    reading = _said_by_tool(read(output, scope))

    def release(decisions: Sequence[Decision]) -> Any:
        failed = [decision for decision in decisions if not decision.passes]
        if not failed:
            return output
        text = scope.policy.redacted(max(failed, key=lambda one: one.action))
        if _is_spoken(output):
            kept = {key: output[key] for key in ("role", "id", "tool_call_id") if is_name(output.get(key))}
            return {**kept, "content": text}
        released = DROPPED if stopping(failed) else reading.released(decisions)
        return text if released is DROPPED else released

    return Reading(reading.items, release)


def read_result(content: Any, call: Mapping[str, Any], scope: Scope) -> Reading:
    """The reading of what a tool's own code returned for `call`, as the model will read it.

    Without an id in `call` nothing is made of it for a model: whoever called the tool gets the value itself.
    Released is a value of the same kind, or the policy's redaction as text.

    Raises:
        TypeError: It is, or holds, a value in which texts cannot be found.
    """
    if isinstance(content, ToolMessage | Command) or holds_messages(content):
        return read_output(content, scope)
    written = as_written(content, whole=call.get("id") is None)
    message = ToolMessage(written, name=call.get("name"), tool_call_id=call.get("id") or "")
    reading = read_output(message, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        released = reading.released(decisions)
        return content if released is message else released.content

    return Reading(reading.items, release)


def holds_messages(content: Any) -> bool:
    """Whether a tool has made a list of messages itself."""
    return isinstance(content, list) and any(isinstance(item, ToolMessage | Command) for item in content)


def _is_spoken(value: Any) -> bool:
    """Whether LangGraph would make a message of a dictionary."""
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value


def as_written(content: Any, *, whole: bool) -> Any:
    """`content` as LangChain will write it into a tool message; with `whole`, all that there is in it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple) and all(map(_is_block, content)):
        return list(content)
    if whole:
        return json.dumps(content, ensure_ascii=False, default=_unfolded)
    try:
        return json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(content)


def _is_block(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, dict) and item.get("type") in TOOL_MESSAGE_BLOCK_TYPES)


def _unfolded(value: Any) -> Any:
    """What there is in an object, as JSON knows it."""
    match value:
        case enum.Enum():
            return value.value
        case BaseModel():
            return {name: getattr(value, name) for name in type(value).model_fields} | (value.model_extra or {})
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return list(value)
        case complex() | decimal.Decimal() | datetime.date() | datetime.time() | datetime.timedelta() | uuid.UUID():
            return str(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        case _:
            raise TypeError(
                f"cannot find the text in a tool's result of type {type(value).__name__}, so it is not let through "
                "unjudged (return text, or what JSON can hold)"
            )


def _of_tools(scope: Scope) -> Scope:
    policy = scope.policy
    if others := policy.trusted_roles - {"tool"}:
        policy = policy.model_copy(update={"trusted_roles": policy.trusted_roles - others})
    return dataclasses.replace(scope, policy=policy, point=Point.TOOL_OUTPUT, context=())


def _said_by_tool(reading: Reading) -> Reading:
    """`reading`, with every text in it as a tool's."""

    def release(decisions: Sequence[Decision]) -> Any:
        pairs = zip(decisions, reading.items, strict=True)
        return reading.released([decision.model_copy(update={"point": item.point}) for decision, item in pairs])

    return Reading(tuple(_item(item.conversation.judged) for item in reading.items), release)


def _item(turn: Turn) -> Item:
    text = "\n".join(filter(None, (turn.reasoning, turn.content)))
    return Item(Point.TOOL_OUTPUT, Conversation(turns=(Turn(role="tool", content=text),)))


def _read_message(message: BaseMessage, scope: Scope) -> Reading:
    """A message that a tool returns, or puts into the state."""
    if isinstance(message, RemoveMessage) or "tool" in scope.policy.trusted_roles:
        return Reading((), lambda decisions: message)
    parts = parts_of(message)

    def release(decisions: Sequence[Decision]) -> BaseMessage:
        failed = [decision for decision in decisions if not decision.passes]
        if not failed:
            return message
        text = scope.policy.redacted(max(failed, key=lambda one: one.action))
        by_part = [
            decision.model_copy(update={"point": point}) for decision, (point, _) in zip(decisions, parts, strict=True)
        ]
        released = without(message, by_part, {decision.point: text for decision in by_part if not decision.passes})
        return released.model_copy(update={"status": "error"}) if isinstance(released, ToolMessage) else released

    return Reading(tuple(_item(turn) for _, turn in parts), release)


def _read_command(command: Command[Any], scope: Scope) -> Reading:
    """What a command puts into the state, sends to nodes, or answers an interrupt with."""
    several = isinstance(command.goto, list | tuple)
    kind = tuple if isinstance(command.goto, tuple) else list
    goto: Sequence[Any] = command.goto if several else [command.goto]  # type: ignore[assignment]
    sent = [target for target in goto if isinstance(target, Send)]
    update = _read_update(command.update, scope)

    def rebuilt(released: list[Any]) -> Command[Any]:
        state, resume, *arguments = released
        rest = iter(arguments)
        targets = [Send(to.node, next(rest), timeout=to.timeout) if isinstance(to, Send) else to for to in goto]
        return dataclasses.replace(command, update=state, resume=resume, goto=kind(targets) if several else targets[0])

    readings = [update, read_output(command.resume, scope), *(read_output(send.arg, scope) for send in sent)]
    return _together(readings, rebuilt, command)


OWN: Final = frozenset({"guard_approved", "guard_held", "guard_stopped", "guard_verdicts"})
"""What guards of agents keep in the state (`agent_state.GuardState`): no words for a model, nor for a user."""


def _read_update(update: Any, scope: Scope) -> Reading:
    """An update of the state, in each form that LangGraph takes; if it does not pass, released as pairs."""
    if isinstance(update, Mapping) and (own := {key: update[key] for key in OWN & update.keys()}):
        others = {key: value for key, value in update.items() if key not in own}
        return _together([_read_update(others, scope)], lambda released: {**dict(released[0]), **own}, update)
    if isinstance(update, Mapping):
        pairs = list(update.items())
    elif isinstance(update, list | tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in update):
        pairs = list(update)
    elif isinstance(update, BaseModel):
        pairs = [(name, getattr(update, name)) for name in type(update).model_fields if name in update.model_fields_set]
    elif dataclasses.is_dataclass(update) and not isinstance(update, type):
        pairs = [(field.name, getattr(update, field.name)) for field in dataclasses.fields(update)]
    else:
        return read_output(update, scope)

    def rebuilt(released: list[Any]) -> Any:
        named = [(name, value) for (name, _), value in zip(pairs, released, strict=True)]
        return dict(named) if isinstance(update, Mapping) else named

    return _together([read_output(value, scope) for _, value in pairs], rebuilt, update)


def _together(readings: Sequence[Reading], rebuilt: Any, original: Any) -> Reading:
    def release(decisions: Sequence[Decision]) -> Any:
        if all(decision.passes for decision in decisions):
            return original
        rest = iter(decisions)
        return rebuilt([reading.released([next(rest) for _ in reading.items]) for reading in readings])

    return Reading(tuple(item for reading in readings for item in reading.items), release)
