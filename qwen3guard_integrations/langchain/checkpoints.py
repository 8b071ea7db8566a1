"""`guard_checkpointer`: what a graph is given is judged before it is stored."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata

from ..core.conversation import Conversation
from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.policy import Policy
from ..core.screening import screening
from ..core.verdict import Verdict
from ..guards.protocol import Guard
from .history import in_thread, screened
from .screener import Screener

S = TypeVar("S", bound=BaseCheckpointSaver[Any])
Flow = Generator[Sequence[Conversation], Sequence[Verdict], Any]

_INPUT = "__start__"  # where LangGraph keeps what a run was given, until its first step
_SCREEN = "_qwen3guard_screen"


def guard_checkpointer(
    checkpointer: S,
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    messages_key: str = "messages",
) -> S:
    """A copy of `checkpointer` that stores no message which may not pass.

    LangGraph stores what a run was given before any node or middleware can look at it. This copy judges the messages of
    the state first, and stores the policy's `redaction` in place of what does not pass; it shares the storage and the
    connection with `checkpointer`. Beside `Qwen3GuardMiddleware` give it the middleware's own screener, so that no text
    is judged twice: `guard_checkpointer(saver, middleware.screener)`.

    Where the policy says "review", messages are stored as they are, since the person has to read them.

    Args:
        checkpointer: Any LangGraph checkpointer.
        guard: Who judges: a guard, or what `load_guard` takes, or the `screener` of a middleware.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        messages_key: Where the state holds its messages. Other entries are stored as they are.

    Raises:
        GuardConfigurationError: `checkpointer` is no checkpointer.

    When the graph runs: `GuardError` when the guard gives no verdict; nothing is stored, and the run fails, unless
    `Policy.on_guard_error` says otherwise.
    """
    if not isinstance(checkpointer, BaseCheckpointSaver):
        raise GuardConfigurationError(f"guard_checkpointer takes a checkpointer, not {type(checkpointer).__name__}")
    guarded = copy.copy(checkpointer)
    base: Any = type(checkpointer)
    guarded.__class__ = _guarded_class(base)
    setattr(guarded, _SCREEN, _Screen(Screener.of(guard, policy), messages_key))
    return guarded


@lru_cache(maxsize=64)
def _guarded_class(base: type[BaseCheckpointSaver[Any]]) -> Any:
    """A class that stores what its screen leaves; the settings belong to the instance."""

    def put(
        self: Any, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new: ChannelVersions
    ) -> RunnableConfig:
        screen: _Screen = getattr(self, _SCREEN)
        with in_thread(config):
            checkpoint = run(screen.checkpoint(checkpoint), screen.judge)
        return base.put(self, config, checkpoint, metadata, new)

    async def aput(
        self: Any, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new: ChannelVersions
    ) -> RunnableConfig:
        screen: _Screen = getattr(self, _SCREEN)
        with in_thread(config):
            checkpoint = await arun(screen.checkpoint(checkpoint), screen.ajudge)
        return await base.aput(self, config, checkpoint, metadata, new)

    def put_writes(
        self: Any, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        screen: _Screen = getattr(self, _SCREEN)
        with in_thread(config):
            writes = run(screen.writes(writes), screen.judge)
        base.put_writes(self, config, writes, task_id, task_path)

    async def aput_writes(
        self: Any, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        screen: _Screen = getattr(self, _SCREEN)
        with in_thread(config):
            writes = await arun(screen.writes(writes), screen.ajudge)
        await base.aput_writes(self, config, writes, task_id, task_path)

    methods = {"put": put, "aput": aput, "put_writes": put_writes, "aput_writes": aput_writes}
    return type(base.__name__, (base,), {"__module__": base.__module__, **methods})


class _Screen:
    """Screens what is stored."""

    def __init__(self, screener: Screener, key: str) -> None:
        self.judge = screener.guard.check_many
        self.ajudge = screener.guard.acheck_many
        self._policy = screener.policy
        self._key = key
        self._known = screener.known

    def checkpoint(self, checkpoint: Checkpoint) -> Flow:
        """The checkpoint as it is stored."""
        values = checkpoint["channel_values"]
        stored = _messages(values.get(self._key))
        given = values.get(_INPUT)
        new = _messages(given.get(self._key)) if isinstance(given, Mapping) else []
        if not stored and not new:
            return checkpoint
        after = yield from self._screened([*stored, *new])
        if after is None:
            return checkpoint
        update: dict[str, Any] = {self._key: _left(after[: len(stored)])} if stored else {}
        if isinstance(given, Mapping) and new:
            update[_INPUT] = {**given, self._key: _left(after[len(stored) :])}
        return {**checkpoint, "channel_values": {**values, **update}}

    def writes(self, writes: Sequence[tuple[str, Any]]) -> Flow:
        """The writes of a task as they are stored."""
        kept = []
        for channel, value in writes:
            messages = _messages(value) if channel == self._key else []
            after = (yield from self._screened(messages)) if messages else None
            kept.append((channel, value if after is None else _left(after)))
        return kept

    def _screened(self, messages: list[BaseMessage]) -> Flow:
        """What is stored in place of each message; None where all of them pass."""
        flow = screened(messages, self._policy, self._known, ask=None)
        try:
            items = next(flow)
            decisions = yield from screening(items, self._policy)
            flow.send(decisions)
        except StopIteration as stop:
            return stop.value.after if stop.value.changed else None


def _left(messages: Sequence[BaseMessage | None]) -> list[BaseMessage]:
    return [message for message in messages if message is not None]


def _messages(value: Any) -> list[BaseMessage]:
    """The messages in an entry of a state, or in what a run was given."""
    if value is None or isinstance(value, str):
        return []
    values = value if isinstance(value, list | tuple) else [value]
    try:
        return convert_to_messages(values)
    except (ValueError, TypeError, LookupError, NotImplementedError):
        return [one for one in values if isinstance(one, BaseMessage)]
