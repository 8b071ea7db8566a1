"""Whatever LangChain passes from step to step, as texts to judge, and the same value after the decisions.

`read` knows the types; the reading it returns knows which texts there are (`items`) and how to make the value
that goes on (`released`). A value of which everything passes goes on unchanged: the same object.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.messages import (
    BaseMessage,
    RemoveMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import ChatPromptValue, PromptValue, StringPromptValue
from pydantic import BaseModel

from ..core.conversation import Conversation, Role, Turn, context_at
from ..core.decision import Action, Decision, stopping
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..core.thinking import thought_and_said
from ..core.words import is_name, tool_call_text
from .messages import parts_of, refusal_message, role_of, turn_of, without

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
_MESSAGE_KEYS: Final = frozenset({"role", "content", "name", "id", "tool_call_id"})
_ANSWER_KEYS: Final = _MESSAGE_KEYS | {"tool_calls", "function_call", "refusal", "reasoning", "reasoning_content"}
_KEYS_BY_ROLE: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("user", "human", "system", "developer", "tool", "function"), _MESSAGE_KEYS),
    **dict.fromkeys(("assistant", "ai"), _ANSWER_KEYS),
}
_TOOL_CALL_KEYS: Final = frozenset({"name", "args", "id", "type"})
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
    if isinstance(value, enum.Enum):
        return _read_enum(value, scope)
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
    if isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields"):
        return _read_sequence(value, scope)
    if isinstance(value, BaseModel | tuple) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _read_object(value, scope)
    if value is None or isinstance(value, _WORDLESS):
        return _nothing(value)
    raise TypeError(
        f"cannot find the text in a value of type {type(value).__name__}, so it is not let through unjudged "
        "(convert it before the guard, or name the entries to screen with input_key=)"
    )


def unheard(reading: Reading, known: Reading) -> Reading:
    """`reading` without the texts that are in `known` too and passed there: nothing is judged twice in one run.

    Of assistants only what was said in the same context: "yes" may answer anything.
    """
    heard = set(map(_said, known.items))
    fresh = tuple(item for item in reading.items if _said(item) not in heard)
    if len(fresh) == len(reading.items):
        return reading

    def release(decisions: Sequence[Decision]) -> Any:
        rest = iter(decisions)
        return reading.released(
            [
                Decision(point=item.point, action=Action.ALLOW) if _said(item) in heard else next(rest)
                for item in reading.items
            ]
        )

    return Reading(fresh, release)


def _said(item: Item) -> object:
    judged = item.conversation.judged
    return item if judged.role == "assistant" else (item.point, judged)


def _nothing(value: Any) -> Reading:
    return Reading((), lambda decisions: value)


def _read_enum(value: enum.Enum, scope: Scope) -> Reading:
    inner = read(value.value, scope)
    return Reading(inner.items, lambda decisions: value if _all_pass(decisions) else inner.released(decisions))


def _all_pass(decisions: Iterable[Decision]) -> bool:
    return all(decision.passes for decision in decisions)


def _read_text(text: str, scope: Scope) -> Reading:
    if not text.strip():
        return _nothing(text)
    context = scope.context if scope.point in {Point.RESPONSE, Point.PROMPT} else ()
    items = [Item(point, Conversation(turns=(*context, turn))) for point, turn in _turns_in(text, scope.point)]
    return Reading(tuple(items), lambda decisions: _text_after(text, decisions, scope.policy))


def _turns_in(text: str, point: Point) -> Iterator[tuple[Point, Turn]]:
    """What is judged of a text: of an answer that begins with thinking both, as in a stream."""
    role = _TEXT_ROLES.get(point, "user")
    thought, said = thought_and_said(text) if point is Point.RESPONSE else ("", text)
    if thought.strip():
        yield Point.REASONING, Turn(role=role, reasoning=thought)
    if said.strip():
        yield point, Turn(role=role, content=said)


def _text_after(text: str, decisions: Sequence[Decision], policy: Policy) -> Any:
    if _all_pass(decisions):
        return text
    if stop := stopping(decisions):
        return policy.refused(stop)
    *_, last = (decision for decision in decisions if not decision.passes)
    if last.point is Point.REASONING:
        _, said = thought_and_said(text)
        return said.lstrip()
    return policy.redacted(last) if last.action is Action.REDACT else DROPPED


def _read_document(document: Document, scope: Scope) -> Reading:
    inner = _read_text(document.page_content, dataclasses.replace(scope, point=Point.DOCUMENT, context=()))

    def release(decisions: Sequence[Decision]) -> Any:
        if _all_pass(decisions):
            return document
        text = inner.released(decisions)
        # Metadata can repeat what was removed.
        return text if text is DROPPED else Document(page_content=text, id=document.id)

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
        if _all_pass(decisions):
            return message
        if stop := stopping(decisions):
            return refusal_message(scope.policy.refused(stop), stop, like=message)
        return _reduced(message, decisions, scope.policy)

    return Reading(items, release)


def _reduced(message: BaseMessage, decisions: Sequence[Decision], policy: Policy) -> Any:
    """`message` after redacting and dropping: dropping its text drops it, other parts only leave it."""
    whole = (Point.PROMPT, Point.RESPONSE, Point.TOOL_OUTPUT)
    if any(decision.action is Action.DROP and decision.point in whole for decision in decisions):
        return DROPPED
    failed = (decision for decision in decisions if not decision.passes)
    return without(message, decisions, {decision.point: policy.redacted(decision) for decision in failed})


def read_messages(messages: Sequence[BaseMessage], scope: Scope, known: Container[BaseMessage] = ()) -> list[Reading]:
    """Readings of a conversation: every turn is judged, the last one with all that came before; not those `known`.

    Earlier turns get as context no more than the user's turn before an answer, so that a long history costs in
    proportion to its length.
    """
    readings = []
    for place, message in enumerate(messages):
        if message in known:
            readings.append(_nothing(message))
        else:
            context = _context_at(place, messages, scope.context)
            readings.append(_read_message(message, dataclasses.replace(scope, context=context)))
    return readings


def _context_at(place: int, messages: Sequence[BaseMessage], before: tuple[Turn, ...]) -> tuple[Turn, ...]:
    context = context_at(place, [turn_of(message) for message in messages[: place + 1]], last=len(messages) - 1)
    if place < len(messages) - 1 or context[: len(before)] == before:  # a graph's answer repeats the question
        return context
    return (*before, *context)


def _read_prompt(prompt: PromptValue, scope: Scope) -> Reading:
    messages = prompt.to_messages()
    inner = _read_message_list(messages, messages, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        released = inner.released(decisions)
        if released is messages or released is DROPPED:
            return prompt if released is messages else DROPPED
        if isinstance(prompt, StringPromptValue):
            return StringPromptValue(text="\n".join(message.text for message in released))
        return ChatPromptValue(messages=released)

    return Reading(inner.items, release)


def _read_sequence(values: Any, scope: Scope) -> Reading:
    if isinstance(values, tuple) and (single := _messages_in([values])):
        return _read_one_message(values, single, scope)
    if isinstance(values, list | tuple) and (messages := _messages_in(values)):
        return _read_message_list(values, messages, scope)
    kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(values, kind))
    return _together(values, [read(value, scope) for value in values], kind)


def _messages_in(values: Sequence[Any]) -> list[BaseMessage]:
    """`values` as messages, if every one of them is a message and nothing else; otherwise none."""
    if not all(map(_is_message_like, values)):
        return []
    try:
        return convert_to_messages(values)
    except (ValueError, TypeError, LookupError):  # no message after all: every text in it is judged by itself
        return []


def _is_message_like(value: Any) -> bool:
    """A message, `(role, text)`, or a dictionary that holds nothing beside what is read of a message."""
    if isinstance(value, dict):
        role, content = value.get("role"), value.get("content")
        keys = _KEYS_BY_ROLE.get(role.lower(), frozenset()) if isinstance(role, str) else frozenset()
        return "content" in value and (content is None or isinstance(content, str | list)) and value.keys() <= keys
    if isinstance(value, tuple):
        return len(value) == 2 and isinstance(value[0], str) and value[0].lower() in _KEYS_BY_ROLE
    return isinstance(value, BaseMessage)


def _read_one_message(original: Any, messages: Sequence[BaseMessage], scope: Scope) -> Reading:
    inner = _read_message(messages[0], scope)
    return Reading(inner.items, lambda decisions: _like(original, messages[0], inner.released(decisions)))


def _like(original: Any, read_as: BaseMessage, released: Any) -> Any:
    """`released` in the form of the `original` that was read as a message: a dictionary or a tuple."""
    if released is read_as or released is DROPPED:
        return original if released is read_as else DROPPED
    if isinstance(original, dict):
        return _message_dict(original, read_as, released)
    return (role_of(released), released.text) if isinstance(original, tuple) else released


def _message_dict(original: dict[str, Any], read_as: BaseMessage, released: BaseMessage) -> dict[str, Any]:
    if role_of(released) != role_of(read_as):
        return {"role": role_of(released), "content": released.content}
    kept = {"role", "id", "tool_call_id", *released.additional_kwargs}
    message = {key: value for key, value in original.items() if key in kept} | {"content": released.content}
    if released.name:
        message["name"] = released.name
    if calls := getattr(released, "tool_calls", []):
        pairs = zip(original["tool_calls"], getattr(read_as, "tool_calls", []), strict=True)
        message["tool_calls"] = [call for call, as_read in pairs if as_read in calls]
    return message


def read_conversation(messages: Sequence[BaseMessage], scope: Scope, known: Container[BaseMessage]) -> Reading:
    """The reading of a list of messages of which the `known` ones are not judged."""
    return _read_message_list(messages, messages, scope, known)


def _read_message_list(
    original: Any, messages: Sequence[BaseMessage], scope: Scope, known: Container[BaseMessage] = ()
) -> Reading:
    """A list of messages. After a block it ends with the refusal, and holds none of the stopped messages."""
    readings = read_messages(messages, scope, known)

    def release(decisions: Sequence[Decision]) -> Any:
        if _all_pass(decisions):
            return original
        kept = [
            _like(form, message, reading.released(own))
            for form, message, reading, own in zip(
                original, messages, readings, _slices(readings, decisions), strict=True
            )
            if not stopping(own)
        ]
        kept = [message for message in kept if message is not DROPPED]
        if stop := stopping(decisions):
            refusal = refusal_message(scope.policy.refused(stop), stop, like=None)
            kept.append(_like(original[-1], messages[-1], refusal))
        return type(original)(kept) if kept else DROPPED

    return Reading(tuple(item for reading in readings for item in reading.items), release)


def _read_mapping(mapping: Mapping[Any, Any], scope: Scope) -> Reading:
    if scope.keys is not None:
        if missing := scope.keys - mapping.keys():
            raise KeyError(f"input_key names {sorted(missing)}, which the input does not have")
    elif messages := _messages_in([mapping]):
        return _read_one_message(mapping, messages, scope)
    elif {"name", "args"} <= mapping.keys() <= _TOOL_CALL_KEYS and mapping.get("type", "tool_call") == "tool_call":
        return _read_tool_call(mapping, scope)
    inner = dataclasses.replace(scope, keys=None)
    keys = [key for key in mapping if scope.keys is None or key in scope.keys]
    # A model that writes JSON writes its keys too.
    wordy = [key for key in keys if scope.keys is None and not is_name(key)]
    readings = [_read_entry(key, mapping[key], inner) for key in keys] + [read(key, inner) for key in wordy]

    def rebuilt(released: list[Any]) -> Any:
        changed = dict(zip(keys, released, strict=False))
        names = dict(zip(wordy, released[len(keys) :], strict=True))
        entries = [(names.get(key, key), changed.get(key, value)) for key, value in mapping.items()]
        return {key: value for key, value in entries if key is not DROPPED and value is not DROPPED}

    return _together(mapping, readings, rebuilt, keep_dropped=True)


def _read_tool_call(call: Mapping[str, Any], scope: Scope) -> Reading:
    """A tool call. Without its arguments it is no call any more: what is redacted is dropped."""
    inner = _read_text(tool_call_text(call), dataclasses.replace(scope, point=Point.TOOL_CALL))

    def release(decisions: Sequence[Decision]) -> Any:
        if _all_pass(decisions):
            return call
        stop = stopping(decisions)
        if stop is None:
            return DROPPED
        # Never a string or a dictionary: a tool that comes next would run with it.
        return ToolMessage(
            content=scope.policy.refused(stop),
            name=call["name"] if is_name(call["name"]) else None,
            tool_call_id=call.get("id") or "",
            status="error",
        )

    return Reading(inner.items, release)


def _read_entry(key: Any, value: Any, scope: Scope) -> Reading:
    try:
        return read(value, scope)
    except TypeError as error:
        raise TypeError(f"{key if is_name(key) else 'an entry'!r}: {error}") from None


def _read_object(value: Any, scope: Scope) -> Reading:
    """A graph state or a structured answer: its fields, read like a mapping's entries."""
    if isinstance(value, BaseModel):
        entries = {name: getattr(value, name) for name in type(value).model_fields}
        entries |= value.model_extra or {}
    elif isinstance(value, tuple):
        entries = dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a named tuple
    else:
        entries = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    inner = _read_mapping(entries, scope)

    def release(decisions: Sequence[Decision]) -> Any:
        released = inner.released(decisions)
        if released is entries:
            return value
        if not isinstance(released, dict):  # an object that looks like a message or a tool call
            return released
        changed = {name: released.get(name) for name in entries if released.get(name) is not entries[name]}
        return _changed(value, changed)

    return Reading(inner.items, release)


def _changed(value: Any, entries: Mapping[str, Any]) -> Any:
    """A copy of an object with other entries; nothing of it is run or checked again."""
    if isinstance(value, BaseModel):
        return value.model_copy(update=entries)
    if isinstance(value, tuple):
        return value._replace(**entries)  # type: ignore[attr-defined]  # a named tuple
    other = copy.copy(value)
    for name, entry in entries.items():
        object.__setattr__(other, name, entry)
    return other


def _together(
    original: Any, readings: list[Reading], rebuilt: Callable[[list[Any]], Any], *, keep_dropped: bool = False
) -> Reading:
    """The reading of a container from those of its parts."""

    def release(decisions: Sequence[Decision]) -> Any:
        if _all_pass(decisions):
            return original
        slices = _slices(readings, decisions)
        released = [reading.released(own) for reading, own in zip(readings, slices, strict=True)]
        return rebuilt(released if keep_dropped else [value for value in released if value is not DROPPED])

    return Reading(tuple(item for reading in readings for item in reading.items), release)


def _slices(readings: Iterable[Reading], decisions: Sequence[Decision]) -> list[Sequence[Decision]]:
    """The decisions that belong to each reading."""
    rest = iter(decisions)
    return [[next(rest) for _ in reading.items] for reading in readings]
