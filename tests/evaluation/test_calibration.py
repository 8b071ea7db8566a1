"""Bins and their error, worked out by hand; `test_figures` has them against loops on random sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations.evaluation.calibration import calibration

pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def of(rows: list[tuple[float, bool]]) -> tuple[list[tuple[float, float, int, float, float]], float]:
    bins, error = calibration(np.array([score for score, _ in rows]), np.array([unsafe for _, unsafe in rows]))
    return [(b.low, b.high, b.rows, b.mean_score, b.unsafe) for b in bins], error


def test_a_bin_holds_its_lower_end_and_the_last_one_both() -> None:
    bins, error = of([(0.0, False), (0.1, True), (0.3, False), (0.3, True), (0.95, True), (1.0, True)])
    assert bins[0] == (0.0, 0.1, 1, 0.0, 0.0)
    assert bins[1] == (0.1, 0.2, 1, 0.1, 1.0)
    assert bins[3] == (0.3, 0.4, 2, 0.3, 0.5)
    assert bins[9] == pytest.approx((0.9, 1.0, 2, 0.975, 1))
    assert bins[2] == (0.2, 0.3, 0, 0.0, 0.0)
    assert error == pytest.approx((0 + 0.9 + 2 * 0.2 + 2 * 0.025) / 6)


@given(pairs)
def test_every_score_lies_in_its_bin(rows: list[tuple[float, bool]]) -> None:
    bins, error = of(rows)
    for low, high, count, _, _ in bins:
        assert count == sum(low <= score < high or (high == score == 1) for score, _ in rows)
    assert 0 <= error <= 1


def test_scores_that_keep_their_word_have_no_error() -> None:
    assert of([(0.0, False), (1.0, True)])[1] == 0
    assert of([(0.25, True), (0.25, False), (0.25, False), (0.25, False)])[1] == 0
    assert of([(0.0, True), (1.0, False)])[1] == 1


def test_no_rows_have_no_error() -> None:
    bins, error = calibration(np.array([]), np.array([], dtype=bool))
    assert (len(bins), error) == (10, 0)
