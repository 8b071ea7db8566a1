"""What `qwen3guard check` reads: one text, or rows of JSON lines -> what is judged, and at which point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from ..core.conversation import Conversation, Role, Turn
from ..core.points import Point
from ..core.screening import Item

_BOM: Final = b"\xef\xbb\xbf"

# The roles that the adapters give to plain texts at these points; at all others a text came from the user.
_ROLES: Final[dict[Point, Role]] = {
    Point.RESPONSE: "assistant",
    Point.REASONING: "assistant",
    Point.TOOL_CALL: "assistant",
    Point.TOOL_OUTPUT: "tool",
}
_POINTS: Final[dict[Role, Point]] = {
    "system": Point.PROMPT,
    "user": Point.PROMPT,
    "assistant": Point.RESPONSE,
    "tool": Point.TOOL_OUTPUT,
}


class _Read(BaseModel):
    # Other columns of a data set are left alone; nothing is converted; errors never repeat what was read.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)


class _Message(_Read):
    role: Role
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    def turn(self) -> Turn:
        return Turn(
            role=self.role, content=self.content or "", reasoning=self.reasoning or self.reasoning_content or ""
        )


class Fields(_Read):
    """The fields of a row, of which exactly one of `text`, `prompt` and `messages` is given.

    Attributes:
        text: Judged at `point`, by itself.
        prompt: Judged, unless there is a `response` or a `reasoning`: then it is their context.
        response: Judged as the answer to `prompt`.
        reasoning: Judged with `response`, or alone.
        messages: A conversation, of which the last message is judged.
        point: Where the text was about to pass; None leaves it to what is judged.
        id: Repeated in the output.
    """

    text: str | None = None
    prompt: str | None = None
    response: str | None = None
    reasoning: str | None = None
    messages: tuple[_Message, ...] | None = None
    point: Point | None = None
    id: Any = None

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: Any) -> Any:
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise ValueError("must be a string or a whole number")
        return value

    @model_validator(mode="after")
    def _one_thing_to_judge(self) -> Fields:
        if sum(given is not None for given in (self.text, self.prompt, self.messages)) != 1:
            raise ValueError("give exactly one of prompt, text and messages")
        if self.prompt is None and (self.response is not None or self.reasoning is not None):
            raise ValueError("response and reasoning go with prompt")
        return self

    def item(self, default_point: Point | None = None) -> Item:
        """What is judged, at `point`, or else at `default_point`, or else where its last turn passes.

        Raises:
            pydantic.ValidationError: There is nothing to judge.
        """
        wanted = self.point or default_point
        conversation = self._conversation(wanted)
        turn = conversation.judged
        usual = Point.REASONING if turn.reasoning and not turn.content else _POINTS[turn.role]
        return Item(wanted or usual, conversation)

    def _conversation(self, point: Point | None) -> Conversation:
        if self.messages is not None:
            return Conversation(turns=tuple(message.turn() for message in self.messages))
        if self.response is not None or self.reasoning is not None:
            return Conversation.of_response(self.prompt or "", self.response or "", reasoning=self.reasoning or "")
        if self.text is None:
            return Conversation.of_prompt(self.prompt or "")
        role = _ROLES.get(point, "user") if point else "user"
        if point is Point.REASONING:
            return Conversation(turns=(Turn(role=role, reasoning=self.text),))
        return Conversation(turns=(Turn(role=role, content=self.text),))


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be judged."""

    line: int
    id: str | int | None
    item: Item

    @property
    def label(self) -> dict[str, str | int]:
        """What the output calls the row: its own id, or else its line."""
        return {"line": self.line} if self.id is None else {"id": self.id}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why; the reason holds no text of the row."""

    line: int
    error: str


def read_rows(lines: Iterable[bytes], point: Point | None = None) -> Iterator[Row | BadRow]:
    """One row for each line that is not blank, in order; `point` is that of rows that name none."""
    for number, line in enumerate(lines, start=1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            yield _row(number, content, point)


def _row(number: int, line: bytes, point: Point | None) -> Row | BadRow:
    try:
        fields = Fields.model_validate_json(line.decode())
        return Row(number, fields.id, fields.item(point))
    except UnicodeDecodeError:
        return BadRow(number, "not UTF-8")
    except ValidationError as error:
        return BadRow(number, reason(error))


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, without what was read."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
