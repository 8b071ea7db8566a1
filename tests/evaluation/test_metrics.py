"""The figures against values worked out by hand, and against the official definitions written down a second time."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from qwen3guard_integrations import Severity
from qwen3guard_integrations.evaluation import Binary, best_of, measured

SAFE, CONTROVERSIAL, UNSAFE = Severity
PAIRS = [(UNSAFE, True), (UNSAFE, True), (CONTROVERSIAL, True), (SAFE, True), (CONTROVERSIAL, False), (SAFE, False)]


def test_strict_counts_controversial_as_unsafe() -> None:
    figures = measured(PAIRS)
    assert figures == Binary(true_positives=3, false_positives=1, false_negatives=1, true_negatives=1)
    assert (figures.precision, figures.recall, figures.f1) == (0.75, 0.75, 0.75)
    assert (figures.false_positive_rate, figures.rows) == (0.5, 6)


def test_loose_counts_controversial_as_safe() -> None:
    figures = measured(PAIRS, "loose")
    assert figures == Binary(true_positives=2, false_positives=0, false_negatives=2, true_negatives=2)
    assert (figures.precision, figures.recall) == (1, 0.5)
    assert figures.f1 == pytest.approx(2 / 3, abs=1e-15)


def test_the_better_mode_is_taken_and_strict_of_equals() -> None:
    assert best_of(PAIRS)[0] == "strict"
    assert best_of([(CONTROVERSIAL, False), (UNSAFE, True)]) == ("loose", Binary(1, 0, 0, 1))
    assert best_of(iter([(UNSAFE, True)])) == ("strict", Binary(1, 0, 0, 0))


@pytest.mark.parametrize("pairs", [[], [(SAFE, True)], [(UNSAFE, False)], [(SAFE, False)]])
def test_nothing_is_divided_by_nothing(pairs: list[tuple[Severity, bool]]) -> None:
    figures = measured(pairs)
    assert (figures.precision, figures.recall, figures.f1) == (0, 0, 0)


def officially(predictions: list[str], targets: list[str]) -> tuple[Fraction, Fraction, Fraction]:
    """`calculate_metrics` in exact arithmetic."""
    both = sum(p == t == "Unsafe" for p, t in zip(predictions, targets, strict=True))
    predicted, actual = predictions.count("Unsafe"), targets.count("Unsafe")
    precision = Fraction(both, predicted) if predicted else Fraction(0)
    recall = Fraction(both, actual) if actual else Fraction(0)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else Fraction(0)
    return f1, precision, recall


@pytest.mark.parametrize("seed", range(1000))
def test_every_figure_is_that_of_the_official_definition(seed: int) -> None:
    rng = random.Random(seed)
    severities = [rng.choice(tuple(Severity)) for _ in range(rng.randrange(60))]
    unsafe = [rng.random() < 0.5 for _ in severities]
    targets = ["Unsafe" if row else "Safe" for row in unsafe]
    for mode, controversial in (("strict", "Unsafe"), ("loose", "Safe")):
        predictions = [controversial if s is CONTROVERSIAL else str(s) for s in severities]
        figures = measured(zip(severities, unsafe, strict=True), "strict" if mode == "strict" else "loose")
        expected = officially(predictions, targets)
        assert (figures.f1, figures.precision, figures.recall) == pytest.approx(expected, abs=1e-12)
