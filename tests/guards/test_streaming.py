"""The two drivers of a screened stream: when is read, asked, let go and closed. Only counts and orders are asserted."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from qwen3guard_integrations import Conversation, GuardResponseError, GuardUnavailableError, Point, Policy, Turn
from qwen3guard_integrations.core.gate import Piece
from qwen3guard_integrations.core.screening import Item
from qwen3guard_integrations.guards.windowed import WindowedStreamGuard
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .streams import Session, Source, Stream, until

READ_AHEAD = 8
PATIENT = 60.0


# --- reading and judging ---


async def test_a_slow_guard_and_a_fast_source_read_ahead_is_bounded(lane: Lane) -> None:
    source = Source([str(number % 10) for number in range(40)], [])
    looks: list[int] = []

    def ready() -> bool:
        """The answer comes twenty looks, a millisecond apart, after all was read that may be."""
        if source.read >= min(1 + READ_AHEAD * (len(session.asked) + 1), 40):
            looks.append(source.read)
        done = len(looks) > 20
        if done:
            looks.clear()
        return done

    session = Session(ready=ready)
    stream = Stream(lane, source, session)
    assert await stream.run() == "0123456789" * 4
    sizes = [len(text) for text in session.asked if text]
    assert sizes[0] == 1
    assert set(sizes[1:-1]) == {READ_AHEAD}, "what arrived meanwhile is asked about together, and no more is read"
    assert sum(sizes) == 40


async def test_a_patient_guard_is_read_for_as_long_as_it_wants_more(lane: Lane) -> None:
    source = Source(["a"] * 40, [])
    session = Session(ready=lambda: True, patience=PATIENT)
    assert await Stream(lane, source, session).run() == "a" * 40
    assert session.asked == ["a" * 40]


async def test_with_a_guard_that_answers_at_once_each_item_leaves_before_the_next_is_read(lane: Lane) -> None:
    source = Source(["a", "b", "c"], [])
    await Stream(lane, source, Session()).run()
    assert source.log == ["read a", "left a", "read b", "left b", "read c", "left c", "closed"]


async def test_a_slow_source_keeps_nothing_back(lane: Lane) -> None:
    """The next item does not come before the last one has left: it leaves although the source is being read."""
    log: list[str] = []
    source = Source("abc", log, ready=lambda item: item == "a" or f"left {chr(ord(item) - 1)}" in log)
    session = Session(ready=lambda: True)
    assert await Stream(lane, source, session).run() == "abc"
    assert session.asked[:3] == ["a", "b", "c"]


async def test_text_is_judged_in_idle_time_although_no_more_comes(lane: Lane) -> None:
    guard = FakeGuard()
    windowed = WindowedStreamGuard(guard, {"idle_seconds": 0.01})
    session = windowed.open_stream([Turn(role="user", content="q")], Policy())
    log: list[str] = []
    source = Source(["some words", " more"], log, ready=lambda item: item != " more" or "left some words" in log)
    assert await Stream(lane, source, session).run() == "some words more"
    assert guard.calls[0][0].judged.content == "some words"
    assert log.index("left some words") < log.index("left  more")
    assert len(guard.calls) == 2


async def test_what_waits_too_long_leaves_unjudged_where_the_policy_says_window(lane: Lane) -> None:
    """The guard answers only after its text has left: with hold="judged" this would never end."""
    log: list[str] = []
    source = Source("ab", log, ready=lambda item: item == "a" or "left a" in log)
    session = Session(ready=lambda: "left a" in log)
    stream = Stream(lane, source, session, Policy(hold="window", hold_seconds=0.01))
    assert await stream.next() == "a"
    assert session.asked == []
    assert await stream.run() == "ab"


async def test_what_waits_leaves_not_before_its_judgement_otherwise(lane: Lane) -> None:
    log: list[str] = []
    session = Session(ready=lambda: True)
    stream = Stream(lane, Source("ab", log), session)
    await stream.next()
    assert session.asked[0].startswith("a")
    await stream.close()


# --- blocks and failures ---


async def test_a_block_closes_the_source(lane: Lane) -> None:
    source = Source("abxdefghijklmnop", [])
    stream = Stream(lane, source, Session())
    assert await stream.run() == "ab"
    assert stream.gate.stopped is not None
    assert source.log[-2:] == ["read x", "closed"], "nothing was read after it"


async def test_a_block_does_not_wait_for_what_is_being_read(lane: Lane) -> None:
    ended = threading.Event()
    log: list[str] = []
    source = Source("xb", log, ready=lambda item: item == "x" or ended.is_set())
    stream = Stream(lane, source, Session(ready=lambda: source.read == 2))
    assert await stream.run() == ""
    assert lane.is_async == ("closed" in log), "cancelled; a thread closes it when the item has come"
    ended.set()
    until(lambda: "closed" in log)
    assert log == ["read x", "read b", "closed"]


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "in a thread"])
@pytest.mark.parametrize(("policy", "out"), [("raise", "ab"), ("block", "ab"), ("allow", "abcdef")])
async def test_a_guard_that_fails_on_the_way(policy: Any, out: str, slow: bool, lane: Lane) -> None:
    log: list[str] = []
    source = Source("abcdef", log, ready=lambda item: item <= "c" or "left b" in log)
    session = Session(ready=(lambda: "left a" in log or not session.text) if slow else None, fails_at=3)
    stream = Stream(lane, source, session, Policy(on_guard_error=policy))
    if policy == "raise":
        with pytest.raises(GuardUnavailableError):
            await stream.run()
    else:
        await stream.run()
        assert any(decision.guard_failed for decision in stream.gate.decisions)
    assert out.startswith(stream.out) if slow and policy != "allow" else stream.out == out
    assert log[-1] == "closed" or policy == "allow"
    assert log.count("closed") == 1
    assert len(session.asked) == 3, "it is not asked again"


@pytest.mark.parametrize(("patience", "out"), [(0.0, "ab"), (PATIENT, "")])
async def test_a_source_that_raises_lets_out_what_was_judged_and_nothing_else(
    patience: float, out: str, lane: Lane
) -> None:
    source = Source("ab", [], error=ConnectionError("gone"))
    stream = Stream(lane, source, Session(patience=patience))
    with pytest.raises(ConnectionError, match="gone"):
        await stream.run()
    assert stream.out == out
    assert source.log.count("closed") == 1


async def test_a_consumer_who_has_had_enough_closes_the_source(lane: Lane) -> None:
    source = Source("abcdef", [])
    stream = Stream(lane, source, Session())
    await stream.next()
    await stream.close()
    assert source.log == ["read a", "left a", "closed"]


@pytest.mark.parametrize("on_guard_error", ["raise", "allow", "block"])
async def test_a_call_that_is_never_complete_is_no_silence(lane: Lane, on_guard_error: Any) -> None:
    stream = Stream(lane, Source(["a", "b"], []), Session(), Policy(on_guard_error=on_guard_error))
    stream.course.pieces = lambda item: [Piece(Point.TOOL_CALL if item == "b" else Point.RESPONSE, item)]
    if on_guard_error == "raise":
        with pytest.raises(GuardResponseError, match="1 characters of tool calls were never complete"):
            await stream.run()
    else:
        assert await stream.run() == ("ab" if on_guard_error == "allow" else "a")


def beside(text: str) -> list[Item]:
    return [Item(Point.RESPONSE, Conversation.of_response("q", text))]


async def test_an_item_waits_for_what_stands_beside_it(lane: Lane) -> None:
    for items in (["a", "b", "c"], [*"abcabcabc"]):
        stream = Stream(lane, Source(items, []), Session())
        stream.course.beside = lambda item: beside(f"fine {item}") if item == "b" else []
        assert await stream.run() == "".join(items)


async def test_what_was_judged_before_leaves_although_something_beside_stops_the_stream(lane: Lane) -> None:
    stream = Stream(lane, Source(["a", "b", "c"], []), Session(), guard=FakeGuard({"poison": "Unsafe"}))
    stream.course.beside = lambda item: beside("poison") if item == "b" else []
    assert await stream.run() == "a"
    assert stream.gate.stopped is not None


async def test_each_item_leaves_when_what_stands_beside_it_is_judged(lane: Lane) -> None:
    source = Source([*"abcdefgh"], [])
    stream = Stream(lane, source, Session(), guard=FakeGuard())
    stream.course.beside = lambda item: beside(f"fine {item}")
    assert await stream.run() == "abcdefgh"
    assert source.log.index("left a") < source.log.index("read h"), "not all at the end"


async def test_an_item_that_waits_does_not_leave_early(lane: Lane) -> None:
    policy = Policy(hold="none")
    stream = Stream(lane, Source(["a", "b"], []), Session(), policy, guard=FakeGuard({"poison": "Unsafe"}))
    stream.course.beside = lambda item: beside("poison") if item == "b" else []
    assert await stream.run() == "a"
