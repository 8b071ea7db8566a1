"""`Qwen3GuardEventHandler`: watches an application as it is. It observes and cannot block."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.agent import AgentToolCallEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent
from llama_index.core.schema import MetadataMode
from pydantic import PrivateAttr

from ..core.conversation import Conversation, Turn
from ..core.decision import Decision
from ..core.errors import GuardConfigurationError, GuardError
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..core.words import tool_call_text
from ..guards.protocol import Guard
from .messages import items_of, parts_of, turn_of
from .nodes import text_of
from .screener import Screener

logger = logging.getLogger(__name__)


class Qwen3GuardEventHandler(BaseEventHandler):
    """Judges prompts, answers, retrieved nodes and tool calls as LlamaIndex's events tell of them.

    It observes: what it judges has passed already, and LlamaIndex swallows whatever a handler raises. Use it to see
    what a guard would find before it is switched on; to stop anything use `guard_llm`, `Qwen3GuardQueryEngine` and the
    other adapters. Judgements run in a thread of their own, in the order of the events, and hold up nothing:
    `get_dispatcher().add_event_handler(handler)`.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What would be done about verdicts: whatever `Policy.of` takes.
        on_verdict: Called with each decision on a text that was judged, in the handler's thread. What it raises is
            logged.
        most_waiting: So many events may wait for their judgement; what comes on top is not judged, which is logged
            and counted.

    Raises:
        GuardConfigurationError: `guard` is no guard, or `most_waiting` is not positive.

    When the guard fails, that is logged, and the application goes on.

    Attributes:
        missed: How many events were not judged: too many waited, or the guard failed.
    """

    missed: int = 0
    _screener: Screener = PrivateAttr()
    _on_verdict: Callable[[Decision], object] | None = PrivateAttr()
    _most_waiting: int = PrivateAttr()
    _thread: ThreadPoolExecutor = PrivateAttr()
    _waiting: set[Future[None]] = PrivateAttr(default_factory=set)

    def __init__(
        self,
        guard: Guard | Screener | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        *,
        on_verdict: Callable[[Decision], object] | None = None,
        most_waiting: int = 1024,
    ) -> None:
        if most_waiting < 1:
            raise GuardConfigurationError(f"most_waiting={most_waiting}: at least one event must be able to wait")
        super().__init__()
        self._screener = Screener.of(guard, policy)
        self._on_verdict = on_verdict
        self._most_waiting = most_waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qwen3guard-observer")

    @classmethod
    def class_name(cls) -> str:
        """The name of the handler."""
        return "Qwen3GuardEventHandler"

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many decisions there were, by point and action: `{("response", "block"): 2}`."""
        return self._screener.report.counts

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Have what the event tells of judged, later."""
        items = _items_in(event, self._screener.policy)
        if not items:
            return
        if len(self._waiting) >= self._most_waiting:
            self._miss("too many events wait for their judgement (most_waiting)")
            return
        future = self._thread.submit(self._judge, items)
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events so far are judged, at most `timeout` seconds; whether they are."""
        return not wait(tuple(self._waiting), timeout).not_done

    def _judge(self, items: Sequence[Item]) -> None:
        try:
            decisions = self._screener.decide(items)
        except GuardError as error:
            self._miss(str(error))
            return
        for decision in decisions:
            if self._on_verdict is not None and decision.verdict is not None:
                try:
                    self._on_verdict(decision)
                except Exception as error:  # noqa: BLE001  # the caller's own
                    logger.error("on_verdict raised %s", type(error).__name__)

    def _miss(self, why: str) -> None:
        self.missed += 1
        logger.warning("an event was not judged: %s", why)


def _items_in(event: BaseEvent, policy: Policy) -> list[Item]:
    """What an event tells that can be judged."""
    match event:
        case LLMChatStartEvent(messages=messages):
            return [item for items in items_of(messages, policy) for item in items]
        case LLMCompletionStartEvent(prompt=prompt):
            return _of_answer([], ChatMessage(content=prompt))
        case LLMChatEndEvent(messages=messages, response=response) if response is not None:
            return _of_answer(messages, response.message)
        case LLMCompletionEndEvent(prompt=prompt, response=response):
            return _of_answer(
                [ChatMessage(content=prompt)], ChatMessage(role=MessageRole.ASSISTANT, content=response.text)
            )
        case RetrievalEndEvent(nodes=nodes):
            texts = (text_of(node.node, MetadataMode.LLM) for node in nodes)
            return [_item(Point.DOCUMENT, Turn(role="user", content=text)) for text in texts if text.strip()]
        case AgentToolCallEvent(tool=tool, arguments=arguments):
            text = tool_call_text({"name": tool.name, "args": arguments})
            return [_item(Point.TOOL_CALL, Turn(role="assistant", content=text))]
        case _:
            return []


def _of_answer(messages: Sequence[ChatMessage], answer: ChatMessage) -> list[Item]:
    context = tuple(turn for turn in map(turn_of, messages) if not turn.blank)
    return [_item(point, turn, context) for point, turn in parts_of(answer)]


def _item(point: Point, turn: Turn, context: tuple[Turn, ...] = ()) -> Item:
    return Item(point, Conversation(turns=(*context, turn)))
