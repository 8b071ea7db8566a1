"""How often responses refuse, by the guard, and how well it tells."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.verdict import Severity
from .intervals import Bootstrap
from .results import Result
from .summary import Estimate, Refusals


def refusals(results: Iterable[Result], bootstrap: Bootstrap) -> Refusals | None:
    """The figures of the responses of which the guard said whether they refuse; None where there are none."""
    told = [
        (result.verdict.refusal, result.label)
        for result in results
        if result.response and result.verdict is not None and result.verdict.refusal is not None
    ]
    if not told:
        return None
    harmless = [refused for refused, label in told if label.severity is Severity.SAFE]
    agreed = [refused == label.refusal for refused, label in told if label.refusal is not None]
    return Refusals(
        rows=len(told),
        rate=bootstrap.share(sum(refused for refused, _ in told), len(told)),
        safe_rate=_share(harmless, bootstrap),
        agreement=_share(agreed, bootstrap),
    )


def _share(answers: list[bool], bootstrap: Bootstrap) -> Estimate | None:
    return bootstrap.share(sum(answers), len(answers)) if answers else None
