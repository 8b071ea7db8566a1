"""Labelled data: the public benchmarks in their published schemas, and files of your own."""

from __future__ import annotations

from .benchmark import Benchmark
from .benchmarks import BENCHMARKS
from .dataset import DataError, DataSet
from .load import load_rows

__all__ = ["BENCHMARKS", "Benchmark", "DataError", "DataSet", "load_rows"]
