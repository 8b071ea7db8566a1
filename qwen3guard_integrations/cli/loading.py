"""The guard that the options name."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..core.errors import GuardError
from .terminal import CommandError, note

if TYPE_CHECKING:
    from ..guards.protocol import Guard

_NAMED_ELSEWHERE: Final = {"guard": "--guard", "base_url": "--base-url", "api_key": "--api-key"}


def parsed_options(options: Sequence[str]) -> dict[str, Any]:
    """Arguments of `load_guard` from `key=value` strings; a value is JSON where it can be, and a string otherwise.

    Raises:
        CommandError: An option is not of this form, or has an option of its own.
    """
    parsed: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (equals and key.isidentifier()):
            raise CommandError("--option takes key=value, such as --option device=cpu")
        if key in _NAMED_ELSEWHERE:
            raise CommandError(f"--option {key}: use {_NAMED_ELSEWHERE[key]}")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def loaded_guard(
    guard: str | None, *, base_url: str | None = None, api_key: str | None = None, options: Sequence[str] = ()
) -> Guard:
    """What `load_guard` gives, with the demo guard's warning as one line on standard error.

    Raises:
        GuardError: As `load_guard` says.
        ImportError: The guard needs an extra.
        CommandError: An option is unknown to the guard, or has a value that it cannot use.
    """
    return guard_with(guard, base_url, api_key, parsed_options(options))


def guard_with(guard: str | None, base_url: str | None, api_key: str | None, arguments: dict[str, Any]) -> Guard:
    """As `loaded_guard`, with options that are parsed."""
    if not sys.stderr.isatty():  # progress bars for people, not for log files; read when the libraries are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = _loaded(guard, base_url, api_key, arguments)
    from ..guards.demo import DemoGuardWarning

    if any(issubclass(warning.category, DemoGuardWarning) for warning in caught):
        note("note: the demo guard is a demonstration and misses much: use real weights to protect anybody", "dim")
    return loaded


def _loaded(guard: str | None, base_url: str | None, api_key: str | None, arguments: dict[str, Any]) -> Guard:
    from ..guards.load import load_guard

    try:
        return load_guard(guard, base_url=base_url, api_key=api_key, **arguments)
    except (GuardError, ImportError):
        raise
    except Exception as error:
        # No text has been judged yet, so the message of torch, transformers or pydantic can be shown.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CommandError(f"cannot load the guard: {reason[0]} (check --guard and --option)") from error
