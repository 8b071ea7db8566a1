"""Labels as people write them: words, truth values and numbers -> severity, truth, categories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...core.verdict import Category, Severity

_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0"})
_UNSAFE: Final = _TRUE | {"unsafe", "harmful", "toxic", "malicious"}
_SAFE: Final = _FALSE | {"safe", "unharmful", "harmless", "benign", "non-toxic"}
_CONTROVERSIAL: Final = frozenset({"controversial"})


def plain(value: Any) -> str:
    """How a value is compared: without case and outer space; 1, 1.0 and "1" are equal, and so are true and "True"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def empty(value: Any) -> bool:
    """Whether there is nothing: null, not a number (as tables have for null), or a blank text or empty list."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value) or value in ([], (), {})


def name_of(value: Any) -> str | None:
    """A name, or a number as one; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def severity_of(value: Any) -> Severity | None:
    """The severity that a label means; None for a word that is not known."""
    word = plain(value)
    if word in _UNSAFE:
        return Severity.UNSAFE
    if word in _SAFE:
        return Severity.SAFE
    return Severity.CONTROVERSIAL if word in _CONTROVERSIAL else None


def truth_of(value: Any) -> bool | None:
    """True or false; None for a word that is neither."""
    word = plain(value)
    return True if word in _TRUE else False if word in _FALSE else None


def categories_of(names: Iterable[str]) -> tuple[Category, ...]:
    """Those of the names that are one of the nine categories, each once, in order."""
    return _distinct(_category(name) for name in names)


def categories_by(table: Mapping[str, Category], names: Iterable[str]) -> tuple[Category, ...]:
    """What `table` says of another taxonomy's names, each category once, in order; spelling in letters only counts."""
    return _distinct(table.get(letters(name)) for name in names)


def letters(name: str) -> str:
    """A name as the tables of categories have it: its letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _category(name: str) -> Category | None:
    try:
        return Category(name)
    except ValueError:
        return None


def _distinct(found: Iterable[Category | None]) -> tuple[Category, ...]:
    return tuple(dict.fromkeys(category for category in found if category))
