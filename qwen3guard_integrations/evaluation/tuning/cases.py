"""Labelled results as arrays, for a search over thresholds; what is done with each is the real policy's word.

A threshold moves the severity of a row in one step: `below` where the row's score is below it, `above` from it on.
Both come from `Thresholds.severity_of` itself, asked at the two ends of the range, and what stops which severity of
which row comes from `Policy.decide`: no rule of the policy is written a second time here. Only the number that a
threshold is compared with is (`_score`), and the tests hold it against the policy on every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ...core.decision import Action, Decision
from ...core.points import Point
from ...core.policy import Mode, Policy, Rule, Thresholds
from ...core.verdict import Category, Severity, Verdict
from .._numeric import Counts, Numbers, Truths, np
from ..metrics import Binary
from ..readings import severity_of, unsafe
from ..results import Result
from .tuned import ThresholdName

Ranks = Counts  # whole numbers that say which
Outcome = Mapping[str | None, Binary]
"""The figures of each data set by its name, and under None those of all rows."""

_SEVERITIES: Final = tuple(Severity)
_RANKS: Final = {severity: rank for rank, severity in enumerate(_SEVERITIES)}
_FLAGGED: Final = Rule(unsafe=Action.FLAG, controversial=Action.FLAG)


def point_of(result: Result) -> Point:
    """Where the judged text passes."""
    return Point.RESPONSE if result.response else Point.PROMPT


def verdict_of(result: Result) -> Verdict | None:
    """What the guard said of the row: of one that was judged only as a stream, what the stream is taken for."""
    if result.verdict is None and (severity := severity_of(result)) is not None:
        return Verdict(severity=severity)
    return result.verdict


def decision_of(policy: Policy, result: Result) -> Decision:
    """What every adapter does with the text of the row under `policy`; where the guard failed, `on_guard_error`."""
    verdict = verdict_of(result)
    return policy.decide(point_of(result), verdict) if verdict else policy.decide_unjudged(point_of(result))


def flagging(policy: Policy, category: Category) -> Policy:
    """The policy with texts of `category` let through and recorded."""
    return policy.model_copy(update={"categories": {**policy.categories, category: _FLAGGED}})


def with_threshold(policy: Policy, name: ThresholdName, value: float) -> Policy:
    """The policy with this threshold."""
    thresholds = {**policy.thresholds.model_dump(), name: value}
    return policy.model_copy(update={"thresholds": Thresholds(**thresholds)})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What rows have in common of which a policy does the same at the same severity."""

    point: Point
    categories: tuple[Category, ...] = ()
    other: bool = False
    failed: bool = False

    @classmethod
    def of(cls, result: Result) -> Self:
        verdict = verdict_of(result)
        if verdict is None:
            return cls(point_of(result), failed=True)
        return cls(point_of(result), verdict.categories, bool(verdict.other_categories))

    def stopped(self, policy: Policy, severity: Severity) -> bool:
        if self.failed:
            return not policy.decide_unjudged(self.point).passes
        names = ("other",) if self.other else ()
        verdict = Verdict(severity=severity, categories=self.categories, other_categories=names)
        return not policy.decide(self.point, verdict).passes


@dataclass(frozen=True, slots=True)
class Steps:
    """How one threshold moves the rows: `score` is compared with it, -inf where it moves nothing."""

    score: Numbers
    below: Ranks
    above: Ranks


@dataclass(frozen=True, slots=True)
class Cases:
    """The rows of all data sets, one after the other.

    Attributes:
        results: The rows.
        unsafe: Which of them are unsafe, by their labels.
        data: The number of each row's data set in `names`.
        names: Of the data sets.
        kind: The number of each row's kind in `kinds`.
    """

    results: tuple[Result, ...]
    unsafe: Truths
    data: Ranks
    names: tuple[str, ...]
    kind: Ranks
    kinds: tuple[_Kind, ...]

    @classmethod
    def of(cls, results: Mapping[str, Sequence[Result]], labels: Mode) -> Self:
        """The rows of data sets by name; `labels` says what a label Controversial counts as, as in `readings`."""
        rows = tuple(result for part in results.values() for result in part)
        kinds: dict[_Kind, int] = {}
        return cls(
            results=rows,
            unsafe=np.array([unsafe(result.label.severity, labels) for result in rows], dtype=bool),
            data=np.repeat(np.arange(len(results)), [len(part) for part in results.values()]),
            names=tuple(results),
            kind=np.array([kinds.setdefault(_Kind.of(result), len(kinds)) for result in rows], dtype=np.int64),
            kinds=tuple(kinds),
        )

    def __len__(self) -> int:
        return len(self.results)

    @property
    def scored(self) -> int:
        """How many rows have scores."""
        return sum(result.verdict is not None and result.verdict.scores is not None for result in self.results)

    def of_data(self, name: str | None) -> Truths:
        """The rows of one data set; all for None."""
        return np.ones(len(self), dtype=bool) if name is None else self.data == self.names.index(name)

    def of_category(self, category: Category) -> Truths:
        """The rows in which the guard found `category`."""
        return np.array([category in kind.categories for kind in self.kinds], dtype=bool)[self.kind]

    def steps(self, policy: Policy, name: ThresholdName) -> Steps:
        """How the threshold `name` moves the rows, with the other one as the policy has it."""
        others = policy.thresholds.model_dump()
        # Beyond what a policy may have: with its score off by a margin, a row of score 1 may be below a threshold too.
        lowest, highest = (Thresholds.model_construct(**{**others, name: end}) for end in (-math.inf, math.inf))
        verdicts = [verdict_of(result) for result in self.results]
        return Steps(
            score=np.array([_score(verdict, name) for verdict in verdicts], dtype=float),
            below=np.array([_rank(highest, verdict) for verdict in verdicts], dtype=np.int64),
            above=np.array([_rank(lowest, verdict) for verdict in verdicts], dtype=np.int64),
        )

    def stoppable(self, policy: Policy) -> bool:
        """Whether the policy stops any row on which the guard said something, were it severe enough."""
        return any(kind.stopped(policy, severity) for kind in self.kinds if not kind.failed for severity in Severity)

    def stopped(self, policy: Policy, severities: Ranks) -> Truths:
        """Which rows the policy does not let pass unchanged, when they have these severities."""
        table = np.array([[kind.stopped(policy, severity) for severity in _SEVERITIES] for kind in self.kinds])
        return np.asarray(table[self.kind, severities], dtype=bool)

    def outcome(self, policy: Policy, rows: Truths) -> Outcome:
        """The figures of `policy` on `rows`, by `Policy.decide` on each of them: what is promised comes from here."""
        stopped = np.zeros(len(self), dtype=bool)
        for row in np.flatnonzero(rows):
            stopped[row] = not decision_of(policy, self.results[row]).passes
        return {name: self._counted(stopped, rows & self.of_data(name)) for name in (None, *self.names)}

    def _counted(self, stopped: Truths, rows: Truths) -> Binary:
        harm = self.unsafe & rows, ~self.unsafe & rows
        return Binary(*(int((taken & part).sum()) for taken in (stopped, ~stopped) for part in harm))


def _score(verdict: Verdict | None, name: ThresholdName) -> float:
    """The number that the threshold is compared with, as `Thresholds` has it to the last bit."""
    if verdict is None or verdict.scores is None:
        return -math.inf
    return verdict.scores.unsafe if name == "unsafe" else 1 - verdict.scores.safe


def _rank(thresholds: Thresholds, verdict: Verdict | None) -> int:
    return _RANKS[thresholds.severity_of(verdict)] if verdict else _RANKS[Severity.UNSAFE]
