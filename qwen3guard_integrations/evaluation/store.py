"""The folder of a run: what was run and, for each guard, what it said and how long it took.

::

    run.json                what was run (`RunInfo`)
    <guard>.results.jsonl   a `Result` in each line, in the order of the rows
    <guard>.timings.jsonl   a `Timing` in each line, one for each batch

Nothing here holds a judged text or a key. Lines are written batch by batch, each batch at once; what a kill has torn is
cut off when the run goes on, back to the end of a whole batch. So a run that goes on asks the batches that it would
have asked anyway, and since results hold no times, its results end up as the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeVar

from pydantic import ValidationError

from ..core.errors import Qwen3GuardError
from ..core.verdict import Value
from .results import Result
from .rows import Row
from .run_info import GuardInfo, RunInfo
from .summary import Latency

if sys.platform != "win32":
    import fcntl

V = TypeVar("V", bound=Value)

RUN_FILE: Final = "run.json"
_START_ANEW: Final = "choose another folder (--out), or start this one anew (--restart)"


class RunError(Qwen3GuardError, ValueError):
    """The folder of a run cannot be used as it is; the message says what to change."""


class Timing(Value):
    """One batch, as it was measured in this run.

    Attributes:
        batch: Its number, from 0.
        rows: How many rows it had.
        milliseconds: How long each call took that gave verdicts: one call, or one for each row after a failure.
        seconds: Since the batch before it was written, or the run began or went on. Batches may overlap: these add up.
    """

    batch: int
    rows: int
    milliseconds: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is done: results and timings by the names of the guards, in the order of the rows."""

    info: RunInfo
    results: Mapping[str, tuple[Result, ...]]
    timings: Mapping[str, tuple[Timing, ...]]

    def latencies(self, prices: Mapping[str, float] | None = None) -> dict[str, Latency]:
        """Milliseconds a call, rows a second and, for each guard whose price for a row is given, the cost."""
        return {name: _latency(timings, (prices or {}).get(name)) for name, timings in self.timings.items()}


def load_run(folder: str | Path) -> Run:
    """The run in `folder`.

    Raises:
        RunError: There is none, it is not done, or a file cannot be read.
    """
    folder = Path(folder)
    info = _read_info(folder)
    if info is None:
        raise RunError(f"{folder} has no {RUN_FILE}: name the folder of a run (--out)")
    results = {guard.name: read_results(_paths(folder, guard)[0]) for guard in info.guards}
    for name, done in results.items():
        if len(done) != info.rows:
            raise RunError(
                f"the run in {folder} is not done: {name} has judged {len(done)} of {info.rows} rows "
                "(the command that began it goes on with it)"
            )
    timings = {guard.name: tuple(_timings(_paths(folder, guard)[1])) for guard in info.guards}
    return Run(info, results, timings)


def read_results(path: str | Path) -> tuple[Result, ...]:
    """What a results file says, in the order of the rows.

    Raises:
        RunError: There is no such file, or a line is no result; its number is in the message.
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no results file {path}")
    lines = tuple(_lines(path, Result))
    if (lines[-1][1] if lines else 0) != path.stat().st_size:
        raise RunError(f"line {len(lines) + 1} of {path} is no result (the command that began the run repairs it)")
    return tuple(result for result, _ in lines)


def opened(folder: Path, info: RunInfo, *, restart: bool = False) -> None:
    """Make `folder` ready for the run that `info` describes, new or to go on with.

    Guards may be added to a run: those that are done are not asked again.

    Raises:
        RunError: It holds another run, or the guards cannot be told apart in it.
        OSError: It cannot be written.
    """
    taken = [guard.files.casefold() for guard in info.guards]  # as file systems that know no case see them
    if len(set(taken)) != len(taken):
        raise RunError(f"two guards would share the files {max(taken, key=taken.count)}.*: give one another name")
    folder.mkdir(parents=True, exist_ok=True)
    if restart:
        _remove(folder, info)
    before = _read_info(folder)
    if before is not None:
        if others := _differences(before, info):
            raise RunError(f"{folder} holds another run, with other {', '.join(others)}: {_START_ANEW}")
    elif left := [guard.name for guard in info.guards if any(path.exists() for path in _paths(folder, guard))]:
        raise RunError(f"{folder} has results of {left[0]} but no {RUN_FILE}: {_START_ANEW}")
    if before != info:
        _write_at_once(folder / RUN_FILE, info.model_dump_json(indent=1).encode() + b"\n")


class GuardFiles:
    """The two files of one guard, to be written batch by batch; a context manager.

    Args:
        folder: Of the run, `opened` before.
        guard: Whose files they are.
        rows: All rows of the run.
        batch_size: Of the run.

    Attributes:
        results: What is done, in the order of the rows.
        timings: Its times.

    Raises:
        RunError: Another process is writing them.
        OSError: They cannot be written.
    """

    def __init__(self, folder: Path, guard: GuardInfo, rows: Sequence[Row], batch_size: int) -> None:
        results, timings = _paths(folder, guard)
        self._results, self._timings = results.open("ab"), timings.open("ab")
        try:
            _lock(self._results, results)
            self.results = _whole_batches(results, self._results, rows, batch_size)
            self.timings = _timings_of(timings, self._timings, -(-len(self.results) // batch_size))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._results.close()
        self._timings.close()

    def append(self, results: Sequence[Result], timing: Timing) -> None:
        """Write the next batch: its times first, so that no batch that is done lacks them."""
        for file, lines in ((self._timings, (timing,)), (self._results, results)):
            file.write(b"".join(_line(value) for value in lines))
            file.flush()
        self.results.extend(results)
        self.timings.append(timing)


def _differences(before: RunInfo, now: RunInfo) -> list[str]:
    """What makes the run another one; how fast guards answer, and where, does not."""
    known = {guard.name: guard.guard for guard in now.guards}
    same_versions = before.versions.items() <= now.versions.items()  # a guard that is added may need more packages
    return [
        *(name for field, name in _COMPARED.items() if getattr(before, field) != getattr(now, field)),
        *(() if same_versions else ("versions of the packages",)),
        *(f"guard {guard.name}" for guard in before.guards if known.get(guard.name) != guard.guard),
    ]


_COMPARED: Final = {
    "format": "format",
    "digest": "rows (--dataset, --split, --field, --limit)",
    "batch_size": "--batch-size",
    "streams": "--streams",
    "policy": "--policy",
}


def _paths(folder: Path, guard: GuardInfo) -> tuple[Path, Path]:
    return folder / f"{guard.files}.results.jsonl", folder / f"{guard.files}.timings.jsonl"


def _read_info(folder: Path) -> RunInfo | None:
    path = folder / RUN_FILE
    try:
        return RunInfo.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise RunError(f"{path} cannot be read: {_START_ANEW}") from None


def _remove(folder: Path, info: RunInfo) -> None:
    """Remove the run that is there: the files that its run.json and `info` name, and nothing else."""
    with contextlib.suppress(RunError):
        before = _read_info(folder)
        info = before or info
    for guard in info.guards:
        for path in _paths(folder, guard):
            path.unlink(missing_ok=True)
    (folder / RUN_FILE).unlink(missing_ok=True)


def _write_at_once(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or as it was before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other processes from writing `file`; the lock ends with it, also by a kill."""
    if sys.platform == "win32":  # there, two runs in one folder at the same time stay the user's care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"another process is writing {path}: choose another folder (--out)") from None


def _whole_batches(path: Path, file: BinaryIO, rows: Sequence[Row], batch_size: int) -> list[Result]:
    """What is done; what is behind the last whole batch is cut off."""
    results: list[Result] = []
    ends = [0]
    for (result, end), row in zip(_lines(path, Result), rows, strict=False):
        if result.id != row.id:
            break
        results.append(result)
        ends.append(end)
    whole = len(results) if len(results) == len(rows) else len(results) // batch_size * batch_size
    file.truncate(ends[whole])
    return results[:whole]


def _timings(path: Path) -> Iterator[Timing]:
    return (timing for timing, _ in _lines(path, Timing)) if path.is_file() else iter(())


def _timings_of(path: Path, file: BinaryIO, batches: int) -> list[Timing]:
    """The times of the first `batches` batches; what is behind them is cut off."""
    timings: list[Timing] = []
    whole = 0
    for (timing, end), _ in zip(_lines(path, Timing), range(batches), strict=False):
        timings.append(timing)
        whole = end
    file.truncate(whole)
    return timings


def _latency(timings: Sequence[Timing], price: float | None) -> Latency:
    from .latency import latency_of  # only here: it needs numpy

    calls = [milliseconds for timing in timings for milliseconds in timing.milliseconds]
    rows = sum(timing.rows for timing in timings)
    return latency_of(
        calls,
        rows=rows,
        seconds=sum(timing.seconds for timing in timings),
        # A call judges a batch; services are paid for each text of it.
        price_per_call=None if price is None else price * rows / max(len(calls), 1),
    )


def _lines(path: Path, kind: type[V]) -> Iterator[tuple[V, int]]:
    """The values in the lines of a file, each with the place where its line ends, up to the first that is torn."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            try:
                value = kind.model_validate_json(line)
            except ValidationError:
                return
            if not line.endswith(b"\n"):
                return
            yield value, end


def _line(value: Value) -> bytes:
    return value.model_dump_json(exclude_defaults=True).encode() + b"\n"
