"""A person decides about a tool call: a workflow's own way to wait for an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from workflows import Context
from workflows.events import HumanResponseEvent, InputRequiredEvent
from workflows.runtime.types.results import WaitingForEvent

from ..core.decision import Decision
from ..core.words import tool_call_text
from ..reporting import entry

_ANSWERS: Final[WeakKeyDictionary[object, dict[str, bool]]] = WeakKeyDictionary()
"""What was answered about which call; by the store of a run, which every run has for itself."""


@dataclass(frozen=True, slots=True)
class Question:
    """A call that a person is to decide about.

    Attributes:
        decision: Why.
        tool_name: The tool.
        arguments: What the model wrote.
    """

    decision: Decision
    tool_name: str
    arguments: Mapping[str, Any]

    @property
    def call(self) -> str:
        """What stands for the call: an equal one has the same."""
        return _digest(tool_call_text({"name": self.tool_name, "args": self.arguments}))

    def asked_as(self, call_id: str) -> InputRequiredEvent:
        """What the person is told."""
        return InputRequiredEvent(
            prefix=f"{self.decision.summary}: may {self.tool_name} run?",
            call_id=call_id,
            tool_name=self.tool_name,
            tool_kwargs=dict(self.arguments),
            decision=entry(self.decision),
        )


async def approved(context: Context | None, question: Question) -> bool:
    """Whether a person lets the call pass. Outside of a workflow nobody can be asked, and it does not.

    The stream of events gets an `InputRequiredEvent` with `call_id`, `tool_name`, `tool_kwargs` and `decision`; the
    answer is a `HumanResponseEvent` with the same `call_id` and `response`: "approve", or anything else. Equal calls of
    one step have questions of their own; one that comes when an equal one was answered in the same run has that answer.
    """
    if context is None:
        return False
    answers = _ANSWERS.setdefault(context.store, {})
    call_id = await _id_of(question, context)
    try:
        answer = await context.wait_for_event(
            HumanResponseEvent, question.asked_as(call_id), call_id, {"call_id": call_id}, timeout=None
        )
    except WaitingForEvent:
        if question.call in answers:
            return answers[question.call]
        raise
    if answer.get("call_id") != call_id:  # workflows that go on from a saved context give it to all who wait
        return False
    answers[question.call] = passes = bool(answer.get("response") == "approve")
    return passes


async def _id_of(question: Question, context: Context) -> str:
    """What no other call has, not even an equal one, and what is the same when the workflow begins a step anew."""
    try:
        await context.wait_for_event(HumanResponseEvent, requirements={"call": question.call})
    except WaitingForEvent as waiting:  # nobody has waited for this: it is asked for the name the workflow gives it
        return _digest(waiting.add.waiter_id)
    raise AssertionError("no event answers this")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
