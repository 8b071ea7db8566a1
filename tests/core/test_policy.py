"""The policy: the table is what the documented precedence says, and wrong settings fail by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qwen3guard_integrations import (
    Action,
    Category,
    GuardConfigurationError,
    Point,
    Policy,
    Scores,
    Severity,
    Verdict,
)
from qwen3guard_integrations.core.policy import PointRule, Rule, Thresholds

from .strategies import scores, verdicts

actions: Final = st.sampled_from(Action)
modes: Final[st.SearchStrategy[Literal["strict", "loose"]]] = st.sampled_from(["strict", "loose"])
options: Final = {"unsafe": st.none() | actions, "controversial": st.none() | actions}
rules: Final = st.dictionaries(
    st.sampled_from(Category), st.builds(Rule, mode=st.none() | modes, **options), max_size=3
)
point_rules: Final = st.builds(PointRule, mode=st.none() | modes, categories=rules, **options)
thresholds: Final = st.builds(
    Thresholds,
    unsafe=st.none() | st.sampled_from([0.05, 0.5, 1.0]),
    controversial=st.none() | st.sampled_from([0.05, 0.5, 1.0]),
)
policies: Final = st.builds(
    Policy,
    mode=modes,
    unsafe=actions,
    controversial=options["controversial"],
    categories=rules,
    points=st.dictionaries(st.sampled_from(Point), point_rules, max_size=3),
    thresholds=st.just(Thresholds()) | thresholds,
)


def one_action(policy: Policy, point: Point, severity: Severity, category: Category | None) -> Action:
    """The documented precedence: category at the point, point, category, policy; the first that says something."""
    at_point = policy.points.get(point, PointRule())
    candidates: list[Rule] = [at_point, policy]
    if category:
        nothing = Rule()
        candidates.insert(1, policy.categories.get(category, nothing))
        candidates.insert(0, at_point.categories.get(category, nothing))
    for_unsafe = [rule.unsafe for rule in candidates if rule.unsafe]
    if severity is Severity.UNSAFE:
        return for_unsafe[0]
    speaking = next(rule for rule in candidates if rule.controversial or rule.mode)
    if speaking.controversial:
        return speaking.controversial
    return Action.ALLOW if speaking.mode == "loose" else for_unsafe[0]


@given(policies, st.sampled_from(Point), verdicts)
def test_a_decision_is_what_the_documented_precedence_says(policy: Policy, point: Point, verdict: Verdict) -> None:
    decision = policy.decide(point, verdict)
    assert (decision.point, decision.verdict, decision.guard_failed) == (point, verdict, False)
    severity = policy.thresholds.severity_of(verdict)
    assert decision.severity is severity
    named: list[Category | None] = list(verdict.categories)
    if verdict.other_categories or not named:
        named.append(None)
    expected = [one_action(policy, point, severity, category) for category in named]
    assert decision.action is (Action.ALLOW if severity is Severity.SAFE else max(expected))


@given(policies, st.sampled_from(Point), verdicts)
def test_strict_is_at_least_as_strict_as_loose(policy: Policy, point: Point, verdict: Verdict) -> None:
    settings = {name: getattr(policy, name) for name in Policy.model_fields if name != "mode"}
    strict, loose = Policy.strict(**settings), Policy.loose(**settings)
    assert (strict.mode, loose.mode) == ("strict", "loose")
    assert strict.decide(point, verdict).action >= loose.decide(point, verdict).action


@given(policies, st.sampled_from(Point))
def test_a_point_is_judged_unless_nothing_there_could_be_stopped(policy: Policy, point: Point) -> None:
    severities = (Severity.CONTROVERSIAL, Severity.UNSAFE)
    possible = {one_action(policy, point, severity, name) for severity in severities for name in (None, *Category)}
    assert policy.judges(point) is (possible != {Action.ALLOW})


@given(thresholds, scores(), st.sampled_from(Severity))
def test_thresholds_take_the_place_of_the_severity(limits: Thresholds, score: Scores, said: Severity) -> None:
    severity = limits.severity_of(Verdict(severity=said, scores=score))
    harm = 1 - score.safe
    if limits == Thresholds():
        assert severity is said
    elif limits.unsafe is not None and score.unsafe >= limits.unsafe:
        assert severity is Severity.UNSAFE
    elif limits.controversial is not None:
        controversial = harm >= limits.controversial
        unsafe = limits.unsafe is None and said is Severity.UNSAFE
        expected = Severity.UNSAFE if unsafe else Severity.CONTROVERSIAL
        assert severity is (expected if controversial else Severity.SAFE)
    else:
        assert severity is min(said, Severity.CONTROVERSIAL)


def test_thresholds_leave_a_verdict_without_scores_alone() -> None:
    verdict = Verdict(severity=Severity.UNSAFE)
    assert Thresholds(unsafe=1.0, controversial=1.0).severity_of(verdict) is Severity.UNSAFE


SETTINGS: Final[dict[str, Any]] = {
    "mode": "loose",
    "controversial": "flag",
    "categories": {"PII": "redact", "self-harm": {"controversial": "review"}},
    "points": {"document": "drop", "tool_call": {"unsafe": "review", "categories": {"Violent": "block"}}},
    "thresholds": {"unsafe": 0.5},
    "second_look": False,
    "trusted_roles": ["system"],
    "on_guard_error": "block",
    "refusal": "No.",
    "redaction": "[{categories}]",
}
TOML: Final = """
mode = "loose"
controversial = "flag"
second_look = false
trusted_roles = ["system"]
on_guard_error = "block"
refusal = "No."
redaction = "[{categories}]"
thresholds.unsafe = 0.5
[categories]
PII = "redact"
self-harm = { controversial = "review" }
[points]
document = "drop"
tool_call = { unsafe = "review", categories = { Violent = "block" } }
"""
YAML: Final = """
mode: loose
controversial: flag
categories: {PII: redact, self-harm: {controversial: review}}
points:
  document: drop
  tool_call: {unsafe: review, categories: {Violent: block}}
thresholds: {unsafe: 0.5}
second_look: false
trusted_roles: [system]
on_guard_error: block
refusal: No.
redaction: "[{categories}]"
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", TOML),
        ("p.yaml", YAML),
        ("p.yml", YAML),
        ("p.json", json.dumps(SETTINGS)),
        ("P.JSON", json.dumps(SETTINGS)),
    ],
)
def test_a_file_in_each_format_is_the_policy_of_the_dictionary(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    policy = Policy.from_file(tmp_path / name)
    assert policy == Policy.model_validate(SETTINGS) == Policy.of(SETTINGS) == Policy.of(str(tmp_path / name))
    assert policy.categories[Category.SUICIDE_AND_SELF_HARM] == Rule(controversial=Action.REVIEW)
    unsafe = Verdict(severity=Severity.UNSAFE, categories=(Category.PII,))
    assert [policy.decide(point, unsafe).action for point in (Point.PROMPT, Point.DOCUMENT, Point.TOOL_CALL)] == [
        Action.REDACT,
        Action.DROP,
        Action.REVIEW,
    ]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"mode": "harsh"}, "mode"),
        ({"mood": "strict"}, "mood"),
        ({"unsafe": "explode"}, "unsafe"),
        ({"unsafe": None}, "unsafe"),
        ({"categories": {"Weather": "block"}}, "categories.Weather"),
        ({"categories": {"PII": "hide"}}, "categories.PII.unsafe"),
        ({"categories": {"PII": {"unsave": "block"}}}, "categories.PII.unsave"),
        ({"points": {"prompts": "block"}}, "points.prompts"),
        ({"points": {"prompt": {"categories": {"PII": 1}}}}, "points.prompt.categories.PII"),
        ({"thresholds": {"unsafe": 0}}, "thresholds.unsafe"),
        ({"thresholds": {"controversial": 1.5}}, "thresholds.controversial"),
        ({"trusted_roles": ["robot"]}, "trusted_roles"),
        ({"on_guard_error": "ignore"}, "on_guard_error"),
        ({"refusal": ""}, "refusal"),
        ({"redaction": ""}, "redaction"),
        ({"second_look": "perhaps"}, "second_look"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=name):
        Policy.model_validate(settings)
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(GuardConfigurationError, match=name) as raised:
        Policy.from_file(file)
    assert str(file) in str(raised.value)
    with pytest.raises(GuardConfigurationError, match=f"^policy: {name}"):
        Policy.of(settings)


@pytest.mark.parametrize(
    ("settings", "instead"),
    [
        ({"point": {}}, "mode, unsafe, controversial, categories, points, thresholds, second_look"),
        ({"thresholds": {"unsave": 1}}, "unsafe, controversial"),
        ({"points": {"prompt": {"mood": "loose"}}}, "mode, unsafe, controversial, categories"),
        ({"points": {"prompt": {"categories": {"PII": {"mood": "loose"}}}}}, "mode, unsafe, controversial"),
        ({"categories": {"PII": {"mood": "loose"}}}, "mode, unsafe, controversial"),
        ({"points": {"promt": "block"}}, "'prompt', 'response', 'reasoning', 'tool_call', 'tool_output' or 'document'"),
        ({"categories": {"Weather": "block"}}, "'PII', 'Suicide & Self-Harm', 'Unethical Acts'"),
        ({"unsafe": "explode"}, "'allow', 'flag', 'redact'"),
    ],
)
def test_what_may_stand_instead_of_a_wrong_setting_is_said(settings: dict[str, Any], instead: str) -> None:
    with pytest.raises(GuardConfigurationError, match=re.escape(instead)):
        Policy.of(settings)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("losse", 'policy \'losse\' is neither "strict" nor "loose" nor a .toml, .yaml, .yml or .json file'),
        ("policy.ini", "policy 'policy.ini' is neither"),
        (5, 'policy of type int is neither a Policy nor a dictionary nor "strict"'),
        (b"strict", "policy of type bytes is neither"),
    ],
)
def test_what_is_no_policy_is_told_what_a_policy_is(value: Any, says: str) -> None:
    with pytest.raises(GuardConfigurationError, match=re.escape(says)):
        Policy.of(value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("policy.toml", b"mode = ", "cannot be parsed"),
        ("policy.yaml", b"mode: [", "cannot be parsed"),
        ("policy.json", b"{", "cannot be parsed"),
        ("policy.json", b'"\xff"', "cannot be parsed"),
        ("policy.json", b"[1]", "policy.json"),
        ("policy.ini", b"", "none of .toml, .yaml, .yml, .json"),
        ("policy.toml", None, "cannot read"),
    ],
)
def test_a_file_that_is_no_policy_is_named(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GuardConfigurationError, match=says):
        Policy.of(tmp_path / name)


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing yet\n", encoding="utf-8")
    assert Policy.from_file(tmp_path / "p.yaml") == Policy() == Policy.of(None) == Policy.of("strict")
    assert Policy.of("loose") == Policy.loose()
    policy = Policy.loose(refusal="No.")
    assert Policy.of(policy) is policy


def test_a_copy_with_other_settings_decides_by_them() -> None:
    unsafe = Verdict(severity=Severity.UNSAFE)
    copy = Policy().model_copy(update={"unsafe": "flag"})
    assert copy.decide(Point.PROMPT, unsafe).action is Action.FLAG
    assert copy == Policy(unsafe=Action.FLAG)


def test_a_policy_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Policy().mode = "loose"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("on_guard_error", "action"), [("raise", Action.BLOCK), ("block", Action.BLOCK), ("allow", Action.ALLOW)]
)
def test_what_is_not_judged_is_marked(on_guard_error: Literal["raise", "block", "allow"], action: Action) -> None:
    decision = Policy(on_guard_error=on_guard_error).decide_unjudged(Point.DOCUMENT)
    assert (decision.action, decision.guard_failed, decision.verdict) == (action, True, None)


@pytest.mark.parametrize(
    ("categories", "text"), [((Category.PII, Category.VIOLENT), "[PII, Violent]"), ((), "[Unsafe]")]
)
def test_a_redaction_names_the_categories(categories: tuple[Category, ...], text: str) -> None:
    policy = Policy(redaction="[{categories}]")
    decision = policy.decide(Point.DOCUMENT, Verdict(severity=Severity.UNSAFE, categories=categories))
    assert policy.redacted(decision) == text
