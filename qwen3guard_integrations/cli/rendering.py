"""Decisions as JSON and as coloured text. Neither ever holds what was judged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.text import Text

from ..core.decision import Action, Decision
from ..core.verdict import Scores, Severity, Verdict

_SEVERITY_STYLES: Final = {Severity.SAFE: "green", Severity.CONTROVERSIAL: "yellow", Severity.UNSAFE: "bold red"}
_ACTION_STYLES: Final = {Action.ALLOW: "green", Action.FLAG: "yellow"}


def severity_text(severity: Severity) -> Text:
    """The severity in its colour."""
    return Text.assemble((str(severity), _SEVERITY_STYLES[severity]))


def action_text(action: Action) -> Text:
    """The action in its colour: red for every one that stops the text."""
    return Text.assemble((str(action), _ACTION_STYLES.get(action, "bold red")))


def scores_text(scores: Scores) -> Text:
    """The three probabilities."""
    return Text(", ".join(f"{severity} {scores[severity]:.3f}" for severity in Severity))


def json_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """One object a line, in UTF-8 whatever the terminal's encoding is."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def decision_fields(decision: Decision) -> dict[str, Any]:
    """The decision for a JSON line; `guard_failed` is there only when the policy decided without a verdict."""
    verdict = decision.verdict
    scores = verdict.scores if verdict else None
    return {
        "severity": str(decision.severity) if decision.severity else None,
        "categories": [*verdict.categories, *verdict.other_categories] if verdict else [],
        "refusal": verdict.refusal if verdict else None,
        "scores": {name: round(score, 6) for name, score in scores.model_dump().items()} if scores else None,
        "action": str(decision.action),
        "point": str(decision.point),
        **({"guard_failed": True} if decision.guard_failed else {}),
    }


def decision_text(decision: Decision) -> Text:
    """The decision for people, one line for each thing that is known."""
    if decision.verdict:
        lines = _verdict_lines(decision, decision.verdict)
    elif decision.guard_failed:
        lines = [("severity", Text("not judged: the guard gave no verdict"))]
    else:
        lines = [("severity", Text("not judged: the policy lets everything pass here"))]
    lines.append(("action", Text.assemble(action_text(decision.action), f" at {decision.point}")))
    return Text("\n").join(Text.assemble((f"{name:<12}", "dim"), value) for name, value in lines)


def _verdict_lines(decision: Decision, verdict: Verdict) -> list[tuple[str, Text]]:
    severity = decision.severity or verdict.severity
    lines = [("severity", severity_text(severity))]
    if severity is not verdict.severity:
        lines.append(("", Text(f"by the policy's thresholds; the guard said {verdict.severity}")))
    if decision.category_names:
        lines.append(("categories", Text(decision.category_names)))
    if verdict.refusal is not None:
        lines.append(("refusal", Text("yes" if verdict.refusal else "no")))
    if verdict.scores:
        lines.append(("scores", scores_text(verdict.scores)))
    return lines
