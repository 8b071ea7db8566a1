"""Local files of records: JSON lines, JSON, CSV and TSV, with their line numbers; also packed with gzip, bzip2, xz.

These are read here and not through `datasets`, so that errors name the line, values stay as they were written, and
nothing is copied into a cache. Parquet files and folders go through `datasets`.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from .dataset import DataError
from .records import Record

_PACKED: Final[Mapping[str, Callable[[Path], Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PARQUET: Final = ".parquet"
_BOM: Final = b"\xef\xbb\xbf"


def reads_itself(path: Path) -> bool:
    """Whether `read_file` knows files with this name."""
    return _ending(path) in _READERS


def named_as_file(name: str) -> bool:
    """Whether this is the name of a file of records, be there one or not."""
    return _ending(Path(name)) in {*_READERS, PARQUET}


def read_file(path: Path, reading: str) -> Iterator[Record]:
    """The records of a file; `reading` says in errors how they are read.

    Raises:
        DataError: The file cannot be read, or is not what its name says.
    """
    read = _READERS[_ending(path)]
    with _opened(path) as content:
        yield from read(content, path.name, reading)


def _ending(path: Path) -> str:
    """The suffix that says what a file is: that before `.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    opener = _PACKED.get(path.suffix.lower(), Path.open)
    try:
        with opener(path, "rb") as content:
            yield cast("BinaryIO", content)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"cannot read {path}: {type(error).__name__}") from error


def _json_lines(content: Iterable[bytes], name: str, reading: str) -> Iterator[Record]:
    for number, line in enumerate(content, start=1):
        if line.strip():
            place = f"line {number} of {name}"
            values = _parsed(line.removeprefix(_BOM) if number == 1 else line, place)
            if not isinstance(values, Mapping):
                raise DataError(f"{place}: not a JSON object; JSON lines have one on each line")
            yield Record(place, number, values, reading)


def _json(content: BinaryIO, name: str, reading: str) -> Iterator[Record]:
    """A list of records; an object of such lists, as HarmBench's; or JSON lines, as RTP-LX's, whatever the suffix."""
    whole = content.read().removeprefix(_BOM)
    try:
        values = json.loads(whole)
    except ValueError:
        yield from _json_lines(whole.split(b"\n"), name, reading)
        return
    lists = list(values.values()) if isinstance(values, Mapping) else [values]
    if not all(isinstance(each, list) for each in lists):
        lists = [[values]]
    records = [record for each in lists for record in each]
    for number, record in enumerate(records, start=1):
        place = f"record {number} of {name}"
        if not isinstance(record, Mapping):
            raise DataError(f"{place}: not a JSON object")
        yield Record(place, number, record, reading)


def _parsed(line: bytes, place: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # its message and its attributes quote the line
        raise DataError(f"{place}: not JSON") from None


def _table(content: Iterable[bytes], name: str, reading: str, *, delimiter: str = ",") -> Iterator[Record]:
    """Rows under a line of names; the values are texts."""
    lines = (line.decode() for line in content)
    rows = csv.DictReader(_without_bom(lines), delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            place = f"row {number} of {name}, which ends at line {rows.line_num}"
            if None in row or None in row.values():
                raise DataError(f"{place}: not as many values as there are names in the first line")
            yield Record(place, number, row, reading)
    except (csv.Error, UnicodeDecodeError):
        raise DataError(f"{name}: row {number + 1} is not CSV in UTF-8") from None


def _without_bom(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if number == 0 else line


def _tab_separated(content: Iterable[bytes], name: str, reading: str) -> Iterator[Record]:
    return _table(content, name, reading, delimiter="\t")


_READERS: Final[Mapping[str, Callable[[BinaryIO, str, str], Iterator[Record]]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _table,
    ".tsv": _tab_separated,
}
