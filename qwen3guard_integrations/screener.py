"""A guard and a policy at work: texts in, decisions out, and whoever listens is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from .core.conversation import Conversation
from .core.decision import Decision
from .core.errors import GuardConfigurationError
from .core.flow import arun, run
from .core.policy import Policy
from .core.screening import Item, screening
from .core.verdict import Verdict
from .guards.cached import CachedGuard
from .guards.load import load_guard
from .guards.protocol import Guard
from .reporting import Report


class Screener:
    """What every adapter of this package asks: decides about texts, and reports the decisions.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes. Its verdicts are kept (`CachedGuard`), so that the same
            text in the same context is judged once.
        policy: What is done about verdicts: whatever `Policy.of` takes.

    Attributes:
        guard: With its verdicts kept.
        policy: As a `Policy`.
        report: Who is told.

    Raises:
        GuardConfigurationError: `guard` is no guard.
    """

    report_type: ClassVar[type[Report]] = Report

    def __init__(self, guard: Guard | str, policy: Policy | Mapping[str, Any] | str | None = None) -> None:
        if isinstance(guard, str):
            guard = load_guard(guard)
        if not isinstance(guard, Guard):
            raise GuardConfigurationError(
                f"guard must have check_many and acheck_many; {type(guard).__name__} has not", hint="see load_guard"
            )
        self.guard = guard if isinstance(guard, CachedGuard) else CachedGuard(guard)
        self.policy = Policy.of(policy)
        self.report = self.report_type()

    @classmethod
    def of(cls, guard: Screener | Guard | str, policy: Policy | Mapping[str, Any] | str | None = None) -> Self:
        """A screener from whatever names one; adapters that work together share theirs."""
        if isinstance(guard, cls):
            return guard
        return cls(guard.guard, guard.policy) if isinstance(guard, Screener) else cls(guard, policy)

    def repeats(self, other: Screener) -> bool:
        """Whether `other` asks the same guard and acts by the same policy."""
        return self.guard.guard is other.guard.guard and self.policy == other.policy

    def decide(self, items: Sequence[Item], *, tell: bool = True) -> list[Decision]:
        """A decision about every item, in order, with one question to the guard; listeners hear of it if `tell`.

        Raises:
            GuardError: The guard gave no verdict, and the policy's `on_guard_error` is "raise".
        """
        decisions = run(screening(items, self.policy), self.guard.check_many)
        if tell:
            self.report.tell(decisions)
        return decisions

    async def adecide(self, items: Sequence[Item], *, tell: bool = True) -> list[Decision]:
        """As `decide`, without blocking the event loop."""
        decisions = await arun(screening(items, self.policy), self._verdicts)
        if tell:
            await self.report.atell(decisions)
        return decisions

    async def _verdicts(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        return await self.guard.acheck_many(conversations)
