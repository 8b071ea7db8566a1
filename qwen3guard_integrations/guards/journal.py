"""`JournalGuard`: a run that was killed goes on where it was, without asking again."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ..core.errors import GuardConfigurationError, GuardUnavailableError
from ..core.verdict import Verdict
from .cached import CachedGuard
from .load import how_loaded
from .protocol import Guard


class JournalGuard(CachedGuard):
    """`guard`, with every verdict kept in a file: the same last turn after the same context is judged once, ever.

    The file grows by one line for each new verdict, right after the guard has answered. After a kill at any point a
    new run asks only about what is not in it. It holds digests and verdicts, never a text. Its first line names the
    guard. Threads, event loops and processes may share it. Token by token it does not judge.

    Args:
        guard: Who judges what is not known.
        path: The file, made if it is missing (its folder is not). All its verdicts are read into memory: about 500
            bytes for each.
        name: What the guard is called in the file; None for a guard that `load_guard` made. Give another name when
            your guard changes its mind: a new model, a new prompt.

    Raises:
        GuardConfigurationError: The file was written with another guard, is no journal or cannot be written, or the
            guard has no name.

    When the guard fails, its error passes through. When the file cannot be written any more, `GuardUnavailableError`
    is raised.
    """

    def __new__(cls, guard: Guard, path: str | Path, *, name: str | None = None) -> JournalGuard:
        """As any object: unlike `CachedGuard` the class does not depend on the guard."""
        return object.__new__(cls)

    def __init__(self, guard: Guard, path: str | Path, *, name: str | None = None) -> None:
        super().__init__(guard, size=sys.maxsize)
        self.path = Path(path)
        self.name = _name(guard) if name is None else name
        header = _line({"qwen3guard journal": _VERSION, "guard": self.name})
        try:
            begun, torn = self._read(header)
            self._separator = b"\n" if torn else b""
            if not begun:
                self._append(header)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise GuardConfigurationError(f"the journal {self.path} cannot be used: {why}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to go on with the same file."""
        return _journal, (self.guard, self.path, self.name)

    def _read(self, header: bytes) -> tuple[bool, bool]:
        """Take over what the file says: whether it has a header, and whether its last line is torn."""
        begun, first, line = False, b"", b""
        if not self.path.exists():
            return begun, False
        with self.path.open("rb") as lines:
            for line in lines:
                first = first or line
                data = _parsed(line)
                if "guard" in data:
                    self._check(line, header)
                    begun = True
                elif begun:
                    self._take(data)
        if not begun and not header.startswith(first):
            raise GuardConfigurationError(f"{self.path} is no journal of verdicts", hint="choose another path")
        return begun, bool(line) and not line.endswith(b"\n")

    def _check(self, line: bytes, header: bytes) -> None:
        if line.strip() != header.strip():
            raise GuardConfigurationError(
                f"the journal {self.path} was written with another guard, or with other settings of it",
                hint="choose another path, or remove the file to judge everything anew",
            )

    def _take(self, data: dict[str, Any]) -> None:
        """Keep a verdict; a line that a kill has torn is none."""
        try:
            self._verdicts[bytes.fromhex(data["digest"])] = Verdict.model_validate(data["verdict"])
        except (KeyError, TypeError, ValueError):
            return

    def _keep(self, verdicts: dict[bytes, Verdict]) -> None:
        if verdicts:
            try:
                self._append(b"".join(_lines(verdicts.items())))
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise GuardUnavailableError(f"the journal {self.path} cannot be written: {why}") from error
        super()._keep(verdicts)

    def _append(self, lines: bytes) -> None:
        """Write whole lines at once, so that those of other processes do not come in between."""
        with self._lock, self.path.open("ab") as file:
            file.write(self._separator + lines)
            self._separator = b""


_VERSION: Final = 1
# Settings that change how fast a guard answers, and where, but not what: a run may go on with others.
_OF_OPERATION: Final = frozenset(
    {"base_url", "batch_size", "default_headers", "device", "max_concurrency", "threads", "timeout"}
)


def _journal(guard: Guard, path: Path, name: str) -> JournalGuard:
    return JournalGuard(guard, path, name=name)


def innermost(guard: Guard) -> Guard:
    """The guard that is asked when no verdict is kept."""
    while isinstance(guard, CachedGuard):
        guard = guard.guard
    return guard


def _name(guard: Guard) -> str:
    name = known_as(innermost(guard))
    if name is None:
        raise GuardConfigurationError(
            f"a journal needs a name for a {type(innermost(guard)).__name__}, which load_guard has not made",
            hint="pass JournalGuard(guard, path, name=...)",
        )
    return name


def known_as(guard: Guard) -> str | None:
    """By what a guard that `load_guard` made is known again: its name, and a digest of settings that change verdicts.

    A digest, since they may hold keys. None for a guard that was made in another way.
    """
    loaded = how_loaded(guard)
    if loaded is None:
        return None
    settings = {name: value for name, value in loaded.items() if name not in _OF_OPERATION | {"guard"}}
    if not settings:
        return str(loaded["guard"])
    written = json.dumps(settings, sort_keys=True, default=str).encode()
    return f"{loaded['guard']} {hashlib.blake2b(written, digest_size=8).hexdigest()}"


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _lines(verdicts: Iterable[tuple[bytes, Verdict]]) -> Iterable[bytes]:
    for key, verdict in verdicts:
        if verdict.other_categories:  # a guard that babbles may have them from the text
            verdict = verdict.model_copy(update={"other_categories": ("other",)})
        yield _line({"digest": key.hex(), "verdict": verdict.model_dump(mode="json", exclude_defaults=True)})


def _parsed(line: bytes) -> dict[str, Any]:
    """The object in a line; an empty one where there is none."""
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
