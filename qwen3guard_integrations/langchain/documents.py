"""Retrieved documents: a filter for any chain, and a guarded copy of any retriever."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, field_validator

from ..core.conversation import Conversation, Turn
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.protocol import Guard
from ..reporting import entry
from .screener import Screener

R = TypeVar("R", bound=BaseRetriever)
logger = logging.getLogger(__name__)


class Qwen3GuardDocumentFilter(BaseDocumentCompressor):
    """Lets documents pass that the guard and the policy allow: the same objects, in the same order.

    All documents are judged with one question to the guard, at the point `document`. What the policy redacts goes on
    as a copy whose text is the policy's `redaction`, without the metadata, which can repeat what was removed. What it
    drops or blocks is left out.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        metadata_keys: Entries of the metadata that reach the prompt (a title, a summary): they are judged with the
            text.
        with_query: Judge each document as an answer to the query, for harm that only shows in its context.
        annotate: Put the decision into `metadata["qwen3guard"]` of a copy of each document that passes.
        on_block: What a block means: "drop" the document, or "raise" a `BlockedError`.

    Raises:
        BlockedError: As above.
        GuardError: The guard gave no verdict; no document passes (unless `Policy.on_guard_error` says otherwise).
    """

    guard: Any = Field(repr=False, exclude=True)
    policy: Policy = Field(default_factory=Policy)
    metadata_keys: tuple[str, ...] = ()
    with_query: bool = False
    annotate: bool = False
    on_block: Literal["drop", "raise"] = "drop"

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    def __init__(
        self,
        guard: Guard | Screener | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        screener = Screener.of(guard, policy)
        super().__init__(guard=screener, policy=screener.policy, **settings)

    @field_validator("guard", mode="before")
    @classmethod
    def _screener(cls, value: Any) -> Screener:
        return Screener.of(value)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The documents that may pass."""
        items = [self._item(document, query) for document in documents]
        return self._passing(documents, items, self.guard.decide([item for item in items if item]))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The documents that may pass."""
        items = [self._item(document, query) for document in documents]
        return self._passing(documents, items, await self.guard.adecide([item for item in items if item]))

    def _item(self, document: Document, query: str) -> Item | None:
        """What there is to judge in a document; None where nothing is written in it."""
        named = (str(document.metadata[key]) for key in self.metadata_keys if document.metadata.get(key))
        text = "\n".join((document.page_content, *named))
        if not text.strip():
            return None
        if self.with_query and query.strip():
            return Item(Point.DOCUMENT, Conversation.of_response(query, text))
        return Item(Point.DOCUMENT, Conversation(turns=(Turn(role="user", content=text),)))

    def _passing(
        self, documents: Sequence[Document], items: Sequence[Item | None], decisions: Sequence[Decision]
    ) -> list[Document]:
        if self.on_block == "raise" and (stop := stopping(decisions)) is not None:
            raise BlockedError(stop)
        rest = iter(decisions)
        passing = [
            self._after(document, next(rest) if item else None) for document, item in zip(documents, items, strict=True)
        ]
        kept = [document for document in passing if document is not None]
        if documents and not kept:
            logger.warning("none of %d documents may pass", len(documents))
        return kept

    def _after(self, document: Document, decision: Decision | None) -> Document | None:
        if decision is None:
            return document
        if decision.passes:
            return self._annotated(document, decision)
        if decision.action is not Action.REDACT:
            return None
        return self._annotated(Document(page_content=self.policy.redacted(decision), id=document.id), decision)

    def _annotated(self, document: Document, decision: Decision) -> Document:
        if not self.annotate:
            return document
        return document.model_copy(update={"metadata": {**document.metadata, "qwen3guard": entry(decision)}})


def guard_retriever(
    retriever: R,
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    **settings: Any,
) -> R:
    """A copy of `retriever` that gives away only documents that may pass.

    Callbacks and traces get the clean documents too. The class and all fields stay what they were.

    Args:
        retriever: Any LangChain retriever. It is not changed.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts at the point `document`.
        **settings: As for `Qwen3GuardDocumentFilter`.

    Raises:
        GuardConfigurationError: `retriever` is no retriever.

    When it retrieves: `BlockedError` with `on_block="raise"`; `GuardError` when the guard gives no verdict, unless
    `Policy.on_guard_error` says otherwise.
    """
    if not isinstance(retriever, BaseRetriever):
        raise GuardConfigurationError(
            f"guard_retriever takes a retriever, not {type(retriever).__name__}",
            hint="behind other runnables put Qwen3GuardRunnable, which knows documents",
        )
    copy = retriever.model_copy()
    copy.__class__ = _guarded_class(type(retriever), Qwen3GuardDocumentFilter(guard, policy, **settings))
    return copy


def _guarded_class(base: type[BaseRetriever], screen: Qwen3GuardDocumentFilter) -> Any:
    """A class that holds the filter itself, since LangChain makes configured copies of a retriever from its class."""
    metaclass: Any = type(base)
    namespace: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_get_relevant_documents": _filtered(base, screen),
        "_aget_relevant_documents": _afiltered(base, screen),
    }
    return metaclass(base.__name__, (base,), namespace)


# LangChain reads the signature of the method that is wrapped, and nothing else of it is taken over.
_wraps = partial(functools.wraps, assigned=())


def _filtered(base: type[BaseRetriever], screen: Qwen3GuardDocumentFilter) -> Any:
    @_wraps(base._get_relevant_documents)
    def _get_relevant_documents(self: Any, query: str, **kwargs: Any) -> list[Document]:
        return list(screen.compress_documents(base._get_relevant_documents(self, query, **kwargs), query))

    return _get_relevant_documents


def _afiltered(base: type[BaseRetriever], screen: Qwen3GuardDocumentFilter) -> Any:
    @_wraps(base._aget_relevant_documents)
    async def _aget_relevant_documents(self: Any, query: str, **kwargs: Any) -> list[Document]:
        if base._aget_relevant_documents.__qualname__.startswith("BaseRetriever."):  # would call the filtered one
            if manager := kwargs.get("run_manager"):
                kwargs["run_manager"] = manager.get_sync()
            documents = await run_in_executor(None, partial(base._get_relevant_documents, self, query, **kwargs))
        else:
            documents = await base._aget_relevant_documents(self, query, **kwargs)
        return list(await screen.acompress_documents(documents, query))

    return _aget_relevant_documents
