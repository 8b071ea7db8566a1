"""How a screened stream ended, and the figures about it."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.decision import Decision
from ..core.verdict import Severity
from .stream_picture import Picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the stream ended.

    Attributes:
        decision: What stopped it, or else the strictest of what was decided.
        stopped: Whether it was stopped.
        asks: How often the guard was asked: several tokens may be judged at once.
        first_release: Milliseconds until the first text was released; None when nothing was.
        milliseconds: How long it took in all.
    """

    decision: Decision
    stopped: bool
    asks: int
    first_release: float | None
    milliseconds: float


def figures(picture: Picture, outcome: Outcome) -> list[tuple[str, str]]:
    """Name and value of what is worth knowing, for the terminal and the page."""
    kind = "windows" if picture.windowed else "tokens"
    severities = ", ".join(f"{count} {severity}" for severity in Severity if (count := picture.count(severity)))
    first = "never" if outcome.first_release is None else f"after {outcome.first_release:.1f} ms"
    return [
        ("tokens written", f"{picture.tokens}"),
        (f"{kind} judged", f"{len(picture.judgements)} in {outcome.asks} calls ({severities or 'none'})"),
        ("first text released", first),
        ("took", f"{outcome.milliseconds:.0f} ms"),
        ("decision", outcome.decision.summary),
    ]
