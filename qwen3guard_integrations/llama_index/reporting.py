"""What happened: every decision as an event of LlamaIndex's instrumentation, beside the log line and the count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.instrumentation.event_handlers import NullEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import Dispatcher, active_instrument_tags, instrument_tags

from .. import reporting
from ..core.decision import Decision
from ..reporting import entry

_dispatcher = get_dispatcher(__name__)


class Qwen3GuardVerdictEvent(BaseEvent):
    """A decision, for event handlers; never with the text that was judged.

    Its `span_id` is that of the span in which the text was judged, and its tags have `qwen3guard.point` and
    `qwen3guard.action`, for handlers that put tags on spans.

    Attributes:
        point: Where the text was about to pass.
        action: What is done with it.
        severity: How harmful the policy takes it to be; None when nothing was judged.
        verdict: What the guard said: severity, categories, refusal, scores; None when it failed.
        guard_failed: The guard gave no verdict, and the policy decided without it.
    """

    point: str
    action: str
    severity: str | None = None
    verdict: dict[str, Any] | None = None
    guard_failed: bool = False

    @classmethod
    def class_name(cls) -> str:
        """The name of the event."""
        return "Qwen3GuardVerdictEvent"


class Report(reporting.Report):
    """Tells event handlers of LlamaIndex's dispatcher too."""

    def tell(self, decisions: Iterable[Decision]) -> None:
        """Report decisions on texts that were judged, in the span that is under way."""
        judged = self.record(decisions)
        if not judged or not _is_heard(_dispatcher):
            return
        for decision in judged:
            tags = {"qwen3guard.point": str(decision.point), "qwen3guard.action": str(decision.action)}
            _dispatcher.event(Qwen3GuardVerdictEvent(**entry(decision), tags=tags, span_id=active_span_id.get()))

    async def atell(self, decisions: Iterable[Decision]) -> None:
        """Report decisions on texts that were judged, in the span that is under way."""
        self.tell(decisions)


@contextmanager
def tagging(decisions: Iterable[Decision]) -> Iterator[None]:
    """Spans that begin inside of the block have tags with what was decided: `qwen3guard.prompt`: "allow"."""
    strictest = sorted(decisions, key=lambda decision: decision.action)
    tags = {f"qwen3guard.{decision.point}": str(decision.action) for decision in strictest}
    with instrument_tags({**active_instrument_tags.get(), **tags}):
        yield


def _is_heard(dispatcher: Dispatcher) -> bool:
    """Whether anybody handles events of `dispatcher`."""
    if any(not isinstance(handler, NullEventHandler) for handler in dispatcher.event_handlers):
        return True
    return dispatcher.propagate and dispatcher.parent is not dispatcher and _is_heard(dispatcher.parent)
