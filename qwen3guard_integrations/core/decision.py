"""What is done about a verdict: actions, and the decision that names one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import total_ordering
from typing import Final

from .points import Point
from .verdict import Severity, Value, Verdict


@total_ordering
class Action(Enum):
    """What happens to a text, from the mildest to the strictest."""

    ALLOW = "allow"
    """The text passes."""
    FLAG = "flag"
    """The text passes, and the decision is recorded."""
    REDACT = "redact"
    """The text is replaced by the policy's redaction; the rest goes on."""
    DROP = "drop"
    """The message or document is left out; the rest goes on."""
    REVIEW = "review"
    """A person decides. Where nobody can be asked, the text is blocked."""
    BLOCK = "block"
    """Nothing goes on."""

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Action):
            return NotImplemented
        return _STRICTNESS[self] < _STRICTNESS[other]

    def __hash__(self) -> int:
        return hash(self._value_)  # the property `value` takes three times as long

    def __str__(self) -> str:
        return self.value


_STRICTNESS: Final = {action: rank for rank, action in enumerate(Action)}


class Decision(Value):
    """What the policy makes of one text: safe to log, since it never holds the text.

    Attributes:
        point: Where the text was about to pass.
        action: What is done with it.
        severity: How harmful the policy takes it to be (after score thresholds); None when nothing was judged.
        verdict: What the guard said; None when the guard was not asked or failed.
        guard_failed: The guard gave no verdict, and `Policy.on_guard_error` made the decision.
    """

    point: Point
    action: Action
    severity: Severity | None = None
    verdict: Verdict | None = None
    guard_failed: bool = False

    @property
    def passes(self) -> bool:
        """The text goes on unchanged."""
        return self.action in {Action.ALLOW, Action.FLAG}

    @property
    def stops(self) -> bool:
        """Nothing goes on: blocked, or kept for a person to review."""
        return self.action in {Action.BLOCK, Action.REVIEW}

    def blocking(self) -> Decision:
        """The same decision as a block, where nothing is left to go on with or nobody can be asked."""
        return self.model_copy(update={"action": Action.BLOCK})

    @property
    def category_names(self) -> str:
        """The categories of the verdict, separated by commas; an empty string when there are none.

        Names that are none of the nine appear as "other": a guard that babbles may have them from the text.
        """
        if self.verdict is None:
            return ""
        return ", ".join((*self.verdict.categories, *(["other"] if self.verdict.other_categories else [])))

    @property
    def summary(self) -> str:
        """One line for people: action, point, severity and categories."""
        if self.guard_failed:
            why = "the guard gave no verdict"
        else:
            why = str(self.severity) if self.severity else "not judged"
            why += f": {self.category_names}" if self.category_names else ""
        return f"{self.action} at {self.point} ({why})"


def stopping(decisions: Iterable[Decision]) -> Decision | None:
    """The decision that stops the value, if one does; of several, the strictest."""
    stops = [decision for decision in decisions if decision.stops]
    return max(stops, key=lambda decision: decision.action) if stops else None
