"""Precision-recall and ROC curves of scores, with the areas under them."""

from __future__ import annotations

from typing import Final

from ._numeric import Counts, Numbers, Truths, np
from .intervals import Bootstrap, interval
from .summary import Curve, Estimate

POINTS: Final = 200
"""Points of a curve that is kept: finer than a picture shows, and some KB of JSON however many rows there were."""


def curves(scores: Numbers, unsafe: Truths, bootstrap: Bootstrap) -> tuple[Curve, Curve]:
    """The precision-recall curve and the ROC curve of at least one unsafe row and at least one that is not.

    Points and areas are scikit-learn's: the area of the first is average precision (no interpolation). An area is
    that of all points, of which at most `POINTS` are kept.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    precision, recall, thresholds = precision_recall_curve(unsafe, scores)
    false_positive_rate, true_positive_rate, from_scores = roc_curve(unsafe, scores)
    average, area = _areas(scores, unsafe, bootstrap)
    return (
        _thinned(recall, precision, np.append(thresholds, np.inf), average),
        _thinned(false_positive_rate, true_positive_rate, from_scores, area),
    )


def _areas(scores: Numbers, unsafe: Truths, bootstrap: Bootstrap) -> tuple[Estimate, Estimate]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    values = float(average_precision_score(unsafe, scores)), float(roc_auc_score(unsafe, scores))
    if not bootstrap.enough(min(int(unsafe.sum()), int((~unsafe).sum()))):
        return Estimate(value=values[0]), Estimate(value=values[1])
    average, area = resampled_areas(scores, unsafe, bootstrap)
    return interval(values[0], average), interval(values[1], area)


def resampled_areas(scores: Numbers, unsafe: Truths, bootstrap: Bootstrap) -> tuple[Numbers, Numbers]:
    """Average precision and area under the ROC curve in each resample that has unsafe rows and others.

    Rows are sorted once: a resample is a weight for each row, and a point of its curve a cumulative sum of weights.
    """
    order = np.argsort(-scores, kind="stable")
    truths, falling = unsafe[order], scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # rows with one score enter together
    blocks = [_weighted_areas(weights, truths, ends) for weights in bootstrap.weights(len(scores))]
    average, area = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return average, area


def _weighted_areas(weights: Counts, truths: Truths, ends: Counts) -> tuple[Numbers, Numbers]:
    """Both areas for each line of `weights`, by the formulas of scikit-learn: a sum of steps, and trapezoids."""
    found = np.cumsum(weights * truths, axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    both = (found[:, -1] > 0) & (found[:, -1] < taken[:, -1])
    found, taken = found[both], taken[both]
    wrong = taken - found
    gained, lost = np.diff(found, prepend=0), np.diff(wrong, prepend=0)
    average = np.sum(gained * found / np.maximum(taken, 1), axis=1) / found[:, -1]
    area = np.sum(lost * (found - gained / 2), axis=1) / (found[:, -1] * wrong[:, -1])
    return average, area


def _thinned(x: Numbers, y: Numbers, thresholds: Numbers, area: Estimate) -> Curve:
    """The curve by at most `POINTS` of its points, about equally far apart along it; both ends are kept."""
    kept = np.arange(len(x))
    if len(x) > POINTS:
        walked = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        kept = np.unique(np.searchsorted(walked, np.linspace(0.0, walked[-1], POINTS)))
    return Curve(
        x=tuple(x[kept].tolist()),
        y=tuple(y[kept].tolist()),
        thresholds=tuple(score if np.isfinite(score) else None for score in thresholds[kept].tolist()),
        area=area,
    )
