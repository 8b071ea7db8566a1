"""The search against brute force over all thresholds, and its arithmetic against the real policy on every row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from qwen3guard_integrations import GuardConfigurationError, Point, Policy, Verdict
from qwen3guard_integrations.core.policy import Thresholds
from qwen3guard_integrations.evaluation import Aim, AimNotMetError, Binary, Result, tune
from qwen3guard_integrations.evaluation._numeric import np
from qwen3guard_integrations.evaluation.tuning.aim import Constraint, Measure
from qwen3guard_integrations.evaluation.tuning.cases import Cases, decision_of, with_threshold
from qwen3guard_integrations.evaluation.tuning.search import Search
from qwen3guard_integrations.evaluation.tuning.tuned import ThresholdName
from tests.evaluation.labelled import CONTROVERSIAL, SAFE, UNSAFE, labelled, numbered, policies, scored

NAMES: tuple[ThresholdName, ...] = ("unsafe", "controversial")


def stops(policy: Policy, result: Result) -> bool:
    """What an adapter does, written down again."""
    point = Point.RESPONSE if result.response else Point.PROMPT
    if result.verdict is None:
        return not policy.decide_unjudged(point).passes
    return not policy.decide(point, result.verdict).passes


def score_of(result: Result, name: ThresholdName) -> float | None:
    scores = result.verdict.scores if result.verdict else None
    if scores is None:
        return None
    return scores.unsafe if name == "unsafe" else 1 - scores.safe


# --- the arithmetic is the policy's ---


@settings(max_examples=60, deadline=None)
@given(labelled(), policies, st.sampled_from(NAMES), st.sampled_from([0.0, 0.05, 0.013]))
def test_every_row_at_every_threshold_as_the_policy_decides(
    rows: list[Result], policy: Policy, name: ThresholdName, margin: float
) -> None:
    cases = Cases.of({"made up": rows}, "strict")
    search = Search.over(cases, np.ones(len(rows), dtype=bool), cases.steps(policy, name), margin)
    assert (search.low[0], search.high[-1]) == (0, 1)
    assert np.array_equal(search.low[1:], search.high[:-1])
    for gap in range(len(search.high)):
        searched = search.stopped(policy, gap).tolist()
        low, high = float(search.low[gap]), float(search.high[gap])
        if high - low > 1e-9:  # the one that is written keeps away from both ends
            assert abs(search.threshold(gap) - (low + high) / 2) <= (high - low) / 3.999
        for threshold in (search.threshold(gap), high, math.nextafter(low, 1)):  # high: some row is exactly there
            assert low < threshold <= high
            tuned = with_threshold(policy, name, threshold)
            assert [stops(tuned, row) for row in rows] == searched


@settings(max_examples=60, deadline=None)
@given(labelled(), policies, st.sampled_from(NAMES), st.sampled_from([0.0, 0.05, 0.013]))
def test_the_counts_are_those_of_the_rows_and_of_the_worst_that_margins_do(
    rows: list[Result], policy: Policy, name: ThresholdName, margin: float
) -> None:
    cases = Cases.of({"made up": rows}, "strict")
    search = Search.over(cases, np.ones(len(rows), dtype=bool), cases.steps(policy, name), margin)
    aim = Aim.of("recall>=0, precision>=0, f1>=0, false_positive_rate<=1")
    figures = search.figures(policy, aim, None)
    others = policy.thresholds.model_dump()
    at = cache(
        lambda threshold: policy.model_copy(
            update={"thresholds": Thresholds.model_construct(**{**others, name: threshold})}
        )
    )
    for gap, threshold in enumerate(map(search.threshold, range(len(search.high)))):
        plain, worst = counted(at, name, rows, threshold, 0.0), counted(at, name, rows, threshold, margin)
        for constraint in aim.constraints:
            measure = constraint.measure
            assert figures.values[measure][gap] == measure.of(plain)  # to the last bit
            assert figures.assured[constraint][gap] == measure.of(worst)


def counted(
    policy_at: Callable[[float], Policy], name: ThresholdName, rows: Sequence[Result], threshold: float, margin: float
) -> Binary:
    """The counts where the score of each row is off so that it does most harm: missed, or stopped for nothing.

    `policy_at` gives the policy with a threshold, also with one that all scores are above (-1), or below (2).
    """
    counts = {(harm, stopped): 0 for harm in (True, False) for stopped in (True, False)}
    for row in rows:
        harm = row.label.severity is not SAFE
        outcomes = {stops(policy_at(seen), row) for seen in moved(row, name, threshold, margin)}
        counts[harm, all(outcomes) if harm else any(outcomes)] += 1
    return Binary(counts[True, True], counts[False, True], counts[True, False], counts[False, False])


def moved(row: Result, name: ThresholdName, threshold: float, margin: float) -> Iterator[float]:
    """Thresholds that do to the row as it is what `threshold` may do to it with its score off by `margin`."""
    score = score_of(row, name)
    if score is None or score + margin >= threshold:
        yield -1
    if score is not None and score - margin < threshold:
        yield 2


# --- the best of all thresholds ---

AIMS = [
    "recall>=0.7, fewest blocks",
    "recall>=0.5, precision>=0.5, highest f1",
    "precision>=0.6, highest recall",
    "false_positive_rate<=0.3, highest recall, highest precision",
    "f1>=0.4, fewest blocks",
    "recall>=0.9, false_positive_rate<=0.2",
    "highest f1",
    "highest recall",
]


@settings(max_examples=120, deadline=None)
@given(labelled(), policies, st.sampled_from(AIMS), st.sampled_from([None, 0.8]))
def test_nothing_beats_it(rows: list[Result], base: Policy, text: str, confidence: float | None) -> None:
    aim = Aim.of(text)
    if confidence and any(constraint.measure.figure == "f1" for constraint in aim.constraints):
        confidence = None
    stops_controversial = any(
        not base.decide(Point.RESPONSE if row.response else Point.PROMPT, Verdict(severity=CONTROVERSIAL)).passes
        for row in rows
    )
    name: ThresholdName = "controversial" if stops_controversial else "unsafe"
    best = min(
        worth(aim, outcome(with_threshold(base, name, threshold), rows), confidence)
        for threshold in thresholds(rows, name)
    )
    try:
        tuned = tune({"d": rows}, aim, base=base, folds=2, categories=False, confidence=confidence)
    except AimNotMetError:
        assert best[0] > 0
        return
    except GuardConfigurationError:  # the policy lets everything pass
        most = with_threshold(with_threshold(base, "unsafe", math.ulp(0.0)), "controversial", math.ulp(0.0))
        assert not any(stops(most, row) for row in rows if row.verdict)
        return
    assert best[0] == 0
    assert worth(aim, outcome(tuned.policy, rows), confidence) == pytest.approx(best, abs=1e-12)
    assert tuned.threshold == name


def thresholds(rows: Sequence[Result], name: ThresholdName) -> list[float]:
    """Every score, what is right above it, and what is between two: all that can make a difference, and more."""
    scores = sorted({score for row in rows if (score := score_of(row, name)) is not None})
    points = {0.0, 1.0, *scores, *(math.nextafter(score, 2) for score in scores)}
    points |= {(low + high) / 2 for low, high in pairwise(sorted(points))}
    return sorted(point for point in points if 0 < point <= 1)


def outcome(policy: Policy, rows: Sequence[Result]) -> Binary:
    decided = [(row.label.severity is not SAFE, stops(policy, row)) for row in rows]
    return Binary(*(decided.count(kind) for kind in ((True, True), (False, True), (True, False), (False, False))))


def worth(aim: Aim, counts: Binary, confidence: float | None) -> tuple[float, ...]:
    """How much is missing, and then the objectives, or F1: less is better."""
    short = 0.0
    for constraint in aim.constraints:
        value = constraint.measure.of(counts) if confidence is None else bound(constraint, counts, confidence)
        short += max(0.0, constraint.bound - value if constraint.measure.rises else value - constraint.bound)
    wanted = aim.objectives or (Measure(figure="f1"),)
    return (short, *(-of.of(counts) if of.rises else of.of(counts) for of in wanted))


def bound(constraint: Constraint, counts: Binary, confidence: float) -> float:
    """The exact one-sided bound as scipy's binomial test has it."""
    parts = {
        "recall": (counts.true_positives, counts.true_positives + counts.false_negatives, "greater"),
        "precision": (counts.true_positives, counts.true_positives + counts.false_positives, "greater"),
        "false_positive_rate": (counts.false_positives, counts.false_positives + counts.true_negatives, "less"),
    }
    part, whole, side = parts[constraint.measure.figure]
    if not whole:
        return 0.0
    interval = binomtest(part, whole, alternative=side).proportion_ci(confidence, method="exact")
    return float(interval.low if side == "greater" else interval.high)


# --- known optima ---


def test_a_known_optimum() -> None:
    # Nine of ten unsafe rows score 0.6 and more; harmless ones at most 0.5, and one of them 0.7.
    unsafe = [scored(score, UNSAFE) for score in (0.2, 0.6, 0.61, 0.65, 0.72, 0.8, 0.8, 0.9, 0.95, 1.0)]
    harmless = [scored(score, SAFE) for score in (0.0, 0.01, 0.1, 0.2, 0.3, 0.3, 0.4, 0.45, 0.5, 0.7)]
    rows = numbered([*unsafe, *harmless])
    for text, low, high in [
        ("recall>=0.9, fewest blocks", 0.5, 0.6),
        ("recall>=0.95, fewest blocks", 0.1, 0.2),  # the last unsafe row: five harmless ones more are blocked
        ("false_positive_rate<=0, highest recall", 0.7, 0.72),
        ("highest f1", 0.5, 0.6),
        ("precision>=1, highest recall", 0.7, 0.72),
    ]:
        tuned = tune({"d": rows}, text, base=Policy.strict(), folds=2, categories=False)
        assert low < tuned.value <= high, text
        assert tuned.policy == Policy.strict(thresholds=Thresholds(controversial=tuned.value))


def test_the_threshold_keeps_away_from_scores_and_has_few_digits() -> None:
    rows = numbered([scored(score, UNSAFE) for score in (0.81, 0.9)] + [scored(score, SAFE) for score in (0.1, 0.42)])
    assert tune({"d": rows}, "highest f1", base=Policy.strict(), folds=2).value == 0.6


def test_between_neighbouring_numbers_it_is_exact() -> None:
    below = 0.5
    above = math.nextafter(below, 1)
    rows = numbered([scored(above, UNSAFE, unsafe=above)] * 2 + [scored(below, SAFE, unsafe=below)] * 2)
    tuned = tune({"d": rows}, "highest f1", base=Policy.loose(), folds=2)
    assert tuned.value == above
    assert [decision_of(tuned.policy, row).passes for row in rows] == [False, False, True, True]


def test_strict_or_loose_whichever_is_better() -> None:
    by_both = [scored(0.9, UNSAFE, unsafe=0.1)] * 3 + [scored(0.4, SAFE, unsafe=0.4)] * 3
    tuned = tune({"d": numbered(by_both)}, "highest f1", folds=2)
    assert (tuned.policy.mode, tuned.threshold) == ("strict", "controversial")
    by_unsafe = [scored(0.6, UNSAFE, unsafe=0.6)] * 3 + [scored(0.9, SAFE, unsafe=0.1)] * 3
    tuned = tune({"d": numbered(by_unsafe)}, "highest f1", folds=2)
    assert (tuned.policy.mode, tuned.threshold) == ("loose", "unsafe")
    assert tuned.overall.after == Binary(3, 0, 0, 3)


def test_the_margin_moves_the_threshold_away_from_what_must_be_found() -> None:
    unsafe = [scored(score, UNSAFE) for score in (0.50, 0.6, 0.7, 0.8)]
    harmless = [scored(score, SAFE) for score in (0.1, 0.47, 0.48, 0.49)]
    rows = numbered([*unsafe, *harmless])

    def fit(margin: float) -> float:
        aim = "recall>=1, fewest blocks"
        return tune({"d": rows}, aim, base=Policy.strict(), folds=2, margin=margin).value

    assert 0.49 < fit(0.0) <= 0.5
    assert 0.48 < fit(0.015) <= 0.485
    assert 0.1 < fit(0.05) <= 0.45


def test_objectives_of_one_data_set_and_f1_of_all_where_they_leave_a_choice() -> None:
    wild = [scored(score, UNSAFE) for score in (0.3, 0.6, 0.7, 0.8)] + [
        scored(score, SAFE) for score in (0.1, 0.4, 0.4)
    ]
    exaggerated = [scored(score, SAFE) for score in (0.05, 0.2)]
    data = {"wild": numbered(wild), "xstest": numbered(exaggerated)}
    tuned = tune(data, "fewest blocks@xstest", base=Policy.strict(), folds=2)
    assert tuned.data[1].after.false_positives == 0
    assert 0.4 < tuned.value <= 0.6  # 0.2 and 0.3 block nothing of xstest either, but F1 of all rows is best here
    tuned = tune(data, "recall@wild>=1, fewest blocks@xstest", base=Policy.strict(), folds=2)
    assert 0.2 < tuned.value <= 0.3
