"""A guard and a policy at work in LlamaIndex."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from .. import screener
from ..core.conversation import Conversation
from ..core.errors import GuardConfigurationError
from ..core.policy import Policy
from ..core.verdict import Verdict
from ..guards.journal import JournalGuard, innermost
from ..guards.load import how_loaded, load_guard, written_down
from ..guards.protocol import Guard
from .reporting import Report
from .turns import turn


class Screener(screener.Screener):
    """As every adapter's; tells LlamaIndex's event handlers what was decided, and lets callers take turns.

    A pickle has the name and the options of a guard that `load_guard` made, never a key: that is read from the
    environment when it is made again.
    """

    report_type = Report

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is made again in another process."""
        return screener_of, (_to_pickle(self.guard), self.policy)

    def __deepcopy__(self, memo: object) -> Screener:
        """Itself: guards are shared, not copied."""
        return self

    async def _verdicts(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        verdicts = await super()._verdicts(conversations)
        await turn()
        return verdicts


def screener_of(
    guard: Guard | screener.Screener | Mapping[str, Any] | str | None,
    policy: Policy | Mapping[str, Any] | str | None,
) -> Screener:
    """As `Screener.of`, also of a guard that is written down; a policy that is given goes before a screener's own.

    Raises:
        GuardConfigurationError: There is no guard.
    """
    if guard is None:
        raise GuardConfigurationError(
            "no guard is given",
            hint='such as guard="demo"; from_dict(data, guard=...) for one that was not written down',
        )
    if isinstance(guard, Mapping):
        guard = load_guard(**guard)
    if isinstance(guard, screener.Screener) and policy is not None:
        guard = guard.guard
    return Screener.of(guard, policy)


def _to_pickle(guard: Guard) -> Any:
    """What stands for `guard` in a pickle."""
    asked = innermost(guard)
    if (data := written_down(asked)) is not None:
        return data
    reason: Exception | None = None
    if how_loaded(asked) is None:  # else it has secrets
        kept = guard if isinstance(guard, JournalGuard) else asked
        try:
            pickle.dumps(kept)
        except Exception as error:  # noqa: BLE001  # whatever its class raises
            reason = error
        else:
            return kept
    raise GuardConfigurationError(
        f"this {type(asked).__name__} cannot be pickled",
        hint="only guards that load_guard made without secrets among their options can, and your own picklable ones",
    ) from reason
