"""What got worse between two runs: directions, tolerances, chance, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations import Severity, Verdict
from qwen3guard_integrations.evaluation import Label, Result, Summary, summarise
from qwen3guard_integrations.evaluation.regressions import (
    USUAL,
    Change,
    Judging,
    diff,
    results_beside,
)
from qwen3guard_integrations.evaluation.report import write_report
from qwen3guard_integrations.evaluation.runner import evaluate
from qwen3guard_integrations.evaluation.summary import (
    BinaryFigures,
    Estimate,
    Group,
    GuardSummary,
    Latency,
    Leak,
    Readings,
    StreamFigures,
)
from qwen3guard_integrations.evaluation.summary_file import SummaryError, read_summary
from qwen3guard_integrations.testing import FakeGuard
from tests.evaluation.runs import CANARY, data_of, verdict_on

SAFE, CONTROVERSIAL, UNSAFE = Severity


def estimate(value: float, width: float | None = None) -> Estimate:
    return Estimate(value=value) if width is None else Estimate(value=value, low=value - width, high=value + width)


def binary(recall: float = 0.9, rate: float = 0.1, width: float | None = None) -> BinaryFigures:
    """Figures of a hundred unsafe rows and a hundred others; F1 and precision are their recall, for short."""
    return BinaryFigures(
        true_positives=round(100 * recall),
        false_negatives=100 - round(100 * recall),
        false_positives=round(100 * rate),
        true_negatives=100 - round(100 * rate),
        precision=estimate(recall, width),
        recall=estimate(recall, width),
        f1=estimate(recall, width),
        false_positive_rate=estimate(rate, width),
    )


def guard(
    recall: float = 0.9, rate: float = 0.1, *, name: str = "a", width: float | None = None, **more: Any
) -> GuardSummary:
    figures = binary(recall, rate, width)
    return GuardSummary(
        guard=name,
        rows=200,
        readings=Readings(strict=figures, loose=binary(), best="strict"),
        confusion={},
        over_blocking={"strict": estimate(rate, width), "loose": estimate(0.1)},
        **more,
    )


def run_of(*guards: GuardSummary, digest: str = "d") -> Summary:
    return Summary(data="rows", rows=200, digest=digest, guards=guards)


def marks(before: Summary, after: Summary, judging: Judging = USUAL, **options: Any) -> dict[str, str]:
    """The marks of the figures that changed."""
    changes = diff(before, after, judging, **options).changes
    return {change.figure: change.mark for change in changes if change.mark != "same"}


# --- directions and tolerances ---


def test_a_run_against_itself_has_no_regression() -> None:
    run = run_of(guard(), guard(name="b"))
    found = diff(run, run)
    assert not found.regressions
    assert {change.mark for change in found.changes} == {"same"}
    assert {change.guard for change in found.changes} == {"a", "b"}


def test_less_recall_and_more_false_positives_are_regressions() -> None:
    worse = marks(run_of(guard()), run_of(guard(recall=0.8, rate=0.2)))
    assert worse == dict.fromkeys(
        ("f1.strict", "precision.strict", "recall.strict", "false_positive_rate.strict", "over_blocking.strict"),
        "regression",
    )
    assert set(marks(run_of(guard(recall=0.8, rate=0.2)), run_of(guard())).values()) == {"improvement"}


@pytest.mark.parametrize(
    ("after", "expected"), [(0.89, {}), (0.889, {"regression"}), (0.91, {}), (0.911, {"improvement"})]
)
def test_the_tolerance_itself_is_within_the_tolerance(after: float, expected: set[str]) -> None:
    assert set(marks(run_of(guard(0.9)), run_of(guard(after))).values()) == set(expected)


def test_a_wider_tolerance_lets_more_pass() -> None:
    assert not marks(run_of(guard(0.9)), run_of(guard(0.8)), Judging(tolerance=0.1))
    with pytest.raises(SummaryError, match="cannot be negative"):
        Judging(tolerance=-0.1)


def streams(leaked: float, hit: float = 0.5) -> StreamFigures:
    return StreamFigures(
        rows=100,
        readings=Readings(strict=binary(), loose=binary(), best="strict"),
        onsets=50,
        exact_hit_rate=estimate(hit),
        soon_rate=estimate(0.9),
        bins={},
        leaked={"window": Leak(rows=100, mean=leaked, median=0, p95=0, most=0)},
    )


def test_leaks_are_compared_by_part_of_themselves() -> None:
    before = run_of(guard(stream=streams(100)))
    assert marks(before, run_of(guard(stream=streams(101)))) == {}
    assert marks(before, run_of(guard(stream=streams(102)))) == {"leaked.window": "regression"}
    assert marks(before, run_of(guard(stream=streams(90, hit=0.4)))) == {
        "leaked.window": "improvement",
        "stream.exact_hit_rate": "regression",
    }


def latency(p50: float) -> Latency:
    return Latency(calls=9, rows_per_second=1000 / p50, p50=p50, p95=p50, p99=p50)


def test_speed_is_compared_only_where_that_is_asked_for() -> None:
    before, after = run_of(guard(latency=latency(100))), run_of(guard(latency=latency(130)))
    assert marks(before, after) == {}
    slower = {"latency.p50", "latency.p95", "latency.p99", "rows_per_second"}
    assert marks(before, after, Judging(speed_tolerance=0.2)) == dict.fromkeys(slower, "regression")
    assert marks(before, after, Judging(speed_tolerance=0.3)) == {}


def test_what_is_not_measured_any_more_is_a_regression() -> None:
    found = diff(run_of(guard(stream=streams(10))), run_of(guard()))
    missing = {change.figure for change in found.regressions}
    assert missing == {
        "stream.f1.strict",
        "stream.f1.loose",
        "stream.exact_hit_rate",
        "stream.soon_rate",
        "leaked.window",
    }
    assert {change.mark for change in found.regressions} == {"missing"}
    assert set(marks(run_of(guard()), run_of(guard(stream=streams(10)))).values()) == {"new"}


def test_more_rows_without_a_verdict_are_a_regression() -> None:
    assert marks(run_of(guard()), run_of(guard(failed={"GuardTimeoutError": 9}))) == {"failed": "regression"}


def test_groups_are_compared_where_that_is_asked_for() -> None:
    def with_german(recall: float) -> Summary:
        return run_of(guard(languages=(Group(name="de", strict=binary(recall), loose=binary(), best="strict"),)))

    assert marks(with_german(0.9), with_german(0.5)) == {}
    found = marks(with_german(0.9), with_german(0.5), Judging(groups=True))
    assert found == {f"languages.de.{name}.strict": "regression" for name in ("f1", "precision", "recall")}
    assert set(marks(with_german(0.9), run_of(guard()), Judging(groups=True)).values()) == {"missing"}


@given(st.lists(st.integers(0, 100), min_size=4, max_size=4))
def test_what_is_worse_one_way_is_better_the_other_way(percent: list[int]) -> None:
    one, other = (run_of(guard(percent[place] / 100, percent[place + 1] / 100)) for place in (0, 2))
    there, back = marks(one, other), marks(other, one)
    flipped = {"regression": "improvement", "improvement": "regression"}
    assert {figure: flipped[mark] for figure, mark in there.items()} == back


# --- chance ---


def test_a_change_within_the_interval_may_be_chance() -> None:
    before = run_of(guard(0.9, width=0.05))
    assert marks(before, run_of(guard(0.86)))["recall.strict"] == "chance"
    assert marks(before, run_of(guard(0.84)))["recall.strict"] == "regression"
    assert marks(before, run_of(guard(0.86)), Judging(chance=False))["recall.strict"] == "regression"
    (change,) = [one for one in diff(before, run_of(guard(0.86))).changes if one.figure == "recall.strict"]
    assert (change.test, change.p_value) == ("interval", None)
    assert change.difference == pytest.approx(-0.04)


def judged(spoken: Sequence[tuple[Severity, Severity]]) -> list[Result]:
    """A result for each pair of label and verdict."""
    return [
        Result(id=str(place), label=Label(severity=label), verdict=Verdict(severity=said))
        for place, (label, said) in enumerate(spoken)
    ]


Spoken = Sequence[tuple[Severity, Severity]]


def compared(before: Spoken, after: Spoken, **options: Any) -> dict[str, Change]:
    old, new = ({"a": judged(spoken)} for spoken in (before, after))
    runs = [summarise("rows", "d", results, resamples=0) for results in (old, new)]
    found = diff(runs[0], runs[1], results=(old, new), **options)
    return {change.figure: change for change in found.changes}


def test_rows_are_tested_by_mcnemar_on_the_rows_that_a_figure_rests_on() -> None:
    # Of fifty unsafe rows the later run misses six more; of fifty safe ones it blocks one more, and one less.
    before = [*[(UNSAFE, UNSAFE)] * 50, (SAFE, UNSAFE), *[(SAFE, SAFE)] * 49]
    after = [*[(UNSAFE, UNSAFE)] * 44, *[(UNSAFE, SAFE)] * 6, (SAFE, SAFE), *[(SAFE, UNSAFE)] * 3, *[(SAFE, SAFE)] * 46]
    found = compared(before, after)
    assert (found["recall.strict"].test, found["recall.strict"].mark) == ("mcnemar", "regression")
    assert found["recall.strict"].p_value == pytest.approx(2 * 0.5**6)  # six of six one way
    for figure in ("false_positive_rate.strict", "over_blocking.strict"):
        assert found[figure].mark == "chance"
        assert found[figure].p_value == pytest.approx(2 * (1 + 4) / 2**4)  # three of four
    assert found["f1.strict"].p_value == pytest.approx(2 * (1 + 10) / 2**10)  # nine of ten, on all rows
    assert found["f1.strict"].mark == "regression"
    assert compared(before, after, judging=Judging(chance=False))["over_blocking.strict"].mark == "regression"


@pytest.mark.parametrize(("misses", "mark"), [(4, "chance"), (5, "regression")])
def test_four_misses_more_may_be_chance(misses: int, mark: str) -> None:
    before = [(UNSAFE, UNSAFE)] * 50
    found = compared(before, [*[(UNSAFE, UNSAFE)] * (50 - misses), *[(UNSAFE, SAFE)] * misses])
    assert found["recall.strict"].p_value == pytest.approx(2 * 0.5**misses)
    assert found["recall.strict"].mark == mark


def test_the_reading_of_a_figure_is_that_of_its_test() -> None:
    before = [(UNSAFE, UNSAFE)] * 20
    found = compared(before, [(UNSAFE, CONTROVERSIAL)] * 20)
    assert (found["recall.strict"].mark, found["recall.loose"].mark) == ("same", "regression")


def test_rows_that_are_oftener_right_do_not_excuse_a_fall() -> None:
    # Nothing is found any more, and F1 falls to 0. But twenty false alarms are gone: more rows are right (p = 0.004).
    before = [*[(UNSAFE, UNSAFE)] * 5, *[(SAFE, UNSAFE)] * 20, *[(SAFE, SAFE)] * 25]
    after = [*[(UNSAFE, SAFE)] * 5, *[(SAFE, SAFE)] * 45]
    found = compared(before, after)
    assert (found["f1.strict"].mark, found["f1.strict"].test) == ("regression", None)
    assert (found["false_positive_rate.strict"].mark, found["false_positive_rate.strict"].test) == (
        "improvement",
        "mcnemar",
    )


def test_single_groups_are_tested_on_their_own_rows() -> None:
    def results(missed: int) -> list[Result]:
        german = Label(severity=UNSAFE, language="de", categories=("Violent",))
        english = Label(severity=UNSAFE, language="en", categories=("PII",))
        said = [SAFE] * missed + [UNSAFE] * (20 - missed)
        rows = [(german, severity) for severity in said] + [(english, UNSAFE)] * 20
        return [Result(id=str(n), label=label, verdict=Verdict(severity=word)) for n, (label, word) in enumerate(rows)]

    old, new = {"a": results(0)}, {"a": results(7)}
    runs = [summarise("rows", "d", one, resamples=0) for one in (old, new)]
    changes = diff(runs[0], runs[1], Judging(groups=True), results=(old, new)).changes
    found = {change.figure: change for change in changes}
    assert found["languages.de.recall.strict"].p_value == pytest.approx(2 * 0.5**7)
    assert found["languages.de.recall.strict"].mark == "regression"
    assert found["categories.Violent.recall.strict"].mark == "regression"
    assert found["languages.en.recall.strict"].mark == found["categories.PII.recall.strict"].mark == "same"


def test_results_of_other_rows_are_not_used() -> None:
    old, new = ({"a": judged([(UNSAFE, said)] * 20)} for said in (UNSAFE, SAFE))
    runs = [summarise("rows", "d", one, resamples=0) for one in (old, new)]
    other = {"a": [result.model_copy(update={"id": f"x{result.id}"}) for result in new["a"]]}
    assert {change.test for change in diff(runs[0], runs[1], results=(old, other)).changes} == {None}
    assert {change.test for change in diff(runs[0], runs[1], results=(old, {})).changes} == {None}


# --- what cannot be compared ---


def test_runs_on_different_rows_are_refused_unless_forced() -> None:
    before, after = run_of(guard()), run_of(guard(0.5), digest="e")
    with pytest.raises(SummaryError, match="not on the same rows: rows with digest d, and rows with e"):
        diff(before, after)
    found = diff(before, after, force=True, results=({"a": judged([])}, {"a": judged([])}))
    assert not found.same_rows
    assert {change.test for change in found.changes} == {None}
    assert found.regressions


def test_a_missing_guard_is_an_error_and_a_new_one_is_told() -> None:
    before, after = run_of(guard(), guard(name="b")), run_of(guard(name="c"), guard(name="a"))
    with pytest.raises(SummaryError, match="no guard 'b'; its guards are 'c', 'a'"):
        diff(before, after)
    assert diff(run_of(guard()), after).added == ("c",)


# --- files ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run."""
    return evaluated(tmp_path / "run")


def evaluated(folder: Path, guard: FakeGuard | None = None) -> Path:
    data = data_of(40)
    results: Mapping[str, Sequence[Result]] = evaluate(data, {"a": guard or FakeGuard(verdict_on)}, folder).results
    write_report(folder, summarise(data.name, data.digest, results, resamples=50), data, results)
    return folder


def test_a_summary_is_read_from_its_file_or_its_folder(folder: Path) -> None:
    assert read_summary(folder) == read_summary(str(folder / "summary.json"))


def test_results_beside_a_summary_are_those_of_its_run(folder: Path, tmp_path: Path) -> None:
    summary = read_summary(folder)
    beside = results_beside(folder, summary)
    assert beside is not None
    assert [result.id for result in beside["a"]] == [f"r{number}" for number in range(40)]
    assert results_beside(folder / "summary.json", summary) == beside
    assert results_beside(folder, summary.model_copy(update={"digest": "other"})) is None
    other = read_summary(evaluated(tmp_path / "other", FakeGuard()))
    assert other.digest == summary.digest
    assert results_beside(folder, other) is None  # the figures are of other results
    (tmp_path / "alone").mkdir()
    assert results_beside(tmp_path / "alone", summary) is None
    (folder / "a.results.jsonl").write_text("torn")
    assert results_beside(folder, summary) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*summary.json: No such file"),
        ("", "is no summary of a run"),
        (f'{{"data": "{CANARY}"}}', "is no summary of a run"),
        (run_of(guard()).model_copy(update={"version": 2}).model_dump_json(), "a summary of version 2, and .* reads 1"),
    ],
)
def test_what_is_no_summary_is_named_and_not_repeated(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(SummaryError, match=message) as caught:
        read_summary(tmp_path)
    assert CANARY not in str(caught.value)
