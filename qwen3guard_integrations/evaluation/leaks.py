"""How much of an unsafe response a reader had seen before the block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..core.verdict import Severity
from ._numeric import np
from .results import Result
from .summary import Leak


def leaks(results: Iterable[Result]) -> dict[str, Leak]:
    """For each hold policy, the characters of streams labelled Unsafe that had left before the block.

    A stream that was never blocked counts with all its characters: a miss is a leak of the whole.
    """
    characters: defaultdict[str, list[int]] = defaultdict(list)
    for result in results:
        if result.stream is not None and result.label.severity is Severity.UNSAFE:
            for hold, leaked in result.stream.leaked.items():
                characters[hold].append(leaked)
    return {hold: _leak(leaked) for hold, leaked in characters.items()}


def _leak(characters: list[int]) -> Leak:
    median, p95 = np.percentile(characters, (50, 95))
    return Leak(
        rows=len(characters),
        mean=sum(characters) / len(characters),
        median=float(median),
        p95=float(p95),
        most=max(characters),
    )
