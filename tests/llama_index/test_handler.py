"""`Qwen3GuardEventHandler`: it sees everything and holds up nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.instrumentation.events.agent import AgentToolCallEvent
from llama_index.core.schema import TextNode
from llama_index.core.tools import ToolMetadata
from llama_index_instrumentation import get_dispatcher

from qwen3guard_integrations import Decision, GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.llama_index import Qwen3GuardEventHandler
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, chat_llm, fake_guard, says, words_llm


@contextmanager
def attached(handler: Qwen3GuardEventHandler) -> Iterator[Qwen3GuardEventHandler]:
    root = get_dispatcher()
    root.add_event_handler(handler)
    try:
        yield handler
    finally:
        root.event_handlers = [one for one in root.event_handlers if one is not handler]


async def test_prompts_answers_and_tool_calls_are_seen_and_pass(lane: Lane) -> None:
    decisions: list[Decision] = []
    with attached(Qwen3GuardEventHandler(fake_guard(), on_verdict=decisions.append)) as handler:
        await lane(chat_llm(says(f"a {CANARY}")), "chat", [ChatMessage(content="hi")])
        call = ToolCallBlock(tool_call_id="c", tool_name="f", tool_kwargs={"q": CANARY})
        response = await lane(chat_llm(says(call)), "chat", [ChatMessage(content=f"the {CANARY}")])
        assert handler.flush(10)
    assert response.message.blocks == [call], "it cannot block"
    assert [(str(one.point), str(one.action)) for one in decisions] == [
        ("prompt", "allow"),
        ("response", "block"),
        ("prompt", "block"),
        ("tool_call", "block"),
    ]
    assert handler.counts["response", "block"] == 1
    assert CANARY not in repr(decisions)


async def test_retrieved_nodes_and_calls_of_agents_are_seen(lane: Lane) -> None:
    index = VectorStoreIndex([TextNode(text=f"a {CANARY}")], embed_model=MockEmbedding(embed_dim=8))
    with attached(Qwen3GuardEventHandler(fake_guard())) as handler:
        await lane(index.as_retriever(), "retrieve", "hi")
        tool = ToolMetadata(name="f", description="d")
        get_dispatcher().event(AgentToolCallEvent(arguments=f'{{"q": "{CANARY}"}}', tool=tool))
        assert handler.flush(10)
    assert dict(handler.counts) == {("document", "block"): 1, ("tool_call", "block"): 1}


def test_a_slow_guard_holds_up_nothing() -> None:
    with attached(Qwen3GuardEventHandler(fake_guard(delay=0.2), most_waiting=1)) as handler:
        start = time.perf_counter()
        for _ in range(3):
            words_llm("fine").complete("hi")
        assert time.perf_counter() - start < 0.2
        assert not handler.flush(0.01)
        assert handler.flush(10)
    assert handler.missed == 5


def test_a_dead_guard_is_logged_and_the_application_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    handler = Qwen3GuardEventHandler(FakeGuard(error=GuardUnavailableError("nobody there")))
    with caplog.at_level(logging.WARNING), attached(handler):
        assert words_llm("fine").complete(f"a {CANARY}").text == "fine"
        assert handler.flush(10)
    assert handler.missed == 2
    assert "nobody there" in caplog.text
    assert CANARY not in caplog.text


def test_what_on_verdict_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Decision) -> None:
        raise RuntimeError(CANARY)

    with attached(Qwen3GuardEventHandler(fake_guard(), on_verdict=fail)) as handler:
        words_llm("fine").complete("hi")
        assert handler.flush(10)
    assert "on_verdict raised RuntimeError" in caplog.text
    assert CANARY not in caplog.text


def test_its_own_events_are_not_judged() -> None:
    judge = fake_guard()
    with attached(Qwen3GuardEventHandler(judge)) as handler:
        words_llm("fine").complete("hi")
        assert handler.flush(10)
        assert handler.flush(10)
    assert len(judge.calls) == 2


def test_wrong_settings_are_named() -> None:
    with pytest.raises(GuardConfigurationError, match="most_waiting=0"):
        Qwen3GuardEventHandler(fake_guard(), most_waiting=0)
    wrong: Any = object()
    with pytest.raises(GuardConfigurationError, match="check_many"):
        Qwen3GuardEventHandler(wrong)
