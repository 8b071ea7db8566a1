"""The error tree, and that no error or decision ever holds screened text."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any, Final

import pytest

from qwen3guard_integrations import (
    Action,
    BlockedError,
    Category,
    Conversation,
    Decision,
    GuardConfigurationError,
    GuardError,
    GuardResponseError,
    GuardTimeoutError,
    GuardUnavailableError,
    Point,
    Policy,
    Qwen3GuardError,
    Severity,
    Turn,
    Verdict,
)
from qwen3guard_integrations.core.flow import run
from qwen3guard_integrations.core.gen_reply import parse_reply
from qwen3guard_integrations.core.screening import Item, screening
from qwen3guard_integrations.testing import FakeGuard

CANARY: Final = "canary-7f3a"
DECISION: Final = Decision(
    point=Point.RESPONSE,
    action=Action.BLOCK,
    severity=Severity.UNSAFE,
    verdict=Verdict(severity=Severity.UNSAFE, categories=(Category.PII,)),
)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (GuardUnavailableError, True),
        (GuardTimeoutError, True),
        (GuardResponseError, False),
        (GuardConfigurationError, False),
    ],
)
def test_each_guard_error_says_whether_to_try_again_and_what_to_change(
    error: type[GuardError], retryable: bool
) -> None:
    raised = error("no verdict", hint="raise timeout")
    assert isinstance(raised, GuardError)
    assert isinstance(raised, Qwen3GuardError)
    assert (raised.retryable, raised.hint, str(raised)) == (retryable, "raise timeout", "no verdict (raise timeout)")
    assert str(error("no verdict")) == "no verdict"
    assert isinstance(raised, ValueError) is (error is GuardConfigurationError)


def test_a_block_is_no_guard_error_and_names_its_decision() -> None:
    blocked = BlockedError(DECISION)
    assert isinstance(blocked, Qwen3GuardError)
    assert not isinstance(blocked, GuardError)
    assert (blocked.decision, blocked.verdict, blocked.point) == (DECISION, DECISION.verdict, Point.RESPONSE)
    assert str(blocked) == "block at response (Unsafe: PII)"


@pytest.mark.parametrize("error", [GuardTimeoutError("late", hint="wait"), BlockedError(DECISION)], ids=repr)
def test_errors_cross_process_borders(error: Qwen3GuardError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


WRONG: Final[dict[str, Callable[[], Any]]] = {
    "turn as a tuple": lambda: Conversation.model_validate({"turns": [("user", CANARY)]}),
    "turn as a string": lambda: Conversation.model_validate({"turns": [CANARY]}),
    "turns as a string": lambda: Conversation.model_validate({"turns": CANARY}),
    "unknown role": lambda: Conversation.from_messages([{"role": CANARY, "content": CANARY}]),
    "unknown field": lambda: Turn.model_validate({"role": "user", "text": CANARY}),
    "content of parts": lambda: Turn.model_validate({"role": "user", "content": [{"text": CANARY}]}),
    "blank last turn": lambda: Conversation.of_response(CANARY, " "),
    "severity": lambda: Verdict.model_validate({"severity": CANARY}),
    "categories": lambda: Verdict.model_validate({"severity": "Unsafe", "categories": [CANARY]}),
    "one category": lambda: Verdict.model_validate({"severity": "Unsafe", "categories": CANARY}),
    "refusal": lambda: Verdict.model_validate({"severity": "Unsafe", "refusal": CANARY}),
    "reply": lambda: parse_reply(CANARY),
    "reply of a wrong severity": lambda: parse_reply(f"Safety: {CANARY}"),
    "reply that begins as a verdict": lambda: parse_reply(f"Safety: Safe {CANARY}"),
    "too few verdicts": lambda: run(
        screening([Item(Point.PROMPT, Conversation.of_prompt(CANARY))], Policy()), lambda asked: []
    ),
    "guard in trouble": lambda: run(
        screening([Item(Point.PROMPT, Conversation.of_prompt(CANARY))], Policy()),
        FakeGuard(error=GuardTimeoutError("late")).check_many,
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_no_error_holds_screened_text(wrong: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, Qwen3GuardError)) as raised:
        wrong()
    lines = [line for line in traceback.format_exception(raised.value) if not line.startswith("  File")]
    assert CANARY not in f"{raised.value} {raised.value!r} {''.join(lines)}"


@pytest.mark.parametrize("severity", Severity)
def test_no_decision_and_no_block_holds_screened_text(severity: Severity) -> None:
    items = [Item(point, Conversation.of_response(CANARY, CANARY, reasoning=CANARY)) for point in Point]
    guard = FakeGuard({CANARY: severity})
    for decision in run(screening(items, Policy()), guard.check_many):
        blocked = BlockedError(decision)
        assert CANARY not in f"{decision.summary} {decision!r} {decision} {blocked} {blocked!r}"


def test_the_canary_reaches_the_guard() -> None:
    guard = FakeGuard()
    run(screening([Item(Point.PROMPT, Conversation.of_prompt(CANARY))], Policy()), guard.check_many)
    assert CANARY in repr(guard.calls)
