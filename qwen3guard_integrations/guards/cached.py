"""`CachedGuard`: a text that was judged once is not judged again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TypeVar

from ..core.conversation import Conversation, Turn
from ..core.errors import GuardConfigurationError, GuardResponseError
from ..core.policy import Policy
from ..core.verdict import Verdict
from .protocol import CheckOne, Guard, StreamGuard, StreamSession

G = TypeVar("G", bound=Guard)


class CachedGuard(CheckOne):
    """`guard`, with its latest verdicts kept: the same last turn after the same context is judged once.

    Kept are digests and verdicts, never a text. What the guard failed to judge is not kept. A guard that judges token
    by token still does, and such judgements are not kept. Threads and event loops may share it; two calls that ask
    about the same text at the same time may both be asked.

    Args:
        guard: Who judges what is not known.
        size: How many verdicts are kept; the one that was asked for longest ago goes first.

    Raises:
        GuardConfigurationError: `size` is not positive.

    When the guard fails, its error passes through, even if some of the conversations are known.
    """

    def __new__(cls, guard: Guard, *, size: int = 4096) -> CachedGuard:
        """The class says whether the guard can judge token by token."""
        return super().__new__(_CachedStreamGuard if cls is CachedGuard and isinstance(guard, StreamGuard) else cls)

    def __init__(self, guard: Guard, *, size: int = 4096) -> None:
        if size < 1:
            raise GuardConfigurationError(f"size={size}: the cache must hold at least one verdict")
        self.guard = guard
        self.size = size
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = Lock()

    def __deepcopy__(self, memo: object) -> CachedGuard:
        """Itself: guards are shared, not copied."""
        return self

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation that is not known; the guard is asked at most once."""
        digests, known, missing = self._sorted(conversations)
        answers = self.guard.check_many(tuple(missing.values())) if missing else []
        return self._together(digests, known, missing, answers)

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation that is not known; the guard is asked at most once."""
        digests, known, missing = self._sorted(conversations)
        answers = await self.guard.acheck_many(tuple(missing.values())) if missing else []
        return self._together(digests, known, missing, answers)

    def _sorted(
        self, conversations: Sequence[Conversation]
    ) -> tuple[list[bytes], dict[bytes, Verdict], dict[bytes, Conversation]]:
        """The digest of every conversation, the verdicts that are known, and the conversations to ask about."""
        digests = [digest(conversation.turns) for conversation in conversations]
        known = self._known(digests)
        pairs = zip(digests, conversations, strict=True)
        return digests, known, {key: conversation for key, conversation in pairs if key not in known}

    def _together(
        self,
        digests: Sequence[bytes],
        known: dict[bytes, Verdict],
        missing: dict[bytes, Conversation],
        answers: Sequence[Verdict],
    ) -> list[Verdict]:
        """All verdicts, in order; those that are new are kept."""
        if len(answers) != len(missing):
            raise GuardResponseError(f"the guard gave {len(answers)} verdicts on {len(missing)} conversations")
        fresh = dict(zip(missing, answers, strict=True))
        self._keep(fresh)
        return [fresh[key] if key in fresh else known[key] for key in digests]

    def _known(self, digests: Sequence[bytes]) -> dict[bytes, Verdict]:
        known = {}
        with self._lock:
            for key in digests:
                if (verdict := self._verdicts.get(key)) is not None:
                    self._verdicts.move_to_end(key)
                    known[key] = verdict
        return known

    def _keep(self, verdicts: dict[bytes, Verdict]) -> None:
        if not verdicts:
            return
        with self._lock:
            self._verdicts.update(verdicts)
            while len(self._verdicts) > self.size:
                self._verdicts.popitem(last=False)


class _CachedStreamGuard(CachedGuard):
    """Of a guard that also judges token by token."""

    guard: StreamGuard

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> StreamSession:
        """A session of the guard's own."""
        return self.guard.open_stream(context, policy)


def digest(turns: Sequence[Turn]) -> bytes:
    """What stands for a conversation: no two different ones have the same."""
    words = [word for turn in turns for word in (turn.role, turn.content, turn.reasoning)]
    return hashlib.blake2b(
        "".join(f"{len(word)}:{word}" for word in words).encode("utf-8", "surrogatepass"), digest_size=24
    ).digest()
