"""How a model is guarded."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from langchain_core.messages import BaseMessage

from ..core.policy import Policy
from ..guards.load import how_loaded
from ..guards.protocol import Guard
from .reporting import Report

OnBlock = Literal["refuse", "raise", "regenerate"]
PromptScreening = Literal["before", "parallel", "off"]

INTERVENTION: Final = (
    "The answer was heading somewhere harmful and the last part of it was taken back. Think again about what would "
    "really help here, and go on from where the answer stands now: safely, without repeating it."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Screens:
    """How a model is guarded: the settings of `guard_model`. Equal when they guard in the same way.

    For agents there are four more. `withholds` names the tools of which a call that may not pass loses its arguments
    and stays, so that the agent can go on; a call of any other tool stops the answer. `report` is told what was
    decided. `known` messages of the prompt were judged before. With `holds` an answer that a person is to decide about
    is kept whole for the agent, which can ask (`Answer.held`); so answers come whole, and do not stream.
    """

    guard: Guard
    policy: Policy
    on_block: OnBlock = "refuse"
    prompt: PromptScreening = "before"
    token: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)
    retries: int = 5
    buffer_tokens: int = 40
    intervention: str = INTERVENTION
    fallback: Any = None
    withholds: frozenset[str] = frozenset()
    report: Report | None = field(default=None, compare=False)
    known: Container[BaseMessage] = field(default=(), compare=False)
    holds: bool = False

    @property
    def _key(self) -> tuple[object, ...]:
        numbers = (self.on_block, self.prompt, self.retries, self.buffer_tokens, self.intervention)
        return (id(self.guard), id(self.fallback), id(self.report), self.withholds, self.holds, *numbers)

    @property
    def cache_key(self) -> str:
        """What LangChain's cache must tell apart: another guard, policy or way of answering. A guard that `load_guard`
        made is known by its name in every process, any other only in this one."""
        guard = how_loaded(self.guard) or self.token
        own = self.fallback and self.token
        withholds = sorted(self.withholds)
        settings = (guard, self.policy.model_dump_json(), self.on_block, self.prompt, own, withholds, self.holds)
        return hashlib.sha256(repr(settings).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Screens) and self._key == other._key and self.policy == other.policy
