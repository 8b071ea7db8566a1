"""The best threshold of all that there are, exactly: not the best of a grid.

Between two neighbouring scores every threshold does the same, so as many thresholds differ as there are different
scores. Rows are sorted once; then the counts at all of them are differences of cumulative sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from scipy.special import betaincinv

from ...core.policy import Policy
from .._numeric import Numbers, Truths, np
from .aim import F1, Aim, Constraint, FigureName, Measure
from .cases import Cases, Ranks, Steps


@dataclass(frozen=True, slots=True)
class Counts:
    """Stopped rows at each threshold, of `unsafe` unsafe rows and `harmless` others."""

    found: Numbers
    alarms: Numbers
    unsafe: int
    harmless: int

    def figure(self, name: FigureName) -> Numbers:
        """The figure as `metrics.Binary` has it, to the last bit; 0 where there is no denominator."""
        recall, precision = _quotient(self.found, self.unsafe), _quotient(self.found, self.found + self.alarms)
        match name:
            case "recall":
                return recall
            case "precision":
                return precision
            case "f1":
                return _quotient(2 * precision * recall, precision + recall)
            case "false_positive_rate":
                return _quotient(self.alarms, self.harmless)

    def bound(self, name: FigureName, confidence: float) -> Numbers:
        """The one-sided exact bound (Clopper and Pearson, 1934) of a figure that is a part of independent rows."""
        match name:
            case "recall":
                return _lowest(self.found, np.full_like(self.found, self.unsafe), confidence)
            case "precision":
                return _lowest(self.found, self.found + self.alarms, confidence)
            case "false_positive_rate":  # the most of it is what the least of the others leaves
                whole = np.full_like(self.alarms, self.harmless)
                return np.asarray(1 - _lowest(whole - self.alarms, whole, confidence))
            case "f1":
                raise AssertionError("F1 is no part of independent rows; `tune` refuses it")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one policy does at each threshold.

    Attributes:
        values: Each measure of the aim, and F1 of all rows.
        assured: For each constraint, what is left of its figure after margin and confidence.
        aim: What is wanted.
    """

    values: Mapping[Measure, Numbers]
    assured: Mapping[Constraint, Numbers]
    aim: Aim

    def shortfall(self) -> Numbers:
        """By how much the constraints are missed, all together; 0 where all hold."""
        missed = np.zeros_like(self.values[F1])
        for constraint, value in self.assured.items():
            short = constraint.bound - value if constraint.measure.rises else value - constraint.bound
            missed += np.maximum(short, 0.0)
        return missed

    def worth(self) -> list[Numbers]:
        """What is to be made small, the most important first: shortfall, then the objectives, or else F1."""
        objectives = self.aim.objectives or (F1,)
        return [self.shortfall(), *(-self.values[of] if of.rises else self.values[of] for of in objectives)]

    def holds(self, constraints: Iterable[Constraint]) -> Truths:
        """At which thresholds all of `constraints` hold."""
        places = np.ones(len(self.values[F1]), dtype=bool)
        for constraint in constraints:
            value = self.assured[constraint]
            places &= value >= constraint.bound if constraint.measure.rises else value <= constraint.bound
        return places

    def best(self, widths: Numbers) -> int:
        """The best threshold: of equals by F1, then the one in the widest gap between scores, then the lowest."""
        keys = [*self.worth(), -self.values[F1], -widths]
        return int(np.lexsort(keys[::-1])[0])  # the last key is the first to sort by; equals stay in order


@dataclass(frozen=True, slots=True)
class Search:
    """All thresholds over some rows.

    A threshold in (`low`, `high`] does what every other one there does; `rows` are sorted by score. Where scores may
    be off by `margin`, also what could then happen is the same: the ends are all scores, and these moved by it.

    Attributes:
        surely_below: How many rows are below the threshold even where their score is off.
        below: How many rows are below it.
        perhaps_below: How many may be below it.
    """

    cases: Cases
    rows: Ranks
    steps: Steps
    low: Numbers
    high: Numbers
    surely_below: Ranks
    below: Ranks
    perhaps_below: Ranks

    @classmethod
    def over(cls, cases: Cases, rows: Truths, steps: Steps, margin: float) -> Self:
        """The search over `rows`, whose scores may be off by `margin`."""
        chosen = np.flatnonzero(rows)
        order = chosen[np.argsort(steps.score[chosen], kind="stable")]
        score = steps.score[order]
        down, up = score - margin, score + margin
        ends = np.unique(np.concatenate([down, score, up, [1.0]]))
        high = ends[(ends > 0) & (ends <= 1)]
        low = np.concatenate([[0.0], high[:-1]])
        places = (np.searchsorted(moved, high) for moved in (up, score, down))
        return cls(cases, order, steps, low, high, *places)

    def threshold(self, gap: int) -> float:
        """The number with the fewest digits in the middle half of a gap, as far from both scores as can be."""
        low, high = float(self.low[gap]), float(self.high[gap])
        middle, quarter = (low + high) / 2, (high - low) / 4
        for digits in range(1, 18):
            if abs((rounded := round(middle, digits)) - middle) <= quarter and low < rounded <= high:
                return rounded
        return high

    def widths(self) -> Numbers:
        """How wide the gaps are."""
        return np.asarray(self.high - self.low)

    def stopped(self, policy: Policy, gap: int) -> Truths:
        """Which of all rows the policy stops with a threshold in this gap."""
        above = self.steps.score >= self.high[gap]
        return self.cases.stopped(policy, np.where(above, self.steps.above, self.steps.below))

    def figures(self, policy: Policy, aim: Aim, confidence: float | None, more: Sequence[Measure] = ()) -> Figures:
        """What `policy` does with each threshold: the measures of the aim, and `more`."""
        below, above = (self.cases.stopped(policy, rank)[self.rows] for rank in (self.steps.below, self.steps.above))
        measures = dict.fromkeys((*aim.measures, *more, F1))
        table = {data: self._counts(data, below, above) for data in {of.data for of in measures}}
        assured = {}
        for constraint in aim.constraints:
            worst, figure = table[constraint.measure.data][1], constraint.measure.figure
            assured[constraint] = worst.figure(figure) if confidence is None else worst.bound(figure, confidence)
        return Figures({of: table[of.data][0].figure(of.figure) for of in measures}, assured, aim)

    def _counts(self, data: str | None, below: Truths, above: Truths) -> tuple[Counts, Counts]:
        """Counts over one data set, and the worst ones that scores which are off could make of them."""
        rows, harm = self.cases.of_data(data)[self.rows], self.cases.unsafe[self.rows]
        unsafe, harmless = rows & harm, rows & ~harm
        sizes = int(unsafe.sum()), int(harmless.sum())
        plain, worst = (self.below, self.below), (self.surely_below, self.perhaps_below)
        return (
            Counts(_total(unsafe, below, above, below, *plain), _total(harmless, below, above, above, *plain), *sizes),
            Counts(
                _total(unsafe, below, above, below & above, *worst),
                _total(harmless, below, above, below | above, *worst),
                *sizes,
            ),
        )


def best_to_be_had(ways: Sequence[Figures], aim: Aim) -> str:
    """How good the figure of each constraint can be where the others hold; by itself where they never do."""
    found = []
    for constraint in aim.constraints:
        others = [other for other in aim.constraints if other is not constraint]
        if best := _best(ways, constraint, others):
            found.append(best + (f" where {' and '.join(map(str, others))}" if others else ""))
    return "; ".join(found or [_best(ways, constraint, ()) for constraint in aim.constraints])


def _best(ways: Sequence[Figures], constraint: Constraint, others: Sequence[Constraint]) -> str:
    """The best figure of `constraint` where `others` hold; an empty string where they never do."""
    values = np.concatenate([way.assured[constraint][way.holds(others)] for way in ways])
    if not len(values):
        return ""
    word, best = ("highest", values.max()) if constraint.measure.rises else ("lowest", values.min())
    return f"the {word} {constraint.measure} is {best:.4f}"


def _total(rows: Truths, below: Truths, above: Truths, between: Truths, first: Ranks, second: Ranks) -> Numbers:
    """Stopped rows at each threshold: `below` before `first`, `between` up to `second`, and `above` from there on."""
    sums = [np.concatenate([[0], np.cumsum(rows & stopped)]) for stopped in (below, between, above)]
    total = sums[0][first] + (sums[1][second] - sums[1][first]) + (sums[2][-1] - sums[2][second])
    return np.asarray(total, dtype=float)


def _quotient(part: Numbers, whole: Numbers | int) -> Numbers:
    wholes = np.broadcast_to(np.asarray(whole, dtype=float), part.shape)
    return np.asarray(np.divide(part, wholes, out=np.zeros_like(part), where=wholes > 0))


def _lowest(part: Numbers, whole: Numbers, confidence: float) -> Numbers:
    """The lower bound of part / whole; 0 where there is no part."""
    bound = betaincinv(np.maximum(part, 1), whole - part + 1, 1 - confidence)
    return np.asarray(np.where(part > 0, bound, 0.0))
