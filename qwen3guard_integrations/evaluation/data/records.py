"""Records as they stand in files, and what schemas make of them: drafts of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...core.conversation import Turn
from ..rows import Label
from .dataset import DataError

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file or a hub data set.

    Attributes:
        place: Where it stands, for errors: "line 3 of rows.jsonl".
        number: Its place in the source, from 1.
        values: Its fields.
        schema: The setting that says how it is read, for errors: "schema='xstest'".
    """

    place: str
    number: int
    values: Mapping[str, Any]
    schema: str

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
        if found is not None and not isinstance(found, str):
            raise self.error(name, f"is {_kind(found)}, not text")
        return found or ""

    def error(self, name: str, problem: str) -> DataError:
        """What is wrong with a field; `problem` never repeats what was read."""
        return DataError(f"{self.place}: field {name!r} {problem} ({self.schema})")

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
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return "a number"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else "something else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A row in the making.

    Attributes:
        turns: The conversation; a blank last turn leaves nothing to judge, and the row is skipped.
        label: None where the data set gives this row no label: it is skipped.
        id: The data set's own; None where it has none. `load_rows` makes it unique.
        input_ids: As in `Row`.
    """

    turns: tuple[Turn, ...]
    label: Label | None
    id: str | None = None
    input_ids: tuple[int, ...] | None = None


def prompt_turns(prompt: str) -> tuple[Turn, ...]:
    """A prompt that is judged."""
    return (Turn(role="user", content=prompt),)


def response_turns(prompt: str, response: str, reasoning: str = "") -> tuple[Turn, ...]:
    """A response that is judged, after its prompt; no turn for a prompt that is blank."""
    answer = Turn(role="assistant", content=response, reasoning=reasoning)
    return (*(prompt_turns(prompt) if prompt.strip() else ()), answer)


Drafts = Iterator[Draft]
