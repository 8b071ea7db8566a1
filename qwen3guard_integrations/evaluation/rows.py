"""One row of a labelled data set: what is judged, and what people say of it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ..core.conversation import Conversation
from ..core.verdict import Category, Severity, Value


class Label(Value):
    """What people say of the judged turn.

    Attributes:
        severity: Safe, Unsafe, or Controversial where the data set knows it.
        categories: What kind of harm, where the data set says so in words that are one of the nine categories.
        refusal: Whether the response refuses its prompt; None where the data set does not say.
        language: Its language as the data set names it ("en", "de", "zh-CN").
        source: A part of the data set (a kind of attack, the model that wrote the response), for figures of its own.
        unsafe_start: Position of the first token of the first unsafe sentence in the whole chat template.
        unsafe_end: Position of its last token.
    """

    severity: Severity
    categories: tuple[Category, ...] = ()
    refusal: bool | None = None
    language: str | None = None
    source: str | None = None
    unsafe_start: int | None = Field(default=None, ge=0)
    unsafe_end: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if (self.unsafe_start is None) != (self.unsafe_end is None):
            raise ValueError("unsafe_start and unsafe_end go together")
        return self


class Row(Value):
    """A labelled conversation; its last turn is judged.

    Attributes:
        id: Unique in its data set.
        conversation: What the guard is asked about.
        label: What people say of its last turn.
        input_ids: The tokens of the whole conversation in Qwen3's chat template, where the data set has them.
            Positions in the label count these: tokenising the text again would move them in one row of five.
    """

    id: str
    conversation: Conversation
    label: Label
    input_ids: tuple[int, ...] | None = None

    @property
    def is_response(self) -> bool:
        """Whether a response is judged, and not a prompt."""
        return self.conversation.judged.role == "assistant"
