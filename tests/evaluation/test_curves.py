"""Curves and areas against loops, and resampled areas against scikit-learn's on the rows written out."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from qwen3guard_integrations.evaluation._numeric import Numbers, Truths
from qwen3guard_integrations.evaluation.curves import POINTS, curves, resampled_areas
from qwen3guard_integrations.evaluation.intervals import Bootstrap
from qwen3guard_integrations.evaluation.summary import Curve

NONE = Bootstrap(resamples=0)


def drawn(seed: int, rows: int, *, steps: int = 1 << 20) -> tuple[Numbers, Truths]:
    """Scores (multiples of 1 / `steps`: few steps are many ties) that know something about the truth."""
    random = np.random.default_rng(seed)
    truths = random.random(rows) < 0.4
    truths[:2] = True, False
    scores = np.clip(random.normal(0.35 + 0.3 * truths, 0.2), 0, 1)
    return np.round(scores * steps) / steps, truths


def test_a_curve_worked_out_by_hand() -> None:
    scores, truths = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    precision_recall, roc = curves(scores, truths, NONE)
    assert precision_recall.x == (1.0, 1.0, 0.5, 0.0)
    assert precision_recall.y == pytest.approx((0.5, 2 / 3, 1, 1))
    assert precision_recall.thresholds == (0.1, 0.8, 0.9, None)
    assert precision_recall.area.value == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert [*zip(roc.x, roc.y, strict=True)] == [(0, 0), (0, 0.5), (0.5, 1), (1, 1)]
    assert roc.thresholds == (None, 0.9, 0.8, 0.1)
    assert roc.area.value == pytest.approx(0.875)


@pytest.mark.parametrize("seed", range(50))
def test_every_point_is_what_its_threshold_gives(seed: int) -> None:
    scores, truths = drawn(seed, random.Random(seed).randrange(2, 60), steps=12)
    for number, curve in enumerate(curves(scores, truths, NONE)):
        for x, y, threshold in zip(curve.x, curve.y, curve.thresholds, strict=True):
            taken = [bool(t) for s, t in zip(scores, truths, strict=True) if threshold is not None and s >= threshold]
            found, wrong = sum(taken), len(taken) - sum(taken)
            recall, precision = found / truths.sum(), found / len(taken) if taken else 1
            expected = (recall, precision) if number == 0 else (wrong / (~truths).sum(), recall)
            assert (x, y) == pytest.approx(expected, abs=1e-12)


def farthest(curve: Curve, x: Numbers, y: Numbers) -> float:
    """How far the point of the whole curve that is farthest from the kept ones is from the nearest of them."""
    apart = np.abs(x[:, None] - np.array(curve.x)) + np.abs(y[:, None] - np.array(curve.y))
    return float(apart.min(axis=1).max())


@pytest.mark.parametrize("rows", [500, 20_000])
def test_a_long_curve_is_thinned_and_keeps_its_shape_and_its_area(rows: int) -> None:
    scores, truths = drawn(3, rows)
    precision_recall, roc = curves(scores, truths, NONE)
    assert precision_recall.area.value == pytest.approx(average_precision_score(truths, scores), abs=1e-12)
    assert roc.area.value == pytest.approx(roc_auc_score(truths, scores), abs=1e-12)
    for curve in (precision_recall, roc):
        assert POINTS / 2 < len(curve.x) == len(curve.y) == len(curve.thresholds) <= POINTS
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert (precision_recall.x[0], precision_recall.x[-1], precision_recall.y[-1]) == (1, 0, 1)
    precision, recall, _ = precision_recall_curve(truths, scores)
    assert farthest(precision_recall, recall, precision) < 0.05
    assert farthest(roc, *roc_curve(truths, scores)[:2]) < 0.011  # a curve from (0, 0) to (1, 1) is 2 long
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc.area.value, abs=2e-3)
    falling = [threshold for threshold in roc.thresholds if threshold is not None]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("steps", [8, 1 << 20])
def test_an_area_of_a_resample_is_that_of_its_rows_written_out(steps: int) -> None:
    bootstrap = Bootstrap(resamples=40, seed=5)
    scores, truths = drawn(1, 300, steps=steps)
    order = np.argsort(-scores, kind="stable")
    (weights,) = bootstrap.weights(len(scores))
    average, area = resampled_areas(scores, truths, bootstrap)
    for number, line in enumerate(weights):
        rows = np.repeat(order, line)
        assert average[number] == pytest.approx(average_precision_score(truths[rows], scores[rows]), abs=1e-12)
        assert area[number] == pytest.approx(roc_auc_score(truths[rows], scores[rows]), abs=1e-12)


def test_resamples_without_both_kinds_have_no_area() -> None:
    scores, truths = np.array([0.2, 0.7]), np.array([False, True])
    average, area = resampled_areas(scores, truths, Bootstrap(resamples=400))
    assert 0 < len(average) == len(area) < 400
    assert average.tolist() == area.tolist() == [1.0] * len(area)


def test_an_area_has_an_interval_where_there_are_enough_rows_of_both_kinds() -> None:
    scores, truths = drawn(2, 400)
    for curve in curves(scores, truths, Bootstrap(resamples=200)):
        assert curve.area.low is not None
        assert curve.area.high is not None
        assert curve.area.low < curve.area.value < curve.area.high < curve.area.low + 0.2
    few = np.concatenate((np.flatnonzero(truths)[:19], np.flatnonzero(~truths)))
    for curve in curves(scores[few], truths[few], Bootstrap(resamples=200)):
        assert (curve.area.low, curve.area.high) == (None, None)
