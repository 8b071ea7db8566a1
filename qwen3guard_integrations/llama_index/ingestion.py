"""A step of an ingestion pipeline that lets no harmful document into the index."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, TransformComponent
from llama_index.core.utils import get_tqdm_iterable
from pydantic import Field, PrivateAttr, field_validator

from .. import screener
from ..core.decision import Decision
from ..core.flow import arun, run
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.journal import JournalGuard, innermost
from ..guards.protocol import Guard
from .nodes import GuardedComponent, parted, unspanned
from .screener import Screener


class Qwen3GuardTransform(GuardedComponent, TransformComponent):
    """Lets nodes pass on their way into an index: the same objects, in the same order.

    For `IngestionPipeline(transformations=[splitter, Qwen3GuardTransform(guard=...), embed_model])`, and wherever
    LlamaIndex takes transformations. Put it behind the splitter, so that a harmful passage takes no whole document
    with it, and before the embedding. What is judged is all that is stored: the content of each node with all its
    metadata, since other postprocessors may bring any of it into a prompt later. The relations of a node (to its
    neighbours, to its document) repeat metadata too: where that is not what was judged and passes, the node goes on as
    a copy whose relations have none. Nodes without words pass. What the policy redacts goes on as a new node with the
    policy's `redaction` for its text, without metadata and embedding; what it drops, blocks or gives to a person to
    review is left out.

    The cache of a pipeline knows guard, policy and settings; with a guard that `load_guard` did not make it is of use
    to this object only.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts at the point `document`: whatever `Policy.of` takes.
        annotate: Put the decision into the metadata of a copy of each node that passes, as strings to filter by:
            `qwen3guard_action`, `qwen3guard_severity`, `qwen3guard_categories`. Prompt and embedding do not have them.
        on_block: What a block means: "drop" the node, or "raise" a `BlockedError`.
        metadata_mode: Which metadata is judged: all, or what reaches the prompt (`MetadataMode.LLM`).
        batch_size: How many nodes the guard is asked about at once. So many judgements are lost with a kill.
        show_progress: Show a bar, if tqdm is installed (LlamaIndex brings it).
        journal: A file that keeps the verdicts (see `JournalGuard`): a run that was killed goes on where it was. A
            guard that `load_guard` did not make needs a name there: `guard=JournalGuard(guard, path, name=...)`.

    Raises:
        BlockedError: As above.
        GuardError: The guard gave no verdict; no node passes (unless `Policy.on_guard_error` says otherwise).
        GuardConfigurationError: No guard is given, it cannot be pickled, or the journal is another guard's.
    """

    metadata_mode: MetadataMode = MetadataMode.ALL
    batch_size: int = Field(default=64, ge=1)
    show_progress: bool = False
    journal: str | None = None

    _token: str = PrivateAttr(default_factory=lambda: uuid.uuid4().hex)

    def __init__(
        self,
        guard: Guard | screener.Screener | Mapping[str, Any] | str | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(guard, policy, **settings)
        if self.journal is not None:
            self.guard = Screener(JournalGuard(innermost(self.guard.guard), self.journal), self.policy)

    @field_validator("journal", mode="before")
    @classmethod
    def _path(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @classmethod
    def class_name(cls) -> str:
        """By what LlamaIndex knows it when it is written down."""
        return "Qwen3GuardTransform"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The settings, from which pipelines make the key of their cache: no two guards may have the same."""
        data = super().to_dict(**kwargs)
        return data if data["guard"] else {**data, "token": self._token}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Qwen3GuardTransform:
        """Made again from `to_dict`; a guard that `load_guard` did not make has to be given."""
        return super().from_dict({name: value for name, value in data.items() if name != "token"}, **kwargs)

    @unspanned
    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Those of `nodes` that may pass."""
        return run(self._passing(nodes), self.guard.decide)

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Those of `nodes` that may pass, without blocking the event loop."""
        return await arun(self._passing(nodes), self.guard.adecide)

    def _passing(self, nodes: Sequence[BaseNode]) -> Generator[list[Item], list[Decision], list[BaseNode]]:
        passing: list[BaseNode] = []
        progress = iter(get_tqdm_iterable(nodes, self.show_progress, "Judging nodes"))
        while batch := [*islice(progress, self.batch_size)]:
            outcomes = yield from self._outcomes(batch, self.metadata_mode)
            passing += [node for node in outcomes if node is not None]
        everything = self.metadata_mode == MetadataMode.ALL
        return parted(passing, None if everything else {node.node_id for node in nodes})

    def _notes(self, decision: Decision) -> dict[str, Any]:
        """Flat, as many vector stores want it."""
        severity = str(decision.severity) if decision.severity else ""
        names = ("action", str(decision.action)), ("severity", severity), ("categories", decision.category_names)
        return {f"qwen3guard_{name}": value for name, value in names}
