"""Screening: what is asked, how the answers are put together, and what happens when there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations import (
    Action,
    Category,
    Conversation,
    Decision,
    GuardError,
    GuardResponseError,
    GuardTimeoutError,
    Point,
    Policy,
    Severity,
    Verdict,
)
from qwen3guard_integrations.core import flow
from qwen3guard_integrations.core.flow import run
from qwen3guard_integrations.core.screening import Item, screening
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane

DOCUMENTS_PASS: Final = {"document": {"unsafe": "allow", "controversial": "allow"}}


def item(text: str, point: Point = Point.PROMPT, *, reasoning: str = "") -> Item:
    if point is Point.PROMPT:
        return Item(point, Conversation.of_prompt(text))
    return Item(point, Conversation.of_response("q", text, reasoning=reasoning))


async def screen(lane: Lane, guard: FakeGuard, items: Sequence[Item], policy: Policy) -> list[Decision]:
    answer = guard.acheck_many if lane.is_async else guard.check_many
    decisions: list[Decision] = await lane(flow, "run", screening(items, policy), answer)
    return decisions


def asked(guard: FakeGuard) -> list[list[str]]:
    return [[conversation.judged.content for conversation in call] for call in guard.calls]


async def test_all_texts_are_one_question_and_each_is_asked_once_and_answered_in_order(lane: Lane) -> None:
    guard = FakeGuard({"bad": "Unsafe", "hm": "Controversial"})
    items = [item("bad"), item("good"), item("bad"), item("hm"), item("bad", Point.RESPONSE)]
    decisions = await screen(lane, guard, items, Policy.loose())
    assert asked(guard) == [["bad", "good", "hm", "bad"]]
    assert [str(decision.action) for decision in decisions] == ["block", "allow", "block", "allow", "block"]
    assert [decision.point for decision in decisions] == [item.point for item in items]


@given(st.lists(st.builds(item, st.sampled_from(["bad", "b a d", "good", "g.o.o.d"]), st.sampled_from(Point))))
def test_at_most_one_question_without_repetition(items: list[Item]) -> None:
    guard = FakeGuard({"bad": "Unsafe"})
    decisions = run(screening(items, Policy.model_validate({"points": DOCUMENTS_PASS})), guard.check_many)
    judged = [item for item in items if item.point is not Point.DOCUMENT]
    assert len(guard.calls) == bool(judged)
    batch = [conversation for call in guard.calls for conversation in call]
    assert len(set(batch)) == len(batch)
    assert {item.conversation for item in judged} <= set(batch)
    assert [decision.stops for decision in decisions] == [
        item.point is not Point.DOCUMENT and "good" not in item.conversation.judged.content.replace(".", "")
        for item in items
    ]


async def test_a_point_that_the_policy_does_not_judge_is_not_asked(lane: Lane) -> None:
    guard = FakeGuard({"bad": "Unsafe"})
    policy = Policy.model_validate({"points": DOCUMENTS_PASS})
    decisions = await screen(lane, guard, [item("bad", Point.DOCUMENT), item("bad")], policy)
    assert [str(decision) for decision in guard.calls[0]] == [str(item("bad").conversation)]
    assert decisions[0] == Decision(point=Point.DOCUMENT, action=Action.ALLOW)
    assert decisions[1].stops

    silent = FakeGuard()
    assert (await screen(lane, silent, [item("bad", Point.DOCUMENT)], policy))[0].passes
    assert await screen(lane, silent, [], policy) == []
    assert silent.calls == []


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize(("first", "second"), [("Safe", "Unsafe"), ("Unsafe", "Safe"), ("Controversial", "Unsafe")])
async def test_the_stricter_of_two_looks_decides(lane: Lane, first: str, second: str, reasoning: bool) -> None:
    guard = FakeGuard({"b o m b": first, "bomb": second})
    hidden = item("x", Point.RESPONSE, reasoning="b o m b") if reasoning else item("b o m b")
    (decision,) = await screen(lane, guard, [hidden], Policy())
    assert [len(call) for call in guard.calls] == [2]
    assert decision.severity is Severity.UNSAFE
    assert decision.stops


async def test_the_second_look_can_be_switched_off(lane: Lane) -> None:
    guard = FakeGuard({"bomb": "Unsafe"})
    (decision,) = await screen(lane, guard, [item("b o m b")], Policy(second_look=False))
    assert decision.passes
    assert asked(guard) == [["b o m b"]]


async def test_the_second_look_is_shared_with_a_text_that_is_the_same(lane: Lane) -> None:
    guard = FakeGuard()
    await screen(lane, guard, [item("b o m b"), item("bomb")], Policy())
    assert asked(guard) == [["b o m b", "bomb"]]


async def test_two_looks_report_what_both_found_and_never_act_milder_than_either(lane: Lane) -> None:
    pii = Verdict(severity=Severity.CONTROVERSIAL, categories=(Category.PII,))
    violent = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))
    guard = FakeGuard({"b o m b": pii, "bomb": violent})
    policy = Policy(unsafe=Action.FLAG, controversial=Action.REVIEW)
    (decision,) = await screen(lane, guard, [item("b o m b")], policy)
    assert decision.action is Action.REVIEW
    (decision,) = await screen(lane, guard, [item("b o m b")], Policy())
    assert decision.category_names == "Violent, PII"


FAILURES: Final[list[GuardError]] = [GuardTimeoutError("late"), GuardResponseError("what?")]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize("then", ["raise", "block", "allow"])
async def test_when_the_guard_fails_the_policy_decides(lane: Lane, then: Any, error: GuardError) -> None:
    policy = Policy(on_guard_error=then, points=Policy.model_validate({"points": DOCUMENTS_PASS}).points)
    items = [item("one"), item("two", Point.RESPONSE), item("three", Point.DOCUMENT)]
    if then == "raise":
        with pytest.raises(type(error)) as raised:
            await screen(lane, FakeGuard(error=error), items, policy)
        assert raised.value is error
        return
    decisions = await screen(lane, FakeGuard(error=error), items, policy)
    assert [str(decision.action) for decision in decisions] == [then, then, "allow"]
    assert [decision.guard_failed for decision in decisions] == [True, True, False]


async def test_an_error_that_is_not_the_guards_is_never_a_pass(lane: Lane) -> None:
    with pytest.raises(ZeroDivisionError):
        await screen(lane, FakeGuard(error=ZeroDivisionError()), [item("x")], Policy(on_guard_error="allow"))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_verdicts_is_no_answer(count: int) -> None:
    safe = [Verdict(severity=Severity.SAFE)] * count
    items = [item("one"), item("two")]
    with pytest.raises(GuardResponseError, match=f"{count} verdicts on 2 conversations"):
        run(screening(items, Policy()), lambda batch: safe)
    decisions = run(screening(items, Policy(on_guard_error="block")), lambda batch: safe)
    assert all(decision.stops and decision.guard_failed for decision in decisions)
