"""`python -m tests.cli.scripted check ...`: the real command line in a process of its own, with a scripted guard."""

from __future__ import annotations

import importlib
from typing import Any
from unittest.mock import patch

from qwen3guard_integrations import Conversation, Scores, Severity, Verdict
from qwen3guard_integrations.cli import main
from qwen3guard_integrations.testing import FakeGuard

SCORES = {
    Severity.SAFE: Scores(safe=0.9, controversial=0.06, unsafe=0.04),
    Severity.CONTROVERSIAL: Scores(safe=0.2, controversial=0.5, unsafe=0.3),
    Severity.UNSAFE: Scores(safe=0.05, controversial=0.15, unsafe=0.8),
}


def verdict_on(conversation: Conversation) -> Verdict:
    """Unsafe for "bomb", Controversial for "heist", Safe for the rest; a response that is sorry is a refusal."""
    turn = conversation.judged
    text = f"{turn.content} {turn.reasoning}".lower()
    refusal = "sorry" in text if turn.role == "assistant" else None
    if "bomb" in text:
        return Verdict(severity="Unsafe", categories=("Violent",), refusal=refusal, scores=SCORES[Severity.UNSAFE])
    if "heist" in text:
        scores = SCORES[Severity.CONTROVERSIAL]
        return Verdict(severity="Controversial", other_categories=("Theft",), refusal=refusal, scores=scores)
    return Verdict(severity="Safe", refusal=refusal, scores=SCORES[Severity.SAFE])


def scripted_guard() -> FakeGuard:
    """A guard that answers with `verdict_on`."""
    return FakeGuard(verdict_on)


def _load(*_: Any, **__: Any) -> FakeGuard:
    return scripted_guard()


if __name__ == "__main__":
    with patch.object(importlib.import_module("qwen3guard_integrations.guards.load"), "load_guard", _load):
        main()
