"""The messages of an agent's state: those that were not judged yet, and the same conversation after the decisions."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, SystemMessage, ToolMessage

from ..core.decision import Action, Decision
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from .messages import without
from .values import Reading, Scope, read_messages, stopping

_MOST_KNOWN: Final = 16_384

Decisions = list[Decision]
ScreenedFlow = Generator[Sequence[Item], Decisions, "Screened"]


class Known:
    """Messages that may pass: judged before, or made by this package. Digests only, the latest ones."""

    def __init__(self, size: int = _MOST_KNOWN) -> None:
        self._size = size
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()

    def add(self, messages: Iterable[BaseMessage]) -> None:
        """From now on these are known."""
        digests = dict.fromkeys(_digest(message) for message in messages if _is_itself(message))
        with self._lock:
            self._digests.update(digests)
            while len(self._digests) > self._size:
                self._digests.popitem(last=False)

    def __contains__(self, message: object) -> bool:
        if not (isinstance(message, BaseMessage) and _is_itself(message)):
            return False
        digest = _digest(message)
        with self._lock:
            if known := digest in self._digests:
                self._digests.move_to_end(digest)
        return known


def _is_itself(message: BaseMessage) -> bool:
    """Whether its digest stands for one message. An answer without an id may stand anywhere, and mean anything."""
    return message.id is not None or not isinstance(message, AIMessage)


def _digest(message: BaseMessage) -> bytes:
    """What stands for a message in its conversation. Tool messages get their id later: the call's stands for it."""
    parts = (
        message.type,
        message.tool_call_id if isinstance(message, ToolMessage) else message.id,
        message.name,
        message.content,
        message.additional_kwargs,
        (message.tool_calls, message.invalid_tool_calls) if isinstance(message, AIMessage) else None,
    )
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=24).digest()


@dataclass(frozen=True, slots=True)
class Screened:
    """A conversation after the decisions about it.

    Attributes:
        messages: What goes on: those that pass are the same objects.
        changes: What must be told to the state, for its `add_messages`: replacements by id, and removals.
        changed: Whether something goes on that is not as it was.
        stopped: The strictest decision that stops.
        decisions: All of them.
    """

    messages: list[BaseMessage]
    changes: list[BaseMessage] = field(default_factory=list)
    changed: bool = False
    stopped: Decision | None = None
    decisions: Sequence[Decision] = ()


def screened(messages: Sequence[BaseMessage], policy: Policy, known: Known) -> ScreenedFlow:
    """Judge the messages that are not known, all with one question; yields the items and is sent the decisions.

    What does not pass is replaced in its place, so that the conversation keeps its shape and every tool call its
    answer; what the policy drops is removed, except answers to tool calls. The turns of a call that was removed go
    with it.
    """
    fresh = {id(message) for message in messages if message not in known}
    if not fresh:
        return Screened(list(messages))
    readings = read_messages(
        messages, Scope(policy=policy, point=Point.PROMPT), lambda message: id(message) not in fresh
    )
    if not any(reading.items for reading in readings):
        return Screened(list(messages))
    decisions = yield [item for reading in readings for item in reading.items]
    rest = iter(decisions)
    kept: list[BaseMessage] = []
    changes: list[BaseMessage] = []
    orphans: set[str] = set()
    for message, reading in zip(messages, readings, strict=True):
        after = _after(message, reading, [next(rest) for _ in reading.items], policy)
        if isinstance(message, ToolMessage) and message.tool_call_id in orphans:
            after = None
        if isinstance(message, AIMessage):
            orphans |= _call_ids(message) - (_call_ids(after) if isinstance(after, AIMessage) else set())
        if after is not None:
            kept.append(after)
        if after is not message and message.id is not None:
            changes.append(after if after is not None else RemoveMessage(id=message.id))
    known.add(kept)
    changed = [*map(id, kept)] != [*map(id, messages)]
    return Screened(kept, changes, changed, stopping(decisions), decisions)


def _after(message: BaseMessage, reading: Reading, decisions: Sequence[Decision], policy: Policy) -> BaseMessage | None:
    failed = [decision for decision in decisions if not decision.passes]
    if not failed:
        return message
    dropped = any(decision.action is Action.DROP and decision.point in _WHOLE for decision in failed)
    if dropped and not stopping(failed) and not _is_needed(message):
        return None
    after = without(message, decisions, {decision.point: policy.redacted(decision) for decision in failed})
    if isinstance(after, ToolMessage):
        after.status = "error"
    return after


_WHOLE: Final = frozenset({Point.PROMPT, Point.RESPONSE})


def _is_needed(message: BaseMessage) -> bool:
    """Whether the conversation would lose its shape without the message."""
    return isinstance(message, SystemMessage) or (isinstance(message, AIMessage) and bool(message.tool_calls))


def _call_ids(message: AIMessage) -> set[str]:
    return {call["id"] for call in message.tool_calls if call["id"]}
