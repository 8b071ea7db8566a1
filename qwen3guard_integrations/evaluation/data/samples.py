"""The samples in the package: rows of this project's own, in the schemas of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import Final

from .benchmark import Benchmark
from .benchmarks import BENCHMARKS
from .dataset import DataError
from .files import read_file
from .records import Record

SAMPLE: Final = "sample:"
ALL: Final = "all"


def read_sample(benchmark: Benchmark, split: str | None, reading: str) -> Iterator[Record]:
    """The records of a benchmark's sample.

    Raises:
        DataError: There is no sample of this split.
    """
    if benchmark.splits and split not in {None, *benchmark.splits}:
        raise DataError(f"{benchmark.title} has no split {split!r}: it is one of {', '.join(benchmark.splits)}")
    stem = f"{benchmark.sample}-{split or benchmark.split}" if benchmark.splits else benchmark.sample
    with as_file(files(__package__) / "samples" / f"{stem}.jsonl") as path:
        yield from read_file(path, reading)


def sampled() -> tuple[tuple[Benchmark, str | None], ...]:
    """All samples, each once for each split, and twice where prompts and responses are labelled."""
    return tuple(
        (each, split)
        for each in BENCHMARKS.values()
        if each.name != "aegis-defensive"
        for split in each.splits or (None,)
    )
