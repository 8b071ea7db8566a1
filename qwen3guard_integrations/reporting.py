"""What happened: every decision as a log line and a count. Never with the text that was judged.

Each framework's adapters have a `Report` of their own, which tells its listeners too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from pydantic import ValidationError

from .core.decision import Decision

EVENT: Final = "qwen3guard.verdict"
"""What the frameworks' own events about a decision are called."""

logger = logging.getLogger("qwen3guard_integrations.verdicts")
logger.addHandler(logging.NullHandler())


def entry(decision: Decision) -> dict[str, Any]:
    """`decision` as plain data, for events, logs and states. Names that the guard made up stay out.

    The same as `decision.model_dump(mode="json", exclude_none=True)` without these names, in a fifth of the time.
    """
    data: dict[str, Any] = {"point": str(decision.point), "action": str(decision.action)}
    if decision.severity is not None:
        data["severity"] = str(decision.severity)
    if (verdict := decision.verdict) is not None:
        data["verdict"] = {"severity": str(verdict.severity), "categories": [*map(str, verdict.categories)]}
        if verdict.refusal is not None:
            data["verdict"]["refusal"] = verdict.refusal
        if verdict.scores is not None:
            data["verdict"]["scores"] = verdict.scores.model_dump()
    data["guard_failed"] = decision.guard_failed
    return data


def decision_in(data: Any) -> Decision | None:
    """The decision that an entry stands for; None for anything else, which somebody else has written."""
    try:
        return Decision.model_validate(data)
    except ValidationError:
        return None


class Report:
    """Counts and logs what was decided.

    Attributes:
        counts: How many decisions there were, by point and action: `{("prompt", "block"): 2}`.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def tell(self, decisions: Iterable[Decision]) -> None:
        """Report decisions on texts that were judged."""
        self.record(decisions)

    async def atell(self, decisions: Iterable[Decision]) -> None:
        """Report decisions on texts that were judged."""
        self.record(decisions)

    def record(self, decisions: Iterable[Decision]) -> list[Decision]:
        """Count and log decisions; those of them for which the guard was asked."""
        judged = [decision for decision in decisions if decision.verdict is not None or decision.guard_failed]
        for decision in judged:
            self.counts[str(decision.point), str(decision.action)] += 1
            _count(decision)
            _log(decision)
        return judged


def _log(decision: Decision) -> None:
    """One line: WARNING for what does not pass, INFO for what is flagged, DEBUG for the rest."""
    level = logging.DEBUG if decision.action.value == "allow" else logging.INFO if decision.passes else logging.WARNING
    if logger.isEnabledFor(level):
        logger.log(level, "%s", decision.summary, extra={"qwen3guard": entry(decision)})


@cache
def _counter() -> Any:
    """OpenTelemetry's counter of verdicts; None where it is not installed."""
    try:
        from opentelemetry import metrics
    except ImportError:
        return None
    meter = metrics.get_meter("qwen3guard_integrations")
    return meter.create_counter("qwen3guard.verdicts", description="Texts that Qwen3Guard judged, by point and action")


def _count(decision: Decision) -> None:
    if (counter := _counter()) is not None:
        labels = {"point": str(decision.point), "action": str(decision.action), "severity": str(decision.severity)}
        counter.add(1, labels)
