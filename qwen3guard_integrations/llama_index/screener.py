"""A guard and a policy at work in LlamaIndex."""

from __future__ import annotations

from .. import screener
from .reporting import Report


class Screener(screener.Screener):
    """As every adapter's; tells LlamaIndex's event handlers what was decided."""

    report_type = Report
