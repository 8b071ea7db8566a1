"""The Python blocks in README and docs are tests: they run in order, sharing one namespace for each file."""

from __future__ import annotations

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"], excludes=["tests/**"]
).pytest()
