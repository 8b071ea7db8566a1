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
from .history import AskPerson, Judged, Known, after_decisions, reviewed
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

    @property
    def waits(self) -> bool:
        """Whether a person has still to decide; afterwards an answer goes to the model's place in the graph."""
        return any(decision.action is Action.REVIEW for decision in self.decisions)

    def stored(self, owner: str) -> dict[str, Any]:
        """As the middleware `owner` keeps it: packed, since streams of an agent's values show its private state too."""
        texts = [_stored(*pair) for pair in zip(self.items, self.decisions, strict=True)]
        kind, data = _SERIALIZER.dumps_typed({"message": self.message, "texts": texts})
        return {"owner": owner, "kind": kind, "data": zlib.compress(data)}

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


def held_in(state: Any, owner: str) -> dict[str, Held]:
    """What a state has kept for one of the agent's guards."""
    kept = state.get(HELD) or {}
    return {key: Held.of(stored) for key, stored in kept.items() if stored["owner"] == owner}


def answers_in(state: Any, owner: str) -> dict[str, Held]:
    """The answers of the model that a state has kept: those that wait, and one that a person has let pass."""
    return {key: held for key, held in held_in(state, owner).items() if isinstance(held.message, AIMessage)}


def approved_of(answers: Mapping[str, Held]) -> AIMessage | None:
    """The one of `answers` that a person has let pass."""
    passing = (held.message for held in answers.values() if not held.waits)
    return next((message for message in passing if isinstance(message, AIMessage)), None)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a person has decided.

    Attributes:
        changes: What must be told to the state, for its `add_messages`.
        held: What is kept from now on: an answer that passes, until it is the model's; None for all else.
        stopped: The strictest decision by which something did not pass.
        approved: What stands for texts about which nobody is to be asked again (`Known.remember`).
    """

    changes: Sequence[BaseMessage]
    held: Mapping[str, Held | None]
    stopped: Decision | None
    approved: Sequence[str]


def review(
    waiting: Mapping[str, Held],
    messages: Sequence[BaseMessage],
    policy: Policy,
    known: Known,
    *,
    ask: AskPerson = ask_person,
) -> Settled:
    """Interrupt the graph until a person has decided about all that waits, with one question.

    A result passes, or does not, in its place among the `messages` of the state. An answer that passes does not: the
    refusal that stood for it goes, and the model is to give the answer (`endings.answering`), so that every middleware
    that looks at answers sees it.
    """
    items = [item for held in waiting.values() for item in held.items]
    decisions = [decision for held in waiting.values() for decision in held.decisions]
    outcome = reviewed(items, decisions, known, ask)
    rest = iter(zip(outcome.decisions, outcome.said, strict=True))
    changes: list[BaseMessage] = []
    kept: dict[str, Held | None] = dict.fromkeys(waiting)
    for key, held in waiting.items():
        judged = [next(rest) for _ in held.items]
        stop = stopping(decision for decision, _ in judged)
        if isinstance(held.message, ToolMessage):
            changes += _result(held.message, messages, key, judged, policy)
        elif stop is not None:
            changes.append(refusal_message(policy.refused(stop), stop, like=None).model_copy(update={"id": key}))
        else:
            changes += [RemoveMessage(id=key) for message in messages if message.id == key]
            kept[key] = _passing(held, key, judged, policy)
    return Settled(changes, kept, stopping(outcome.decisions), outcome.settled)


def _result(
    message: ToolMessage, messages: Sequence[BaseMessage], call_id: str, judged: Sequence[Judged], policy: Policy
) -> list[BaseMessage]:
    """The result after the decisions about it, in its place, if it still has one."""
    results = (one for one in reversed(messages) if isinstance(one, ToolMessage) and one.tool_call_id == call_id)
    place, after = next(results, None), after_decisions(message, judged, policy)
    if place is None or after is None:
        return []
    update: dict[str, Any] = {"id": place.id}
    if (stop := stopping(decision for decision, _ in judged)) is not None:
        update["response_metadata"] = {**message.response_metadata, "qwen3guard": entry(stop)}
    return [after.model_copy(update=update)]


def _passing(held: Held, key: str, judged: Sequence[Judged], policy: Policy) -> Held | None:
    """The answer as the model is to give it: a new message, since streams of messages show none of them twice."""
    after = after_decisions(held.message, judged, policy)
    if after is None:
        return None
    message = after.model_copy(update={"id": f"{key}-reviewed"})
    return Held(message, held.items, [decision for decision, _ in judged])
