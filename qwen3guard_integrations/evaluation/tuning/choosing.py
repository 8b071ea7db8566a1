"""The best policy for some rows: a threshold and, step by step, the categories that need not be stopped.

The search over thresholds is exact for given actions. The actions are found greedily: of the categories that may be
let through, the one is set to "flag" with which the aim is met best at the threshold that is then best, as long as
that is better than before. So a category is only let through where the objective gains by it and the constraints
hold all the same. It need not be the best of all sets of categories, but each step can be told and checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...core.errors import GuardConfigurationError
from ...core.points import Point
from ...core.policy import Policy
from ...core.verdict import Category, Severity, Verdict
from .._numeric import Truths, np
from .aim import F1, Aim
from .cases import Cases, Steps, flagging, with_threshold
from .search import Figures, Search
from .tuned import ThresholdName

EVIDENCE: Final = 10
"""Stopped rows that a category must have before it is let through unnamed: of fewer, "mostly" would say little."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a policy is chosen by; see the arguments of `tune`."""

    aim: Aim
    margin: float
    confidence: float | None
    named: frozenset[Category]
    by_evidence: bool


@dataclass(frozen=True, slots=True)
class Way:
    """A policy to begin with, and the threshold of it that is tuned."""

    policy: Policy
    name: ThresholdName
    steps: Steps


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        way: What it began with.
        policy: With the threshold, and with the categories in `flagged` let through.
        threshold: The threshold.
        flagged: Categories, in the order in which they were let through.
        worth: What was made small: shortfall, then the objectives.
        f1: Of all rows.
        search: The thresholds that it was chosen from.
        figures: What the policy does with each of them.
        gap: The number of the chosen one.
    """

    way: Way
    policy: Policy
    threshold: float
    flagged: tuple[Category, ...]
    worth: tuple[float, ...]
    f1: float
    search: Search
    figures: Figures
    gap: int

    @property
    def met(self) -> bool:
        """Whether all constraints hold."""
        return self.worth[0] == 0


def ways(cases: Cases, base: Policy | None) -> tuple[Way, ...]:
    """What a search may begin with: `base`, or strict and loose, the two readings of one verdict.

    The threshold that decides whether a text passes is the one for Controversial where that is stopped, and else the
    one for Unsafe.

    Raises:
        GuardConfigurationError: `base` stops none of the rows, however severe they are.
    """
    if base and not cases.stoppable(base):
        points = sorted({kind.point for kind in cases.kinds})
        raise GuardConfigurationError(
            f"the policy lets everything pass at {' and '.join(points)}, so there is nothing to choose",
            hint='begin with one whose action for Unsafe is "block"',
        )
    policies = (base,) if base else (Policy.strict(), Policy.loose())
    doubtful = Verdict(severity=Severity.CONTROVERSIAL)
    points = [point for point in Point if any(kind.point is point for kind in cases.kinds)]
    found: list[Way] = []
    for policy in policies:
        stops = any(not policy.decide(point, doubtful).passes for point in points)
        name: ThresholdName = "controversial" if stops else "unsafe"
        found.append(Way(policy, name, cases.steps(policy, name)))
    return tuple(found)


def choices(cases: Cases, rows: Truths, begin: Sequence[Way], wanted: Wanted) -> list[Choice]:
    """The best policy for `rows` that each way leads to, the best of them first. `met` says whether it fits the aim."""
    return sorted((_along(cases, rows, way, wanted) for way in begin), key=lambda best: (best.worth, -best.f1))


def _along(cases: Cases, rows: Truths, way: Way, wanted: Wanted) -> Choice:
    search = Search.over(cases, rows, way.steps, wanted.margin)
    best = _best(search, way, way.policy, (), wanted)
    while True:
        options = [
            _best(search, way, flagging(best.policy, category), (*best.flagged, category), wanted)
            for category in _candidates(best, rows, wanted)
        ]
        step = min(options, key=lambda option: (option.worth, -option.f1), default=best)
        if not step.worth < best.worth:
            return best
        best = step


def _best(search: Search, way: Way, policy: Policy, flagged: tuple[Category, ...], wanted: Wanted) -> Choice:
    """The choice of the best threshold for the actions of `policy`."""
    figures = search.figures(policy, wanted.aim, wanted.confidence)
    gap = figures.best(search.widths())
    threshold = search.threshold(gap)
    return Choice(
        way=way,
        policy=with_threshold(policy, way.name, threshold),
        threshold=threshold,
        flagged=flagged,
        worth=tuple(float(part[gap]) for part in figures.worth()),
        f1=float(figures.values[F1][gap]),
        search=search,
        figures=figures,
        gap=gap,
    )


def _candidates(best: Choice, rows: Truths, wanted: Wanted) -> Iterator[Category]:
    """The categories that may be let through next: named ones, and those of which mostly harmless rows are stopped.

    A category for which the policy to begin with has a rule of its own is left as it is, unless it is named.
    """
    cases = best.search.cases
    stopped = best.search.stopped(best.policy, best.gap) & rows
    for category in Category:
        if category in best.flagged:
            continue
        taken = stopped & cases.of_category(category)
        alarms, whole = np.count_nonzero(taken & ~cases.unsafe), np.count_nonzero(taken)
        mostly_harmless = whole >= EVIDENCE and 2 * alarms > whole and category not in best.way.policy.categories
        if category in wanted.named or (wanted.by_evidence and mostly_harmless):
            yield category
