"""Labelled text: a passage is a list of spans, each with the label that holds while it is read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .labels import IGNORED, SAFE, Label


@dataclass(frozen=True)
class Span:
    """A piece of text with one label; its first ``settle`` share is not used to train the per-token heads.

    A harmful sentence cannot be recognised at its first word, so ``settle`` says how much of the span must
    have been read before the label counts; 1.0 means from its last character on. ``trained`` is false for
    text on which the per-token heads are not trained at all.
    """

    text: str
    label: Label = SAFE
    settle: float = 0.0
    trained: bool = True

    def label_ids(self) -> list[int]:
        """One label id per character."""
        if not self.trained:
            return [IGNORED] * len(self.text)
        unsettled = min(int(len(self.text) * self.settle), max(len(self.text) - 1, 0))
        return [IGNORED] * unsettled + [self.label.id()] * (len(self.text) - unsettled)


Passage = list[Span]


def plain(text: str) -> Passage:
    """A safe passage."""
    return [Span(text)]


def sentence(text: str, label: Label, settle: float = 1.0) -> Passage:
    """One sentence; if harmful, its label counts only once ``settle`` of it has been read."""
    return [Span(text, label, settle if label.harmful else 0.0)]


def text_of(passage: Passage) -> str:
    """The text of a passage."""
    return "".join(span.text for span in passage)


def label_of(passage: Passage) -> Label:
    """The label after the whole passage has been read."""
    return passage[-1].label if passage else SAFE


def join(first: Passage, separator: str, second: Passage) -> Passage:
    """Two passages one after the other; what was harmful in the first stays harmful to the end."""
    before = label_of(first)
    if not before.harmful:
        return [*first, Span(separator), *second]
    carried = [span if _worse(span.label, before) else replace(span, label=before, settle=0.0) for span in second]
    return [*first, Span(separator, before), *carried]


def _worse(label: Label, than: Label) -> bool:
    order = "SCU"
    return order.index(label.severity) > order.index(than.severity)
