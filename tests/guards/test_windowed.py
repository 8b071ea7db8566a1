"""Windows: when a text is judged, what of it, and that nothing hides on a border."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qwen3guard_integrations import Conversation, GuardResponseError, Point, Policy, Severity, Turn, Verdict
from qwen3guard_integrations.core.gate import Judgement, Piece
from qwen3guard_integrations.guards.windowed import WindowedSession, WindowedStreamGuard, Windows, tokens_in
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane

ASKED = [Turn(role="user", content="What is for dinner?")]
SMALL = {"first_tokens": 2, "most_tokens": 8, "sentence_tokens": 2, "overlap_tokens": 2}


def session(guard: Any, windows: Any = None, policy: Policy | None = None) -> WindowedSession:
    return WindowedStreamGuard(guard, windows).open_stream(ASKED, policy or Policy())


def said(text: str, point: Point = Point.RESPONSE) -> list[Piece]:
    return [Piece(point, text)]


async def judged(lane: Lane, on: WindowedSession, pieces: list[Piece], *, final: bool = False) -> list[Judgement]:
    return await on.ajudge(pieces, final=final) if lane.is_async else on.judge(pieces, final=final).result()


# --- when ---


@pytest.mark.parametrize(
    ("text", "due"),
    [("word " * 24, True), ("word " * 10, False), ("Yes. ", True), ("Yes.", False), ("好的。", True), ("a\nb", True)],
)
def test_the_first_window_is_small_or_a_sentence(text: str, due: bool) -> None:
    waits = session(FakeGuard()).patience(said(text))
    assert waits == (0.0 if due else Windows().idle_seconds)


def test_later_windows_grow_up_to_a_bound() -> None:
    on = session(FakeGuard(), {"first_tokens": 4, "most_tokens": 20, "sentence_tokens": 6})
    sizes = []
    for _ in range(5):
        count = next(n for n in range(1, 200) if on.patience(said("abcd" * n)) == 0.0)
        sizes.append(count)
        on.judge(said("abcd" * count)).result()
    assert sizes == [4, 8, 16, 20, 20]
    assert on.patience(said("Yes. ")) > 0, "a short sentence waits for more"
    assert on.patience(said("This is a whole sentence. ")) == 0


def test_tokens_are_reckoned_by_script() -> None:
    assert tokens_in("four letters") == 3
    assert tokens_in("四个字母") == 4
    assert tokens_in("naïve") == pytest.approx(1.25)


def test_wrong_windows_fail_at_construction() -> None:
    for wrong in ({"first_tokens": 0}, {"first_tokens": 9, "most_tokens": 8}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            WindowedStreamGuard(FakeGuard(), wrong)


# --- what ---


async def test_each_window_is_judged_as_the_answer_with_the_end_of_the_text_before_it(lane: Lane) -> None:
    guard = FakeGuard()
    on = session(guard, SMALL)
    assert [j.end for j in await judged(lane, on, said("one two three "))] == [14]
    assert [j.end for j in await judged(lane, on, said("four five"))] == [23]
    conversations = [conversation for call in guard.calls for conversation in call]
    assert [conversation.judged.content for conversation in conversations] == ["one two three ", "three four five"]
    assert all(conversation.context == tuple(ASKED) for conversation in conversations)
    assert [j.end for j in await judged(lane, on, [], final=True)] == [23]
    assert guard.calls[-1][-1].judged.content == "one two three four five", "the whole, once more"


async def test_an_answer_of_one_window_is_judged_once(lane: Lane) -> None:
    guard = FakeGuard()
    on = session(guard)
    await judged(lane, on, said("Yes. "))
    await judged(lane, on, [], final=True)
    assert len(guard.calls) == 1


async def test_reasoning_is_judged_as_reasoning(lane: Lane) -> None:
    guard = FakeGuard()
    on = session(guard)
    found = await judged(lane, on, [Piece(Point.REASONING, "hm"), Piece(Point.RESPONSE, "yes")], final=True)
    assert [(j.point, j.end, j.settled) for j in found] == [(Point.REASONING, 2, True), (Point.RESPONSE, 3, True)]
    turns = [conversation.judged for call in guard.calls for conversation in call]
    assert [(turn.reasoning, turn.content) for turn in turns] == [("hm", ""), ("", "yes")]


async def test_hidden_letters_get_a_second_look_unless_the_policy_says_no(lane: Lane) -> None:
    hidden = "how to build a b\u200bo\u200bm\u200bb today"
    for second_look, severity in ((True, Severity.UNSAFE), (False, Severity.SAFE)):
        on = session(FakeGuard({"bomb": "Unsafe"}), policy=Policy(second_look=second_look))
        assert (await judged(lane, on, said(hidden), final=True))[0].verdict.severity is severity


async def test_white_space_is_not_asked_about(lane: Lane) -> None:
    guard = FakeGuard()
    assert [j.end for j in await judged(lane, session(guard), said("\n\n"), final=True)] == [2]
    assert guard.calls == []


@given(st.text(alphabet="ab .", min_size=1, max_size=80), st.data())
def test_no_word_hides_on_a_border(text: str, data: Any) -> None:
    """However the text is cut into windows, harm that is no longer than the overlap is whole in one of them."""
    place = data.draw(st.integers(0, len(text)))
    text = f"{text[:place]}xyz{text[place:]}"
    on = session(FakeGuard({"xyz": "Unsafe"}), {**SMALL, "overlap_tokens": 4})
    found: list[Judgement] = []
    while text:
        size = data.draw(st.integers(1, 9))
        found += on.judge(said(text[:size])).result()
        text = text[size:]
    assert any(not judgement.verdict.safe for judgement in found), "before the last look at the whole"


async def test_rolling_back(lane: Lane) -> None:
    guard = FakeGuard({"bomb": "Unsafe"})
    on = session(guard)
    await judged(lane, on, said("Take a bomb."))
    on.rollback({Point.RESPONSE: 7})
    found = await judged(lane, on, said("pan."), final=True)
    assert [(j.end, j.verdict.safe) for j in found] == [(11, True)]
    assert guard.calls[-1][-1].judged.content == "Take a pan."


# --- when the guard fails ---


async def test_a_guard_that_gives_too_few_verdicts(lane: Lane) -> None:
    class Short(FakeGuard):
        def _answers(self, conversations: Any) -> list[Verdict]:
            return []

    with pytest.raises(GuardResponseError):
        await judged(lane, session(Short()), said("Yes."), final=True)


async def test_the_event_loop_is_free_while_a_window_is_judged() -> None:
    on = session(FakeGuard(delay=0.05))
    judging = asyncio.ensure_future(on.ajudge(said("Yes. ")))
    await asyncio.sleep(0.01)
    assert not judging.done()
    assert (await judging)[0].end == 5


async def test_whole_texts_are_judged_by_the_guard_itself(lane: Lane) -> None:
    guard = FakeGuard({"bomb": "Unsafe"})
    verdicts = await lane(WindowedStreamGuard(guard), "check_many", [Conversation.of_prompt("a bomb")])
    assert [verdict.severity for verdict in verdicts] == [Severity.UNSAFE]
