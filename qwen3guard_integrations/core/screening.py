"""Texts at screening points -> decisions, with one question to the guard for all of them.

This is the one place that decides what is asked (each distinct text once, a second look where letters are
hidden), how answers are put together, and what happens when the guard gives none.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from .cleaning import cleaned
from .conversation import Conversation
from .decision import Action, Decision
from .errors import GuardError, GuardResponseError
from .points import Point
from .policy import Policy
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Item:
    """A conversation whose last turn was about to pass a point."""

    point: Point
    conversation: Conversation


ScreeningFlow = Generator[Sequence[Conversation], Sequence[Verdict], list[Decision]]


def screening(items: Sequence[Item], policy: Policy) -> ScreeningFlow:
    """Decide about every item, in order, asking the guard at most once.

    Yields a batch of conversations and is sent as many verdicts. Items at points that the policy does not judge
    are allowed without asking.

    Raises:
        GuardError: The guard gave no verdict, or another number of verdicts than it was asked for, and the policy's
            `on_guard_error` is "raise".
    """
    looks = [_looks(item, policy) for item in items]
    asked = tuple(dict.fromkeys(look for item_looks in looks for look in item_looks))
    verdicts: dict[Conversation, Verdict] = {}
    if asked:
        try:
            verdicts = _paired(asked, (yield asked))
        except GuardError:
            if policy.on_guard_error == "raise":
                raise
    return [_decide(item, item_looks, verdicts, policy) for item, item_looks in zip(items, looks, strict=True)]


def _looks(item: Item, policy: Policy) -> tuple[Conversation, ...]:
    """The conversations to ask about for one item: none, itself, or itself and a cleaned copy."""
    if not policy.judges(item.point):
        return ()
    if not policy.second_look:
        return (item.conversation,)
    turn = item.conversation.judged
    content, reasoning = cleaned(turn.content), cleaned(turn.reasoning)
    if content is None and reasoning is None:
        return (item.conversation,)
    copy = item.conversation.replacing(
        turn.content if content is None else content, turn.reasoning if reasoning is None else reasoning
    )
    return item.conversation, copy


def _paired(asked: Sequence[Conversation], answers: Sequence[Verdict]) -> dict[Conversation, Verdict]:
    if len(asked) != len(answers):
        raise GuardResponseError(f"the guard gave {len(answers)} verdicts on {len(asked)} conversations")
    return dict(zip(asked, answers, strict=True))


def _decide(
    item: Item, looks: Sequence[Conversation], verdicts: dict[Conversation, Verdict], policy: Policy
) -> Decision:
    if not looks:
        return Decision(point=item.point, action=Action.ALLOW)
    if not verdicts:
        return policy.decide_unjudged(item.point)
    decisions = [policy.decide(item.point, verdicts[look]) for look in looks]
    if len(decisions) == 1:
        return decisions[0]
    # The stricter look decides; what both looks found is reported.
    strictest = max(decisions, key=lambda decision: decision.action)
    merged = policy.decide(item.point, Verdict.merge(verdicts[look] for look in looks))
    return max((merged, strictest), key=lambda decision: decision.action)
