"""Ingestion: no harmful passage enters an index, and a killed run goes on where it was."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import DocstoreStrategy
from llama_index.core.node_parser import SentenceSplitter, SentenceWindowNodeParser
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from qwen3guard_integrations import (
    BlockedError,
    Category,
    Conversation,
    GuardConfigurationError,
    GuardUnavailableError,
    Severity,
    Verdict,
    load_guard,
)
from qwen3guard_integrations.guards.journal import JournalGuard
from qwen3guard_integrations.llama_index import Qwen3GuardTransform
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import listening

CANARY = "canary7f3a"
VIOLENT = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: VIOLENT}, **settings)


def nodes(*texts: str) -> list[TextNode]:
    return [TextNode(text=text, id_=f"n{place}") for place, text in enumerate(texts)]


NODES = nodes("one", f"two {CANARY}", "three", "", "five")
DOCUMENTS = [
    Document(text="Bread is baked. It rises first.", id_="bread", metadata={"title": "bread"}),
    Document(text=f"A {CANARY} is here. The rest is fine.", id_="mixed"),
    Document(text="Fine words.", id_="titled", metadata={"title": CANARY}),
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_tokenizer", str.split)


def splitter() -> SentenceSplitter:
    return SentenceSplitter(chunk_size=60, chunk_overlap=0, tokenizer=str.split)


def pipeline(*transformations: Any, **settings: Any) -> IngestionPipeline:
    return IngestionPipeline(transformations=list(transformations), **settings)


def texts(found: Sequence[BaseNode]) -> list[str]:
    return [node.get_content() for node in found]


async def passing(lane: Lane, step: Qwen3GuardTransform, found: Sequence[BaseNode]) -> Any:
    return await lane(step, "call" if lane.is_async else "__call__", found)


# --- what enters ---


async def test_what_may_pass_is_the_same_object(lane: Lane) -> None:
    judge = guard()
    found = await passing(lane, Qwen3GuardTransform(guard=judge), NODES)
    assert [id(node) for node in found] == [id(NODES[place]) for place in (0, 2, 3, 4)]
    assert len(judge.calls) == 1


async def test_nothing_harmful_enters_an_index(lane: Lane) -> None:
    store = SimpleVectorStore()
    steps = (splitter(), Qwen3GuardTransform(guard=guard()), MockEmbedding(embed_dim=8))
    found = await lane(pipeline(*steps, vector_store=store), "run", documents=DOCUMENTS)
    assert texts(found) == ["Bread is baked. It rises first."]
    assert all(node.embedding for node in found)
    assert CANARY not in json.dumps(store.to_dict())
    index = VectorStoreIndex.from_documents(
        DOCUMENTS, transformations=[splitter(), Qwen3GuardTransform(guard=guard())], embed_model=MockEmbedding(8)
    )
    assert texts([*index.docstore.docs.values()]) == ["Bread is baked. It rises first."]


async def test_a_safe_index_is_the_same_with_and_without(lane: Lane) -> None:
    step = Qwen3GuardTransform(guard=FakeGuard())
    made = await lane(pipeline(splitter()), "run", documents=DOCUMENTS)
    again = await passing(lane, step, made)
    assert [*map(id, again)] == [*map(id, made)]


async def test_what_prompts_may_get_from_neighbours_is_judged(lane: Lane) -> None:
    """A sentence window has its neighbours' words in metadata, which another postprocessor puts into the prompt."""
    windows = SentenceWindowNodeParser.from_defaults(window_size=1, sentence_splitter=lambda text: text.split("|"))
    made = windows([Document(text=f"one|two|{CANARY}|four|five")])
    assert texts(await passing(lane, Qwen3GuardTransform(guard=guard()), made)) == ["one", "five"]
    by_prompt = Qwen3GuardTransform(guard=guard(), metadata_mode=MetadataMode.LLM)
    assert texts(await passing(lane, by_prompt, made)) == ["one", "two", "four", "five"]


def windows(text: str, **settings: Any) -> list[BaseNode]:
    """Its sentences, each with its neighbours in its metadata, and the metadata of its neighbours in its relations."""
    parser = SentenceWindowNodeParser.from_defaults(window_size=1, sentence_splitter=lambda text: text.split("|"))
    return parser([Document(text=text, **settings)])


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("mode", [MetadataMode.ALL, MetadataMode.LLM])
@pytest.mark.parametrize("policy", [None, {"points": {"document": "redact"}}])
async def test_what_may_not_pass_is_not_in_the_relations_of_its_neighbours(
    lane: Lane, batch_size: int, mode: MetadataMode, policy: Any
) -> None:
    made = windows(f"one|two|three|the fourth {CANARY}|five|six|seven|eight")
    before = [node.model_dump_json() for node in made]
    step = Qwen3GuardTransform(guard=guard(), policy=policy, batch_size=batch_size, metadata_mode=mode)
    found = await passing(lane, step, made)
    for node in found:
        own = node.model_dump_json(exclude={"metadata"} if mode == MetadataMode.LLM else set())
        beside = {related.node_id for related in (node.prev_node, node.next_node) if related is not None}
        assert CANARY not in own or (mode == MetadataMode.LLM and made[3].node_id not in beside)
        assert node.ref_doc_id == made[0].ref_doc_id
    assert [node.model_dump_json() for node in made] == before
    for place in (0, 6, 7):
        assert made[place] in found
        assert any(node is made[place] for node in found)


async def test_relations_say_nothing_that_was_not_judged(lane: Lane) -> None:
    """Of a neighbour in another process, of a document whose metadata its nodes do not have."""
    made = windows(f"one|two|the third {CANARY}|four")
    [found] = await passing(lane, Qwen3GuardTransform(guard=guard()), made[:1])
    assert found.next_node.node_id == made[1].node_id
    assert CANARY not in found.model_dump_json()
    bare = SentenceSplitter(chunk_size=60, chunk_overlap=0, tokenizer=str.split, include_metadata=False)
    found = await passing(lane, Qwen3GuardTransform(guard=guard()), bare(DOCUMENTS))
    assert texts(found) == ["Bread is baked. It rises first.", "Fine words."]
    assert [node.ref_doc_id for node in found] == ["bread", "titled"]
    assert CANARY not in repr([node.model_dump_json() for node in found])


async def test_safe_neighbours_stay_the_same_objects(lane: Lane) -> None:
    made = windows("one|two|three", metadata={"title": "fine"})
    found = await passing(lane, Qwen3GuardTransform(guard=guard(), batch_size=1), made)
    assert [*map(id, found)] == [*map(id, made)]
    assert found[0].next_node.metadata["window"] == "one two three"


async def test_what_is_redacted_keeps_its_place(lane: Lane) -> None:
    step = Qwen3GuardTransform(guard=guard(), policy={"points": {"document": "redact"}})
    found = await lane(pipeline(splitter(), step, MockEmbedding(embed_dim=8)), "run", documents=DOCUMENTS)
    assert texts(found)[1:] == ["[removed: Violent]", "[removed: Violent]"]
    assert [node.ref_doc_id for node in found] == ["bread", "mixed", "titled"]
    assert CANARY not in repr([node.model_dump() for node in found])
    [whole] = await passing(lane, step, DOCUMENTS[2:])
    assert isinstance(whole, Document)
    assert (whole.id_, whole.text, whole.metadata) == ("titled", "[removed: Violent]", {})


async def test_verdicts_are_metadata_to_filter_by(lane: Lane) -> None:
    step = Qwen3GuardTransform(guard=guard(), policy={"points": {"document": "flag"}}, annotate=True)
    found = await passing(lane, step, NODES)
    assert found[1].metadata == {
        "qwen3guard_action": "flag",
        "qwen3guard_severity": "Unsafe",
        "qwen3guard_categories": "Violent",
    }
    assert [node.metadata.get("qwen3guard_severity") for node in found] == ["Safe", "Unsafe", "Safe", None, "Safe"]
    for node in found:
        node_to_metadata_dict(node, flat_metadata=True)
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert "qwen3guard" not in node.get_content(metadata_mode=mode)
    assert not any(node.metadata for node in NODES)


async def test_a_block_can_raise(lane: Lane) -> None:
    with pytest.raises(BlockedError):
        await passing(lane, Qwen3GuardTransform(guard=guard(), on_block="raise"), NODES)


async def test_a_dead_guard_lets_nothing_enter(lane: Lane) -> None:
    store = SimpleVectorStore()
    steps = (Qwen3GuardTransform(guard=guard(error=GuardUnavailableError("down"))), MockEmbedding(embed_dim=8))
    with pytest.raises(GuardUnavailableError):
        await lane(pipeline(*steps, vector_store=store), "run", nodes=NODES)
    assert not store.data.embedding_dict


async def test_listeners_are_not_told_what_may_not_pass(lane: Lane) -> None:
    with listening() as (events, spans):
        await passing(lane, Qwen3GuardTransform(guard=guard()), NODES)
    assert CANARY not in repr((events, spans))
    assert len(events) == 4


async def test_it_goes_in_batches_and_shows_how_far_it_is(lane: Lane, capsys: pytest.CaptureFixture[str]) -> None:
    judge = guard()
    step = Qwen3GuardTransform(guard=judge, batch_size=2, show_progress=True)
    assert texts(await passing(lane, step, NODES)) == ["one", "three", "", "five"]
    assert [len(call) for call in judge.calls] == [2, 1, 1]
    shown = capsys.readouterr().err
    assert "Judging nodes" in shown
    assert f"{len(NODES)}/{len(NODES)}" in shown
    quiet = Qwen3GuardTransform(guard=guard())
    await passing(lane, quiet, NODES)
    assert not capsys.readouterr().err


async def test_a_docstore_does_not_bring_back_what_was_left_out(lane: Lane) -> None:
    judge, store = guard(), SimpleVectorStore()
    steps = (splitter(), Qwen3GuardTransform(guard=judge), MockEmbedding(embed_dim=8))
    for strategy in DocstoreStrategy:
        made = pipeline(*steps, vector_store=store, docstore=SimpleDocumentStore(), docstore_strategy=strategy)
        first = await lane(made, "run", documents=DOCUMENTS, store_doc_text=False)
        assert len(first) == 1
        assert CANARY not in repr((store.to_dict(), made.docstore.docs if made.docstore else {}))
        assert await lane(made, "run", documents=DOCUMENTS) == []


# --- killed runs ---


class Dying(FakeGuard):
    """Answers so many times, and then is interrupted, as by Ctrl-C."""

    def __init__(self, lives: int) -> None:
        super().__init__({CANARY: VIOLENT})
        self.lives = lives

    def _answers(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        if len(self.calls) == self.lives:
            raise KeyboardInterrupt
        return super()._answers(conversations)


async def test_a_killed_run_goes_on_where_it_was(lane: Lane, tmp_path: Path) -> None:
    many = nodes(*(f"{place} {CANARY if place % 7 == 3 else ''}" for place in range(50)))
    whole = texts(await passing(lane, Qwen3GuardTransform(guard=guard()), many))
    for lives in range(5):
        path = tmp_path / f"{lives}.jsonl"
        dying = JournalGuard(Dying(lives), path, name="mine")
        try:
            await passing(lane, Qwen3GuardTransform(guard=dying, batch_size=10), many)
        except KeyboardInterrupt:
            pass
        else:
            pytest.fail("it was not killed")
        judge = guard()
        step = Qwen3GuardTransform(guard=JournalGuard(judge, path, name="mine"), batch_size=10)
        assert texts(await passing(lane, step, many)) == whole
        assert sum(map(len, judge.calls)) == 50 - 10 * lives
        assert CANARY not in path.read_text()


async def test_a_journal_by_its_path(lane: Lane, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    step = Qwen3GuardTransform(guard="demo", journal=path)
    safe = nodes("The library opens at nine.", "Bread is baked.")
    assert await passing(lane, step, safe) == safe
    assert len(path.read_text().splitlines()) == 3
    copy = pickle.loads(pickle.dumps(step))
    assert (copy.journal, copy.to_dict()) == (str(path), step.to_dict())
    with pytest.raises(GuardConfigurationError, match="another guard"):
        Qwen3GuardTransform(guard=load_guard("demo", context_tokens=300), journal=path)
    with pytest.raises(GuardConfigurationError, match="needs a name"):
        Qwen3GuardTransform(guard=guard(), journal=tmp_path / "other")


# --- caches, processes, settings ---


async def test_the_cache_of_a_pipeline_knows_guard_and_policy(lane: Lane) -> None:
    cache, judge = IngestionCache(), guard()
    step = Qwen3GuardTransform(guard=judge)
    first = await lane(pipeline(step, cache=cache), "run", nodes=list(NODES))
    again = await lane(pipeline(step, cache=cache), "run", nodes=list(NODES))
    assert len(judge.calls) == 1
    assert texts(again) == texts(first)
    flagging = Qwen3GuardTransform(guard=judge, policy={"unsafe": "flag"})
    assert len(await lane(pipeline(flagging, cache=cache), "run", nodes=list(NODES))) == len(NODES)
    other = FakeGuard({"three": "Unsafe"})  # as lenient or strict as it may be
    found = await lane(pipeline(Qwen3GuardTransform(guard=other), cache=cache), "run", nodes=list(NODES))
    assert texts(found) == ["one", f"two {CANARY}", "", "five"]


def test_the_key_of_the_cache_is_the_same_in_every_process_for_a_guard_with_a_name() -> None:
    policy = {"trusted_roles": {"user", "system", "tool"}}
    dicts = [Qwen3GuardTransform(guard=load_guard("demo"), policy=policy).to_dict() for _ in range(2)]
    assert dicts[0] == dicts[1]
    assert dicts[0]["policy"]["trusted_roles"] == ["system", "tool", "user"]
    others = (
        Qwen3GuardTransform(guard="demo"),
        Qwen3GuardTransform(guard=load_guard("demo", details="never"), policy=policy),
    )
    assert all(other.to_dict() != dicts[0] for other in others)


def test_a_run_in_several_processes() -> None:
    """Sync only: LlamaIndex forks in `arun`, which no thread of a model survives."""
    step = Qwen3GuardTransform(guard=guard(), annotate=True)
    found = pipeline(step).run(nodes=list(NODES), num_workers=2)
    assert texts(found) == ["one", "three", "", "five"]


def test_it_is_written_down_and_made_again() -> None:
    step = Qwen3GuardTransform(guard=guard(), policy="loose", batch_size=3, annotate=True)
    data = json.loads(step.to_json())
    assert (data["class_name"], data["guard"]) == ("Qwen3GuardTransform", None)
    again = Qwen3GuardTransform.from_dict(data, guard=guard())
    assert (again.batch_size, again.annotate, again.policy, again.metadata_mode) == (
        3,
        True,
        step.policy,
        MetadataMode.ALL,
    )
    with pytest.raises(GuardConfigurationError, match="guard="):
        Qwen3GuardTransform.from_dict(data)
    named = Qwen3GuardTransform(guard="demo")
    assert Qwen3GuardTransform.from_json(named.to_json()).to_dict() == named.to_dict()


def test_no_secret_is_written_down() -> None:
    made = load_guard("openai:any", base_url="http://localhost:1/v1", api_key="sk-canary")
    step = Qwen3GuardTransform(guard=made)
    assert "sk-canary" not in repr((step.to_dict(), step.to_json(), step, pickle.dumps(step)))


def test_a_named_guard_of_ones_own_keeps_its_journal_in_other_processes(tmp_path: Path) -> None:
    step = Qwen3GuardTransform(guard=JournalGuard(guard(), tmp_path / "journal", name="mine"))
    step(NODES)
    copy = pickle.loads(pickle.dumps(step))
    copy([*NODES, TextNode(text="six")])
    assert isinstance(copy.guard.guard, JournalGuard)
    inner = copy.guard.guard.guard
    assert isinstance(inner, FakeGuard)
    assert [conversation.judged.content for conversation in inner.calls[-1]] == ["six"]


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"on_block": "ignore"}, {"metadata_mode": "some"}, {"jurnal": 1}])
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Qwen3GuardTransform(guard=guard(), **wrong)
