"""What is known of a public benchmark: where it is, what its licence is, and how its records become rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .records import Drafts, Record

Position = Literal["prompt", "response"]
"""Which side of a conversation is labelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark of the technical report, in its published schema.

    Attributes:
        name: What `load_rows` calls it.
        title: What reports call it.
        hub: Its id on the Hugging Face hub; None where it is not there.
        split: The split that is loaded unless another one is named.
        judged: Whether its rows are prompts or responses.
        drafts: The rows of a record.
        licence: Of the data, as published.
        config: Its configuration on the hub.
        gated: Whether the hub asks for a login, and its owner for consent.
        sample: Name of the shipped sample, without the split.
        splits: All splits, where a sample is shipped for each.
    """

    name: str
    title: str
    hub: str | None
    split: str
    judged: Position
    drafts: Callable[[Record], Drafts]
    licence: str
    config: str | None = None
    gated: bool = False
    sample: str
    splits: tuple[str, ...] = ()
