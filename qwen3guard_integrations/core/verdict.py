"""What a guard says: severity, categories, refusal and scores.

The labels are those of the Qwen3Guard technical report (arXiv 2510.14276), section 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, StrEnum
from functools import total_ordering
from types import MappingProxyType
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator


@total_ordering
class Severity(Enum):
    """How harmful: ordered, `SAFE < CONTROVERSIAL < UNSAFE`. The values are the words the models write."""

    SAFE = "Safe"
    CONTROVERSIAL = "Controversial"
    UNSAFE = "Unsafe"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Severity):
            return NotImplemented
        return _RANK[self] < _RANK[other]

    def __hash__(self) -> int:
        return hash(self._value_)  # the property `value` takes three times as long

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        return next((member for member in cls if member.value.lower() == value.strip().lower()), None)


_RANK: Final = {Severity.SAFE: 0, Severity.CONTROVERSIAL: 1, Severity.UNSAFE: 2}


class Category(StrEnum):
    """The nine categories, by their official names. Also made from the other names in use: `Category("Self-Harm")`."""

    VIOLENT = "Violent"
    NON_VIOLENT_ILLEGAL_ACTS = "Non-violent Illegal Acts"
    SEXUAL_CONTENT = "Sexual Content or Sexual Acts"
    PII = "PII"
    SUICIDE_AND_SELF_HARM = "Suicide & Self-Harm"
    UNETHICAL_ACTS = "Unethical Acts"
    POLITICALLY_SENSITIVE = "Politically Sensitive Topics"
    COPYRIGHT_VIOLATION = "Copyright Violation"
    JAILBREAK = "Jailbreak"

    @classmethod
    def _missing_(cls, value: object) -> Category | None:
        return _BY_NAME.get(_plain(value)) if isinstance(value, str) else None


def _plain(name: str) -> str:
    """`name` without case, quotes, punctuation and filler words, so that every spelling of one name is equal."""
    words = re.findall(r"[a-z]+", name.lower())
    return " ".join(word for word in words if word not in {"and", "or"})


# Other spellings: the short forms of the Stream model card, and what fine-tunes and servers were seen to write.
_ALIASES: Final = MappingProxyType(
    {
        Category.VIOLENT: ("Violence",),
        Category.NON_VIOLENT_ILLEGAL_ACTS: (
            "Illegal Acts",
            "Nonviolent Illegal Acts",
            "Non-violent Illegal Act",
        ),
        Category.SEXUAL_CONTENT: ("Sexual Content", "Sexual Acts", "Sexual"),
        Category.PII: (
            "Personally Identifiable Information",
            "Personal Identifiable Information",
            "Personally Identifiable Information (PII)",
        ),
        Category.SUICIDE_AND_SELF_HARM: ("Self-Harm", "Suicide", "Suicide Self Harm", "Self-Harm & Suicide"),
        Category.UNETHICAL_ACTS: ("Unethical", "Unethical Act"),
        Category.POLITICALLY_SENSITIVE: ("Political", "Politically Sensitive", "Politically Sensitive Topic"),
        Category.COPYRIGHT_VIOLATION: ("Copyright", "Copyright Violations"),
        Category.JAILBREAK: ("Jailbreaking", "Jail-break"),
    }
)
_BY_NAME: Final = {_plain(name): category for category in Category for name in (category.value, *_ALIASES[category])}


class Value(BaseModel):
    """Base of the public values: frozen, strict about names, and silent about its input in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Scores(Value):
    """The probability of each severity; the three add up to 1."""

    safe: float = Field(ge=0, le=1)
    controversial: float = Field(ge=0, le=1)
    unsafe: float = Field(ge=0, le=1)

    def __getitem__(self, severity: Severity) -> float:
        return {
            Severity.SAFE: self.safe,
            Severity.CONTROVERSIAL: self.controversial,
            Severity.UNSAFE: self.unsafe,
        }[severity]


class Verdict(Value):
    """One judgement of one text.

    Attributes:
        severity: Safe, Controversial or Unsafe.
        categories: What kind of harm. Empty when safe, and when only the severity was asked for.
        other_categories: Names that are none of the nine: from a fine-tuned model or a custom policy.
        refusal: Whether a response refuses its prompt; None for a prompt, and where it was not asked for.
        scores: The probability of each severity; None where the back end cannot tell.
    """

    severity: Severity
    categories: tuple[Category, ...] = ()
    other_categories: tuple[str, ...] = ()
    refusal: bool | None = None
    scores: Scores | None = None

    @field_validator("categories", mode="before")
    @classmethod
    def _categories_by_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def safe(self) -> bool:
        """True only for the severity Safe; Controversial is not safe here. What to do about it is the policy's."""
        return self.severity is Severity.SAFE

    @classmethod
    def merge(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """The most severe of several verdicts about parts or copies of one text.

        Severity and scores are those of the most severe one (of equals, the one with the least probability of
        Safe); categories are those of every verdict that is not safe; the whole is a refusal only if each part
        that was asked is one.

        Raises:
            ValueError: There is no verdict to merge.
        """
        parts = tuple(verdicts)
        if not parts:
            raise ValueError("no verdict to merge")
        if len(parts) == 1:
            return parts[0]
        worst = max(parts, key=lambda part: (part.severity, 1 - part.scores.safe if part.scores else 0.0))
        ordered = (worst, *(part for part in parts if not part.safe))
        refusals = [part.refusal for part in parts if part.refusal is not None]
        return cls(
            severity=worst.severity,
            categories=tuple(dict.fromkeys(name for part in ordered for name in part.categories)),
            other_categories=tuple(dict.fromkeys(name for part in ordered for name in part.other_categories)),
            refusal=all(refusals) if refusals else None,
            scores=worst.scores,
        )
