"""How long calls took, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from ._numeric import np
from .summary import Latency


def latency_of(
    milliseconds_per_call: Sequence[float], *, rows: int, seconds: float, price_per_call: float | None = None
) -> Latency:
    """The percentiles of the calls of a run, and their cost.

    Args:
        milliseconds_per_call: One number for each call; a call judges a batch. Without calls every figure is 0.
        rows: How many rows they judged.
        seconds: How long the run took, from its first call to its last answer.
        price_per_call: In any unit; None leaves out the cost.

    Raises:
        ValueError: A number is negative.
    """
    if min(rows, seconds, price_per_call or 0, *milliseconds_per_call) < 0:
        raise ValueError("rows, seconds, milliseconds_per_call and price_per_call cannot be negative")
    p50, p95, p99 = np.percentile(milliseconds_per_call or [0.0], (50, 95, 99))
    return Latency(
        calls=len(milliseconds_per_call),
        rows_per_second=rows / seconds if seconds else 0.0,
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        cost=None if price_per_call is None else price_per_call * len(milliseconds_per_call),
    )
