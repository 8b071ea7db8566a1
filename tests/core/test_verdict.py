"""Severities, categories, scores, and the verdict made of several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qwen3guard_integrations import Category, Scores, Severity, Verdict

from .strategies import verdicts


def test_severities_are_ordered() -> None:
    assert sorted([Severity.UNSAFE, Severity.SAFE, Severity.CONTROVERSIAL]) == list(Severity)
    assert Severity.UNSAFE >= Severity.CONTROVERSIAL > Severity.SAFE
    with pytest.raises(TypeError):
        _ = Severity.SAFE < 1


@pytest.mark.parametrize("severity", Severity)
def test_a_severity_is_made_from_its_name_in_any_case(severity: Severity) -> None:
    for name in (severity.value, severity.value.upper(), f" {severity.value.lower()}\n"):
        assert Severity(name) is severity
        assert Verdict.model_validate({"severity": name}).severity is severity
    assert str(severity) == severity.value


@pytest.mark.parametrize("value", ["", "Saf", "Unsafe Safe", "not safe", 0, None])
def test_anything_else_is_no_severity(value: object) -> None:
    with pytest.raises(ValueError):
        Severity(value)


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("violence", Category.VIOLENT),
        ("Non-violent Illegal Acts", Category.NON_VIOLENT_ILLEGAL_ACTS),
        ("Nonviolent illegal acts", Category.NON_VIOLENT_ILLEGAL_ACTS),
        ("Illegal Acts", Category.NON_VIOLENT_ILLEGAL_ACTS),
        ("SEXUAL CONTENT", Category.SEXUAL_CONTENT),
        ("Personally Identifiable Information (PII)", Category.PII),
        ("Suicide and Self-Harm", Category.SUICIDE_AND_SELF_HARM),
        ("self harm", Category.SUICIDE_AND_SELF_HARM),
        ("Political", Category.POLITICALLY_SENSITIVE),
        ("copyright", Category.COPYRIGHT_VIOLATION),
        ("Jail-break", Category.JAILBREAK),
        *((category.value, category) for category in Category),
    ],
)
def test_a_category_is_made_from_the_names_in_use(name: str, category: Category) -> None:
    assert Category(name) is category
    assert Verdict.model_validate({"severity": "Unsafe", "categories": name}).categories == (category,)


@pytest.mark.parametrize("name", ["", "Viol", "Non-violent", "Violent PII", "!", "暴力"])
def test_anything_else_is_no_category(name: str) -> None:
    with pytest.raises(ValueError):
        Category(name)


def test_values_are_frozen_and_know_their_fields() -> None:
    verdict = Verdict(severity=Severity.SAFE)
    with pytest.raises(ValidationError):
        verdict.severity = Severity.UNSAFE  # type: ignore[misc]
    with pytest.raises(ValidationError, match="risk"):
        Verdict.model_validate({"severity": "Safe", "risk": 1})


def test_scores_are_probabilities_by_severity() -> None:
    scores = Scores(safe=0.1, controversial=0.2, unsafe=0.7)
    assert [scores[severity] for severity in Severity] == [0.1, 0.2, 0.7]
    with pytest.raises(ValidationError, match="unsafe"):
        Scores(safe=0, controversial=0, unsafe=1.1)


@given(st.lists(verdicts, min_size=1, max_size=4))
def test_the_merged_verdict_is_the_most_severe_with_the_categories_of_all_that_are_not_safe(
    parts: list[Verdict],
) -> None:
    merged = Verdict.merge(parts)
    assert merged.severity is max(part.severity for part in parts)
    assert merged.safe is all(part.safe for part in parts)
    if len(parts) == 1:
        assert merged == parts[0]
        return
    unsafe = [part for part in parts if not part.safe]
    found = {category for part in unsafe for category in part.categories}
    assert found <= set(merged.categories)
    assert len(set(merged.categories)) == len(merged.categories)
    worst = [part for part in parts if part.severity is merged.severity]
    assert merged.scores in [part.scores for part in worst]
    if merged.scores:
        assert merged.scores.safe == min(part.scores.safe for part in worst if part.scores)
    asked = {part.refusal for part in parts} - {None}
    assert merged.refusal is (asked == {True} if asked else None)


def test_a_safe_part_adds_no_category_and_nothing_is_no_verdict() -> None:
    safe = Verdict(severity=Severity.SAFE, categories=(Category.PII,))
    unsafe = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))
    assert Verdict.merge([safe, unsafe]).categories == (Category.VIOLENT,)
    with pytest.raises(ValueError, match="no verdict"):
        Verdict.merge([])
