"""Where an answer begins in the tokens of a conversation, in the vocabulary of Qwen3."""

from __future__ import annotations

from itertools import groupby

import pytest

from qwen3guard_integrations import Point, Policy, Turn
from qwen3guard_integrations.core.gate import Gate, Piece
from qwen3guard_integrations.core.thinking import written
from qwen3guard_integrations.core.token_row import ChatMarks, answer_begins, answer_header

START, END, ASSISTANT, USER, LINE, GAP, THINK, THINK_END = 151644, 151645, 77091, 872, 198, 271, 151667, 151668
QWEN3 = ChatMarks((START, ASSISTANT), (THINK,), (THINK_END,), (GAP,))
ASKED = (START, USER, LINE, 40, 41, END, LINE)
EMPTY = (THINK, GAP, THINK_END, GAP)


@pytest.mark.parametrize(
    ("answer", "begins"),
    [
        ((*EMPTY, 50, 51, END, LINE), 7),  # the token after `</think>` and the empty line
        ((THINK, LINE, 60, LINE, THINK_END, GAP, 50, END, LINE), 5),  # position of `assistant` plus 4
        ((*EMPTY, THINK, LINE, 60, END, LINE), 5),  # thinking without an end: `assistant` plus 4 as well
        ((50, 51, END, LINE), 3),  # a chat format without thinking
        ((THINK,), 4),
        ((), 3),
    ],
)
def test_where_an_answer_begins(answer: tuple[int, ...], begins: int) -> None:
    ids = (*ASKED, START, ASSISTANT, LINE, *answer)
    assert answer_header(ids, QWEN3) == len(ASKED) + 3
    assert answer_begins(ids, QWEN3) == len(ASKED) + begins


def test_of_several_answers_the_one_that_is_asked_for() -> None:
    turn = (*ASKED, START, ASSISTANT, LINE, 50, END, LINE)
    ids = (*turn, *turn, START, ASSISTANT, LINE, *EMPTY, 51, END, LINE)
    assert [answer_begins(ids, QWEN3, number) for number in (1, 2, 3, 4)] == [10, 23, 33, None]
    assert answer_begins(ASKED, QWEN3) is None
    assert answer_begins((), QWEN3) is None


@pytest.mark.parametrize(
    ("turn", "pieces"),
    [
        (Turn(role="assistant", content="Hello"), [(Point.RESPONSE, "Hello")]),
        (Turn(role="assistant", reasoning="Hm"), [(Point.REASONING, "Hm")]),
        (
            Turn(role="assistant", content="<think>x</think>Hi", reasoning="Hm"),
            [
                (Point.REASONING, "Hm"), (None, "<think>"), (Point.REASONING, "x"), (None, "</think>"),
                (Point.RESPONSE, "Hi"),
            ],
        ),
        (
            Turn(role="assistant", content="\n<think>\nHm\n</think>\n\nHello"),
            [
                (Point.RESPONSE, "\n"), (None, "<think>"), (Point.REASONING, "\nHm\n"), (None, "</think>"),
                (Point.RESPONSE, "\n\nHello"),
            ],
        ),
        (Turn(role="assistant", content="<thi"), [(Point.RESPONSE, "<thi")]),
    ],
)  # fmt: skip
def test_the_pieces_of_a_written_answer(turn: Turn, pieces: list[tuple[Point | None, str]]) -> None:
    assert written(turn) == pieces
    gate: Gate[None] = Gate(Policy())
    gate.push(None, [Piece(Point.REASONING, turn.reasoning), Piece(Point.RESPONSE, turn.content)])
    gate.finish()
    told = [(piece.point, piece.text) for piece in gate.ask()]
    assert told == _joined(pieces), "as a gate finds them"
    assert "".join(text for _, text in written(turn)) == turn.reasoning + turn.content


def _joined(pieces: list[tuple[Point | None, str]]) -> list[tuple[Point, str]]:
    judged = [(point, text) for point, text in pieces if point is not None]
    runs = groupby(judged, key=lambda piece: piece[0])
    return [(point, "".join(text for _, text in run)) for point, run in runs]
