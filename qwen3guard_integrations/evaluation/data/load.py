"""Labelled rows from wherever they are: `load_rows`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

from ...core.conversation import Conversation
from ..rows import Row
from .benchmark import Benchmark
from .benchmarks import BENCHMARKS, benchmark_named
from .dataset import DataError, DataSet
from .files import PARQUET, named_as_file, read_file, reads_itself
from .mapping import Mapped
from .records import Drafts, Record, Skip
from .samples import ALL, SAMPLE, read_sample, sampled

_BLANK: Final = "nothing to judge"
_OWNED: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def load_rows(
    dataset: str,
    *,
    split: str | None = None,
    fields: Mapping[str, str] | None = None,
    schema: str | None = None,
    limit: int | None = None,
) -> DataSet:
    """The labelled rows of a data set.

    Args:
        dataset: A benchmark's name or hub id ("xstest", "Qwen/Qwen3GuardTest"); the id of any other data set on the
            hub, with its configuration behind a colon if it has several; a JSON, JSON lines, CSV or Parquet file or
            a folder as `datasets` reads it; "sample:xstest" for a sample in the package, "sample:all" for all of them.
        split: One of its splits; by default the benchmark's usual one, or the only one there is.
        fields: For data in no known schema: which field is the prompt, the response, the label, and so on
            (`mapping.NAMES`), and which of its values are unsafe: `{"prompt": "question", "unsafe": "label=harmful"}`.
            Fields that have these names already need no entry.
        schema: The benchmark in whose schema a local file is.
        limit: At most so many rows, the first ones.

    Raises:
        DataError: It cannot be read. The message says where, which field, and what to change; never a text.
        ImportError: `datasets` is needed and not installed.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit={limit}: at least one row is needed")
    if dataset == SAMPLE + ALL:
        if split is not None or schema is not None or fields is not None:
            raise DataError(f"{dataset} goes without a split, a schema and fields")
        return _all_samples(limit)
    source = _source(dataset, split, schema, fields)
    skipped: Counter[str] = Counter()
    rows = tuple(islice(_rows(source, skipped), limit))
    if not rows:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
        raise DataError(f"{source.name} has no rows" + (f"; skipped: {reasons}" if reasons else ""))
    return DataSet(source.name, rows, dict(skipped))


@dataclass(frozen=True, slots=True)
class _Schema:
    """How records become rows, and the setting that says so, for errors."""

    setting: str
    drafts: Callable[[Record], Drafts]

    @classmethod
    def of(cls, benchmark: Benchmark | None, fields: Mapping[str, str] | None = None) -> Self:
        """A benchmark's; with `fields`, or without a benchmark, one of the user's own."""
        if benchmark is None or fields is not None:
            return cls("fields=...", Mapped(fields or {}).drafts)
        return cls(f"schema={benchmark.name!r}", benchmark.drafts)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where records come from, and how they are read."""

    name: str
    records: Iterable[Record]
    schema: _Schema


def _source(dataset: str, split: str | None, schema: str | None, fields: Mapping[str, str] | None) -> _Source:
    if schema is not None and fields is not None:
        raise DataError("give schema or fields, not both")
    sample = dataset.startswith(SAMPLE)
    named = _known(dataset.removeprefix(SAMPLE)) if sample else benchmark_named(dataset)
    read_as = named if schema is None else _known(schema)
    reading = _Schema.of(read_as, fields)
    if sample:
        assert named is not None
        return _Source(f"{_title(named, split)}, sample", read_sample(named, split, reading.setting), reading)
    path = Path(dataset)
    if path.exists():  # a clone from the hub may stand in a folder of its own name
        name = f"{read_as.title}: {path.name}" if read_as and fields is None else path.name
        return _Source(name, _local(path, read_as, split, reading.setting), reading)
    name, records = _from_hub(dataset, named, split, reading.setting)
    return _Source(name, records, reading)


def _local(path: Path, benchmark: Benchmark | None, split: str | None, setting: str) -> Iterator[Record]:
    if reads_itself(path) and path.is_file():
        return read_file(path, setting)
    from .hub import read_folder, read_parquet

    if path.is_dir():
        config, usual = (benchmark.config, benchmark.split) if benchmark else (None, None)
        return read_folder(path, config, split or usual, setting)
    if path.suffix.lower() != PARQUET:
        raise DataError(f"{path}: not a .jsonl, .json, .csv, .tsv or .parquet file (also packed: .gz, .bz2, .xz)")
    return read_parquet(path, setting)


def _from_hub(dataset: str, named: Benchmark | None, split: str | None, setting: str) -> tuple[str, Iterator[Record]]:
    """A data set on the hub and what it is called. Only owner/name is one: nobody is asked about a misspelt file."""
    if named is not None:
        if named.hub is None:
            raise DataError(f"{named.title} is not on the hub: give the file, with schema={named.name!r}")
        hub, config, name, split = named.hub, named.config, _title(named, split), split or named.split
    else:
        hub, _, after = dataset.partition(":")
        config, name = after or None, f"{dataset} ({split})" if split else dataset
        if not _OWNED.fullmatch(hub) or named_as_file(hub):
            raise DataError(
                f"{dataset!r} is no file, no owner/name on the hub, and none of {', '.join(BENCHMARKS)}"
                " (sample:NAME for the sample in the package)"
            )
    from .hub import read_hub

    return name, read_hub(hub, config, split, setting)


def _known(name: str) -> Benchmark:
    found = benchmark_named(name)
    if found is None:
        raise DataError(f"no benchmark {name!r}: it is one of {', '.join(BENCHMARKS)}")
    return found


def _title(benchmark: Benchmark, split: str | None) -> str:
    """With the split where the benchmark has several."""
    return f"{benchmark.title} ({split or benchmark.split})" if benchmark.splits else benchmark.title


def _rows(source: _Source, skipped: Counter[str]) -> Iterator[Row]:
    """The rows of all records, with ids that are unique; what gives no row is counted."""
    taken: set[str] = set()
    for record in source.records:
        for draft in source.schema.drafts(record):
            if isinstance(draft, Skip):
                skipped[draft.reason] += 1
            elif draft.turns[-1].blank:
                skipped[_BLANK] += 1
            else:
                own = draft.id or str(record.number)
                key = own if own not in taken else f"{own}#{record.number}"
                taken.add(key)
                conversation = Conversation(turns=draft.turns)
                yield Row(id=key, conversation=conversation, label=draft.label, input_ids=draft.input_ids)


def _all_samples(limit: int | None) -> DataSet:
    """All samples as one data set, in which the benchmark is the row's source."""
    rows, skipped = [], Counter[str]()
    for benchmark, part in sampled():
        stem = f"{benchmark.name}-{part}" if part else benchmark.name
        schema = _Schema.of(benchmark)
        records = read_sample(benchmark, part, schema.setting)
        for row in _rows(_Source(stem, records, schema), skipped):
            label = row.label.model_copy(update={"source": stem})
            rows.append(row.model_copy(update={"id": f"{stem}/{row.id}", "label": label}))
    return DataSet("all samples", tuple(rows[:limit]), dict(skipped))
