"""Data sets through Hugging Face's `datasets`: those on the hub, Parquet files, and local copies of either.

No code of a data set is run: `trust_remote_code` is never given, and `datasets` 4 and later has no such thing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .dataset import DataError
from .records import Record

try:
    import datasets
except ImportError as error:
    raise ImportError(
        'data sets on the hub, Parquet files and folders need: pip install "qwen3guard-integrations[eval]"'
    ) from error

# What `datasets` raises: RuntimeError for a folder with a script, which it no longer runs.
_FAILURES: Final = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
_OFFLINE: Final = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def read_hub(hub: str, config: str | None, split: str | None, setting: str) -> Iterator[Record]:
    """The records of a data set on the hub, from the cache of `datasets` where it is there.

    Raises:
        DataError: It cannot be had, or has no such split or configuration.
    """
    with _told(f"cannot load {hub} from the hub", _advice(hub)):
        found = datasets.load_dataset(hub, config, split=split)
    return _records(_one_split(found, hub), hub, setting)


def read_parquet(path: Path, setting: str) -> Iterator[Record]:
    """The records of a Parquet file."""
    with _told(f"cannot read {path}", "is it a Parquet file?"):
        found = datasets.load_dataset("parquet", data_files=[str(path)], split="train", streaming=True)
        yield from _records(found, path.name, setting)


def read_folder(path: Path, config: str | None, split: str | None, setting: str) -> Iterator[Record]:
    """The records of a folder as `datasets` understands it, such as a clone of a data set's repository.

    Raises:
        DataError: There is nothing to read, or no such split or configuration.
    """
    with _told(f"cannot read {path}", f"is there a split {split!r}?"):
        found = datasets.load_dataset(str(path), config, split=split, streaming=True)
        yield from _records(_one_split(found, str(path)), path.name, setting)


@contextmanager
def _told(problem: str, advice: str) -> Iterator[None]:
    """What `datasets` raises, without its words: they can quote what was read."""
    try:
        yield
    except DataError:
        raise
    except _FAILURES as error:
        raise DataError(f"{problem}: {type(error).__name__} ({advice})") from error


def _one_split(found: Any, name: str) -> Iterable[Mapping[str, Any]]:
    """The only split; what was loaded by the name of a split is one already."""
    if not isinstance(found, Mapping):
        return found  # type: ignore[no-any-return]
    if len(found) != 1:
        raise DataError(f"{name} has the splits {', '.join(found)}: say which one (split=..., --split)")
    [only] = found.values()
    return only  # type: ignore[no-any-return]


def _records(rows: Iterable[Mapping[str, Any]], name: str, setting: str) -> Iterator[Record]:
    for number, row in enumerate(rows, start=1):
        yield Record(f"row {number} of {name}", number, row, setting)


def _advice(hub: str) -> str:
    """What to do about a data set that cannot be had."""
    local = f"download it from https://huggingface.co/datasets/{hub} and give the file with schema=... (--schema)"
    if any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in _OFFLINE):
        return f"{' or '.join(_OFFLINE)} forbids asking the hub; unset it, or {local}"
    return f"is the name right, the hub in reach, and, for a gated data set, `hf auth login` done? Else {local}"
