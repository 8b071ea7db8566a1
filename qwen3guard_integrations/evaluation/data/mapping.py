"""Records with fields of any name -> rows: which field is the prompt, which one the label, and what its values mean."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from pydantic import ValidationError

from ...core.conversation import Turn
from ...core.verdict import Severity
from ..rows import Label
from .dataset import DataError
from .records import NO_LABEL, Draft, Drafts, Record, prompt_turns, response_turns
from .words import categories_of, empty, name_of, plain, severity_of, truth_of

JUDGED: Final = ("prompt", "response", "reasoning", "messages")
LABELS: Final = ("severity", "unsafe", "label")
NAMES: Final = (*JUDGED, *LABELS, "categories", "refusal", "language", "source", "id")
"""What a mapping can name. `label`, `unsafe` and `severity` are the same in three words: any of "safe", "unsafe",
"controversial", "harmful", "unharmful", true, false, 1, 0, or a comparison."""

_SIGNS: Final[Mapping[str, Callable[[float, float], bool]]] = MappingProxyType(
    {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
)
_SETTING: Final = re.compile(r"(?P<path>[^=!<>]*?)\s*(?P<sign>==|=|!=|>=|>|<=|<)\s*(?P<wanted>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Field:
    """Where one thing stands in a record, and how it is read.

    Attributes:
        path: The field, `a.b` being field b of field a; empty for a constant.
        sign: How its value is compared: "=", "!=", or by size; empty where it is taken as it is.
        wanted: What it is compared with; one of them has to be equal.
        given: Whether somebody named it: what nobody named may be missing.
    """

    path: str
    sign: str = ""
    wanted: tuple[str, ...] = ()
    given: bool = True

    @classmethod
    def parsed(cls, name: str, setting: str) -> Self:
        """`label`, `meta.label`, `label=harmful|toxic`, `label!=0`, `score>=0.5`, or `=yes`, a constant.

        Raises:
            DataError: It is none of these.
        """
        match = _SETTING.fullmatch(setting.strip())
        if match is None and setting.strip():
            return cls(setting.strip())
        if match is not None:
            path, sign = match["path"].strip(), match["sign"].replace("==", "=")
            wanted = tuple(word.strip().strip("\"'") for word in match["wanted"].split("|"))
            by_size = sign in _SIGNS
            if all(wanted) and (path or sign == "=") and not (by_size and (len(wanted) > 1 or not _number(wanted[0]))):
                return cls(path, sign, wanted)
        raise DataError(f"fields: the setting of {name!r} cannot be read; write field, field=harmful|toxic, score>=0.5")

    def of(self, record: Record) -> Any:
        """The value in a record, or whether it passes the comparison; None where there is nothing.

        Raises:
            DataError: Somebody named the field, and it is not there; or it is compared by size and is no number.
        """
        if not self.path:
            return self.wanted[0]
        value = record.value(self.path) if self.given else record.find(self.path)
        if empty(value):
            return None
        if not self.sign:
            return value
        if self.sign in _SIGNS:
            number = record.number_at(self.path)
            return None if number is None else _SIGNS[self.sign](number, float(self.wanted[0]))
        return (plain(value) in {plain(word) for word in self.wanted}) is (self.sign == "=")


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _turn(message: Mapping[str, Any]) -> Turn:
    reasoning = message.get("reasoning") or message.get("reasoning_content") or ""
    return Turn(role=message["role"], content=message["content"] or "", reasoning=reasoning)


class Mapped:
    """A schema of one's own: `drafts` makes a row of each record.

    Args:
        fields: For any of `NAMES` the field of the records in which it stands (`Field.parsed`). Of what is judged, and
            of the label, only what is named here is read, if anything is; all else is looked for under its own name.

    Raises:
        DataError: A name or a setting is not known.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        for name in fields:
            if name not in NAMES:
                raise DataError(f"fields: {name!r} is none of {', '.join(NAMES)}")
        self._fields = {name: Field.parsed(name, setting) for name, setting in fields.items()}
        for group in (JUDGED, LABELS):
            if not any(name in fields for name in group):
                self._fields |= {name: Field(name, given=False) for name in group}
        for name in NAMES:
            if name not in {*JUDGED, *LABELS}:
                self._fields.setdefault(name, Field(name, given=False))
        if sum(name in fields for name in LABELS) > 1:
            raise DataError(f"fields: give one of {', '.join(LABELS)}, not several")

    def drafts(self, record: Record) -> Drafts:
        """The row of a record.

        Raises:
            DataError: A field is missing or has a value that means nothing here.
        """
        turns = self._turns(record)
        severity = self._severity(record)
        if severity is None:
            yield NO_LABEL
            return
        label = Label(
            severity=severity,
            categories=categories_of(self._categories(record)),
            refusal=self._refusal(record),
            language=self._name(record, "language"),
            source=self._name(record, "source"),
        )
        yield Draft(turns, label, self._name(record, "id"))

    def _value(self, record: Record, name: str) -> Any:
        field = self._fields.get(name)
        return None if field is None else field.of(record)

    def _turns(self, record: Record) -> tuple[Turn, ...]:
        """The conversation; without a response, which may be blank where it was named, a prompt."""
        self._need(record, ("prompt", "response", "messages"), "prompt", "the field")
        if self._value(record, "messages") is not None:
            return self._conversation(record)
        prompt, response, reasoning = (self._text(record, name) for name in JUDGED[:3])
        named = "response" in self._fields and self._fields["response"].given
        if response or reasoning or named:
            return response_turns(prompt, response, reasoning)
        return prompt_turns(prompt)

    def _text(self, record: Record, name: str) -> str:
        value = self._value(record, name)
        if value is not None and not isinstance(value, str):
            raise record.error(self._fields[name].path, f"is not text, and {name!r} has to be")
        return value or ""

    def _conversation(self, record: Record) -> tuple[Turn, ...]:
        try:
            turns = tuple(map(_turn, self._value(record, "messages")))
        except (ValidationError, KeyError, TypeError, AttributeError):  # some of which quote what was read
            turns = ()
        if not turns:
            raise record.error(self._fields["messages"].path, "is no list of messages with 'role' and 'content'")
        return turns

    def _severity(self, record: Record) -> Severity | None:
        """What the label means; None where the record has none."""
        self._need(record, LABELS, "unsafe", "the field=harmful")
        for name in LABELS:
            value = self._value(record, name)
            if value is None:
                continue
            severity = severity_of(value)
            if severity is None:
                path = self._fields[name].path
                known = "safe, unsafe, controversial, harmful, unharmful, true, false, 1, 0"
                raise record.error(path, f"is none of {known}; say what is unsafe: fields={{'unsafe': '{path}=...'}}")
            return severity
        return None

    def _need(self, record: Record, names: tuple[str, ...], name: str, example: str) -> None:
        """One of `names` has to be there, be it null; what was named is checked where it is read."""
        fields = [self._fields[each] for each in names if each in self._fields]
        if not any(field.given or record.has(field.path) for field in fields):
            listed = ", ".join(map(repr, names))
            raise DataError(f"{record.place}: there is none of {listed} (name it: fields={{{name!r}: '{example}'}})")

    def _categories(self, record: Record) -> list[str]:
        value = self._value(record, "categories")
        names = [value] if isinstance(value, str) else value or []
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise record.error(self._fields["categories"].path, "is neither a name nor a list of names")
        return list(names)

    def _refusal(self, record: Record) -> bool | None:
        value = self._value(record, "refusal")
        truth = None if value is None else truth_of(value)
        if value is not None and truth is None:
            path = self._fields["refusal"].path
            raise record.error(path, f"is neither true nor false; say what is: fields={{'refusal': '{path}=...'}}")
        return truth

    def _name(self, record: Record, name: str) -> str | None:
        value, field = self._value(record, name), self._fields[name]
        found = None if value is None else name_of(value)
        if found is None and value is not None and field.given:  # what nobody named is not meant
            raise record.error(field.path, "is neither a name nor a number")
        return found
