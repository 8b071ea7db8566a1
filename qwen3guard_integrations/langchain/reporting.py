"""What happened: every decision as an event, a log line and a count. Never with the text that was judged."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackManager, adispatch_custom_event, dispatch_custom_event
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_stream_writer
from pydantic import ValidationError

from ..core.decision import Decision

EVENT: Final = "qwen3guard.verdict"
"""The name of the custom event, for callback handlers (`on_custom_event`) and `astream_events`; and the `type` of what
`stream_mode="custom"` brings."""

_COLLECTED: Final[ContextVar[list[dict[str, Any]] | None]] = ContextVar("qwen3guard_collected", default=None)

logger = logging.getLogger("qwen3guard_integrations.verdicts")
logger.addHandler(logging.NullHandler())


def entry(decision: Decision) -> dict[str, Any]:
    """`decision` as plain data, for events, logs and states. Names that the guard made up stay out.

    The same as `decision.model_dump(mode="json", exclude_none=True)` without these names, in a fifth of the time.
    """
    data: dict[str, Any] = {"point": str(decision.point), "action": str(decision.action)}
    if decision.severity is not None:
        data["severity"] = str(decision.severity)
    if (verdict := decision.verdict) is not None:
        data["verdict"] = {"severity": str(verdict.severity), "categories": [*map(str, verdict.categories)]}
        if verdict.refusal is not None:
            data["verdict"]["refusal"] = verdict.refusal
        if verdict.scores is not None:
            data["verdict"]["scores"] = verdict.scores.model_dump()
    data["guard_failed"] = decision.guard_failed
    return data


def decision_in(data: Any) -> Decision | None:
    """The decision that an entry stands for; None for anything else, which somebody else has written."""
    try:
        return Decision.model_validate(data)
    except ValidationError:
        return None


class Report:
    """Tells whoever listens what was decided.

    Attributes:
        counts: How many decisions there were, by point and action: `{("prompt", "block"): 2}`.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

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
        """What callback handlers are told; logs, counters and `stream_mode="custom"` are told here."""
        judged = [decision for decision in decisions if decision.verdict is not None or decision.guard_failed]
        writer = _stream_writer() if judged else None
        collected = _COLLECTED.get()
        entries = []
        for decision in judged:
            self.counts[str(decision.point), str(decision.action)] += 1
            _count(decision)
            _log(decision)
            if listened or writer or collected is not None:
                entries.append(entry(decision))
            if writer:
                writer({"type": EVENT, **entries[-1]})
        if collected is not None:
            collected += entries
        return entries if listened else []


def _log(decision: Decision) -> None:
    """One line: WARNING for what does not pass, INFO for what is flagged, DEBUG for the rest."""
    level = logging.DEBUG if decision.action.value == "allow" else logging.INFO if decision.passes else logging.WARNING
    if logger.isEnabledFor(level):
        logger.log(level, "%s", decision.summary, extra={"qwen3guard": entry(decision)})


@cache
def _counter() -> Any:
    """OpenTelemetry's counter of verdicts; None where it is not installed."""
    try:
        from opentelemetry import metrics
    except ImportError:
        return None
    meter = metrics.get_meter("qwen3guard_integrations")
    return meter.create_counter("qwen3guard.verdicts", description="Texts that Qwen3Guard judged, by point and action")


def _count(decision: Decision) -> None:
    if (counter := _counter()) is not None:
        labels = {"point": str(decision.point), "action": str(decision.action), "severity": str(decision.severity)}
        counter.add(1, labels)


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
