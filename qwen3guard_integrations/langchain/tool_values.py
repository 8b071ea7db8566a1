"""A tool call and what a tool returns, as texts to judge (`values.read`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage
from langgraph.types import Command, Send

from ..core.decision import Decision
from ..core.points import Point
from .messages import without
from .values import DROPPED, Reading, Scope, read, stopping


def read_call(name: str, args: Mapping[str, Any], scope: Scope) -> Reading:
    """The reading of a tool call: its name and the arguments that the model wrote."""
    return read({"name": name, "args": args}, dataclasses.replace(scope, point=Point.TOOL_CALL))


def read_output(output: Any, scope: Scope) -> Reading:
    """The reading of what a tool returned: text, blocks, a message, a LangGraph `Command`, or a list of these.

    Released is an output of the same kind. What stands in place of a text that does not pass is the policy's
    redaction; a tool message keeps its id and the call's, loses its artifact, and has the status "error".

    Raises:
        TypeError: It holds a value in which texts cannot be found. Nothing passes unread.
    """
    scope = dataclasses.replace(scope, point=Point.TOOL_OUTPUT, context=())
    if isinstance(output, ToolMessage):
        return _read_message(output, scope)
    if isinstance(output, Command):
        return _read_command(output, scope)
    if _holds_messages(output):
        return _together([read_output(item, scope) for item in output], lambda released: released, output)
    reading = read(output, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        failed = [decision for decision in decisions if not decision.passes]
        if not failed:
            return output
        released = DROPPED if stopping(failed) else reading.released(decisions)
        return scope.policy.redacted(max(failed, key=lambda one: one.action)) if released is DROPPED else released

    return Reading(reading.items, release)


def read_result(content: Any, call: Mapping[str, Any], scope: Scope) -> Reading:
    """The reading of what a tool's own code returned for `call`, as the model will read it.

    Released is a value of the same kind, or the policy's redaction as text.
    """
    if isinstance(content, ToolMessage | Command) or _holds_messages(content):
        return read_output(content, scope)
    message = ToolMessage(_as_written(content), name=call.get("name"), tool_call_id=call.get("id") or "")
    reading = read_output(message, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        released = reading.released(decisions)
        return content if released is message else released.content

    return Reading(reading.items, release)


def _holds_messages(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(item, ToolMessage | Command) for item in content)


def _as_written(content: Any) -> Any:
    """`content` as a tool message will hold it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(item, dict) and "type" in item for item in content):
        return content
    try:
        return json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(content)


def _read_message(message: ToolMessage, scope: Scope) -> Reading:
    reading = read(message, scope)

    def release(decisions: Sequence[Decision]) -> ToolMessage:
        failed = [decision for decision in decisions if not decision.passes]
        if not failed:
            return message
        texts = {decision.point: scope.policy.redacted(decision) for decision in failed}
        return without(message, decisions, texts).model_copy(update={"status": "error"})  # type: ignore[return-value]

    return Reading(reading.items, release)


def _read_command(command: Command[Any], scope: Scope) -> Reading:
    """What a command puts into the state, and what it sends to nodes."""
    goto = command.goto if isinstance(command.goto, list | tuple) else [command.goto]
    sent = [target for target in goto if isinstance(target, Send)]
    update = _read_update(command.update, scope)

    def rebuilt(released: list[Any]) -> Command[Any]:
        arguments = iter(released[1:])
        targets = [Send(to.node, next(arguments)) if isinstance(to, Send) else to for to in goto]
        whole = targets if isinstance(command.goto, list | tuple) else targets[0]
        return dataclasses.replace(command, update=released[0], goto=whole)

    return _together([update, *(read_output(send.arg, scope) for send in sent)], rebuilt, command)


def _read_update(update: Any, scope: Scope) -> Reading:
    if not isinstance(update, Mapping):
        return read_output(update, scope)
    entries = list(update)

    def rebuilt(released: list[Any]) -> dict[Any, Any]:
        return dict(zip(entries, released, strict=True))

    return _together([_read_entry(update[key], scope) for key in entries], rebuilt, update)


def _read_entry(value: Any, scope: Scope) -> Reading:
    if isinstance(value, list) and any(isinstance(item, BaseMessage) for item in value):
        return _together([read_output(item, scope) for item in value], lambda released: released, value)
    return read_output(value, scope)


def _together(readings: Sequence[Reading], rebuilt: Any, original: Any) -> Reading:
    def release(decisions: Sequence[Decision]) -> Any:
        if all(decision.passes for decision in decisions):
            return original
        rest = iter(decisions)
        return rebuilt([reading.released([next(rest) for _ in reading.items]) for reading in readings])

    return Reading(tuple(item for reading in readings for item in reading.items), release)
