"""The gate: its invariants under random texts, chunkings and judging lags, and its rules one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3guard_integrations import Action, GuardResponseError, GuardUnavailableError, Point, Policy, Severity, Verdict
from qwen3guard_integrations.core.decision import Decision
from qwen3guard_integrations.core.gate import Gate, Judgement, Piece

SAFE, UNSAFE = Verdict(severity=Severity.SAFE), Verdict(severity=Severity.UNSAFE)
CONTROVERSIAL = Verdict(severity=Severity.CONTROVERSIAL)
TRACKS = (Point.REASONING, Point.RESPONSE)


@dataclass
class Played:
    """A gate, and a judge beside it that judges so many characters at a time, each as one token.

    What is asked is answered later; "x" is harmful, and so is everything after it. `covered` is what was judged.
    """

    gate: Gate[str]
    lag: int = 0
    settled: bool = False
    texts: dict[Point, str] = field(default_factory=dict)
    covered: dict[Point, int] = field(default_factory=dict)
    out: list[str] = field(default_factory=list)
    asked_after_stop: bool = False

    def push(self, text: str, point: Point = Point.RESPONSE, now: float = 0.0) -> None:
        self.gate.push(text, [Piece(point, text)], now)

    def ask(self) -> None:
        self.asked_after_stop |= self.gate.stopped is not None and bool(self.gate.unasked)
        for piece in self.gate.ask():
            self.texts[piece.point] = self.texts.get(piece.point, "") + piece.text

    def reply(self, *, final: bool = False) -> None:
        for point, text in self.texts.items():
            begin, end = self.covered.get(point, 0), len(text) - (0 if final else self.lag)
            ends = range(begin + 1, end + 1)
            found = [Judgement(point, at, UNSAFE if "x" in text[:at] else SAFE, settled=self.settled) for at in ends]
            self.covered[point] = max(begin, end)
            self.gate.judged(found)

    def take(self, now: float = 0.0) -> None:
        self.out += [item for item, _ in self.gate.take(now)]

    def finish(self) -> None:
        self.gate.finish()
        self.ask()
        self.reply(final=True)
        if self.gate.stopped is None:
            self.gate.settle()
        self.take()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(alphabet="abx<>/think", min_size=1, max_size=5)),
        st.sampled_from([("ask", ""), ("reply", ""), ("take", "")]),
    ),
    max_size=40,
)


def play(script: list[tuple[str, str]], lag: int, policy: Policy, *, settled: bool = False) -> tuple[Played, str]:
    played, text = Played(Gate(policy), lag, settled), ""
    for what, delta in script:
        if what == "text":
            played.push(delta)
            text += delta
        else:
            getattr(played, what)()
    played.finish()
    return played, text


@given(steps, st.integers(0, 3), st.integers(1, 3))
def test_what_leaves_is_a_prefix_and_all_of_it_when_safe(script: Any, lag: int, debounce: int) -> None:
    script = [(what, delta.replace("x", "y")) for what, delta in script]
    played, text = play(script, lag, Policy(debounce=debounce))
    assert "".join(played.out) == text
    assert played.gate.stopped is None


@given(steps, st.integers(0, 3), st.booleans())
def test_nothing_leaves_from_the_harmful_character_on(script: Any, lag: int, settled: bool) -> None:
    played, text = play(script, lag, Policy(debounce=1), settled=settled)
    out = "".join(played.out)
    assert text.startswith(out)
    assert "x" not in out
    assert (played.gate.stopped is not None) == ("x" in text)
    assert not played.asked_after_stop


@given(steps, st.integers(0, 3))
def test_nothing_leaves_unjudged(script: Any, lag: int) -> None:
    played = Played(Gate(Policy()), lag)
    tags = 0
    for what, delta in script:
        played.push(delta) if what == "text" else getattr(played, what)()
        tags = sum(text.count("think") for text in played.out)  # a bound for the characters in tags
        judged = sum(played.covered.values())
        assert sum(map(len, played.out)) <= judged + (len("</think>") + 1) * (tags + 2)
        if "<" not in "".join(text for kind, text in script if kind == "text"):
            assert sum(map(len, played.out)) <= judged


@given(steps, st.integers(0, 3))
def test_after_a_stop_nothing_leaves_and_the_stop_stays(script: Any, lag: int) -> None:
    played, _ = play([("text", "a"), ("text", "xx"), ("ask", ""), ("reply", ""), ("take", "")], 0, Policy())
    stopped, out = played.gate.stopped, list(played.out)
    assert stopped is not None
    for what, delta in script:
        played.push(delta) if what == "text" else getattr(played, what)()
    assert played.gate.stopped is stopped
    assert played.out == out == ["a"]
    assert not played.gate.unasked


# --- debounce ---


def judged(gate: Gate[str], text: str, verdicts: list[Verdict], point: Point = Point.RESPONSE) -> list[str]:
    """One character, one token, one verdict; what may leave after each."""
    out = []
    for place, (letter, verdict) in enumerate(zip(text, verdicts, strict=True), 1):
        gate.push(letter, [Piece(point, letter)])
        gate.ask()
        gate.judged([Judgement(point, place, verdict)])
        out.append("".join(item for item, _ in gate.take()))
    return out


def test_a_single_token_is_noise_and_is_held_until_that_is_clear() -> None:
    gate: Gate[str] = Gate(Policy())
    assert judged(gate, "abc", [SAFE, UNSAFE, SAFE]) == ["a", "", "bc"]
    assert gate.stopped is None


def test_two_tokens_in_a_row_stop_the_stream_before_the_first_of_them() -> None:
    gate: Gate[str] = Gate(Policy())
    assert judged(gate, "abcd", [SAFE, UNSAFE, CONTROVERSIAL, SAFE]) == ["a", "", "", ""]
    assert gate.stopped is not None
    assert gate.stopped.severity is Severity.CONTROVERSIAL, "the flagging token is the second one"


@pytest.mark.parametrize(("debounce", "flags"), [(1, 1), (2, 2), (4, 4)])
def test_debounce_is_a_setting(debounce: int, flags: int) -> None:
    gate: Gate[str] = Gate(Policy(debounce=debounce))
    judged(gate, "a" * (flags - 1), [UNSAFE] * (flags - 1))
    assert gate.stopped is None
    gate = Gate(Policy(debounce=debounce))
    judged(gate, "a" * flags, [UNSAFE] * flags)
    assert gate.stopped is not None


def test_loose_does_not_count_controversial_tokens() -> None:
    gate: Gate[str] = Gate(Policy.loose())
    assert "".join(judged(gate, "abc", [CONTROVERSIAL] * 3)) == "abc"
    judged(gate, "abc", [CONTROVERSIAL, UNSAFE, UNSAFE])
    assert gate.stopped is not None


def test_a_last_token_alone_does_not_count_unless_there_is_no_other() -> None:
    for text, verdicts, stops in (("ab", [SAFE, UNSAFE], False), ("a", [UNSAFE], True)):
        gate: Gate[str] = Gate(Policy())
        judged(gate, text, verdicts)
        gate.finish()
        gate.settle()
        assert (gate.stopped is not None) is stops


def test_a_settled_judgement_needs_no_second() -> None:
    gate: Gate[str] = Gate(Policy())
    gate.push("a", [Piece(Point.RESPONSE, "a")])
    gate.ask()
    gate.judged([Judgement(Point.RESPONSE, 1, UNSAFE, settled=True)])
    assert gate.stopped is not None
    assert gate.take() == []


# --- tracks ---


def test_reasoning_and_answer_have_policies_of_their_own() -> None:
    gate: Gate[str] = Gate(Policy.model_validate({"points": {"reasoning": {"unsafe": "flag"}}}))
    assert judged(gate, "abc", [UNSAFE] * 3, Point.REASONING) == ["a", "b", "c"]
    assert gate.decisions[0].action is Action.FLAG
    judged(gate, "abc", [UNSAFE] * 3)
    assert gate.stopped is not None
    assert gate.stopped.point is Point.RESPONSE


@given(st.text(alphabet="ab<>/think", max_size=12), st.text(alphabet="ab<>/", max_size=12), st.data())
def test_thinking_tags_are_found_however_they_are_cut(reasoning: str, answer: str, data: Any) -> None:
    reasoning, answer = reasoning.replace("</think>", ""), answer
    text = f"<think>{reasoning}</think>{answer}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    gate: Gate[str] = Gate(Policy())
    texts = dict.fromkeys(TRACKS, "")
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        gate.push(text[begin:end], [Piece(Point.RESPONSE, text[begin:end])])
        for piece in gate.ask():
            texts[piece.point] += piece.text
    gate.finish()
    for piece in gate.ask():
        texts[piece.point] += piece.text
    assert texts == {Point.REASONING: reasoning, Point.RESPONSE: answer}


def test_reasoning_beside_the_text_can_be_left_out() -> None:
    gate: Gate[str] = Gate(Policy.model_validate({"points": {"reasoning": {"unsafe": "drop"}}}))
    judged(gate, "aaa", [SAFE, UNSAFE, UNSAFE], Point.REASONING)
    gate.push("b", [Piece(Point.RESPONSE, "b")])
    gate.ask()
    gate.judged([Judgement(Point.RESPONSE, 1, SAFE)])
    assert gate.take() == [("b", frozenset({Point.REASONING}))]


def test_reasoning_inside_the_text_cannot_be_left_out() -> None:
    gate: Gate[str] = Gate(Policy.model_validate({"points": {"reasoning": {"unsafe": "redact"}}}))
    gate.push("i", [Piece(Point.RESPONSE, "<think>aa")])
    gate.ask()
    gate.judged([Judgement(Point.REASONING, at, UNSAFE) for at in (1, 2)])
    assert gate.stopped is not None
    assert gate.take() == []


def test_reasoning_inside_the_text_cannot_follow_what_was_left_out() -> None:
    gate: Gate[str] = Gate(Policy.model_validate({"points": {"reasoning": {"unsafe": "drop"}}}))
    judged(gate, "aa", [UNSAFE, UNSAFE], Point.REASONING)
    gate.push("i", [Piece(Point.RESPONSE, "<think>more</think>")])
    assert gate.stopped is not None
    assert gate.take() == []


@pytest.mark.parametrize("text", ["Sure: <think>b", "a<think>b</think>c", "<think>a</think>b<think>c</think>"])
def test_an_answer_cannot_call_itself_thinking(text: str) -> None:
    gate: Gate[str] = Gate(Policy())
    for letter in text:
        gate.push(letter, [Piece(Point.RESPONSE, letter)])
    gate.finish()
    said = "".join(piece.text for piece in gate.ask() if piece.point is Point.RESPONSE)
    assert said == text.removeprefix("<think>a</think>")


def test_an_answer_that_was_begun_anew_may_think_again() -> None:
    gate: Gate[str] = Gate(Policy())
    for letter in "<think>a</think>\n\n<think>b</think>\n\nc<think>d":
        gate.push(letter, [Piece(Point.RESPONSE, letter)])
    asked = gate.ask()
    assert "".join(piece.text for piece in asked if piece.point is Point.REASONING) == "ab"
    assert "".join(piece.text for piece in asked if piece.point is Point.RESPONSE) == "\n\n\n\nc<think>d"


def test_a_point_that_is_not_judged_is_not_asked_about() -> None:
    gate: Gate[str] = Gate(
        Policy.model_validate({"points": {"reasoning": "allow"}}).model_copy(update={"mode": "loose"})
    )
    gate.push("r", [Piece(Point.REASONING, "r")])
    assert not gate.unasked
    assert gate.take() == [("r", frozenset())]


def test_tool_calls_are_held_until_they_are_decided_whole() -> None:
    gate: Gate[str] = Gate(Policy())
    gate.push("call", [Piece(Point.TOOL_CALL, "f({")])
    gate.looked([Decision(point=Point.TOOL_CALL, action=Action.ALLOW)])
    gate.finish()
    gate.prompt_decided([Decision(point=Point.PROMPT, action=Action.ALLOW)])
    gate.looked([Decision(point=Point.TOOL_CALL, action=Action.ALLOW)])
    assert gate.take() == [], "a look on the way, or one at the prompt, is none at the complete call"
    gate.whole_decided([Decision(point=Point.TOOL_CALL, action=Action.ALLOW)])
    assert [item for item, _ in gate.take()] == ["call"]


def test_a_blocked_tool_call_does_not_leave() -> None:
    gate: Gate[str] = Gate(Policy())
    gate.push("call", [Piece(Point.TOOL_CALL, "f(x)")])
    gate.finish()
    gate.whole_decided([Decision(point=Point.TOOL_CALL, action=Action.BLOCK)])
    assert gate.take() == []


def test_items_without_text_keep_their_place() -> None:
    gate: Gate[str] = Gate(Policy())
    gate.push("first", [])
    gate.push("a", [Piece(Point.RESPONSE, "a")])
    gate.push("usage", [])
    assert [item for item, _ in gate.take()] == ["first"]
    gate.judged([Judgement(Point.RESPONSE, 1, SAFE)])
    assert [item for item, _ in gate.take()] == ["a", "usage"]


# --- hold ---


def test_hold_none_lets_go_at_once_and_still_stops() -> None:
    gate: Gate[str] = Gate(Policy(hold="none"))
    assert judged(gate, "ab", [UNSAFE, UNSAFE]) == ["a", ""]
    gate.push("c", [Piece(Point.RESPONSE, "c")])
    assert gate.take() == []


def test_hold_window_is_bounded_in_characters() -> None:
    gate: Gate[str] = Gate(Policy(hold="window", hold_characters=2))
    for letter in "abc":
        gate.push(letter, [Piece(Point.RESPONSE, letter)])
    assert [item for item, _ in gate.take()] == ["a"]


def test_hold_window_is_bounded_in_time() -> None:
    gate: Gate[str] = Gate(Policy(hold="window", hold_seconds=0.5))
    gate.push("a", [Piece(Point.RESPONSE, "a")], 10.0)
    assert gate.early_in(10.2) == pytest.approx(0.3)
    assert gate.take(10.4) == []
    assert [item for item, _ in gate.take(10.6)] == ["a"]


def test_a_locked_gate_waits_for_the_prompt() -> None:
    gate: Gate[str] = Gate(Policy(hold="none"), locked=True)
    gate.push("a", [Piece(Point.RESPONSE, "a")])
    assert gate.take() == []
    gate.prompt_decided([Decision(point=Point.PROMPT, action=Action.ALLOW)])
    assert [item for item, _ in gate.take()] == ["a"]


def test_a_blocked_prompt_lets_nothing_go_that_was_judged_before() -> None:
    gate: Gate[str] = Gate(Policy(), locked=True)
    assert judged(gate, "a", [SAFE]) == [""]
    gate.prompt_decided([Decision(point=Point.PROMPT, action=Action.BLOCK)])
    assert gate.take() == []
    assert gate.stopped is not None


# --- when the guard fails ---


def test_a_failing_guard_by_policy() -> None:
    error = GuardUnavailableError("down")
    for policy, out in ((Policy(on_guard_error="block"), []), (Policy(on_guard_error="allow"), ["a", "b"])):
        gate: Gate[str] = Gate(policy)
        gate.push("a", [Piece(Point.RESPONSE, "a")])
        gate.failed(error)
        gate.push("b", [Piece(Point.RESPONSE, "b")])
        assert [item for item, _ in gate.take()] == out
        assert gate.decisions[0].guard_failed
    with pytest.raises(GuardUnavailableError):
        Gate(Policy()).failed(error)


def test_text_that_the_guard_left_out_is_an_error() -> None:
    gate: Gate[str] = Gate(Policy())
    gate.push("ab", [Piece(Point.RESPONSE, "ab")])
    gate.ask()
    gate.judged([Judgement(Point.RESPONSE, 1, SAFE)])
    gate.finish()
    with pytest.raises(GuardResponseError, match="1 characters"):
        gate.settle()
    assert gate.take() == []


# --- going back ---


@given(steps, st.integers(0, 3), st.integers(1, 6))
def test_the_reserve_stays_until_everything_is_judged(script: Any, lag: int, reserve: int) -> None:
    script = [(what, delta.replace("x", "y")) for what, delta in script]
    played, pushed = Played(Gate(Policy(), reserve=reserve), lag), list[str]()
    for what, delta in [*script, ("end", ""), ("take", ""), ("ask", ""), ("final", ""), ("take", "")]:
        if what == "text":
            played.push(delta)
            pushed.append(delta)
        elif what == "end":
            played.gate.finish()
        elif what == "final":
            played.reply(final=True)
        else:
            getattr(played, what)()
        assert len(played.out) <= max(0, len(pushed) - reserve) or not played.gate.asked
    played.gate.settle()
    played.take()
    assert played.out == pushed, "in the end everything leaves"


@given(steps, st.integers(0, 3), st.integers(1, 6), st.booleans())
def test_a_stop_takes_the_reserve_back_whenever_it_comes(script: Any, lag: int, reserve: int, settled: bool) -> None:
    played = Played(Gate(Policy(debounce=1), reserve=reserve), lag, settled)
    for what, delta in script:
        played.push(delta.replace("x", "y")) if what == "text" else getattr(played, what)()
    played.push("x")
    played.gate.finish()
    played.take()
    played.ask()
    played.reply(final=True)
    played.take()
    assert played.gate.stopped is not None
    assert played.gate.dropped >= min(reserve, len(played.out) + played.gate.dropped)
    assert not played.gate.holding


def test_the_last_look_at_the_whole_answer_can_take_the_reserve_back() -> None:
    gate: Gate[str] = Gate(Policy(), reserve=2)
    gate.push("a", [Piece(Point.RESPONSE, "a")])
    gate.push("b", [Piece(Point.RESPONSE, "b")])
    gate.ask()
    gate.judged([Judgement(Point.RESPONSE, 2, SAFE, settled=True)])
    gate.finish()
    assert gate.take() == [], "every character is judged, the whole is not"
    gate.judged([Judgement(Point.RESPONSE, 2, UNSAFE, settled=True)])
    assert gate.take() == []
    assert gate.dropped == 2


def test_a_tool_call_at_the_end_can_take_the_reserve_back() -> None:
    for action, left in ((Action.ALLOW, ["a", "call"]), (Action.BLOCK, [])):
        gate: Gate[str] = Gate(Policy(), reserve=2)
        judged(gate, "a", [SAFE])
        gate.push("call", [Piece(Point.TOOL_CALL, "f(x)")])
        gate.finish()
        gate.settle()
        assert gate.take() == []
        gate.whole_decided([Decision(point=Point.TOOL_CALL, action=action)])
        assert [item for item, _ in gate.take()] == left


@pytest.mark.parametrize("case", ["unjudged", "failed", "muted"])
def test_the_reserve_leaves_where_nobody_is_asked_any_more(case: str) -> None:
    points = {"unjudged": {"response": "allow", "reasoning": "allow"}, "muted": {"reasoning": "drop"}}.get(case, {})
    policy = Policy.model_validate({"points": points, "mode": "loose", "on_guard_error": "allow"})
    gate: Gate[str] = Gate(policy, reserve=2)
    judged(gate, "aa", [UNSAFE, UNSAFE] if case == "muted" else [SAFE, SAFE], Point.REASONING)
    if case == "failed":
        gate.failed(GuardUnavailableError("down"))
    elif case == "muted":
        gate.push("a", [Piece(Point.REASONING, "a")])  # what is left out anyway may stay unjudged
    gate.finish()
    if gate.asked:
        gate.settle()
    gate.take()
    assert not gate.holding


def test_a_reserve_that_waits_for_more_text_has_no_time_to_leave() -> None:
    gate: Gate[str] = Gate(Policy(hold="window", hold_seconds=0.5), reserve=1)
    gate.push("a", [Piece(Point.RESPONSE, "a")], 10.0)
    assert gate.early_in(11.0) is None, "the course would wake up for nothing, again and again"
    gate.push("b", [Piece(Point.RESPONSE, "b")], 10.2)
    assert gate.early_in(10.2) == pytest.approx(0.3)


def test_rewinding_takes_back_what_has_not_left() -> None:
    gate: Gate[str] = Gate(Policy(), reserve=3)
    assert "".join(judged(gate, "abcd", [SAFE, SAFE, UNSAFE, UNSAFE])) == "a", "a stop takes the reserve back too"
    assert gate.dropped == 3
    gate = Gate(Policy(), reserve=2)
    assert "".join(judged(gate, "abcd", [SAFE] * 4)) == "ab"
    assert gate.rewind() == {Point.RESPONSE: 2}
    gate.push("e", [Piece(Point.RESPONSE, "e")])
    assert gate.ask() == [Piece(Point.RESPONSE, "e")]
    gate.judged([Judgement(Point.RESPONSE, 3, SAFE)])
    gate.finish()
    gate.settle()
    assert [item for item, _ in gate.take()] == ["e"]


def thought(*texts: str) -> Gate[str]:
    """A gate that lets all but the last of `texts` go, and is stopped there."""
    gate: Gate[str] = Gate(Policy(debounce=1))
    for text in texts:
        gate.push(text, [Piece(Point.RESPONSE, text)])
    ends = dict.fromkeys(TRACKS, 0)
    for piece in gate.ask():
        ends[piece.point] += len(piece.text)
        gate.judged([Judgement(piece.point, ends[piece.point] - ("x" in piece.text), SAFE)])
    gate.judged([Judgement(point, end, UNSAFE) for point, end in ends.items() if end])
    assert [item for item, _ in gate.take()] == list(texts[:-1])
    return gate


@pytest.mark.parametrize(
    ("left", "seam", "then", "reasoning"),
    [
        ([], "", "<think>b</think>c", "b"),
        (["\n"], "\n\n", "<think>b</think>c", "b"),
        (["<think>"], "</think>\n\n", "</think>\n\n<think>b</think>c", "b"),
        (["<think>", "a"], "</think>\n\n", "b</think><think>c</think>d", "bc"),
        (["<think>a</think>\n\n"], "\n\n", "<think>b</think>c", "b"),
        (["<think>a</think>", "b"], "\n\n", "<think>c</think>d", ""),
        (["a"], "\n\n", "<think>c</think>d", ""),
        (["<thi"], "\n\n", "nk>c</think>d", ""),
        (["<thi"], "\n\n", "<think>c</think>d", ""),
    ],
)
def test_what_follows_goes_on_from_where_the_thinking_has_left(
    left: list[str], seam: str, then: str, reasoning: str
) -> None:
    gate = thought(*left, "nk>x" if left == ["<thi"] else "x")
    assert gate.seam == seam
    assert gate.thinks == seam.startswith("</think>")
    gate.rewind()
    gate.push("then", [Piece(Point.RESPONSE, then)])
    gate.finish()
    assert "".join(piece.text for piece in gate.ask() if piece.point is Point.REASONING) == reasoning


def test_thinking_beside_the_text_does_not_begin_the_answer() -> None:
    gate: Gate[str] = Gate(Policy())
    judged(gate, "ax", [SAFE, UNSAFE], Point.REASONING)
    gate.rewind()
    gate.push("then", [Piece(Point.RESPONSE, "<think>b</think>c")])
    assert gate.ask() == [Piece(Point.REASONING, "b"), Piece(Point.RESPONSE, "c")]
