"""What to do about verdicts: screening point x severity x category -> action.

Strict and loose are the two modes of the technical report (arXiv 2510.14276, section 3): strict counts
Controversial as Unsafe, loose counts it as Safe. They are a reading of one verdict, not two prompts.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from .conversation import Role
from .decision import Action, Decision
from .errors import GuardConfigurationError
from .points import Point
from .verdict import Category, Scores, Severity, Value, Verdict

Mode = Literal["strict", "loose"]

CALL_WITHHELD: Final = "This tool call was withheld by the safety policy ({categories}): the tool did not run."
"""What a model reads in place of the result of a tool call that may not pass."""


def _action_as_rule(value: object) -> object:
    """Let a rule be written as its action for Unsafe: `"flag"` for `{"unsafe": "flag"}`."""
    return {"unsafe": value} if isinstance(value, str | Action) else value


class Rule(Value):
    """Actions for the two severities that are not Safe; what is left out comes from the next wider rule.

    Attributes:
        mode: "strict" gives Controversial the action of Unsafe, "loose" lets it pass.
        unsafe: The action for Unsafe.
        controversial: The action for Controversial, whatever the mode says.
    """

    mode: Mode | None = None
    unsafe: Action | None = None
    controversial: Action | None = None


CategoryRules = dict[Category, Annotated[Rule, BeforeValidator(_action_as_rule)]]


class PointRule(Rule):
    """The rule of one screening point, with rules of its own for single categories."""

    categories: CategoryRules = Field(default_factory=dict)


class Thresholds(Value):
    """How probable a severity must be to count, where the guard gives scores. None leaves it to the verdict.

    Attributes:
        unsafe: Unsafe from this P(Unsafe) on; below it, at most Controversial.
        controversial: not Safe from this P(Unsafe) + P(Controversial) on; below it, Safe.
    """

    unsafe: float | None = Field(default=None, gt=0, le=1)
    controversial: float | None = Field(default=None, gt=0, le=1)

    def severity_of(self, verdict: Verdict) -> Severity:
        """The severity of `verdict` by these thresholds; its own where it has no scores."""
        if verdict.scores is None:
            return verdict.severity
        return self._by_scores(verdict.severity, verdict.scores)

    def _by_scores(self, severity: Severity, scores: Scores) -> Severity:
        if self.unsafe is not None:
            if scores.unsafe >= self.unsafe:
                return Severity.UNSAFE
            severity = min(severity, Severity.CONTROVERSIAL)
        if self.controversial is not None:
            if 1 - scores.safe < self.controversial:
                return Severity.SAFE
            severity = max(severity, Severity.CONTROVERSIAL)
        return severity


class Policy(PointRule):
    """What is done with a text, by screening point, severity and category. Frozen; wrong settings fail here.

    Of several rules the most specific one holds: the category's rule at the point, the point's rule, the
    category's rule, the policy's own. A text with several categories gets the strictest of their actions.
    Safe always passes. Made in code, from a dictionary (`Policy.model_validate`), or from a TOML, YAML or JSON
    file (`Policy.from_file`).

    Attributes:
        mode: "strict" (default) counts Controversial as Unsafe, "loose" as Safe.
        unsafe: The action for Unsafe.
        controversial: The action for Controversial; None leaves it to `mode`.
        categories: Rules for single categories: `{"PII": "redact"}` or `{"PII": {"controversial": "flag"}}`.
        points: Rules for single screening points. A point whose every action is "allow" is not judged at all:
            `{"document": {"unsafe": "allow", "controversial": "allow"}}`.
        thresholds: Score thresholds that take the place of the verdict's own severity, where scores come.
        second_look: Also judge a cleaned copy of texts that hide letters (see `core.cleaning`), in the same
            batch; the more severe verdict counts.
        trusted_roles: Turns by these roles are context and are not judged: `{"system"}` when the system prompt
            holds nothing but your own words.
        on_guard_error: When the guard gives no verdict: "raise" the `GuardError` (default), treat the text as
            "block"ed, or "allow" it to pass unjudged (recorded as `Decision.guard_failed`).
        hold: What of a stream may leave: "judged" (default), only what a judgement covers; "window", also what has
            waited for `hold_seconds`, or has `hold_characters` behind it, with no judgement; "none", everything at
            once, so that a block only ends the stream. Complete tool calls are always judged first.
        hold_characters: For "window": how many characters are held back at most.
        hold_seconds: For "window": how many seconds a text is held back at most.
        debounce: How many consecutive tokens must not pass before a token-by-token guard stops a stream: two, by
            the technical report (section 4.4), since a single one is noise.
        refusal: What the user reads in place of a blocked text; `{categories}` is filled in.
        redaction: What stands in place of a redacted text; `{categories}` is filled in.

    Raises:
        pydantic.ValidationError: A setting is unknown or out of range; its name is in the message.
    """

    mode: Mode = "strict"
    unsafe: Action = Action.BLOCK
    points: dict[Point, Annotated[PointRule, BeforeValidator(_action_as_rule)]] = Field(default_factory=dict)
    thresholds: Thresholds = Thresholds()
    second_look: bool = True
    trusted_roles: frozenset[Role] = frozenset()
    on_guard_error: Literal["raise", "block", "allow"] = "raise"
    hold: Literal["judged", "window", "none"] = "judged"
    hold_characters: int = Field(default=400, ge=1)
    hold_seconds: float = Field(default=1.0, gt=0)
    debounce: int = Field(default=2, ge=1)
    refusal: str = Field(default="I'm sorry, but I can't help with that.", min_length=1)
    redaction: str = Field(default="[removed: {categories}]", min_length=1)

    _table: dict[tuple[Point, Severity, Category | None], Action] = PrivateAttr(default_factory=dict)
    _judged: frozenset[Point] = PrivateAttr(default=frozenset())

    def model_post_init(self, context: Any, /) -> None:
        """Resolve the rules once, into the table that every decision looks up."""
        for point in Point:
            for category in (None, *Category):
                rules = self._rules(point, category)
                self._table[point, Severity.UNSAFE, category] = _unsafe_action(rules)
                self._table[point, Severity.CONTROVERSIAL, category] = _controversial_action(rules)
        self._judged = frozenset(point for (point, *_), action in self._table.items() if action is not Action.ALLOW)

    def _rules(self, point: Point, category: Category | None) -> list[Rule]:
        """The rules that apply, the most specific first; the policy itself is the last."""
        at_point = self.points.get(point)
        rules: list[Rule | None] = [
            at_point.categories.get(category) if at_point and category else None,
            at_point,
            self.categories.get(category) if category else None,
            self,
        ]
        return [rule for rule in rules if rule is not None]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """This policy with other settings, checked and resolved anew (pydantic's own copy would keep the old table)."""
        return type(self).model_validate({**dict(self), **(update or {})})

    def judges(self, point: Point) -> bool:
        """Whether texts at `point` are judged: False where every action is "allow"."""
        return point in self._judged

    def reviews(self, point: Point) -> bool:
        """Whether a person may have to decide about a text at `point`."""
        return any(action is Action.REVIEW for (at, *_), action in self._table.items() if at is point)

    def decide(self, point: Point, verdict: Verdict) -> Decision:
        """The decision about a text at `point` on which the guard gave `verdict`."""
        severity = self.thresholds.severity_of(verdict)
        return Decision(point=point, action=self._action(point, severity, verdict), severity=severity, verdict=verdict)

    def _action(self, point: Point, severity: Severity, verdict: Verdict) -> Action:
        if severity is Severity.SAFE:
            return Action.ALLOW
        named: list[Category | None] = [*verdict.categories]
        if verdict.other_categories or not named:
            named.append(None)
        return max(self._table[point, severity, category] for category in named)

    def decide_unjudged(self, point: Point) -> Decision:
        """The decision where the guard failed and `on_guard_error` is not "raise"."""
        action = Action.ALLOW if self.on_guard_error == "allow" else Action.BLOCK
        return Decision(point=point, action=action, guard_failed=True)

    def redacted(self, decision: Decision) -> str:
        """What stands in place of a text that `decision` redacts."""
        return filled(self.redaction, decision)

    def refused(self, decision: Decision) -> str:
        """What the user reads in place of a text that `decision` stops."""
        return filled(self.refusal, decision)

    def last_words(self, decision: Decision) -> str:
        """What the reader gets in place of the rest of an answer: the redaction where it says so, else the refusal."""
        return self.redacted(decision) if decision.action is Action.REDACT else self.refused(decision)

    @classmethod
    def strict(cls, **settings: Any) -> Self:
        """A policy that counts Controversial as Unsafe."""
        return cls(mode="strict", **settings)

    @classmethod
    def loose(cls, **settings: Any) -> Self:
        """A policy that counts Controversial as Safe."""
        return cls(mode="loose", **settings)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The policy that a TOML, YAML or JSON file describes.

        Raises:
            GuardConfigurationError: The file is missing, is none of these formats, or holds a wrong setting.
        """
        path = Path(path)
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise GuardConfigurationError(
                f"policy file {path.name!r} is none of {', '.join(_READERS)}",
                hint="rename or convert the file",
            )
        try:
            settings = reader(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise GuardConfigurationError(
                f"cannot read the policy file {path}: {error.strerror or type(error).__name__}"
            ) from error
        except (ValueError, yaml.YAMLError) as error:
            raise GuardConfigurationError(f"policy file {path} cannot be parsed: {error}") from error
        return cls._of_settings(settings, f"policy file {path}")

    @classmethod
    def of(cls, value: Policy | Mapping[str, Any] | str | Path | None) -> Policy:
        """A policy from whatever names one: a policy, a dictionary, "strict", "loose", a file, or None (strict).

        Raises:
            GuardConfigurationError: It is none of these, or a setting is wrong; its name is in the message.
        """
        match value:
            case Policy():
                return value
            case None | "strict":
                return cls.strict()
            case "loose":
                return cls.loose()
            case Mapping():
                return cls._of_settings(value, "policy")
            case str() if Path(value).suffix.lower() not in _READERS:
                raise GuardConfigurationError(f"policy {value!r} is neither {_NAMED}")
            case str() | PathLike():
                return cls.from_file(value)
            case _:
                raise GuardConfigurationError(
                    f"policy of type {type(value).__name__} is neither a Policy nor a dictionary nor {_NAMED}"
                )

    @classmethod
    def _of_settings(cls, settings: Any, source: str) -> Self:
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            wrong = "; ".join(_wrong(e["loc"], e["type"], e["msg"]) for e in error.errors())
            raise GuardConfigurationError(f"{source}: {wrong}") from error


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".json": json.loads,
}
_NAMED: Final = '"strict" nor "loose" nor a {}, {}, {} or {} file'.format(*_READERS)


def _wrong(place: tuple[int | str, ...], kind: str, message: str) -> str:
    """Which setting is wrong, and what may stand there."""
    if kind == "extra_forbidden":
        message = f"no such setting; there are {', '.join(_settings_at(place))}"
    return f"{'.'.join(map(str, place))}: {message}"


def _settings_at(place: tuple[int | str, ...]) -> Iterable[str]:
    match place:
        case (_,):
            return Policy.model_fields
        case ("thresholds", _):
            return Thresholds.model_fields
        case ("points", _, _):
            return PointRule.model_fields
        case _:
            return Rule.model_fields


def filled(text: str, decision: Decision) -> str:
    """`text` with `{categories}` filled in: what the guard found."""
    return text.replace("{categories}", decision.category_names or str(decision.severity or "not judged"))


def _unsafe_action(rules: Iterable[Rule]) -> Action:
    return next(rule.unsafe for rule in rules if rule.unsafe is not None)


def _controversial_action(rules: list[Rule]) -> Action:
    """The most specific word on Controversial: an action for it, or a mode (the policy, the last rule, has one)."""
    for rule in rules:
        if rule.controversial is not None:
            return rule.controversial
        if rule.mode is not None:
            return Action.ALLOW if rule.mode == "loose" else _unsafe_action(rules)
    raise AssertionError("the policy itself is always among the rules")
