"""The public benchmarks of the technical report (arXiv 2510.14276, section 3), by the names that `load_rows` knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .aegis import AEGIS
from .benchmark import Benchmark
from .pairs import PAIRS
from .qwen3guard_test import QWEN3GUARD_TEST
from .suites import SUITES
from .toxicity import TOXICITY

BENCHMARKS: Final[Mapping[str, Benchmark]] = MappingProxyType(
    {benchmark.name: benchmark for benchmark in (QWEN3GUARD_TEST, *TOXICITY, *AEGIS, *SUITES, *PAIRS)}
)
"""Each benchmark under its name. One that labels prompts and responses is two: `wildguardtest` judges the prompts,
`wildguardtest-response` the responses."""


def benchmark_named(name: str) -> Benchmark | None:
    """The benchmark of this name or hub id; case does not count. A hub id means the first one, which is of prompts."""
    wanted = name.casefold()
    return BENCHMARKS.get(wanted) or next(
        (each for each in BENCHMARKS.values() if (each.hub or "").casefold() == wanted), None
    )
