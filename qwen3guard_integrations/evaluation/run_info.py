"""What was run, as run.json says it: data set, settings, and guards by what they are known again. Never a key."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from pydantic import Field

from ..core.verdict import Value
from ..guards.journal import innermost, known_as
from ..guards.load import how_loaded
from ..guards.protocol import Guard
from .lanes import in_process


class GuardInfo(Value):
    """One guard of a run.

    Attributes:
        name: What it is called in the report.
        guard: What it is: as `load_guard` was told, with a digest of the settings that change verdicts; else its class.
        files: What the names of its two files begin with.
        settings: The settings that are numbers or switches. Others could hold a key.
    """

    name: str
    guard: str
    files: str = Field(pattern=r"^[\w.=+-]+$")
    settings: dict[str, bool | int | float] = Field(default_factory=dict)

    @classmethod
    def of(cls, name: str, guard: Guard) -> Self:
        """What is written about `guard`."""
        loaded = how_loaded(innermost(guard)) or {}
        settings = {key: value for key, value in loaded.items() if isinstance(value, bool | int | float)}
        return cls(name=name, guard=identity(guard), files=_file_name(name), settings=settings)


class RunInfo(Value):
    """What was run.

    Attributes:
        format: Of this folder.
        versions: Of this package and, where a guard judges in this process, of what it judges with.
        data: Name of the data set and its split.
        digest: Of all rows' ids, texts and labels.
        rows: How many there are.
        batch_size: Rows that a guard is asked about in one call.
        streams: Whether responses were judged token by token too.
        policy: What streams were judged for, where it is not the default.
        guards: In the order of the report.
    """

    format: int = 1
    versions: dict[str, str] = Field(default_factory=dict)
    data: str
    digest: str
    rows: int
    batch_size: int
    streams: bool = False
    policy: dict[str, Any] = Field(default_factory=dict)
    guards: tuple[GuardInfo, ...]


def identity(guard: Guard) -> str:
    """By what a guard is known again: as `load_guard` was told, else by its class and, of a wrapper, what it wraps."""
    guard = innermost(guard)
    known = known_as(guard)
    if known is not None:
        return known
    inside: Guard | None = getattr(guard, "guard", None)
    name = type(guard).__qualname__
    return name if inside is None else f"{name}({identity(inside)})"


def versions_of(guards: Iterable[Guard]) -> dict[str, str]:
    """The installed packages on which the verdicts of `guards` depend."""
    local = ("torch", "transformers") if any(map(in_process, guards)) else ()
    found = {}
    for package in ("qwen3guard-integrations", *local):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _file_name(name: str) -> str:
    """`name` without what file systems take for something else."""
    return re.sub(r"[^\w.=+-]+", "-", name).strip(".-")[:100] or "guard"
