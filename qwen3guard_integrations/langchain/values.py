"""Whatever LangChain passes from step to step, as texts to judge, and the same value after the decisions.

`read` knows the types; the reading it returns knows which texts there are (`items`) and how to make the value
that goes on (`released`). A value of which everything passes goes on unchanged: the same object.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, RemoveMessage, convert_to_messages
from langchain_core.prompt_values import ChatPromptValue, PromptValue, StringPromptValue
from pydantic import BaseModel

from ..core.conversation import Conversation, Role, Turn
from ..core.decision import Action, Decision
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from .messages import parts_of, refusal_message, role_of, tool_call_text, turn_of, without

# Nothing in these can be read by a model as words of somebody else.
_WORDLESS: Final = (
    bool,
    int,
    float,
    complex,
    decimal.Decimal,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
)
_TEXT_ROLES: Final[Mapping[Point, Role]] = {
    Point.RESPONSE: "assistant",
    Point.TOOL_CALL: "assistant",
    Point.TOOL_OUTPUT: "tool",
}
_MESSAGE_ROLES: Final = frozenset(
    {"user", "human", "assistant", "ai", "system", "developer", "tool", "function", "placeholder"}
)
DROPPED: Final = object()
"""What a reading releases in place of a value that is dropped whole."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How texts are to be read.

    Attributes:
        policy: Decides what is not judged at all, and gives redactions and refusals.
        point: Of a text that does not say itself where it comes from.
        context: Turns before the value.
        keys: Of a mapping or an object, the entries to screen; None for all of them.
    """

    policy: Policy
    point: Point
    context: tuple[Turn, ...] = ()
    keys: frozenset[str] | None = None


Release = Callable[[Sequence[Decision]], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is to judge in a value, and the value that goes on after a decision about each item."""

    items: tuple[Item, ...]
    release: Release

    def released(self, decisions: Sequence[Decision]) -> Any:
        """The value that goes on: unchanged where everything passes, else redacted, reduced or refused.

        A refusal is of the same kind as the value: text for text, an assistant message for a message.
        """
        return self.release(decisions)


def read(value: Any, scope: Scope) -> Reading:
    """The reading of a value of any type that passes between LangChain steps.

    Raises:
        TypeError: The value, or a part of it, is of a type whose words cannot be found. Nothing passes unread.
    """
    if isinstance(value, enum.Enum) and isinstance(value, str):
        value = value.value
    if isinstance(value, str):
        return _read_text(value, scope)
    if isinstance(value, BaseMessage):
        return _read_message(value, scope)
    if isinstance(value, PromptValue):
        return _read_prompt(value, scope)
    if isinstance(value, Document):
        return _read_document(value, scope)
    if isinstance(value, Mapping):
        return _read_mapping(value, scope)
    if isinstance(value, list | tuple | set | frozenset):
        return _read_sequence(value, scope)
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _read_object(value, scope)
    if value is None or isinstance(value, _WORDLESS):
        return _nothing(value)
    raise TypeError(
        f"cannot find the text in a value of type {type(value).__name__}, so it is not let through unjudged "
        "(convert it before the guard, or name the entries to screen with input_key=)"
    )


def stopping(decisions: Iterable[Decision]) -> Decision | None:
    """The decision that stops the value, if one does; of several, the strictest."""
    stops = [decision for decision in decisions if decision.stops]
    return max(stops, key=lambda decision: decision.action) if stops else None


def _nothing(value: Any) -> Reading:
    return Reading((), lambda decisions: value)


def _read_text(text: str, scope: Scope) -> Reading:
    if not text.strip():
        return _nothing(text)
    turn = Turn(role=_TEXT_ROLES.get(scope.point, "user"), content=text)
    context = scope.context if scope.point in {Point.RESPONSE, Point.PROMPT} else ()
    item = Item(scope.point, Conversation(turns=(*context, turn)))
    return Reading((item,), lambda decisions: _text_after(text, decisions[0], scope.policy))


def _text_after(text: str, decision: Decision, policy: Policy) -> Any:
    if decision.passes:
        return text
    if decision.stops:
        return policy.refusal
    return policy.redacted(decision) if decision.action is Action.REDACT else DROPPED


def _read_document(document: Document, scope: Scope) -> Reading:
    inner = _read_text(document.page_content, dataclasses.replace(scope, point=Point.DOCUMENT, context=()))

    def release(decisions: Sequence[Decision]) -> Any:
        text = inner.released(decisions)
        if text is document.page_content or text is DROPPED:
            return document if text is document.page_content else DROPPED
        return Document(page_content=text, id=document.id)  # metadata can repeat what was removed

    return Reading(inner.items, release)


def _read_message(message: BaseMessage, scope: Scope) -> Reading:
    if isinstance(message, RemoveMessage) or role_of(message) in scope.policy.trusted_roles:
        return _nothing(message)
    parts = parts_of(message)
    items = tuple(
        Item(point, Conversation(turns=(*(() if point is Point.TOOL_OUTPUT else scope.context), turn)))
        for point, turn in parts
    )

    def release(decisions: Sequence[Decision]) -> Any:
        if all(decision.passes for decision in decisions):
            return message
        if stop := stopping(decisions):
            return refusal_message(scope.policy.refusal, stop, like=message)
        return _reduced(message, decisions, scope.policy)

    return Reading(items, release)


def _reduced(message: BaseMessage, decisions: Sequence[Decision], policy: Policy) -> Any:
    """`message` after redacting and dropping: dropping its text drops it, other parts only leave it."""
    whole = (Point.PROMPT, Point.RESPONSE, Point.TOOL_OUTPUT)
    if any(decision.action is Action.DROP and decision.point in whole for decision in decisions):
        return DROPPED
    failed = (decision for decision in decisions if not decision.passes)
    return without(message, decisions, {decision.point: policy.redacted(decision) for decision in failed})


def _read_messages(messages: Sequence[BaseMessage], scope: Scope) -> list[Reading]:
    """Readings of a conversation: every turn is judged, the last one with all that came before.

    Earlier turns get as context no more than the user's turn before an answer, so that a long history costs in
    proportion to its length.
    """
    readings = []
    turns: list[Turn] = []
    for place, message in enumerate(messages):
        turn = turn_of(message)
        if place == len(messages) - 1:
            context = (*scope.context, *turns)
        elif turn.role == "assistant":
            context = tuple(earlier for earlier in turns if earlier.role == "user")[-1:]
        else:
            context = ()
        readings.append(_read_message(message, dataclasses.replace(scope, context=context)))
        if not turn.blank:
            turns.append(turn)
    return readings


def _read_prompt(prompt: PromptValue, scope: Scope) -> Reading:
    messages = prompt.to_messages()
    inner = _read_message_list(messages, messages, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        released = inner.released(decisions)
        if released is messages:
            return prompt
        if isinstance(prompt, StringPromptValue):
            return StringPromptValue(text="\n".join(message.text for message in released))
        return ChatPromptValue(messages=released)

    return Reading(inner.items, release)


def _read_sequence(values: Any, scope: Scope) -> Reading:
    if values and all(map(_is_message_like, values)):
        return _read_message_list(values, convert_to_messages(values), scope)
    if isinstance(values, tuple) and _is_message_like(values):
        return _read_message_list([values], convert_to_messages([values]), scope)
    kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(values, kind))
    return _together(values, [read(value, scope) for value in values], kind)


def _is_message_like(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "role" in value and "content" in value
    if isinstance(value, tuple):
        return len(value) == 2 and isinstance(value[0], str) and value[0].lower() in _MESSAGE_ROLES
    return isinstance(value, BaseMessage)


def _read_message_list(original: Any, messages: Sequence[BaseMessage], scope: Scope) -> Reading:
    """A list of messages. After a block it ends with the refusal, and holds none of the stopped messages."""
    readings = _read_messages(messages, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        slices = _slices(readings, decisions)
        if all(decision.passes for decision in decisions):
            return original
        released = [reading.released(own) for reading, own in zip(readings, slices, strict=True)]
        stop = stopping(decisions)
        kept = [
            message
            for message, own in zip(released, slices, strict=True)
            if message is not DROPPED and not stopping(own)
        ]
        return [*kept, refusal_message(scope.policy.refusal, stop, like=None)] if stop else kept

    return Reading(tuple(item for reading in readings for item in reading.items), release)


def _read_mapping(mapping: Mapping[str, Any], scope: Scope) -> Reading:
    if _is_message_like(mapping):
        return _read_message_list(mapping, convert_to_messages([dict(mapping)]), scope)
    if {"name", "args"} <= mapping.keys() and mapping.get("type", "tool_call") == "tool_call":
        return _read_tool_call(mapping, scope)
    keys = [key for key in mapping if scope.keys is None or key in scope.keys]
    if scope.keys is not None and (missing := scope.keys - mapping.keys()):
        raise KeyError(f"input_key names {sorted(missing)}, which the input does not have")
    inner = dataclasses.replace(scope, keys=None)
    readings = [_read_entry(key, mapping[key], inner) for key in keys]

    def rebuilt(released: list[Any]) -> Any:
        changed = dict(zip(keys, released, strict=True))
        entries = {key: changed.get(key, mapping[key]) for key in mapping}
        return {key: value for key, value in entries.items() if value is not DROPPED}

    return _together(mapping, readings, rebuilt, keep_dropped=True)


def _read_tool_call(call: Mapping[str, Any], scope: Scope) -> Reading:
    inner = _read_text(tool_call_text(call), dataclasses.replace(scope, point=Point.TOOL_CALL))
    text = inner.items[0].conversation.judged.content

    def release(decisions: Sequence[Decision]) -> Any:
        released = inner.released(decisions)
        return call if released == text else released

    return Reading(inner.items, release)


def _read_entry(key: str, value: Any, scope: Scope) -> Reading:
    try:
        return read(value, scope)
    except TypeError as error:
        raise TypeError(f"{key!r}: {error}") from None


def _read_object(value: Any, scope: Scope) -> Reading:
    """A graph state or a structured answer: its fields, read like a mapping's entries."""
    if isinstance(value, BaseModel):
        entries = {name: getattr(value, name) for name in type(value).model_fields}
        entries |= value.model_extra or {}
    else:
        entries = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    inner = _read_mapping(entries, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        released = inner.released(decisions)
        if released is entries:
            return value
        changed = {name: released.get(name) for name in entries if released.get(name) is not entries[name]}
        return (
            value.model_copy(update=changed) if isinstance(value, BaseModel) else dataclasses.replace(value, **changed)
        )

    return Reading(inner.items, release)


def _together(
    original: Any, readings: list[Reading], rebuilt: Callable[[list[Any]], Any], *, keep_dropped: bool = False
) -> Reading:
    """The reading of a container from those of its parts."""

    def release(decisions: Sequence[Decision]) -> Any:
        if all(decision.passes for decision in decisions):
            return original
        slices = _slices(readings, decisions)
        released = [reading.released(own) for reading, own in zip(readings, slices, strict=True)]
        return rebuilt(released if keep_dropped else [value for value in released if value is not DROPPED])

    return Reading(tuple(item for reading in readings for item in reading.items), release)


def _slices(readings: Iterable[Reading], decisions: Sequence[Decision]) -> list[Sequence[Decision]]:
    """The decisions that belong to each reading."""
    rest = iter(decisions)
    return [[next(rest) for _ in reading.items] for reading in readings]
