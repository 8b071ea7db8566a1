"""What is judged: turns of a conversation, of which the last one is under judgement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from .verdict import Value

Role = Literal["system", "user", "assistant", "tool"]


class Turn(Value):
    """One turn: who speaks, what is said, and, for an assistant, what was thought before it."""

    role: Role
    content: str = ""
    reasoning: str = ""

    @property
    def blank(self) -> bool:
        """True when there is nothing to judge. Invisible characters other than white space are not nothing."""
        return not (self.content.strip() or self.reasoning.strip())


class Conversation(Value):
    """Turns in order; the last one is judged, the earlier ones are its context.

    Raises:
        pydantic.ValidationError: There is no turn, or the last turn is blank. The message holds no text.
    """

    turns: tuple[Turn, ...] = Field(min_length=1)

    @field_validator("turns", mode="before")
    @classmethod
    def _one_turn(cls, value: object) -> object:
        return (value,) if isinstance(value, Turn) else value

    @model_validator(mode="after")
    def _something_to_judge(self) -> Self:
        if self.turns[-1].blank:
            raise ValueError("nothing to judge: the last turn is blank")
        return self

    @property
    def judged(self) -> Turn:
        """The turn under judgement."""
        return self.turns[-1]

    @property
    def context(self) -> tuple[Turn, ...]:
        """The turns before it."""
        return self.turns[:-1]

    def replacing(self, content: str, reasoning: str = "") -> Conversation:
        """The same conversation with other words in the judged turn."""
        turn = Turn(role=self.judged.role, content=content, reasoning=reasoning)
        return Conversation(turns=(*self.context, turn))

    @classmethod
    def of_prompt(cls, prompt: str) -> Conversation:
        """A conversation in which the user's `prompt` is judged."""
        return cls(turns=(Turn(role="user", content=prompt),))

    @classmethod
    def of_response(cls, prompt: str, response: str, *, reasoning: str = "") -> Conversation:
        """A conversation in which the assistant's `response` (and its `reasoning`) to `prompt` is judged."""
        return cls(
            turns=(
                Turn(role="user", content=prompt),
                Turn(role="assistant", content=response, reasoning=reasoning),
            )
        )

    @classmethod
    def from_messages(cls, messages: Iterable[Mapping[str, str]]) -> Conversation:
        """A conversation from dictionaries with `role` and `content`, and `reasoning` or `reasoning_content`."""
        return cls(
            turns=tuple(
                Turn(
                    role=message["role"],
                    content=message.get("content") or "",
                    reasoning=message.get("reasoning") or message.get("reasoning_content") or "",
                )
                for message in messages
            )
        )


def context_at(place: int, turns: Sequence[Turn], *, last: int) -> tuple[Turn, ...]:
    """What the turn at `place` of a long conversation is judged with; `last` is the place of the last one.

    The last turn gets all that came before it. Earlier ones get no more than the user's turn before an answer, so that
    judging a whole history costs in proportion to its length.
    """
    before = (turn for turn in turns[:place] if not turn.blank)
    if place == last:
        return tuple(before)
    return tuple(turn for turn in before if turn.role == "user")[-1:] if turns[place].role == "assistant" else ()
