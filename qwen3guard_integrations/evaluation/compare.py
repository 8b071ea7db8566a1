"""Whether one guard is right where another is wrong more often than chance has it: McNemar's exact test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from ..core.policy import Mode
from .readings import MODES, severity_of, unsafe
from .results import Result
from .summary import Comparison


def compare(a: str, b: str, mode: Mode, results: Mapping[str, Sequence[Result]]) -> Comparison:
    """The two guards on the rows on which both gave a verdict; their results are in the same order.

    The p-value is two-sided and exact: of n rows on which just one of them is right, the binomial distribution with
    one half says how probable a split at least this uneven is (McNemar, Psychometrika 12, 1947). Without such rows
    it is 1.
    """
    from scipy.stats import binomtest

    rows = only_a = only_b = 0
    for one, other in zip(results[a], results[b], strict=True):
        said, also_said = severity_of(one), severity_of(other)
        if said is None or also_said is None:
            continue
        rows += 1
        truth = unsafe(one.label.severity, mode)
        right, also_right = unsafe(said, mode) == truth, unsafe(also_said, mode) == truth
        only_a += right and not also_right
        only_b += also_right and not right
    apart = only_a + only_b
    return Comparison(
        a=a,
        b=b,
        mode=mode,
        rows=rows,
        only_a_right=only_a,
        only_b_right=only_b,
        p_value=float(binomtest(only_a, apart).pvalue) if apart else 1.0,
    )


def comparisons(results: Mapping[str, Sequence[Result]]) -> tuple[Comparison, ...]:
    """Every pair of guards, strict and loose."""
    return tuple(compare(a, b, mode, results) for a, b in combinations(results, 2) for mode in MODES)
