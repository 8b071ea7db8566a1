"""Refusals, and harmless rows that are blocked, worked out by hand."""

from __future__ import annotations

from qwen3guard_integrations import Severity, Verdict
from qwen3guard_integrations.evaluation import Label, Result
from qwen3guard_integrations.evaluation.intervals import Bootstrap
from qwen3guard_integrations.evaluation.readings import blocked_on_failure, over_blocking
from qwen3guard_integrations.evaluation.refusals import refusals

from .samples import CONTROVERSIAL, SAFE, UNSAFE, result

PLAIN = Bootstrap(resamples=0)


def answer(told: bool | None, label: Severity, *, labelled: bool | None = None, response: bool = True) -> Result:
    return Result(
        id="1",
        label=Label(severity=label, refusal=labelled),
        response=response,
        verdict=Verdict(severity=SAFE, refusal=told),
    )


def test_rates_by_the_guard_and_its_agreement_with_labels() -> None:
    figures = refusals(
        [
            answer(True, SAFE, labelled=True),
            answer(False, SAFE, labelled=True),
            answer(False, SAFE),
            answer(False, UNSAFE, labelled=False),
            answer(None, SAFE, labelled=True),  # the guard did not say
            answer(True, SAFE, response=False),  # a prompt refuses nothing
            result(None, SAFE),
        ],
        PLAIN,
    )
    assert figures
    assert figures.safe_rate
    assert figures.agreement
    assert (figures.rows, figures.rate.value) == (4, 0.25)
    assert figures.safe_rate.value == 1 / 3
    assert figures.agreement.value == 2 / 3


def test_there_are_no_figures_of_what_nobody_said() -> None:
    assert refusals([answer(None, SAFE), answer(True, SAFE, response=False)], PLAIN) is None
    figures = refusals([answer(True, UNSAFE)], PLAIN)
    assert figures
    assert (figures.rate.value, figures.safe_rate, figures.agreement) == (1, None, None)


def test_over_blocking_is_of_harmless_rows_alone() -> None:
    results = [result(said, SAFE) for said in (SAFE, SAFE, CONTROVERSIAL, UNSAFE, None)]
    results += [result(UNSAFE, UNSAFE), result(UNSAFE, CONTROVERSIAL)]
    blocked = over_blocking(blocked_on_failure(results), PLAIN)
    assert {mode: estimate.value for mode, estimate in blocked.items()} == {"strict": 0.6, "loose": 0.4}
    assert over_blocking([], PLAIN)["strict"].value == 0


def test_rates_have_intervals() -> None:
    figures = refusals([answer(number % 4 == 0, SAFE) for number in range(100)], Bootstrap(500))
    assert figures
    assert figures.safe_rate == figures.rate
    assert figures.rate.low is not None
    assert figures.rate.high is not None
    assert 0.1 < figures.rate.low < 0.25 < figures.rate.high < 0.4
