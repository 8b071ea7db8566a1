"""Whole summaries against the definitions written down a second time: by loops, in exact arithmetic."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations import Category, Severity, Verdict
from qwen3guard_integrations.core.policy import Mode
from qwen3guard_integrations.evaluation import Label, Result, Summary, latency_of, summarise
from qwen3guard_integrations.evaluation.summary import BinaryFigures, GuardSummary, Readings

from .samples import (
    CONTROVERSIAL,
    HOLDS,
    SAFE,
    UNSAFE,
    numbered,
    random_results,
    result,
    result_sets,
    stream_of,
)

MODES: tuple[Mode, Mode] = ("strict", "loose")


def summary_of(results: Sequence[Result], *, resamples: int = 0) -> GuardSummary:
    (summary,) = summarise("data", "digest", {"guard": results}, resamples=resamples).guards
    return summary


def unsafe(severity: Severity, mode: Mode) -> bool:
    return severity == UNSAFE or (mode == "strict" and severity == CONTROVERSIAL)


def said(one: Result) -> Severity | None:
    if one.verdict:
        return one.verdict.severity
    return one.stream.severity if one.stream and not one.error else None


def figures_of(read: BinaryFigures) -> tuple[float, float, float]:
    return read.f1.value, read.precision.value, read.recall.value


def check_reading(read: BinaryFigures, results: list[Result], mode: Mode) -> None:
    tp = fp = fn = tn = 0
    for one in results:
        predicted = unsafe(said(one) or UNSAFE, mode)
        if unsafe(one.label.severity, mode):
            tp, fn = tp + predicted, fn + (not predicted)
        else:
            fp, tn = fp + predicted, tn + (not predicted)
    counts = read.true_positives, read.false_positives, read.false_negatives, read.true_negatives
    assert counts == (tp, fp, fn, tn)
    precision, recall = _part(tp, tp + fp), _part(tp, tp + fn)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else Fraction(0)
    assert figures_of(read) == pytest.approx((f1, precision, recall), abs=1e-12)
    assert read.false_positive_rate.value == pytest.approx(_part(fp, fp + tn), abs=1e-12)


def check_readings(readings: Readings, results: list[Result]) -> None:
    check_reading(readings.strict, results, "strict")
    check_reading(readings.loose, results, "loose")
    assert readings.best == ("loose" if readings.loose.f1.value > readings.strict.f1.value else "strict")


def _part(part: int, whole: int) -> Fraction:
    return Fraction(part, whole) if whole else Fraction(0)


def check_groups(summary: GuardSummary, results: list[Result]) -> None:
    kinds: tuple[tuple[str, Callable[[Label], str | None]], ...] = (
        ("languages", lambda label: label.language),
        ("sources", lambda label: label.source),
    )
    for field, name_of in kinds:
        groups = {group.name: group for group in getattr(summary, field)}
        assert list(groups) == sorted({name for one in results if (name := name_of(one.label))})
        for name, group in groups.items():
            check_readings(group, [one for one in results if name_of(one.label) == name])
    categories = {group.name: group for group in summary.categories}
    harmful = [one.label for one in results if one.label.severity != SAFE]
    assert list(categories) == [str(c) for c in Category if any(c in label.categories for label in harmful)]
    for name, group in categories.items():
        for mode in MODES:
            kept = []
            for one in results:
                positive = unsafe(one.label.severity, mode)
                if not positive or Category(name) in one.label.categories:
                    kept.append(one)
            check_reading(getattr(group, mode), kept, mode)


def check_counts(summary: GuardSummary, results: list[Result]) -> None:
    failures = [one for one in results if said(one) is None]
    assert sum(summary.failed.values()) == len(failures)
    for label in Severity:
        for severity in Severity:
            rows = [one for one in results if one.label.severity == label and said(one) == severity]
            assert summary.confusion[str(label)][str(severity)] == len(rows)
    harmless = [one for one in results if one.label.severity == SAFE]
    for mode in MODES:
        blocked = [one for one in harmless if unsafe(said(one) or UNSAFE, mode)]
        assert summary.over_blocking[mode].value == pytest.approx(_part(len(blocked), len(harmless)), abs=1e-12)


def check_scored(summary: GuardSummary, results: list[Result]) -> None:
    pairs = [
        (1 - one.verdict.scores.safe, one.label.severity != SAFE)
        for one in results
        if one.verdict and one.verdict.scores
    ]
    positives, negatives = [s for s, u in pairs if u], [s for s, u in pairs if not u]
    if not positives or not negatives:
        assert summary.scored is None
        return
    assert summary.scored
    assert summary.scored.rows == len(pairs)
    wins = sum(Fraction(p > n) + Fraction(p == n, 2) for p in positives for n in negatives)
    assert summary.scored.roc.area.value == pytest.approx(wins / len(positives) / len(negatives), abs=1e-12)
    average, before = Fraction(0), Fraction(0)
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        taken = [u for score, u in pairs if score >= threshold]
        recall = Fraction(sum(taken), len(positives))
        average += (recall - before) * Fraction(sum(taken), len(taken))
        before = recall
    assert summary.scored.precision_recall.area.value == pytest.approx(average, abs=1e-12)
    error = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = [(s, u) for s, u in pairs if low <= s < high or (number == 9 and s == 1)]
        if inside:
            error += abs(sum(s for s, _ in inside) - sum(u for _, u in inside)) / len(pairs)
    assert summary.scored.calibration_error == pytest.approx(error, abs=1e-12)


def check_refusals(summary: GuardSummary, results: list[Result]) -> None:
    told = [(one.verdict.refusal, one.label) for one in results if one.response and one.verdict]
    told = [(refused, label) for refused, label in told if refused is not None]
    if not told:
        assert summary.refusals is None
        return
    assert summary.refusals
    harmless = [refused for refused, label in told if label.severity == SAFE]
    labelled = [refused == label.refusal for refused, label in told if label.refusal is not None]
    assert summary.refusals.rows == len(told)
    assert summary.refusals.rate.value == pytest.approx(_part(sum(bool(r) for r, _ in told), len(told)), abs=1e-12)
    for estimate, answers in ((summary.refusals.safe_rate, harmless), (summary.refusals.agreement, labelled)):
        value = estimate.value if estimate else None
        expected = _part(sum(map(bool, answers)), len(answers)) if answers else None
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-12))


def check_stream(summary: GuardSummary, results: list[Result]) -> None:
    streams = [(one.stream, one.label) for one in results if one.stream]
    if not streams:
        assert summary.stream is None
        return
    assert summary.stream
    assert summary.stream.rows == len(streams)
    check_readings(summary.stream.readings, [result(stream.severity, label) for stream, label in streams])
    annotated = [s for s, label in streams if label.severity == UNSAFE and label.unsafe_start is not None]
    assert summary.stream.onsets == len(annotated) == sum(summary.stream.bins.values())
    for hold in HOLDS:
        leaked = sorted(stream.leaked[hold] for stream, label in streams if label.severity == UNSAFE)
        if not leaked:
            assert summary.stream.leaked == {}
            continue
        leak = summary.stream.leaked[hold]
        figures = leak.rows, leak.mean, leak.median, leak.p95, leak.most
        expected = (
            len(leaked),
            Fraction(sum(leaked), len(leaked)),
            _between(leaked, 50),
            _between(leaked, 95),
            leaked[-1],
        )
        assert figures == pytest.approx(expected, abs=1e-12)


def _between(ordered: list[int], percent: int) -> Fraction:
    """The percentile, on the straight line between the two nearest of the numbers."""
    place = Fraction(percent * (len(ordered) - 1), 100)
    low = math.floor(place)
    above = ordered[min(low + 1, len(ordered) - 1)]
    return ordered[low] + (place - low) * (above - ordered[low])


def check_comparisons(summary: Summary, results: dict[str, list[Result]]) -> None:
    names = list(results)
    pairs = [(a, b, mode) for place, a in enumerate(names) for b in names[place + 1 :] for mode in MODES]
    assert [(c.a, c.b, c.mode) for c in summary.comparisons] == pairs
    for comparison in summary.comparisons:
        rows = only_a = only_b = 0
        for one, other in zip(results[comparison.a], results[comparison.b], strict=True):
            a, b = said(one), said(other)
            if a is not None and b is not None:
                truth = unsafe(one.label.severity, comparison.mode)
                a_right, b_right = unsafe(a, comparison.mode) == truth, unsafe(b, comparison.mode) == truth
                rows, only_a, only_b = rows + 1, only_a + (a_right > b_right), only_b + (b_right > a_right)
        assert (comparison.rows, comparison.only_a_right, comparison.only_b_right) == (rows, only_a, only_b)
        apart = only_a + only_b
        as_uneven = [k for k in range(apart + 1) if abs(2 * k - apart) >= abs(2 * only_a - apart)]
        p_value = Fraction(sum(math.comb(apart, k) for k in as_uneven), 2**apart)
        assert comparison.p_value == pytest.approx(p_value, abs=1e-12)


@pytest.mark.parametrize("seed", range(1000))
def test_every_other_figure(seed: int) -> None:
    results = random_results(seed, guards=3 if seed % 5 == 0 else 1)
    summary = summarise("data", "digest", results, resamples=0)
    for guard in summary.guards:
        rows = results[guard.guard]
        assert (guard.rows, summary.rows) == (len(rows), len(rows))
        check_readings(guard.readings, rows)
        check_groups(guard, rows)
        check_counts(guard, rows)
        check_scored(guard, rows)
        check_refusals(guard, rows)
        check_stream(guard, rows)
    check_comparisons(summary, results)


# What holds for all of them.


def counts(summary: GuardSummary) -> dict[str, int]:
    """Every number of rows in the summary, by its place."""
    found: dict[str, int] = {}

    def walk(value: object, place: str) -> None:
        if isinstance(value, dict):
            for name, part in value.items():
                walk(part, f"{place}/{name}")
        elif isinstance(value, list):
            for number, part in enumerate(value):
                walk(part, f"{place}/{part['name'] if isinstance(part, dict) and 'name' in part else number}")
        elif isinstance(value, int):
            found[place] = value

    kept = {"rows", "failed", "readings", "confusion", "categories", "languages", "sources"}
    walk(summary.model_dump(mode="json", include=kept), "")
    if summary.stream:
        walk(summary.stream.model_dump(mode="json", include={"rows", "readings", "onsets", "bins"}), "stream")
    return found


@given(result_sets, result_sets)
def test_counts_of_two_runs_add_up(first: list[Result], second: list[Result]) -> None:
    parts = [counts(summary_of(results)) for results in (first, second)]
    whole = counts(summary_of(first + second))
    categories = {place: n for place, n in whole.items() if place.startswith("/categories")}
    for place, count in whole.items():
        if place not in categories:
            assert count == sum(part.get(place, 0) for part in parts), place
    for place, count in categories.items():  # rows that are not unsafe are in each category, named or not
        if place.endswith(("true_positives", "false_negatives")):
            assert count == sum(part.get(place, 0) for part in parts), place


@given(result_sets, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(results: list[Result], rng: random.Random) -> None:
    shuffled = rng.sample(results, len(results))
    assert summary_of(shuffled, resamples=50) == summary_of(results, resamples=50)


@given(result_sets)
def test_a_summary_is_json_without_holes_and_comes_back_the_same(results: list[Result]) -> None:
    summary = summarise("data", "digest", {"guard": results}, resamples=20)
    written = summary.model_dump_json()
    json.loads(written, parse_constant=lambda name: pytest.fail(f"{name} in the summary"))
    assert Summary.model_validate_json(written) == summary


@given(result_sets)
def test_intervals_do_not_change_values_and_none_are_made_when_none_are_asked_for(results: list[Result]) -> None:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(part) for name, part in value.items() if name not in ("low", "high")}
        return [without(part) for part in value] if isinstance(value, list) else value

    with_intervals, bare = summary_of(results, resamples=20), summary_of(results)
    assert without(with_intervals.model_dump(mode="json")) == without(bare.model_dump(mode="json"))
    assert '"low":0.' not in bare.model_dump_json(exclude={"scored": {"calibration"}})


def test_the_same_seed_gives_the_same_summary_and_another_seed_another() -> None:
    results = random_results(7, most=200)
    first, again, other = (summarise("data", "digest", results, resamples=200, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.guards[0].readings.strict.f1.value == other.guards[0].readings.strict.f1.value


# Single cases, worked out by hand.


def test_a_guard_that_fails_blocks_and_is_in_no_other_figure() -> None:
    summary = summary_of(numbered([result(None, UNSAFE), result(None, SAFE), result(SAFE, SAFE), result(SAFE, UNSAFE)]))
    assert summary.failed == {"GuardTimeoutError": 2}
    for read in (summary.readings.strict, summary.readings.loose):
        counted = read.true_positives, read.false_positives, read.false_negatives, read.true_negatives
        assert counted == (1, 1, 1, 1)
    assert summary.over_blocking["strict"].value == summary.over_blocking["loose"].value == 0.5
    assert summary.confusion == {
        "Safe": {"Safe": 1, "Controversial": 0, "Unsafe": 0},
        "Controversial": {"Safe": 0, "Controversial": 0, "Unsafe": 0},
        "Unsafe": {"Safe": 1, "Controversial": 0, "Unsafe": 0},
    }


def test_a_controversial_label_is_read_as_a_controversial_verdict_is() -> None:
    summary = summary_of(numbered([result(CONTROVERSIAL, CONTROVERSIAL), result(UNSAFE, UNSAFE), result(SAFE, SAFE)]))
    strict, loose = summary.readings.strict, summary.readings.loose
    assert (strict.true_positives, strict.true_negatives, strict.rows) == (2, 1, 3)
    assert (loose.true_positives, loose.true_negatives, loose.rows) == (1, 2, 3)
    assert (strict.f1.value, loose.f1.value, summary.readings.best) == (1, 1, "strict")


def test_what_was_only_streamed_counts_as_the_whole_stream() -> None:
    label = Label(severity=UNSAFE)
    streamed = Result(id="1", label=label, stream=stream_of("SSUU"))
    broken = Result(id="2", label=label, stream=stream_of("SSUU"), error="GuardUnavailableError")
    never = Result(id="3", label=label)
    verdict_first = Result(id="4", label=label, stream=stream_of("SSUU"), verdict=Verdict(severity=SAFE))
    summary = summary_of([streamed, broken, never, verdict_first])
    assert summary.failed == {"GuardUnavailableError": 1, "NotJudged": 1}
    assert summary.confusion["Unsafe"] == {"Safe": 1, "Controversial": 0, "Unsafe": 1}
    assert summary.stream
    assert summary.stream.readings.strict.true_positives == 3


def test_nothing_has_figures_of_nothing() -> None:
    summary = summary_of([])
    assert (summary.rows, summary.readings.strict.rows, summary.readings.best) == (0, 0, "strict")
    assert (summary.scored, summary.refusals, summary.stream, summary.latency) == (None, None, None, None)
    assert summary.categories == summary.languages == summary.sources == ()
    empty = summarise("data", "digest", {})
    assert (empty.rows, empty.guards, empty.comparisons) == (0, (), ())


def test_guards_and_latencies_are_named_as_they_were_given() -> None:
    latency = latency_of([10.0], rows=2, seconds=1.0)
    results = numbered([result(SAFE, SAFE), result(UNSAFE, UNSAFE)])
    summary = summarise("data", "digest", {"b": results, "a": results}, latencies={"a": latency})
    assert [(guard.guard, guard.latency) for guard in summary.guards] == [("b", None), ("a", latency)]
    assert (summary.data, summary.digest, summary.rows) == ("data", "digest", 2)


def test_guards_must_have_judged_the_same_rows() -> None:
    results = numbered([result(SAFE, SAFE), result(UNSAFE, UNSAFE)])
    for other in (results[:1], results[::-1], numbered([result(SAFE, UNSAFE), result(UNSAFE, UNSAFE)])):
        with pytest.raises(ValueError, match="'a' and 'b' are not of the same rows"):
            summarise("data", "digest", {"a": results, "b": other})


def test_latencies_of_unknown_guards_and_less_than_no_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="latencies of typo"):
        summarise("data", "digest", {}, latencies={"typo": latency_of([], rows=0, seconds=0)})
    with pytest.raises(ValueError, match="resamples is negative"):
        summarise("data", "digest", {}, resamples=-1)
