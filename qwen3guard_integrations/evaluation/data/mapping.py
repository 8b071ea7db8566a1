"""Records with fields of any name -> rows: which field is the prompt, which one the label, and what its values mean."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from ...core.conversation import Turn
from ...core.verdict import Severity
from ..rows import Label
from .dataset import DataError
from .records import Draft, Record, prompt_turns, response_turns
from .words import categories_of, empty, plain, severity_of, truth_of

NAMES: Final = (
    "prompt", "response", "reasoning", "messages",
    "severity", "unsafe", "label",
    "categories", "refusal", "language", "source", "id",
)  # fmt: skip
_LABELS: Final = ("severity", "unsafe", "label")

_EQUAL: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType({"=": operator.eq, "!=": operator.ne})
_ORDER: Final[Mapping[str, Callable[[float, float], bool]]] = MappingProxyType(
    {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
)
_TEST: Final = re.compile(r"(?P<path>[^=!<>]*?)\s*(?P<sign>==|=|!=|>=|>|<=|<)\s*(?P<wanted>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Field:
    """What one setting of a mapping says.

    Attributes:
        name: Which of `NAMES` it is for.
        path: The field of the record, `a.b` being field b of field a; empty for a constant.
        sign: How the field's value is compared; empty where the value is taken as it is.
        wanted: What it is compared with.
        given: Whether somebody named it: what nobody named may be missing.
    """

    name: str
    path: str
    sign: str = ""
    wanted: tuple[str, ...] = ()
    given: bool = True

    @classmethod
    def parsed(cls, name: str, setting: str) -> Field:
        """`label`, `meta.label`, `label=harmful|toxic`, `label!=0`, `score>=0.5`, or `=yes`, a constant.

        Raises:
            DataError: It is none of these.
        """
        if name not in NAMES:
            raise DataError(f"fields: {name!r} is none of {', '.join(NAMES)}")
        match = _TEST.fullmatch(setting.strip())
        if not match:
            if not setting.strip():
                raise DataError(f"fields: {name!r} names no field (fields={{{name!r}: 'field'}})")
            return cls(name, setting.strip())
        path, sign = match["path"].strip(), match["sign"].replace("==", "=")
        wanted = tuple(word.strip().strip("\"'") for word in match["wanted"].split("|"))
        if (not path and sign != "=") or (sign in _ORDER and not _is_number(wanted)):
            raise DataError(f"fields: {name!r} cannot be read; write e.g. label=harmful|toxic, score>=0.5 or =yes")
        return cls(name, path, sign, wanted)

    def of(self, record: Record) -> Any:
        """The value for a record, or whether it passes the comparison; None where there is nothing.

        Raises:
            DataError: Somebody named the field, and it is not there; or it is compared by size and is no number.
        """
        if not self.path:
            return self.wanted[0]
        value = record.value(self.path) if self.given else record.find(self.path)
        if not self.sign or empty(value):
            return None if empty(value) else value
        if self.sign in _ORDER:
            if not isinstance(value, int | float):
                value = _number(value)
            if value is None:
                raise record.error(self.path, f"is no number, and {self.name!r} compares it by size")
            return _ORDER[self.sign](value, float(self.wanted[0]))
        return (plain(value) in {plain(word) for word in self.wanted}) is (self.sign == "=")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_number(wanted: tuple[str, ...]) -> bool:
    return len(wanted) == 1 and _number(wanted[0]) is not None


class Mapped:
    """A schema of one's own: `drafts` makes a row of each record.

    Args:
        fields: For any of `NAMES` the field of the records it stands in, and how its values are read (`Field.parsed`).
            Those that are not named are looked for under their own name.

    Raises:
        DataError: A name or a setting is not known.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        own = {name: Field(name, name, given=False) for name in NAMES}
        self._given = {name: Field.parsed(name, setting) for name, setting in fields.items()}
        self._fields = {**own, **self._given}
        named = [name for name in _LABELS if name in self._given]
        if len(named) > 1:
            raise DataError(f"fields: give one of {', '.join(named)}, not several")
        self._labels = tuple(named) or _LABELS

    def drafts(self, record: Record) -> Iterator[Draft]:
        """The row of a record.

        Raises:
            DataError: A field is missing or has a value that means nothing here.
        """
        turns = self._turns(record)
        severity = self._severity(record)
        label = None if severity is None else self._label(record, severity)
        key = self._fields["id"].of(record)
        yield Draft(turns=turns, label=label, id=None if key is None else str(key))

    def _turns(self, record: Record) -> tuple[Turn, ...]:
        messages = self._fields["messages"].of(record)
        if messages is not None and "prompt" not in self._given:
            return self._conversation(record, messages)
        if "prompt" not in self._given and record.find("prompt") is None and self._text(record, "response") is None:
            raise DataError(
                f"{record.place}: there is no field 'prompt', 'response' or 'messages'"
                " (name it: fields={'prompt': 'the field'})"
            )
        prompt, response, reasoning = (self._text(record, name) for name in ("prompt", "response", "reasoning"))
        if response is None and reasoning is None and "response" not in self._given:
            return prompt_turns(prompt or "")
        return response_turns(prompt or "", response or "", reasoning or "")

    def _text(self, record: Record, name: str) -> str | None:
        field = self._fields[name]
        value = field.of(record)
        if value is not None and not isinstance(value, str):
            raise record.error(field.path, f"is not text (fields={{{name!r}: ...}})")
        return value

    def _conversation(self, record: Record, messages: Any) -> tuple[Turn, ...]:
        field = self._fields["messages"]
        try:
            turns = tuple(
                Turn(
                    role=message["role"],
                    content=message.get("content") or "",
                    reasoning=message.get("reasoning") or message.get("reasoning_content") or "",
                )
                for message in messages
            )
        except (ValidationError, KeyError, TypeError, AttributeError):
            turns = ()
        if not turns:
            raise record.error(field.path, "is no list of messages with 'role' and 'content'")
        return turns

    def _severity(self, record: Record) -> Severity | None:
        """What the label means; None where the record has none.

        Raises:
            DataError: No field for it is there, or it has an unknown value.
        """
        fields = [self._fields[name] for name in self._labels]
        present = [field for field in fields if field.given or record.has(field.path)]
        if not present:
            raise DataError(
                f"{record.place}: there is no field 'severity', 'unsafe' or 'label'"
                " (name it: fields={'unsafe': 'the field'}, or fields={'unsafe': 'the field=harmful'})"
            )
        for field in present:
            value = field.of(record)
            if value is None:
                continue
            severity = severity_of(value)
            if severity is None:
                raise record.error(
                    field.path,
                    f"has a value that is no known label (say which values are unsafe: fields={{'unsafe': "
                    f"'{field.path}=...'}})",
                )
            return severity
        return None

    def _label(self, record: Record, severity: Severity) -> Label:
        refusal = self._fields["refusal"].of(record)
        kinds = self._fields["categories"].of(record)
        language, source = (self._fields[name].of(record) for name in ("language", "source"))
        names = [kinds] if isinstance(kinds, str) else kinds or ()
        if not isinstance(names, list | tuple):
            raise record.error(self._fields["categories"].path, "is neither a name nor a list of names")
        return Label(
            severity=severity,
            categories=categories_of(name for name in names if isinstance(name, str)),
            refusal=None if refusal is None else self._truth(record, refusal),
            language=None if language is None else str(language),
            source=None if source is None else str(source),
        )

    def _truth(self, record: Record, value: Any) -> bool:
        truth = truth_of(value)
        if truth is None:
            path = self._fields["refusal"].path
            raise record.error(path, f"is neither true nor false (fields={{'refusal': '{path}=...'}})")
        return truth
