"""Retrieved nodes: which of them may pass, and a postprocessor for any query or chat engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Final, Literal, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseComponent,
    BaseNode,
    Document,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR
from pydantic import ConfigDict, Field, field_serializer

from .. import screener
from ..core.conversation import Conversation, Turn
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.journal import innermost
from ..guards.load import written_down
from ..guards.protocol import Guard
from ..reporting import entry
from .screener import Screener, screener_of
from .turns import turn

F = TypeVar("F", bound=Callable[..., Any])
Outcomes = Generator[list[Item], list[Decision], list[BaseNode | None]]
logger = logging.getLogger(__name__)

NODES_AT_ONCE: Final = 1024
"""How many nodes one question to the guard has at most: far more than a query retrieves."""
CHARACTERS_AT_ONCE: Final = 2_000_000
"""How much text one question has at most, longer nodes apart; twice as much is alive while the next one is made."""
_REFILL_AT_LEAST: Final = 8  # one more question to the guard costs more than a few more nodes in the one before


def unspanned(function: F) -> F:
    """`function`, around which LlamaIndex puts no span: span handlers would be told its arguments unjudged."""
    setattr(function, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return function


# --- one node: what is judged of it, and what goes on in its place ---


def text_of(node: BaseNode, mode: MetadataMode) -> str:
    """All words of `node` that reach a prompt.

    That is its content with the metadata of `mode`. Multimodal prompts have metadata and text as blocks of their own,
    also where the content leaves one of them out: an image without text, a template without a place for metadata.
    """
    text = node.get_content(metadata_mode=mode)
    for words in (node.get_metadata_str(mode=mode), node.get_content(metadata_mode=MetadataMode.NONE)):
        if words.strip() not in text:
            text = f"{text}\n\n{words}"
    return text


def item_of(text: str, query: str = "") -> Item | None:
    """What there is to judge in the text of a node, as an answer to `query` if there is one; None for a blank text."""
    if not text.strip():
        return None
    if query.strip():
        return Item(Point.DOCUMENT, Conversation.of_response(query, text))
    return Item(Point.DOCUMENT, Conversation(turns=(Turn(role="user", content=text),)))


def redacted(node: BaseNode, text: str) -> BaseNode:
    """A new node in place of `node`, with its id and its relations, and `text` for all its words."""
    kind = Document if isinstance(node, Document) else TextNode
    return kind(id_=node.node_id, text=text, relationships=_relations(node, _bare))


def _bare(related: RelatedNodeInfo) -> RelatedNodeInfo:
    """Without metadata and hash, which repeat what is written in the node."""
    return RelatedNodeInfo(node_id=related.node_id, node_type=related.node_type)


def parted(passing: Sequence[BaseNode], others: Container[str] | None = None) -> list[BaseNode]:
    """`passing`, whose relations repeat the metadata only of nodes that are among them, or their own.

    Splitters write down with each node the metadata of those before and behind it. A node whose relations repeat what
    may not pass goes on as a copy.

    Args:
        passing: What goes on; what is redacted in its new form.
        others: The ids that this is about; None for all.
    """
    metadata = {node.node_id: node.metadata for node in passing}

    def apart(node: BaseNode, related: RelatedNodeInfo) -> RelatedNodeInfo:
        said = related.metadata.items()
        known = said <= node.metadata.items() or said <= metadata.get(related.node_id, {}).items()
        return related if known or (others is not None and related.node_id not in others) else _bare(related)

    parts = [_relations(node, partial(apart, node)) for node in passing]
    return [
        node if relations == node.relationships else node.model_copy(update={"relationships": relations})
        for node, relations in zip(passing, parts, strict=True)
    ]


def _relations(node: BaseNode, made_of: Callable[[RelatedNodeInfo], RelatedNodeInfo]) -> dict[Any, Any]:
    return {
        name: [*map(made_of, related)] if isinstance(related, list) else made_of(related)
        for name, related in node.relationships.items()
    }


def annotated(node: BaseNode, notes: Mapping[str, Any]) -> BaseNode:
    """A copy of `node` with `notes` in its metadata, where neither prompt nor embedding has them."""
    return node.model_copy(
        update={
            "metadata": {**node.metadata, **notes},
            "excluded_llm_metadata_keys": [*dict.fromkeys((*node.excluded_llm_metadata_keys, *notes))],
            "excluded_embed_metadata_keys": [*dict.fromkeys((*node.excluded_embed_metadata_keys, *notes))],
        }
    )


# --- settings, which never say a secret ---


class GuardedComponent(BaseComponent):
    """A component of LlamaIndex that judges nodes.

    It is written down (`to_dict`, `to_json`, pickle) with the name and the options of a guard that `load_guard` made,
    never with a key: that is read from the environment when the component is made again.
    """

    guard: Any = Field(repr=False)
    policy: Policy
    annotate: bool = False
    on_block: Literal["drop", "raise"] = "drop"

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    def __init__(
        self,
        guard: Guard | screener.Screener | Mapping[str, Any] | str | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        if unknown := [name for name in settings if name not in type(self).model_fields]:
            raise GuardConfigurationError(
                f"{type(self).__name__} has no setting {unknown[0]!r}",
                hint="those of a guard are its own: guard=load_guard(...)",
            )
        screens = screener_of(guard, policy)
        super().__init__(guard=screens, policy=screens.policy, **settings)

    @field_serializer("guard")
    def _guard_as_data(self, guard: Screener) -> dict[str, Any] | None:
        return written_down(innermost(guard.guard))

    @field_serializer("policy")
    def _policy_as_data(self, policy: Policy) -> dict[str, Any]:
        data = policy.model_dump(mode="json")
        return {**data, "trusted_roles": sorted(data["trusted_roles"])}  # the same in every process

    def __getstate__(self) -> dict[Any, Any]:
        left_out = {"guard", "callback_manager"}
        settings = {name: getattr(self, name) for name in type(self).model_fields if name not in left_out}
        return {**settings, "guard": self.guard}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _outcomes(self, nodes: Iterable[BaseNode], mode: MetadataMode, query: str = "") -> Outcomes:
        """What goes on in place of each node, None where nothing does; yields what is to be decided."""
        outcomes: list[BaseNode | None] = []
        for batch in _batches(nodes, mode, query):
            decisions = yield [item for _, item in batch if item is not None]
            if self.on_block == "raise" and (stop := stopping(decisions)) is not None:
                raise BlockedError(stop)
            rest = iter(decisions)
            outcomes += [node if item is None else self._after(node, next(rest)) for node, item in batch]
        return outcomes

    def _after(self, node: BaseNode, decision: Decision) -> BaseNode | None:
        if not decision.passes:
            if decision.action is not Action.REDACT:
                return None
            node = redacted(node, self.policy.redacted(decision))
        return annotated(node, self._notes(decision)) if self.annotate else node

    def _notes(self, decision: Decision) -> dict[str, Any]:
        return {"qwen3guard": entry(decision)}


def _batches(nodes: Iterable[BaseNode], mode: MetadataMode, query: str) -> Iterator[list[tuple[BaseNode, Item | None]]]:
    """`nodes` and what there is to judge of each, in lists of bounded size."""
    batch: list[tuple[BaseNode, Item | None]] = []
    characters = 0
    for node in nodes:
        text = text_of(node, mode)
        if batch and (len(batch) == NODES_AT_ONCE or characters + len(text) > CHARACTERS_AT_ONCE):
            yield batch
            batch, characters = [], 0
        batch.append((node, item_of(text, query)))
        characters += len(text)
    if batch:
        yield batch


# --- the postprocessor ---


class Qwen3GuardNodePostprocessor(GuardedComponent, BaseNodePostprocessor):
    """Lets nodes pass that the guard and the policy allow: the same objects, in the same order, with their scores.

    What is judged is what reaches the prompt: the content of each node with its metadata, at the point `document`. All
    nodes are judged with one question to the guard (1,024 nodes or two million characters at a time); nodes without
    words pass. What the policy redacts goes on as a new node with the policy's `redaction` for its text and without
    metadata; what it drops, blocks or gives to a person to review is left out. A neighbour whose relations repeat
    metadata of such a node goes on as a copy without it. When none may pass, a warning is logged, and query engines
    answer "Empty Response".

    Put it last: a postprocessor behind it may bring in text that was not judged. `as_retriever(node_postprocessors=)`
    ignores postprocessors; use `guard_retriever`.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        with_query: Judge each node as an answer to the query, for harm that only shows in its context.
        annotate: Put the decision into `metadata["qwen3guard"]` of a copy of each node that passes; prompt and
            embedding do not have it.
        on_block: What a block means: "drop" the node, or "raise" a `BlockedError`.
        refill: A retriever, with a larger `similarity_top_k`, whose further results take the place of nodes that were
            left out, as far as they pass. They come last. Without a query there is no refill. It is not written down:
            `to_dict` leaves it out, and a pickle is refused.

    Raises:
        BlockedError: As above.
        GuardError: The guard gave no verdict; no node passes (unless `Policy.on_guard_error` says otherwise).
        GuardConfigurationError: No guard is given, a setting is unknown, or it cannot be pickled.
    """

    with_query: bool = False
    refill: BaseRetriever | None = Field(default=None, exclude=True, repr=False)

    def __init__(
        self,
        guard: Guard | screener.Screener | Mapping[str, Any] | str | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(guard, policy, **settings)

    def __getstate__(self) -> dict[Any, Any]:
        if self.refill is not None:  # with all documents of its index, and the key of its embedding model
            raise GuardConfigurationError(
                "a postprocessor with refill cannot be pickled", hint="set refill where it runs"
            )
        return super().__getstate__()

    @classmethod
    def class_name(cls) -> str:
        """By what LlamaIndex knows it when it is written down."""
        return "Qwen3GuardNodePostprocessor"

    @unspanned
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        def answer(ask: list[Item] | QueryBundle) -> Any:
            return self.refill.retrieve(ask) if isinstance(ask, QueryBundle) else self.guard.decide(ask)  # type: ignore[union-attr]

        return run(self.passing(nodes, query_bundle), answer)

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        async def answer(ask: list[Item] | QueryBundle) -> Any:
            asked = self.refill.aretrieve(ask) if isinstance(ask, QueryBundle) else self.guard.adecide(ask)  # type: ignore[union-attr]
            return await asked

        # LlamaIndex retrieves for all of many queries in one turn of the loop. A guard in this process that began with
        # the first of them meanwhile would make that turn longer.
        await asyncio.sleep(0)
        await turn()
        return await arun(self.passing(nodes, query_bundle), answer)

    def passing(
        self, nodes: Sequence[NodeWithScore], query: QueryBundle | None
    ) -> Generator[list[Item] | QueryBundle, Any, list[NodeWithScore]]:
        """The nodes that may pass; yields what is to be decided, and the query when there is to be a refill."""
        context = query.query_str if self.with_query and query is not None else ""
        passing = yield from self._kept(nodes, context)
        missing = len(nodes) - len(passing)
        found: Sequence[NodeWithScore] = ()
        if missing and self.refill is not None and query is not None:
            found = yield query
            passing += yield from self._further(_others(found, nodes), missing, context)
        if nodes and not passing:
            logger.warning("none of %d nodes may pass", len(nodes))
        others = {node.node_id for node in chain(nodes, found)}
        return [*map(_with_node, passing, parted([node.node for node in passing], others))]

    def _further(
        self, nodes: Iterator[NodeWithScore], missing: int, context: str
    ) -> Generator[list[Item], list[Decision], list[NodeWithScore]]:
        """So many nodes that may pass, or fewer when there are no more."""
        passing: list[NodeWithScore] = []
        while len(passing) < missing:
            batch = list(islice(nodes, max(missing - len(passing), _REFILL_AT_LEAST)))
            if not batch:
                break
            passing += yield from self._kept(batch, context)
        return passing[:missing]

    def _kept(
        self, nodes: Sequence[NodeWithScore], context: str
    ) -> Generator[list[Item], list[Decision], list[NodeWithScore]]:
        outcomes = yield from self._outcomes((node.node for node in nodes), MetadataMode.LLM, context)
        return [_with_node(node, after) for node, after in zip(nodes, outcomes, strict=True) if after is not None]


def _with_node(scored: NodeWithScore, node: BaseNode) -> NodeWithScore:
    return scored if scored.node is node else NodeWithScore(node=node, score=scored.score)


def _others(found: Sequence[NodeWithScore], known: Sequence[NodeWithScore]) -> Iterator[NodeWithScore]:
    """Those of `found` that are not known, each once."""
    seen = {node.node_id for node in known}
    for node in found:
        if node.node_id not in seen:
            seen.add(node.node_id)
            yield node
