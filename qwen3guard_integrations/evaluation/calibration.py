"""Whether a score of 0.8 means that eight in ten are unsafe: reliability bins and the expected calibration error."""

from __future__ import annotations

from typing import Final

from ._numeric import Numbers, Truths, np
from .summary import CalibrationBin

BINS: Final = 10


def calibration(scores: Numbers, unsafe: Truths) -> tuple[tuple[CalibrationBin, ...], float]:
    """Ten bins of equal width and the expected calibration error over them.

    The error is that of Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equation 3, for the one
    event "unsafe": the mean distance, over all rows, between the mean score of a row's bin and the part of the bin
    that is unsafe. The paper bins by the probability of whichever class was predicted; of two classes one event says
    as much, and its bins reach from 0 to 1 (Naeini et al., AAAI 2015). The last bin holds 1.
    """
    places = np.searchsorted(np.arange(1, BINS) / BINS, scores, side="right")
    rows = np.bincount(places, minlength=BINS)
    divisors = np.maximum(rows, 1)
    means = np.bincount(places, weights=scores, minlength=BINS) / divisors
    shares = np.bincount(places, weights=unsafe, minlength=BINS) / divisors
    error = float(np.sum(rows * np.abs(shares - means)) / max(len(scores), 1))
    return tuple(
        CalibrationBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            rows=int(rows[place]),
            mean_score=float(means[place]),
            unsafe=float(shares[place]),
        )
        for place in range(BINS)
    ), error
