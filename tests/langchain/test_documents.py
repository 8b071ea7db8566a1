"""Documents: one question for all of them, and only those that may pass go on."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.langchain import Qwen3GuardDocumentFilter, guard_retriever
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import PII, VIOLENT, Recorder, asked

CANARY = "canary7f3a"
DOCUMENTS = [
    Document("one", id="1", metadata={"title": "first", "score": 0.9}),
    Document(f"two {CANARY}", id="2", metadata={"title": f"the {CANARY}"}),
    Document("three salary", id="3"),
    Document("", id="4"),
    Document("five", id="5", metadata={"title": f"fifth {CANARY}"}),
]


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: VIOLENT, "salary": PII}, **settings)


class Shelf(BaseRetriever):
    """Gives all its documents."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return self.documents


class AsyncShelf(Shelf):
    """Gives all its documents, in two ways."""

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return self.documents


class Counted(BaseRetriever):
    """Takes an argument of its own, and no run manager."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, k: int = 2) -> list[Document]:  # type: ignore[override]
        return self.documents[:k]


async def test_what_may_pass_is_the_same_object(lane: Lane) -> None:
    judge = guard()
    found = await lane(Qwen3GuardDocumentFilter(judge), "compress_documents", DOCUMENTS, "q")
    assert [document.id for document in found] == ["1", "4", "5"]
    assert all(document is DOCUMENTS[int(document.id) - 1] for document in found)
    assert len(judge.calls) == 1


async def test_metadata_that_reaches_the_prompt_is_judged(lane: Lane) -> None:
    found = await lane(
        Qwen3GuardDocumentFilter(guard(), metadata_keys=("title",)), "compress_documents", DOCUMENTS, "q"
    )
    assert [document.id for document in found] == ["1", "4"]


async def test_what_is_redacted_goes_on_without_what_repeats_it(lane: Lane) -> None:
    policy = {"points": {"document": {"unsafe": "redact", "controversial": "drop"}}}
    found = await lane(Qwen3GuardDocumentFilter(guard(), policy), "compress_documents", DOCUMENTS, "q")
    assert [document.page_content for document in found] == ["one", "[removed: Violent]", "", "five"]
    assert found[1] == Document("[removed: Violent]", id="2")


async def test_a_document_with_nothing_but_metadata_is_no_exception(lane: Lane) -> None:
    documents = [Document("", metadata={"title": CANARY})]
    for action, left in {"drop": [], "redact": [Document("[removed: Violent]")]}.items():
        screen = Qwen3GuardDocumentFilter(guard(), {"unsafe": action}, metadata_keys=("title",))
        assert await lane(screen, "compress_documents", documents, "q") == left


async def test_documents_are_annotated_on_copies(lane: Lane) -> None:
    found = await lane(Qwen3GuardDocumentFilter(guard(), "loose", annotate=True), "compress_documents", DOCUMENTS, "q")
    assert [document.metadata.get("qwen3guard", {}).get("severity") for document in found] == [
        "Safe",
        "Controversial",
        None,
        "Safe",
    ]
    assert found[0].metadata["score"] == 0.9
    assert not any("qwen3guard" in document.metadata for document in DOCUMENTS)


async def test_a_document_is_judged_with_the_query(lane: Lane) -> None:
    judge = guard()
    await lane(Qwen3GuardDocumentFilter(judge, with_query=True), "compress_documents", DOCUMENTS[:1], "what?")
    [[conversation]] = judge.calls
    assert [(turn.role, turn.content) for turn in conversation.turns] == [("user", "what?"), ("assistant", "one")]


async def test_a_block_can_raise(lane: Lane) -> None:
    with pytest.raises(BlockedError) as caught:
        await lane(Qwen3GuardDocumentFilter(guard(), on_block="raise"), "compress_documents", DOCUMENTS, "q")
    assert CANARY not in repr(caught.value)


async def test_it_says_when_nothing_is_left(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert await lane(Qwen3GuardDocumentFilter(guard()), "compress_documents", DOCUMENTS[1:2], "q") == []
    assert "none of 1 documents may pass" in caplog.text
    assert CANARY not in caplog.text


async def test_a_dead_guard_lets_no_document_through(lane: Lane) -> None:
    dead = Qwen3GuardDocumentFilter(guard(error=GuardUnavailableError("down")))
    with pytest.raises(GuardUnavailableError):
        await lane(dead, "compress_documents", DOCUMENTS, "q")


def test_a_wrong_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="on_block"):
        Qwen3GuardDocumentFilter(guard(), on_block="ignore")
    with pytest.raises(GuardConfigurationError, match="takes a retriever"):
        guard_retriever(RunnableLambda(str), guard())  # type: ignore[type-var]


def test_the_guard_is_not_shown() -> None:
    assert "FakeGuard" not in repr(Qwen3GuardDocumentFilter(guard()))
    assert "guard" not in Qwen3GuardDocumentFilter(guard()).model_dump()


@pytest.mark.parametrize("kind", [Shelf, AsyncShelf])
async def test_a_guarded_retriever_gives_only_what_may_pass(kind: Any, lane: Lane) -> None:
    judge, recorder = guard(), Recorder()
    shelf = kind(documents=DOCUMENTS)
    guarded = guard_retriever(shelf, judge)
    assert isinstance(guarded, kind)
    found = await lane(guarded | RunnableLambda(lambda documents: documents), "invoke", "q", {"callbacks": [recorder]})
    assert [document.id for document in found] == ["1", "4", "5"]
    assert "two" not in repr([[run.inputs, run.outputs, run.error, run.events] for run in recorder.runs])
    assert len(judge.calls) == 1
    assert len(await lane(shelf, "invoke", "q")) == 5


async def test_arguments_of_a_retriever_survive(lane: Lane) -> None:
    guarded = guard_retriever(Counted(documents=DOCUMENTS), guard())
    assert [document.id for document in await lane(guarded, "invoke", "q")] == ["1"]
    assert [document.id for document in await lane(guarded, "invoke", "q", k=4)] == ["1", "4"]


async def test_configured_and_deep_copies_stay_guarded(lane: Lane) -> None:
    guarded = guard_retriever(First(documents=DOCUMENTS), guard())
    configurable = guarded.configurable_fields(k=ConfigurableField("k"))
    found = await lane(configurable, "invoke", "q", {"configurable": {"k": 4}})
    assert [document.id for document in found] == ["1", "4"]
    assert [document.id for document in await lane(copy.deepcopy(guarded), "invoke", "q")] == ["1"]


@pytest.mark.parametrize("kind", [Shelf, AsyncShelf])
async def test_two_guards_both_judge(kind: Any, lane: Lane) -> None:
    first, second = guard(), FakeGuard({"five": VIOLENT})
    guarded = guard_retriever(guard_retriever(kind(documents=DOCUMENTS), first), second)
    assert [document.id for document in await lane(guarded, "invoke", "q")] == ["1", "4"]
    assert asked(second) == ["one", "five"]


class First(Shelf):
    """Gives as many documents as it is asked for."""

    k: int = 3

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return self.documents[: k or self.k]


class TestGuardedRetriever(RetrieversIntegrationTests):
    """LangChain's own tests of retrievers."""

    @property
    def retriever_constructor(self) -> Any:
        return lambda **settings: guard_retriever(First(**settings), FakeGuard())

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"documents": [Document(str(number)) for number in range(5)]}

    @property
    def retriever_query_example(self) -> str:
        return "q"
