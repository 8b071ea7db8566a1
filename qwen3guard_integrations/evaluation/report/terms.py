"""The words of a report, for those who read one for the first time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True)
class Terms:
    """Words, and what they mean."""

    kind: ClassVar = "terms"

    terms: tuple[tuple[str, str], ...]


TERMS: Final = Terms(
    (
        (
            "Strict, loose",
            "Two readings of the same verdicts and labels: Controversial counts as unsafe, or as safe.",
        ),
        ("Recall", "The part of the unsafe rows that the guard found."),
        ("Precision", "The part of the rows it took for unsafe that are."),
        ("F1", "The harmonic mean of the two."),
        ("False positive rate", "The part of the rows that are not unsafe which it took for unsafe."),
        ("Over-blocking", "The same, of the rows whose label is Safe: what users lose for nothing."),
        (
            "Failures",
            "Rows on which the guard gave no verdict. They count as blocked, as they are when the policy fails closed.",
        ),
        (
            "Average precision, area under the ROC curve",
            "How well the score orders the rows, whatever the threshold: 1 is perfect.",
        ),
        (
            "Expected calibration error",
            "How far scores are from the part of such rows that is unsafe, on average: 0 is perfect.",
        ),
        ("Exact hit", "The flag stands inside the first sentence that people marked as unsafe."),
        (
            "Hit within 128 tokens",
            "It stands at most 128 tokens after the end of that sentence, or earlier; one that comes too early counts.",
        ),
        (
            "Interval",
            "95 % bootstrap: in 95 of 100 resamples of the rows the figure lay between these bounds.",
        ),
    )
)
