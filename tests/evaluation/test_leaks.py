"""What got away before the block, and how long calls took, worked out by hand."""

from __future__ import annotations

import pytest

from qwen3guard_integrations.evaluation import Label, Latency, Result, latency_of
from qwen3guard_integrations.evaluation.leaks import leaks

from .samples import CONTROVERSIAL, SAFE, UNSAFE, stream_of


def test_characters_of_unsafe_streams_by_hold_policy() -> None:
    leaked = [
        {"judged": 0, "none": 10},
        {"judged": 0, "none": 30},
        {"judged": 4, "none": 110},
        {"judged": 0, "none": 50},
    ]
    results = [Result(id="1", label=Label(severity=UNSAFE), stream=stream_of("UU", leaked=one)) for one in leaked]
    results += [
        Result(id="1", label=Label(severity=severity), stream=stream_of("S", leaked={"judged": 999}))
        for severity in (SAFE, CONTROVERSIAL)
    ]
    results.append(Result(id="1", label=Label(severity=UNSAFE), error="GuardTimeoutError"))
    figures = leaks(results)
    assert list(figures) == ["judged", "none"]
    judged, none = figures["judged"], figures["none"]
    assert (judged.rows, judged.mean, judged.median, judged.most) == (4, 1, 0, 4)
    assert (none.rows, none.mean, none.median, none.most) == (4, 50, 40, 110)
    assert none.p95 == pytest.approx(50 + 0.85 * 60)
    assert leaks(results[4:]) == {}


def test_percentiles_and_cost_of_calls() -> None:
    latency = latency_of([30.0, 10.0, 20.0, 40.0, 50.0], rows=100, seconds=0.5, price_per_call=0.02)
    assert (latency.calls, latency.rows_per_second, latency.p50) == (5, 200, 30)
    assert (latency.p95, latency.p99, latency.cost) == pytest.approx((48, 49.6, 0.1))


def test_without_calls_or_a_price_there_is_nothing_to_tell() -> None:
    assert latency_of([], rows=0, seconds=0) == Latency(calls=0, rows_per_second=0, p50=0, p95=0, p99=0)
    assert latency_of([], rows=0, seconds=0, price_per_call=1).cost == 0


@pytest.mark.parametrize(
    ("calls", "rows", "seconds", "price"), [([-1.0], 1, 1, 1), ([1.0], -1, 1, 1), ([1.0], 1, -1, 1), ([1.0], 1, 1, -1)]
)
def test_nothing_takes_less_than_no_time(calls: list[float], rows: int, seconds: float, price: float) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        latency_of(calls, rows=rows, seconds=seconds, price_per_call=price)
