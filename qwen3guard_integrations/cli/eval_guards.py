"""The guards of a run: those that `--guard` names, and those of a TOML file with a table for each."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .loading import guard_with, parsed_options
from .terminal import CommandError

if TYPE_CHECKING:
    from ..guards.protocol import Guard

# Guards in this process, which have no address. `load_guard` knows which others there are.
_IN_PROCESS: Final = frozenset({"transformers", "demo", "demo-stream"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guard before it is loaded.

    Attributes:
        name: What the report calls it.
        guard: What `load_guard` is told; and so on with the next three.
        price: What judging one row costs; None where that is not known.
    """

    name: str
    guard: str | None
    base_url: str | None = None
    api_key: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    price: float | None = None

    def load(self) -> Guard:
        """The guard.

        Raises:
            CommandError, GuardError, ImportError: As `guard_with` says.
        """
        return guard_with(self.guard, self.base_url, self.api_key, self.options)


def candidates(
    guards: Sequence[str],
    file: Path | None,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    options: Sequence[str] = (),
    price: float | None = None,
) -> list[Candidate]:
    """All guards of a run, each under a name of its own; that of the environment where none is named.

    Raises:
        CommandError: Two have the same name, an option cannot be read, or the file cannot.
    """
    given = parsed_options(options)
    named = list(guards) or ([] if file else [_from_environment()])
    servers = [name for name in named if len(named) == 1 or _provider(name) not in _IN_PROCESS]
    if (base_url or api_key) and not servers:
        raise CommandError("--base-url and --api-key go with a --guard on a server; in a --guards file it has its own")
    found = [
        Candidate(
            name=name,
            guard=name or None,
            base_url=base_url if name in servers else None,
            api_key=api_key if name in servers else None,
            options=given,
            price=price,
        )
        for name in named
    ]
    found += _of_file(file) if file else ()
    names = [candidate.name for candidate in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CommandError(f"{twice} is named twice: give each a name of its own in a --guards file")
    return found


def _from_environment() -> str:
    from ..guards.settings import GuardSettings

    return GuardSettings().guard


def _provider(name: str) -> str:
    return name.partition(":")[0]


def _of_file(path: Path) -> list[Candidate]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except ValueError as error:
        # TOML's message says line and column; where it repeats something, that is of this file and no judged text.
        raise CommandError(f"{path} is no TOML file: {error}") from error
    if not tables:
        raise CommandError(f'{path} names no guard: it needs a table for each, such as [demo] with guard = "demo"')
    return [_candidate(path, name, table) for name, table in tables.items()]


def _candidate(path: Path, name: str, table: object) -> Candidate:
    if not isinstance(table, Mapping):
        raise CommandError(f"{path}: {name} is no table; write [{name}], and its settings below")
    settings = dict(table)
    if "api_key" in settings:
        raise CommandError(f'{path}: [{name}] holds a key; name the variable that does: api_key_env = "NAME"')
    for key in ("guard", "base_url", "api_key_env"):
        if not isinstance(settings.get(key, ""), str):
            raise CommandError(f"{path}: {key} of [{name}] must be a string")
    guard = settings.pop("guard", None)
    if not guard:
        raise CommandError(f'{path}: [{name}] needs guard = "provider:model"')
    price = settings.pop("price", None)
    if price is not None and not (isinstance(price, int | float) and not isinstance(price, bool) and price >= 0):
        raise CommandError(f"{path}: price of [{name}] must be a number that is not negative")
    return Candidate(
        name=name,
        guard=guard,
        base_url=settings.pop("base_url", None),
        api_key=_key(path, name, settings.pop("api_key_env", None)),
        options=settings,
        price=price,
    )


def _key(path: Path, name: str, variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise CommandError(f"{path}: the key of [{name}] is missing: set {variable} in the environment")
    return key
