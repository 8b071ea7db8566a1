"""The error tree. No message ever holds screened text.

::

    Qwen3GuardError
    |-- GuardError                    the guard gave no verdict; nothing was let through
    |   |-- GuardUnavailableError     down, refused the connection, overloaded, out of memory   (retryable)
    |   |-- GuardTimeoutError         no verdict before the deadline                            (retryable)
    |   |-- GuardResponseError        an answer that cannot be read as a verdict
    |   `-- GuardConfigurationError   a setting is missing or wrong; also a ValueError
    |-- BlockedError                  the policy stopped a text
    `-- of evaluations (each in its module, also ValueErrors but for the last)
        |-- DataError                 labelled rows cannot be read
        |-- RunError                  the folder of a run is not what was asked for
        |-- SummaryError              figures cannot be read, or not be compared
        `-- AimNotMetError            no policy keeps what was asked of it

`BlockedError` is not a `GuardError`: a retry or a fall-back that is meant for a guard in trouble must not
run again what was stopped on purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .decision import Decision
    from .points import Point
    from .verdict import Verdict


class Qwen3GuardError(Exception):
    """Anything that this package raises on purpose."""


class GuardError(Qwen3GuardError):
    """The guard gave no verdict.

    Args:
        message: What happened, without any screened text.
        hint: Which setting to change.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


class GuardUnavailableError(GuardError):
    """The guard is down, unreachable, overloaded or out of memory. The same call may succeed later."""

    retryable = True


class GuardTimeoutError(GuardError):
    """The guard gave no verdict before its deadline. The same call may succeed later."""

    retryable = True


class GuardResponseError(GuardError):
    """The guard answered, but not with a verdict. An unreadable verdict is never taken for Safe."""


class GuardConfigurationError(GuardError, ValueError):
    """A setting of the guard is missing or wrong: repeating the call cannot help."""


class BlockedError(Qwen3GuardError):
    """The policy stopped a text; `decision` says which point, why, and by which verdict. Never holds the text."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)  # the arguments, so that the error can be pickled (process pools, task queues)
        self.decision = decision

    def __str__(self) -> str:
        return self.decision.summary

    def __repr__(self) -> str:  # LangChain logs it; a verdict's own may hold words of a guard that babbles
        return f"{type(self).__name__}({self.decision.summary})"

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that led to the block; None when the guard failed and the policy fails closed."""
        return self.decision.verdict

    @property
    def point(self) -> Point:
        """The screening point at which the text was stopped."""
        return self.decision.point
