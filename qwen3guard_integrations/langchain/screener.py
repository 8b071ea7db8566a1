"""A guard and a policy at work in LangChain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import screener
from ..core.points import Point
from ..core.policy import Policy
from ..guards.protocol import Guard
from .history import Known
from .reporting import Report
from .values import Scope


class Screener(screener.Screener):
    """As every adapter's; tells LangChain's listeners what was decided.

    Args:
        owner: A name where one agent has several: none takes for judged what only another has judged.

    Attributes:
        known: Messages that may pass: adapters that share a screener judge none of them twice.
    """

    report_type = Report
    report: Report

    def __init__(
        self, guard: Guard | str, policy: Policy | Mapping[str, Any] | str | None = None, *, owner: str = ""
    ) -> None:
        super().__init__(guard, policy)
        self.known = Known(owner)

    def scope(self, point: Point) -> Scope:
        """How values at `point` are to be read (`values.read`)."""
        return Scope(policy=self.policy, point=point)
