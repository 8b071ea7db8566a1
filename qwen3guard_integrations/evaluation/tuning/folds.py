"""Cross-validation: how well a choice does on rows that it was not made by."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from sklearn.model_selection import StratifiedKFold

from .._numeric import Truths, np
from .cases import Cases, Outcome, Ranks
from .choosing import Wanted, Way, choices
from .tuned import Fold


def cross_validated(
    cases: Cases, begin: Sequence[Way], wanted: Wanted, folds: int, seed: int
) -> tuple[tuple[Fold, ...], tuple[Outcome, ...]]:
    """What is chosen without each fold, and what that does with the rows of the fold, by `Policy.decide`."""
    parts, outcomes = [], []
    for held_out in divided(cases, folds, seed):
        best, *_ = choices(cases, ~held_out, begin, wanted)
        outcomes.append(cases.outcome(best.policy, held_out))
        parts.append(
            Fold(
                rows=int(held_out.sum()),
                threshold=best.threshold,
                mode=best.policy.mode,
                flagged=best.flagged,
                met=best.met,
            )
        )
    return tuple(parts), tuple(outcomes)


def divided(cases: Cases, folds: int, seed: int) -> Iterator[Truths]:
    """The rows of each fold."""
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of a few unsafe rows of one data set some folds get none, which matters only to aims that `checked` refuses.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        divided = list(splitter.split(np.zeros(len(cases)), _strata(cases, folds)))
    for _, chosen_rows in divided:
        rows = np.zeros(len(cases), dtype=bool)
        rows[chosen_rows] = True
        yield rows


def _strata(cases: Cases, folds: int) -> Ranks:
    """What is divided evenly: unsafe and harmless rows of each data set; those of small data sets together."""
    strata = cases.data * 2 + cases.unsafe
    rare = np.bincount(strata)[strata] < folds
    return np.asarray(np.where(rare, cases.unsafe, strata + 2))
