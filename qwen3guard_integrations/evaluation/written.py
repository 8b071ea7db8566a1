"""The text of a judged answer as it is written: its tracks, and about where its tokens end."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, pairwise

from ..core.conversation import Turn
from ..core.gate import Piece
from ..core.points import Point
from ..core.thinking import written
from ..core.token_row import Mark
from ..guards.windowed import tokens_in


class Written:
    """An assistant's turn as one text: its reasoning, then its response, with nothing between but what they hold.

    Attributes:
        text: All of it.
        thinks: Whether there is reasoning.
    """

    def __init__(self, turn: Turn) -> None:
        self.text = turn.reasoning + turn.content
        self._reasoning = len(turn.reasoning)
        self._pieces = written(turn)
        self.thinks = any(point is Point.REASONING for point, _ in self._pieces)

    def place(self, point: Point, end: int) -> int:
        """Where the first `end` characters of a track end in the text."""
        place = 0
        for track, text in self._pieces:
            if track is point:
                if end <= len(text):
                    return place + end
                end -= len(text)
            place += len(text)
        return place

    def places(self, marks: Iterable[Mark]) -> tuple[int, ...]:
        """Where each of several tokens ends in the text; one that adds nothing ends where the one before does."""
        ends = (0 if mark is None else self.place(*mark) for mark in marks)
        return tuple(accumulate(ends, max))

    def items(self, ends: Iterable[int]) -> list[Piece]:
        """The text in the pieces that end at `ends`, as a model writes it: thinking in tags stands in the response."""
        places = sorted({0, self._reasoning, len(self.text), *ends})
        return [
            Piece(Point.REASONING if begin < self._reasoning else Point.RESPONSE, self.text[begin:end])
            for begin, end in pairwise(places)
        ]

    def reckoned(self, count: int | None = None) -> tuple[int, ...]:
        """About where each of `count` tokens ends; of so many as the text has when four Latin characters are one."""
        reached = list(accumulate(map(tokens_in, self.text)))
        tokens = count or math.ceil(reached[-1])
        ends = (bisect_left(reached, reached[-1] * number / tokens) + 1 for number in range(1, tokens + 1))
        return tuple(min(end, len(reached)) for end in ends)
