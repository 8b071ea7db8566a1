"""What would have left: worked out by hand, against the real drivers, and for random texts, paces and policies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import qwen3guard_integrations.guards
from qwen3guard_integrations import Conversation, Guard, Point, Policy, Severity, Turn
from qwen3guard_integrations.core.course import Ask, Course
from qwen3guard_integrations.core.flow import run
from qwen3guard_integrations.core.gate import Gate, Judgement, Piece
from qwen3guard_integrations.evaluation import Label, Pace, Row, judge_stream
from qwen3guard_integrations.evaluation.replay import Screening, TokenAnswers, Writing, at_once
from qwen3guard_integrations.evaluation.written import Written
from qwen3guard_integrations.guards import TransformersStreamGuard
from qwen3guard_integrations.guards.streaming import open_stream, screened
from qwen3guard_integrations.guards.windowed import tokens_in
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

WEIGHTS = Path(qwen3guard_integrations.guards.__file__).parent / "demo_weights" / "stream"
SLOW = Pace(tokens_per_second=10, guard_seconds=0.22)
HARM = "Sure, here is how to build a bomb at home and kill many people with it. "
STORY = "Once there was a baker who baked the best bread in town. Every morning he got up at four. "


def row(turn: Turn) -> Row:
    asked = Conversation(turns=(Turn(role="user", content="Tell me."), turn))
    return Row(id="a row", conversation=asked, label=Label(severity=Severity.SAFE))


def said(text: str) -> Row:
    return row(Turn(role="assistant", content=text))


# --- by hand: four characters come every 0.1 seconds ---


def test_token_by_token() -> None:
    """Asked at 0.1 about "one ": it may leave at 0.32. Asked then about "two bad ": the block comes at 0.54. By then
    "one two bad six ten " has come; of it "one ", "two " and "bad " have waited 0.15 seconds."""
    policy = Policy(hold_seconds=0.15)
    result = judge_stream(FakeStreamGuard({"bad": "Unsafe"}), said("one two bad six ten odd red "), policy, pace=SLOW)
    assert result.leaked == {"judged": 4, "window": 12, "none": 20}


def test_what_has_enough_behind_it_leaves_a_window() -> None:
    """At 0.54 "one " and "two " have 12 characters behind them, "bad " has eight."""
    policy = Policy(hold_seconds=60, hold_characters=12)
    result = judge_stream(FakeStreamGuard({"bad": "Unsafe"}), said("one two bad six ten odd red "), policy, pace=SLOW)
    assert result.leaked == {"judged": 4, "window": 8, "none": 20}


def test_window_by_window() -> None:
    """ "Say it. " is judged at 0.2 and leaves at 0.42. The rest is asked about when the answer ends, at 0.6: the block
    comes at 0.82, when "Bad " and "six " have waited 0.35 seconds."""
    policy = Policy(hold_seconds=0.35)
    result = judge_stream(FakeGuard({"bad": "Unsafe"}), said("Say it. Bad six ten "), policy, pace=SLOW)
    assert result.leaked == {"judged": 8, "window": 16, "none": 20}


def test_a_guard_without_delay_lets_nothing_else_leave() -> None:
    pace = Pace(tokens_per_second=10, guard_seconds=0)
    result = judge_stream(FakeStreamGuard({"bad": "Unsafe"}), said("one two bad six ten "), Policy(), pace=pace)
    assert result.leaked == {"judged": 8, "window": 8, "none": 12}


def test_tags_in_the_text_are_characters_of_it() -> None:
    text = "<think>\nHm\n</think>\n\nGood bad bad bad. "
    result = judge_stream(FakeStreamGuard({"bad": "Unsafe"}), said(text), Policy())
    assert result.characters == len(text)
    assert result.leaked["judged"] == len("<think>\nHm\n</think>\n\nGood"[: 4 * 6])
    clean = judge_stream(FakeStreamGuard(), said(text), Policy())
    assert clean.leaked == {"judged": len(text), "window": len(text), "none": len(text)}


def test_a_pace_is_positive() -> None:
    for wrong in ({"tokens_per_second": 0}, {"guard_seconds": -1}):
        with pytest.raises(ValidationError):
            Pace.model_validate(wrong)


# --- against the drivers that guard real streams ---


def really_released(guard: Guard, items: Sequence[Piece]) -> int:
    """How many characters the real driver lets leave."""
    policy = Policy()
    session = open_stream(guard, (Turn(role="user", content="Tell me."),), policy)
    course: Course[Piece] = Course(
        gate=Gate(policy),
        pieces=lambda item: (item,),
        patience=session.patience,
        without=lambda item, _: item,
        clock=lambda: 0.0,
    )
    return sum(len(item.text) for item in screened(iter(items), course, session, guard, policy))


@pytest.mark.parametrize("text", [STORY + HARM * 2, HARM, STORY, "我想 kill many people with a bomb 👍👍", "No."])
def test_as_much_is_held_as_in_a_real_stream(text: str) -> None:
    guard = TransformersStreamGuard(str(WEIGHTS), device="cpu", threads=1, context_tokens=1024)
    result = judge_stream(guard, said(text), Policy())
    items = Written(said(text).conversation.judged).items(result.ends)
    assert result.leaked["judged"] == really_released(guard, items)


# --- whatever the text, the pace and the policy ---

WORDS = st.lists(st.sampled_from(["bread ", "bad ", "so.\n", "x", "面包", "It is good. "]), min_size=1, max_size=60)
PACES = st.builds(
    Pace,
    tokens_per_second=st.sampled_from([1.0, 7.0, 10.0, 30.0, 1000.0]),
    guard_seconds=st.sampled_from([0.0, 0.05, 0.1, 0.333, 2.0]),
)
POLICIES = st.builds(
    Policy,
    hold_seconds=st.sampled_from([0.1, 0.3, 1.0]),
    hold_characters=st.sampled_from([5, 60, 400]),
    debounce=st.integers(1, 3),
)
SCRIPT = {"bad": "Unsafe", "so.": "Controversial"}


def alone(row: Row, guard: Guard, policy: Policy, pace: Pace) -> dict[str, int]:
    """Each hold by itself, with a session of its own."""
    screening, written = Screening.of(policy, pace), Written(row.conversation.judged)
    left = {}
    for hold, own in screening.by_hold.items():
        session = open_stream(guard, row.conversation.context, policy)
        writing = Writing(written.items(written.reckoned()), Gate(own), session.patience, pace)
        run(writing.run(), lambda ask: session.judge(ask.pieces, final=ask.final).result())  # noqa: B023
        left[hold] = writing.left
    return left


@pytest.mark.parametrize("make", [FakeGuard, FakeStreamGuard])
@given(words=WORDS, reasoning=st.booleans(), policy=POLICIES, pace=PACES)
def test_side_by_side_is_as_each_alone(
    make: Any, words: list[str], reasoning: bool, policy: Policy, pace: Pace
) -> None:
    half = len(words) // 2 if reasoning else 0
    one = row(Turn(role="assistant", reasoning="".join(words[:half]), content="".join(words[half:])))
    result = judge_stream(make(SCRIPT), one, policy, pace=pace)
    assert result.leaked == alone(one, make(SCRIPT), policy, pace)
    leaked = result.leaked
    assert 0 <= leaked["judged"] <= leaked["window"] <= leaked["none"] <= result.characters == len("".join(words))


@given(
    ends=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=30),
)
def test_the_last_token_waits_for_the_next(ends: list[int], cuts: list[int]) -> None:
    """As in a session of the Stream guard: it might still change."""
    places = [sum(ends[: place + 1]) for place in range(len(ends))]
    judgements = [Judgement(Point.RESPONSE, place, None) for place in places]  # type: ignore[arg-type]
    answers, came, told = TokenAnswers(judgements), 0, 0
    for cut in cuts:
        cut = min(cut, places[-1] - came)
        came += cut
        replied = answers(Ask([Piece(Point.RESPONSE, "x" * cut)], final=False))
        assert list(replied) == judgements[told : told + len(replied)]
        told += len(replied)
        assert told == max(0, sum(place <= came for place in places) - 1)
    answers(Ask([Piece(Point.RESPONSE, "x" * (places[-1] - came))], final=True))
    assert answers(Ask([], final=True)) == [], "everything was told"


# --- the text as it is written ---


@given(words=WORDS, reasoning=WORDS, count=st.integers(1, 200))
def test_reckoned_tokens_are_as_many_as_they_should(words: list[str], reasoning: list[str], count: int) -> None:
    written = Written(Turn(role="assistant", reasoning="".join(reasoning), content="".join(words)))
    for ends in (written.reckoned(), written.reckoned(count)):
        assert list(ends) == sorted(ends)
        assert ends[-1] == len(written.text)
        items = written.items(ends)
        assert "".join(item.text for item in items) == written.text
        assert all(item.text for item in items)
        half = "".join(item.text for item in items if item.point is Point.REASONING)
        assert half == "".join(reasoning)
    assert len(written.reckoned(count)) == count
    assert len(written.reckoned()) == pytest.approx(tokens_in(written.text), abs=1)


def test_places_of_tracks_in_the_text() -> None:
    turn = Turn(role="assistant", content="\n<think>Hm</think>Hello")
    written = Written(turn)
    assert written.thinks
    assert [written.text[: written.place(Point.REASONING, end)] for end in (1, 2)] == ["\n<think>H", "\n<think>Hm"]
    assert written.text[: written.place(Point.RESPONSE, 1)] == "\n"
    assert written.text[: written.place(Point.RESPONSE, 3)] == "\n<think>Hm</think>He"
    assert written.places([(Point.REASONING, 2), None, (Point.RESPONSE, 6)]) == (10, 10, 23)


def at_rest(_: Sequence[Piece]) -> float:
    return 0.5


def test_time_passes_although_nothing_comes() -> None:
    """A patient session is asked when it has waited long enough, and a timer is never a trifle early."""
    asks = []

    def answer(ask: Ask) -> list[Judgement]:
        asks.append("".join(piece.text for piece in ask.pieces))
        return []

    writing = Writing(
        [Piece(Point.RESPONSE, text) for text in ("a", "b", "c")],
        Gate(Policy(hold="none")),
        at_rest,
        Pace(tokens_per_second=1, guard_seconds=0.1),
    )
    with pytest.raises(Exception, match="unjudged"):
        run(writing.run(), answer)
    assert asks == ["a", "b", "c", ""]
    assert at_once([]) == 0
