"""What happened: every decision as a custom event of LangChain, beside the log line and the count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackManager, adispatch_custom_event, dispatch_custom_event
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_stream_writer

from .. import reporting
from ..core.decision import Decision
from ..reporting import EVENT, entry

_COLLECTED: Final[ContextVar[list[dict[str, Any]] | None]] = ContextVar("qwen3guard_collected", default=None)


class Report(reporting.Report):
    """Tells callback handlers (`on_custom_event`), `astream_events` and `stream_mode="custom"` too."""

    @contextmanager
    def collecting(self) -> Iterator[list[dict[str, Any]]]:
        """The entries that are reported inside of the block, in this thread or task and those that it starts."""
        entries: list[dict[str, Any]] = []
        token = _COLLECTED.set(entries)
        try:
            yield entries
        finally:
            _COLLECTED.reset(token)

    def tell(self, decisions: Iterable[Decision]) -> None:
        """Report decisions on texts that were judged, in the run that is under way."""
        config = _listening()
        for data in self._entries(decisions, listened=config is not None):
            dispatch_custom_event(EVENT, data, config=config)

    async def atell(self, decisions: Iterable[Decision]) -> None:
        """Report decisions on texts that were judged, in the run that is under way."""
        config = _listening()
        for data in self._entries(decisions, listened=config is not None):
            await adispatch_custom_event(EVENT, data, config=config)

    def _entries(self, decisions: Iterable[Decision], *, listened: bool) -> list[dict[str, Any]]:
        """What callback handlers are told; all others are told here."""
        judged = self.record(decisions)
        writer = _stream_writer() if judged else None
        collected = _COLLECTED.get()
        if not (listened or writer or collected is not None):
            return []
        entries = [entry(decision) for decision in judged]
        if writer:
            for data in entries:
                writer({"type": EVENT, **data})
        if collected is not None:
            collected += entries
        return entries if listened else []


def _listening() -> RunnableConfig | None:
    """The configuration of the run that is under way, if somebody hears its custom events."""
    config = var_child_runnable_config.get()
    callbacks = config.get("callbacks") if config else None
    if not isinstance(callbacks, BaseCallbackManager) or callbacks.parent_run_id is None:
        return None
    return config if any(not handler.ignore_custom_event for handler in callbacks.handlers) else None


def _stream_writer() -> Callable[[Any], None] | None:
    """What takes entries for `stream_mode="custom"`; None outside of a LangGraph run."""
    try:
        return get_stream_writer()
    except (RuntimeError, LookupError):
        return None
