"""Labelled results with scores: hand-made ones, and random ones with ties, failures and rows without scores."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from qwen3guard_integrations import Action, Category, Point, Policy, Scores, Severity, Verdict
from qwen3guard_integrations.core.policy import Rule, Thresholds
from qwen3guard_integrations.evaluation import Label, Result
from tests.core.strategies import verdicts

SAFE, CONTROVERSIAL, UNSAFE = Severity


def scored(
    not_safe: float, label: Severity, *categories: str, unsafe: float | None = None, response: bool = False
) -> Result:
    """A row whose score is `not_safe`; `unsafe` is the part of it that is P(Unsafe), by default half."""
    part = not_safe / 2 if unsafe is None else unsafe
    scores = Scores(safe=1 - not_safe, controversial=not_safe - part, unsafe=part)
    said = max(Severity, key=lambda severity: scores[severity])
    named = tuple(Category(name) for name in categories) if said is not SAFE else ()
    verdict = Verdict(severity=said, categories=named, scores=scores)
    return Result(id="", label=Label(severity=label), response=response, verdict=verdict)


def numbered(results: Sequence[Result]) -> list[Result]:
    """The same with ids of their own."""
    return [result.model_copy(update={"id": str(place)}) for place, result in enumerate(results)]


def drawn(count: int, seed: int, *, harmless: float = 0.2, unsafe: float = 0.7, spread: float = 0.2) -> list[Result]:
    """Rows whose scores are normally distributed around one value for harmless and another for unsafe ones."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        label = UNSAFE if number % 2 else SAFE
        score = min(max(rng.gauss(unsafe if number % 2 else harmless, spread), 0.0), 1.0)
        rows.append(scored(score, label, rng.choice(tuple(Category)), unsafe=score * rng.random()))
    return numbered(rows)


@st.composite
def fine_scores(draw: st.DrawFn) -> Scores:
    """Any probabilities, and not only multiples of a twentieth."""
    unsafe = draw(st.floats(0, 1))
    controversial = draw(st.floats(0, 1)) * (1 - unsafe)
    return Scores(unsafe=unsafe, controversial=controversial, safe=min(max(1 - unsafe - controversial, 0), 1))


any_verdict: Final = verdicts | st.builds(
    lambda verdict, scores: verdict.model_copy(update={"scores": scores}), verdicts, fine_scores()
)


def rows_labelled(*severities: Severity) -> st.SearchStrategy[Result]:
    """A row with one of these labels; one of ten without a verdict."""
    failed = st.integers(0, 9).map(lambda number: number == 0)
    return st.builds(
        lambda verdict, none, label, response: Result(
            id="",
            label=Label(severity=label),
            response=response,
            verdict=None if none else verdict,
            error="GuardTimeoutError" if none else None,
        ),
        any_verdict,
        failed,
        st.sampled_from(severities),
        st.booleans(),
    )


@st.composite
def labelled(draw: st.DrawFn, least: int = 2) -> list[Result]:
    """At least so many unsafe and so many harmless rows, and one that surely has scores."""
    unsafe = draw(st.lists(rows_labelled(UNSAFE, CONTROVERSIAL), min_size=least, max_size=14))
    harmless = draw(st.lists(rows_labelled(SAFE), min_size=least, max_size=14))
    return numbered([*unsafe, *harmless, scored(draw(st.floats(0, 1)), SAFE)])


actions: Final = st.sampled_from(Action)
rules: Final = st.builds(
    Rule, mode=st.sampled_from([None, "strict", "loose"]), unsafe=st.none() | actions, controversial=st.none() | actions
)
thresholds: Final = st.none() | st.integers(1, 20).map(lambda number: number / 20)
policies: Final = st.builds(
    Policy,
    mode=st.sampled_from(["strict", "loose"]),
    controversial=st.none() | actions,
    categories=st.dictionaries(st.sampled_from(Category), rules, max_size=2),
    points=st.dictionaries(st.sampled_from([Point.PROMPT, Point.RESPONSE]), rules.map(dict), max_size=2),
    thresholds=st.builds(Thresholds, unsafe=thresholds, controversial=thresholds),
    on_guard_error=st.sampled_from(["raise", "block", "allow"]),
)
