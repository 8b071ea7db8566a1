"""Intervals against scipy's, which draws rows; and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qwen3guard_integrations import Severity
from qwen3guard_integrations.evaluation import intervals, summarise
from qwen3guard_integrations.evaluation.intervals import LEAST, Bootstrap
from qwen3guard_integrations.evaluation.summary import Estimate

from .samples import SAFE, UNSAFE, numbered, result


def test_counts_and_rows_drawn_again_have_the_same_interval() -> None:
    table = [230, 40, 60, 170]
    said, true = np.repeat([True, True, False, False], table), np.repeat([True, False, True, False], table)

    def f1(said: NDArray[np.bool_], true: NDArray[np.bool_], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(2 * (said & true).sum(axis) / (said.sum(axis) + true.sum(axis)))

    drawn = stats.bootstrap(
        (said, true), f1, paired=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0), batch=500
    ).confidence_interval
    results = [
        result(UNSAFE if s else SAFE, UNSAFE if t else SAFE) for s, t in zip(said.tolist(), true.tolist(), strict=True)
    ]
    summary = summarise("data", "digest", {"guard": numbered(results)}, resamples=20_000)
    ours = summary.guards[0].readings.strict.f1
    assert ours.value == pytest.approx(f1(said, true), abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx((drawn.low, drawn.high), abs=2e-3)


@pytest.mark.parametrize("true", [0.5, 0.8, 0.9])
def test_an_interval_holds_the_truth_95_times_in_100(true: float) -> None:
    random = np.random.default_rng(11)
    rows, tries = 150, 600
    estimates = [Bootstrap(400, seed).share(int(random.binomial(rows, true)), rows) for seed in range(tries)]
    held = sum(e.low <= true <= e.high for e in estimates if e.low is not None and e.high is not None)
    assert 0.92 <= held / tries <= 0.98


def test_what_rests_on_few_rows_has_no_interval() -> None:
    assert Bootstrap().share(9, LEAST - 1) == Estimate(value=9 / 19)
    assert Bootstrap().share(10, LEAST).low is not None
    assert Bootstrap(resamples=0).share(500, 1000) == Estimate(value=0.5)
    assert Bootstrap().share(0, 0) == Estimate(value=0)


def test_a_figure_rests_on_the_rows_in_its_denominator() -> None:
    rows: list[tuple[Severity, Severity]] = [(UNSAFE, UNSAFE)] * 10 + [(SAFE, UNSAFE)] * 9 + [(SAFE, SAFE)] * 500
    rows += [(UNSAFE, SAFE)] * 40
    summary = summarise("data", "digest", {"guard": numbered([result(said, label) for said, label in rows])})
    strict = summary.guards[0].readings.strict
    assert strict.recall.low is None  # 19 unsafe rows, whatever else there is
    assert strict.precision.low is not None
    assert strict.f1.low is not None
    assert strict.false_positive_rate.low is not None


def test_a_resample_has_as_many_rows_as_the_data() -> None:
    bootstrap = Bootstrap(resamples=300, seed=3)
    cells = bootstrap.cells(5, 0, 20, 75)
    assert cells.shape == (4, 300)
    assert set(cells.sum(axis=0)) == {100}
    assert not cells[1].any()
    assert abs(cells[2].mean() - 20) < 1


@pytest.mark.parametrize("block", [1, 1000, 1 << 18])
def test_rows_are_drawn_evenly_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_BLOCK", block)
    weights = np.concatenate(list(Bootstrap(resamples=2000, seed=3).weights(50)))
    assert weights.shape == (2000, 50)
    assert set(weights.sum(axis=1)) == {50}
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.12
    assert np.var(weights) == pytest.approx(49 / 50, abs=0.02)  # of a binomial count of 50 draws at one in fifty


def test_a_figure_draws_from_the_seed_anew() -> None:
    bootstrap = Bootstrap(seed=4)
    assert bootstrap.share(30, 100) == bootstrap.share(30, 100)
    assert bootstrap.share(30, 100) != Bootstrap(seed=5).share(30, 100)
