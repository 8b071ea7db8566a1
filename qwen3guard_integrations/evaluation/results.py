"""What a guard said of a row: one line of a results file. It holds labels and verdicts, and no text."""

from __future__ import annotations

from pydantic import Field

from ..core.verdict import Severity, Value, Verdict
from .rows import Label


class StreamResult(Value):
    """How a streaming guard judged a response, token by token, and what would have got away.

    Attributes:
        severity: What the whole stream is taken for (`onset.flagged`).
        flag: Position in the whole chat template of the token that decided; None where nothing was flagged.
        begins: Position in the whole chat template of the first token that was judged.
        tokens: The severity of each token: one letter each, S, C or U.
        ends: Where each token ends: characters of the judged text (reasoning and response, as they were written).
        leaked: For each hold policy ("judged", "window", "none"), how many characters had left before the block;
            all of them where nothing was blocked.
        characters: How many there are in all.
    """

    severity: Severity
    flag: int | None
    begins: int
    tokens: str
    ends: tuple[int, ...] = ()
    leaked: dict[str, int] = Field(default_factory=dict)
    characters: int = 0


class Result(Value):
    """What one guard said of one row.

    Attributes:
        id: The row's.
        label: The row's.
        response: Whether a response was judged, and not a prompt.
        verdict: The guard's; None where it gave none.
        error: The name of the error where it gave none.
        stream: Token by token, where that was asked for.
    """

    id: str
    label: Label
    response: bool = False
    verdict: Verdict | None = None
    error: str | None = None
    stream: StreamResult | None = None
