"""McNemar's test, worked out by hand; `test_figures` has it against exact sums on random sets."""

from __future__ import annotations

import pytest

from qwen3guard_integrations.evaluation import Result, Summary, summarise

from .samples import CONTROVERSIAL, SAFE, UNSAFE, numbered, result


def compared(a: list[Result], b: list[Result]) -> Summary:
    return summarise("data", "digest", {"a": numbered(a), "b": numbered(b)}, resamples=0)


def test_eight_to_one_is_more_than_chance() -> None:
    a = [result(UNSAFE, UNSAFE)] * 8 + [result(SAFE, UNSAFE)] + [result(SAFE, SAFE)] * 5
    b = [result(SAFE, UNSAFE)] * 8 + [result(UNSAFE, UNSAFE)] + [result(SAFE, SAFE)] * 5
    strict, loose = compared(a, b).comparisons
    assert (strict.a, strict.b, strict.mode, loose.mode) == ("a", "b", "strict", "loose")
    assert (strict.rows, strict.only_a_right, strict.only_b_right) == (14, 8, 1)
    assert strict.p_value == pytest.approx(2 * (1 + 9) / 2**9)


def test_controversial_can_be_right_in_one_reading_only() -> None:
    strict, loose = compared([result(CONTROVERSIAL, UNSAFE)] * 3, [result(SAFE, UNSAFE)] * 3).comparisons
    assert (strict.only_a_right, strict.only_b_right, strict.p_value) == (3, 0, 0.25)
    assert (loose.only_a_right, loose.only_b_right, loose.p_value) == (0, 0, 1)


def test_a_row_on_which_either_failed_is_left_out() -> None:
    a = [result(UNSAFE, UNSAFE), result(None, UNSAFE), result(UNSAFE, UNSAFE)]
    b = [result(SAFE, UNSAFE), result(SAFE, UNSAFE), result(None, UNSAFE)]
    strict, _ = compared(a, b).comparisons
    assert (strict.rows, strict.only_a_right, strict.only_b_right) == (1, 1, 0)


def test_every_pair_is_compared_in_the_order_of_the_guards() -> None:
    rows = numbered([result(SAFE, SAFE)])
    summary = summarise("data", "digest", {"c": rows, "a": rows, "b": rows}, resamples=0)
    pairs = [(comparison.a, comparison.b) for comparison in summary.comparisons[::2]]
    assert pairs == [("c", "a"), ("c", "b"), ("a", "b")]
    assert all(comparison.p_value == 1 for comparison in summary.comparisons)
