"""The report of a run: one page of HTML that needs nothing else, the same in Markdown, and the figures as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import jinja2 as _jinja2  # noqa: F401
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the reports of qwen3guard_integrations.evaluation need Jinja2 and matplotlib: "
        'pip install "qwen3guard-integrations[eval]"'
    ) from error

from ..._lazy import lazy

if TYPE_CHECKING:
    from .writing import write_report

__all__ = ["write_report"]

__getattr__, __dir__ = lazy(__name__, {"write_report": "writing"})
