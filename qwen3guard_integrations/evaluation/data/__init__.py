"""Labelled data: the public benchmarks in their published schemas, and files of your own."""

from __future__ import annotations

from .dataset import DataError, DataSet
from .load import load_rows

__all__ = ["DataError", "DataSet", "load_rows"]
