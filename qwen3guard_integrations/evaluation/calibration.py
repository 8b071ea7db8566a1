"""Whether a score of 0.8 means that eight in ten are unsafe: reliability bins and the expected calibration error."""

from __future__ import annotations

from typing import Final

from numpy.typing import NDArray

from ._numeric import np
from .summary import CalibrationBin

BINS: Final = 10


def calibration(scores: NDArray[np.float64], unsafe: NDArray[np.bool_]) -> tuple[tuple[CalibrationBin, ...], float]:
    """Ten bins of equal width and the expected calibration error over them.

    The error is that of Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equation 3, for the one
    event "unsafe": the mean distance, over all rows, between a bin's mean score and the part of it that is unsafe.
    (The paper bins by the probability of the class that was predicted; here it is that of "unsafe" in every bin, as
    in Naeini et al., AAAI 2015, so that the bins below one half count too as what they say.) The last bin holds 1.
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
