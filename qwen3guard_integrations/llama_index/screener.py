"""A guard and a policy at work in LlamaIndex."""

from __future__ import annotations

from collections.abc import Sequence

from .. import screener
from ..core.conversation import Conversation
from ..core.verdict import Verdict
from .reporting import Report
from .turns import turn


class Screener(screener.Screener):
    """As every adapter's; tells LlamaIndex's event handlers what was decided, and lets callers take turns."""

    report_type = Report

    async def _verdicts(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        verdicts = await super()._verdicts(conversations)
        await turn()
        return verdicts
