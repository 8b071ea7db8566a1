"""Answers and tool results that wait for a person, and what becomes of them.

A person can be asked where the graph stands still: before and after the model. What the model says, or a tool returns,
comes in the middle of that, so something else stands in its place until the person has decided. What waits is kept in
the agent's private state, and nowhere else: who decides has to read it, perhaps days later and in another process.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..core.conversation import Conversation, Turn
from ..core.decision import Action, Decision, stopping
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..reporting import decision_in, entry
from .history import AskPerson, Known, after_decisions, reviewed
from .messages import refusal_message
from .review import ask_person

_SERIALIZER: Final = JsonPlusSerializer()  # as checkpoints have it

HELD: Final = "guard_held"
"""The entry of the agent's state for what waits: by the id of an answer, or of a tool call."""


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits.

    Attributes:
        message: As it goes on if the person lets it pass.
        items: The texts in it.
        decisions: About each of them; those with "review" are the person's.
    """

    message: BaseMessage
    items: Sequence[Item]
    decisions: Sequence[Decision]

    def stored(self) -> dict[str, Any]:
        """As it is kept in a state: packed, since streams of an agent's values show its private state too."""
        texts = [_stored(*pair) for pair in zip(self.items, self.decisions, strict=True)]
        kind, data = _SERIALIZER.dumps_typed({"message": self.message, "texts": texts})
        return {"kind": kind, "data": zlib.compress(data)}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Held:
        """What a state has kept."""
        held = _SERIALIZER.loads_typed((stored["kind"], zlib.decompress(stored["data"])))
        pairs = [_restored(text) for text in held["texts"]]
        return cls(held["message"], [item for item, _ in pairs], [decision for _, decision in pairs])


def _stored(item: Item, decision: Decision) -> dict[str, Any]:
    turn = item.conversation.judged
    return {"point": str(item.point), "turn": turn.model_dump(), "decision": entry(decision)}


def _restored(text: Mapping[str, Any]) -> tuple[Item, Decision]:
    point = Point(text["point"])
    decision = decision_in(text["decision"]) or Decision(point=point, action=Action.BLOCK)
    return Item(point, Conversation(turns=(Turn.model_validate(text["turn"]),))), decision


def merged(held: dict[str, Any] | None, changes: dict[str, Any] | None) -> dict[str, Any]:
    """What waits after `changes`, in which None takes something out."""
    return {key: one for key, one in {**(held or {}), **(changes or {})}.items() if one is not None}


@dataclass(frozen=True, slots=True)
class Settled:
    """What a person has decided.

    Attributes:
        messages: What stands in place of each message that waited.
        stopped: For each of them, the decision by which it did not pass; None where it did.
        approved: What stands for messages and texts about which nobody is to be asked again (`Known.remember`).
    """

    messages: Sequence[BaseMessage]
    stopped: Sequence[Decision | None]
    approved: Sequence[str]


def review(waiting: Sequence[Held], policy: Policy, known: Known, *, ask: AskPerson = ask_person) -> Settled:
    """Interrupt the graph until a person has decided about all that waits, with one question."""
    items = [item for held in waiting for item in held.items]
    decisions = [decision for held in waiting for decision in held.decisions]
    outcome = reviewed(items, decisions, known, ask)
    rest = iter(zip(outcome.decisions, outcome.said, strict=True))
    messages: list[BaseMessage] = []
    stopped: list[Decision | None] = []
    for held in waiting:
        judged = [next(rest) for _ in held.items]
        stop = stopping([decision for decision, _ in judged])
        if stop is not None and isinstance(held.message, AIMessage):
            after: BaseMessage | None = refusal_message(policy.refused(stop), stop, like=None)
        else:
            after = after_decisions(held.message, judged, policy)
        messages.append(after if after is not None else held.message)
        stopped.append(stop)
    passed = [message for message, stop in zip(messages, stopped, strict=True) if stop is None]
    return Settled(messages, stopped, [*outcome.settled, *known.add(passed)])


def held_in(state: Any) -> dict[str, Held]:
    """What waits in a state."""
    return {key: Held.of(stored) for key, stored in (state.get(HELD) or {}).items()}


def replacements(messages: Sequence[BaseMessage], keys: Sequence[str], outcome: Settled) -> list[BaseMessage]:
    """What must be told to the state, for its `add_messages`; the messages as a person has let them pass, or not.

    An answer that passes is a new message, behind the place of the refusal that stood for it: streams of messages show
    no message twice. What does not pass, and every result, stays in its place.
    """
    changes: list[BaseMessage] = []
    for key, message, stop in zip(keys, outcome.messages, outcome.stopped, strict=True):
        if isinstance(message, ToolMessage):
            results = (one for one in reversed(messages) if isinstance(one, ToolMessage))
            place = next((one for one in results if one.tool_call_id == key), message)
            update: dict[str, Any] = {"id": place.id}
            if stop is not None:
                update["response_metadata"] = {**message.response_metadata, "qwen3guard": entry(stop)}
            changes.append(message.model_copy(update=update))
        elif stop is not None:
            changes.append(message.model_copy(update={"id": key}))
        else:
            changes += [RemoveMessage(id=key), message.model_copy(update={"id": f"{key}-reviewed"})]
    return changes
