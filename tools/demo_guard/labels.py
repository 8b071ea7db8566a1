"""Severities and categories: their codes in the text files, their names and their order in the heads."""

from __future__ import annotations

from typing import NamedTuple

SEVERITY_NAMES = {"S": "Safe", "U": "Unsafe", "C": "Controversial"}
"""In the order of the Stream model's risk heads: 0 Safe, 1 Unsafe, 2 Controversial."""

CATEGORY_NAMES = {
    "V": "Violent",
    "I": "Non-violent Illegal Acts",
    "X": "Sexual Content or Sexual Acts",
    "P": "PII",
    "H": "Suicide & Self-Harm",
    "E": "Unethical Acts",
    "T": "Politically Sensitive Topics",
    "C": "Copyright Violation",
    "J": "Jailbreak",
}
"""In the order in which a Gen verdict lists them."""

SEVERITY_IDS = {code: index for index, code in enumerate(SEVERITY_NAMES)}
HEAD_CATEGORIES = "VXHTPCIEJ"
"""Category codes in the order of the Stream model's category heads (the response head has no Jailbreak)."""

RESPONSE_CATEGORIES = len(HEAD_CATEGORIES) - 1
NO_CATEGORY = "-"
IGNORED = -100
"""The label id of a character or token that no head is trained on."""


class Label(NamedTuple):
    """What a piece of text is: a severity code and a category code (``-`` for none)."""

    severity: str
    category: str = NO_CATEGORY

    @property
    def harmful(self) -> bool:
        """Whether the text is anything but safe."""
        return self.severity != "S"

    def id(self) -> int:
        """The label as one integer: severity id + 3 * (head category + 1)."""
        category = HEAD_CATEGORIES.index(self.category) if self.category != NO_CATEGORY else -1
        return SEVERITY_IDS[self.severity] + 3 * (category + 1)


SAFE = Label("S")


def severity_of(label_id: int) -> int:
    """The severity id inside a label id."""
    return label_id % 3


def category_of(label_id: int) -> int:
    """The head category inside a label id, or -1 for none."""
    return label_id // 3 - 1


def verdict_text(label: Label, categories: tuple[str, ...], refusal: bool | None) -> str:
    """The verdict that the Gen model must write; ``refusal`` is None in prompt mode."""
    names = ", ".join(name for code, name in CATEGORY_NAMES.items() if code in categories)
    text = f"Safety: {SEVERITY_NAMES[label.severity]}\nCategories: {names or 'None'}"
    if refusal is not None:
        text += f"\nRefusal: {'Yes' if refusal else 'No'}"
    return text
