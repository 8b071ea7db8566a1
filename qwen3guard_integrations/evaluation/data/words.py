"""Labels as people write them: words, truth values and numbers -> severity, truth, categories."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Whether there is nothing: null, not a number (as tables have for null), or an empty text or list."""
    return value is None or value != value or (isinstance(value, str) and not value.strip()) or value in ([], ())


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
    found = (_category(name) for name in names)
    return tuple(dict.fromkeys(category for category in found if category))


def _category(name: str) -> Category | None:
    try:
        return Category(name)
    except ValueError:
        return None
