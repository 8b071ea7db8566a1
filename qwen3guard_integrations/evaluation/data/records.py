"""Records as they stand in files, and what schemas make of them: drafts of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ...core.conversation import Turn
from ..rows import Label
from .dataset import DataError
from .words import empty, name_of, plain, truth_of

T = TypeVar("T")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Draft:
    """A row in the making.

    Attributes:
        turns: The conversation; a blank last turn leaves nothing to judge, and the row is skipped.
        label: What people say of its last turn.
        id: The data set's own; None where it has none. `load_rows` makes it unique.
        input_ids: As in `Row`.
    """

    turns: tuple[Turn, ...]
    label: Label
    id: str | None = None
    input_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """A record that gives no row, and why: it is counted in `DataSet.skipped`."""

    reason: str


NO_LABEL: Final = Skip("no label")
Drafts = Iterator[Draft | Skip]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file or a hub data set. What is wrong with it is raised as `DataError`, without its text.

    Attributes:
        place: Where it stands, for errors: "line 3 of rows.jsonl".
        number: Its place in the source, from 1.
        values: Its fields.
        reading: The setting by which it is read, for errors: "schema='xstest'".
    """

    place: str
    number: int
    values: Mapping[str, Any]
    reading: str

    def has(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return self._find(name) is not _MISSING

    def find(self, name: str) -> Any:
        """The value of a field, `a.b` being field b of field a; None where it is not there."""
        found = self._find(name)
        return None if found is _MISSING else found

    def value(self, name: str) -> Any:
        """The value of a field that has to be there; it may be null."""
        found = self._find(name)
        if found is _MISSING:
            raise self.error(name, "is missing")
        return found

    def text(self, name: str) -> str:
        """The text of a field that has to be there; nothing for null."""
        found = self.value(name)
        if empty(found):
            return ""
        if not isinstance(found, str):
            raise self.error(name, f"is {_kind(found)}, not text")
        return found

    def key(self, name: str) -> str | None:
        """A name or a number that tells records or groups apart; None where there is nothing."""
        found = self.find(name)
        if empty(found):
            return None
        key = name_of(found)
        if key is None:
            raise self.error(name, f"is {_kind(found)}, neither a name nor a number")
        return key

    def truth(self, name: str) -> bool | None:
        """True or false, also as 1 or 0 or in words; None for null."""
        found = self.value(name)
        if empty(found):
            return None
        truth = truth_of(found)
        if truth is None:
            raise self.error(name, "is neither true nor false")
        return truth

    def number_at(self, name: str) -> float | None:
        """A number, also written as text; None for null."""
        found = self.value(name)
        if empty(found):
            return None
        try:
            number = float(found)
        except (TypeError, ValueError):
            raise self.error(name, "is no number") from None
        return None if number != number else number

    def choice(self, name: str, choices: Mapping[str, T]) -> T | None:
        """What a word means; None for null. Case does not count."""
        found = self.value(name)
        if empty(found):
            return None
        if plain(found) not in choices:
            raise self.error(name, f"is none of {', '.join(choices)}")
        return choices[plain(found)]

    def record(self, name: str) -> Record:
        """The object in a field; an empty one for null."""
        found = self.value(name)
        if not isinstance(found, Mapping) and not empty(found):
            raise self.error(name, f"is {_kind(found)}, not an object")
        return Record(f"{self.place}, {name}", self.number, found or {}, self.reading)

    def error(self, name: str, problem: str) -> DataError:
        """What is wrong with a field; `problem` never repeats what was read."""
        return DataError(f"{self.place}: field {name!r} {problem} ({self.reading})")

    def _find(self, name: str) -> Any:
        if name in self.values:  # a name with a dot of its own
            return self.values[name]
        found: Any = self.values
        for part in name.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return _MISSING
            found = found[part]
        return found


def _kind(value: Any) -> str:
    """What a value is, in the words of JSON."""
    match value:
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
    return "of another type"


def prompt_turns(prompt: str) -> tuple[Turn, ...]:
    """A prompt that is judged."""
    return (Turn(role="user", content=prompt),)


def response_turns(prompt: str, response: str, reasoning: str = "") -> tuple[Turn, ...]:
    """A response that is judged, after its prompt; a blank prompt gets no turn."""
    answer = Turn(role="assistant", content=response, reasoning=reasoning)
    return (*(prompt_turns(prompt) if prompt.strip() else ()), answer)


def split_thinking(content: str) -> tuple[str, str]:
    """The reasoning in the `<think>` tags that an answer begins with, and the answer after them.

    As in Qwen3's chat template the opening tag may be missing, and line breaks around both belong to the template.
    Thinking that does not end leaves no answer. Nothing that was said is left out.
    """
    before, closed, after = content.partition("</think>")
    lead, opened, thought = before.partition("<think>")
    if (not opened and not closed) or (opened and lead.strip()):
        return "", content
    return (thought if opened else before).strip("\n"), after.lstrip("\n")
