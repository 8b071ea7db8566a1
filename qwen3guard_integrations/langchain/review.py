"""A person decides: the question and the answer, in the shapes of LangChain's `HumanInTheLoopMiddleware`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt

from ..core.decision import Decision
from ..core.errors import GuardConfigurationError
from ..core.points import Point

Kind = Literal["approve", "edit", "reject", "respond"]
KINDS: Final = ("approve", "edit", "reject", "respond")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A text that a person is to decide about.

    Attributes:
        decision: Why.
        name: What it is: a tool's name, or the screening point.
        args: The text as the person sees it, and may edit it: a tool's arguments, or `{"text": ...}`.
        allowed: What the person may say.
    """

    decision: Decision
    name: str
    args: Mapping[str, Any]
    allowed: Sequence[Kind] = KINDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the person said.

    Attributes:
        kind: One of `KINDS`.
        args: With "edit": what takes the place of the text.
        message: With "reject" and "respond": what is said in its place; may be empty.
    """

    kind: Kind
    args: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


def ask_person(reviewed: Sequence[Reviewed]) -> list[Outcome]:
    """Interrupt the graph until a person has decided about every text.

    LangGraph keeps every answer, and gives it again when the graph is resumed: after one that cannot be used the next
    one counts.

    Raises:
        GraphInterrupt: Nobody has decided yet; LangGraph takes it.
        GuardConfigurationError: The answer is not one decision for each text.
    """
    wrong: GuardConfigurationError | None = None
    while True:
        try:
            answer = interrupt(review_request(reviewed))
        except GraphInterrupt:
            if wrong is not None:
                raise wrong from None
            raise
        try:
            return review_outcomes(answer, reviewed)
        except GuardConfigurationError as error:
            wrong = error


def review_request(reviewed: Sequence[Reviewed]) -> dict[str, Any]:
    """The value of the interrupt: a `HITLRequest`. It holds the texts, since the person has to read them."""
    return {
        "action_requests": [
            {"name": one.name, "args": dict(one.args), "description": one.decision.summary} for one in reviewed
        ],
        "review_configs": [{"action_name": one.name, "allowed_decisions": list(one.allowed)} for one in reviewed],
    }


def review_outcomes(answer: Any, reviewed: Sequence[Reviewed]) -> list[Outcome]:
    """What the person said, from the `HITLResponse` that the graph was resumed with.

    Raises:
        GuardConfigurationError: It is not one allowed decision for each text.
    """
    decisions = answer.get("decisions") if isinstance(answer, Mapping) else None
    if not isinstance(decisions, Sequence) or len(decisions) != len(reviewed):
        raise GuardConfigurationError(
            f"a review of {len(reviewed)} texts was resumed without {len(reviewed)} decisions",
            hint='resume with Command(resume={"decisions": [{"type": "approve"}, ...]})',
        )
    return [_outcome(decision, one) for decision, one in zip(decisions, reviewed, strict=True)]


def _type_of(decision: Any) -> Any:
    return decision.get("type") if isinstance(decision, Mapping) else None


def _outcome(decision: Any, reviewed: Reviewed) -> Outcome:
    kind = next((one for one in reviewed.allowed if _type_of(decision) == one), None)
    if kind is None:
        raise GuardConfigurationError(
            f"the decision about {reviewed.name} is none of those that are allowed",
            hint=f'its "type" is one of {", ".join(reviewed.allowed)}',
        )
    if kind != "edit":
        return Outcome(kind, message=str(decision.get("message") or ""))
    action = decision.get("edited_action")
    if not isinstance(action, Mapping) or not isinstance(action.get("args"), Mapping):
        raise GuardConfigurationError(
            f"the decision about {reviewed.name} edits it, and does not say how",
            hint='{"type": "edit", "edited_action": {"name": ..., "args": {...}}}',
        )
    if reviewed.decision.point is Point.TOOL_CALL and action.get("name") not in (None, "", reviewed.name):
        raise GuardConfigurationError(
            "a review may edit a call's arguments, not the tool that is called",
            hint='its "name" is the one in the question',
        )
    return Outcome(kind, args=action["args"])
