"""A person decides about a tool call: a workflow's own way to wait for an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.agent.workflow.base_agent import _get_waiting_for_event_exception
from workflows import Context
from workflows.events import HumanResponseEvent, InputRequiredEvent

from ..core.decision import Decision
from ..core.words import tool_call_text
from ..reporting import entry

_waits = _get_waiting_for_event_exception()
WAITS: Final[tuple[type[BaseException], ...]] = (_waits,) if _waits is not None else ()
"""What a workflow raises in a step that waits for an event, to begin it anew when the event has come."""

_APPROVED: Final = "qwen3guard_approved"


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
    def call_id(self) -> str:
        """What stands for the call: the same one has the same."""
        text = tool_call_text({"name": self.tool_name, "args": self.arguments})
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


async def approved(context: Context | None, question: Question) -> bool:
    """Whether a person lets the call pass. Outside of a workflow nobody can be asked, and it does not.

    The stream of events gets an `InputRequiredEvent` with `call_id`, `tool_name`, `tool_kwargs` and `decision`; the
    answer is a `HumanResponseEvent` with the same `call_id` and `response`: "approve", or anything else. Nobody is
    asked twice about the same call in one run.
    """
    if context is None:
        return False
    known: dict[str, bool] = await context.store.get(_APPROVED, default={})
    if question.call_id not in known:
        answer = await context.wait_for_event(
            HumanResponseEvent,
            waiter_event=InputRequiredEvent(
                prefix=f"{question.decision.summary}: may {question.tool_name} run?",
                call_id=question.call_id,
                tool_name=question.tool_name,
                tool_kwargs=dict(question.arguments),
                decision=entry(question.decision),
            ),
            waiter_id=f"qwen3guard-{question.call_id}",
            requirements={"call_id": question.call_id},
            timeout=None,
        )
        known = {
            **await context.store.get(_APPROVED, default={}),
            question.call_id: answer.get("response") == "approve",
        }
        await context.store.set(_APPROVED, known)
    return known[question.call_id]
