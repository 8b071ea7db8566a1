"""Actions and decisions."""

from __future__ import annotations

import pytest

from qwen3guard_integrations import Action, Category, Decision, Point, Severity, Verdict


def test_actions_are_ordered_from_the_mildest_to_the_strictest() -> None:
    names = ["allow", "flag", "redact", "drop", "review", "block"]
    assert [str(action) for action in sorted(set(Action))] == names
    assert max(Action) is Action.BLOCK
    with pytest.raises(TypeError):
        _ = Action.ALLOW < "block"


@pytest.mark.parametrize("action", Action)
def test_a_text_passes_or_stops_or_is_changed(action: Action) -> None:
    decision = Decision(point=Point.PROMPT, action=action)
    assert decision.passes is (action in {Action.ALLOW, Action.FLAG})
    assert decision.stops is (action in {Action.REVIEW, Action.BLOCK})


@pytest.mark.parametrize(
    ("decision", "summary"),
    [
        (Decision(point=Point.DOCUMENT, action=Action.ALLOW), "allow at document (not judged)"),
        (
            Decision(point=Point.TOOL_CALL, action=Action.BLOCK, guard_failed=True),
            "block at tool_call (the guard gave no verdict)",
        ),
        (
            Decision(
                point=Point.RESPONSE,
                action=Action.FLAG,
                severity=Severity.UNSAFE,
                verdict=Verdict(
                    severity=Severity.UNSAFE,
                    categories=(Category.PII, Category.VIOLENT),
                    other_categories=("Spam",),
                ),
            ),
            "flag at response (Unsafe: PII, Violent, other)",
        ),
    ],
)
def test_the_summary_says_what_where_and_why(decision: Decision, summary: str) -> None:
    assert decision.summary == summary
