"""Nodes: one question for all of them, and only what may pass reaches a prompt."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from qwen3guard_integrations import (
    BlockedError,
    Category,
    Conversation,
    GuardConfigurationError,
    GuardUnavailableError,
    Policy,
    Severity,
    Verdict,
    load_guard,
)
from qwen3guard_integrations.guards import CachedGuard, OpenAIGuard
from qwen3guard_integrations.llama_index import Qwen3GuardNodePostprocessor
from qwen3guard_integrations.llama_index.nodes import CHARACTERS_AT_ONCE, NODES_AT_ONCE
from qwen3guard_integrations.llama_index.screener import Screener
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import listening

CANARY = "canary7f3a"
VIOLENT = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))
PII = Verdict(severity=Severity.CONTROVERSIAL, categories=(Category.PII,))
QUERY = QueryBundle("what?")
REDACTING = {"points": {"document": "redact"}}


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: VIOLENT, "salary": PII}, **settings)


def scored(*nodes: BaseNode | str) -> list[NodeWithScore]:
    made = [TextNode(text=node, id_=f"n{place}") if isinstance(node, str) else node for place, node in enumerate(nodes)]
    return [NodeWithScore(node=node, score=1 - place / 100) for place, node in enumerate(made)]


NODES = scored(
    TextNode(text="one", id_="1", metadata={"title": "first"}),
    TextNode(text=f"two {CANARY}", id_="2"),
    TextNode(text="three salary", id_="3"),
    TextNode(text="", id_="4"),
    TextNode(text="five", id_="5", metadata={"title": f"fifth {CANARY}"}),
)


def ids(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node_id for node in nodes]


def asked(judge: FakeGuard) -> list[str]:
    return [conversation.judged.content for call in judge.calls for conversation in call]


def prompt_of(nodes: Sequence[NodeWithScore]) -> str:
    return "\n".join(node.get_content(metadata_mode=MetadataMode.LLM) for node in nodes)


async def passing(lane: Lane, nodes: Sequence[NodeWithScore], judge: Any = None, **settings: Any) -> Any:
    screen = Qwen3GuardNodePostprocessor(guard=judge or guard(), **settings)
    return await lane(screen, "postprocess_nodes", nodes, QUERY)


# --- what is judged, and what is done ---


async def test_what_may_pass_is_the_same_object_with_its_score(lane: Lane) -> None:
    judge = guard()
    found = await passing(lane, NODES, judge)
    assert [id(node) for node in found] == [id(NODES[0]), id(NODES[3])]
    assert asked(judge) == ["title: first\n\none", f"two {CANARY}", "three salary", f"title: fifth {CANARY}\n\nfive"]
    assert len(judge.calls) == 1


async def test_metadata_that_does_not_reach_the_prompt_is_not_judged(lane: Lane) -> None:
    node = TextNode(text="one", metadata={"path": CANARY}, excluded_llm_metadata_keys=["path"])
    assert len(await passing(lane, scored(node))) == 1


@pytest.mark.parametrize(
    ("node", "passes"),
    [
        (ImageNode(image="AAAA"), True),
        (ImageNode(image="AAAA", text=CANARY), False),
        (ImageNode(image_url="http://localhost/y.png", metadata={"caption": CANARY}), False),
        (Node(image_resource=MediaResource(data=b"abc", mimetype="image/png")), True),
        (Node(image_resource=MediaResource(data=b"abc"), metadata={"caption": CANARY}), False),
        (Node(text_resource=MediaResource(text=f"a {CANARY}"), image_resource=MediaResource(data=b"abc")), False),
        (TextNode(text="x", text_template="{content}", metadata={"caption": CANARY}), False),
        (TextNode(text=CANARY, text_template="{metadata_str}", metadata={"a": "b"}), False),
        (TextNode(text="x", text_template=f"{CANARY} {{content}} {{metadata_str}}", metadata={"a": "b"}), False),
        (TextNode(text="x", metadata={CANARY: 1}), False),
        (TextNode(text="x", metadata={"deep": {"er": [CANARY]}}), False),
        (IndexNode(text=CANARY, index_id="i"), False),
        (Document(text=CANARY), False),
        (TextNode(text=" \n"), True),
    ],
)
async def test_every_kind_of_node_by_all_that_can_reach_a_prompt(lane: Lane, node: BaseNode, passes: bool) -> None:
    judge = guard()
    assert len(await passing(lane, scored(node), judge)) == passes
    assert not any(not text.strip() for text in asked(judge))


async def test_text_and_metadata_of_a_usual_node_are_judged_once(lane: Lane) -> None:
    judge = guard()
    nodes = scored(TextNode(text=" one ", metadata={"a": "b ", "c": "d"}), Node(text_resource=MediaResource(text=" x")))
    await passing(lane, nodes, judge)
    assert asked(judge) == [node.node.get_content(metadata_mode=MetadataMode.LLM) for node in nodes]


async def test_what_is_redacted_goes_on_without_what_repeats_it(lane: Lane) -> None:
    related = RelatedNodeInfo(node_id="doc", metadata={"title": CANARY}, hash="h")
    harmful = TextNode(
        text=CANARY,
        id_="n",
        metadata={"title": CANARY},
        embedding=[1.0],
        relationships={NodeRelationship.SOURCE: related, NodeRelationship.CHILD: [related]},
    )
    [before] = scored(harmful)
    [found] = await passing(lane, [before], policy=REDACTING)
    assert (found.node_id, found.score, found.node.ref_doc_id) == ("n", before.score, "doc")
    assert found.get_content(metadata_mode=MetadataMode.ALL) == "[removed: Violent]"
    assert CANARY not in found.model_dump_json()
    assert before.node is harmful
    assert harmful.text == CANARY


def shelved(*texts: str) -> list[NodeWithScore]:
    """Nodes in a row, whose relations repeat the titles of their neighbours."""
    nodes = [TextNode(text="x", id_=f"n{place}", metadata={"title": text}) for place, text in enumerate(texts)]
    for one, other in pairwise(nodes):
        one.relationships[NodeRelationship.NEXT] = other.as_related_node_info()
        other.relationships[NodeRelationship.PREVIOUS] = one.as_related_node_info()
    return scored(*nodes)


@pytest.mark.parametrize("policy", [None, REDACTING])
async def test_what_may_not_pass_is_not_in_the_relations_of_its_neighbours(lane: Lane, policy: Any) -> None:
    nodes = shelved("one", "two", f"third {CANARY}", "four", "five", "six")
    before = [node.model_dump_json() for node in nodes]
    found = await passing(lane, nodes, policy=policy)
    assert CANARY not in repr([node.model_dump_json() for node in found])
    assert [node.node.next_node.node_id for node in found[:2]] == ["n1", "n2"]
    assert [node for node in found if node in nodes] == [nodes[place] for place in (0, 4, 5)]
    assert [node.score for node in found[:2]] == [node.score for node in nodes[:2]]
    assert [node.model_dump_json() for node in nodes] == before


async def test_further_results_do_not_bring_it_back_in_their_relations(lane: Lane) -> None:
    nodes = shelved("one", f"two {CANARY}", "three")
    found = await passing(lane, nodes[:2], refill=Shelf(nodes))
    assert ids(found) == ["n0", "n2"]
    assert CANARY not in repr([node.model_dump_json() for node in found])


async def test_nothing_of_an_image_or_an_object_is_left_when_it_is_redacted(lane: Lane) -> None:
    nodes = scored(
        ImageNode(image="AAAA", text=CANARY), IndexNode(text=CANARY, index_id="i", obj=TextNode(text=CANARY))
    )
    found = await passing(lane, nodes, policy=REDACTING)
    assert [type(node.node) for node in found] == [TextNode, TextNode]
    assert CANARY not in "".join(node.model_dump_json() for node in found)


async def test_nodes_are_annotated_on_copies_that_prompts_do_not_show(lane: Lane) -> None:
    policy = {"points": {"document": {"unsafe": "redact", "controversial": "flag"}}}
    found = await passing(lane, NODES, policy=policy, annotate=True)
    notes = [node.metadata.get("qwen3guard", {}) for node in found]
    assert [note.get("action") for note in notes] == ["allow", "redact", "flag", None, "redact"]
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert all("qwen3guard" not in node.get_content(metadata_mode=mode) for node in found)
    assert found[0].get_content(metadata_mode=MetadataMode.LLM) == NODES[0].get_content(metadata_mode=MetadataMode.LLM)
    assert not any("qwen3guard" in node.metadata for node in NODES)
    assert CANARY not in json.dumps([node.model_dump() for node in found])


async def test_a_node_is_judged_with_the_query(lane: Lane) -> None:
    judge = guard()
    await passing(lane, NODES[:1], judge, with_query=True)
    [[conversation]] = judge.calls
    assert [(turn.role, turn.content) for turn in conversation.turns] == [
        ("user", "what?"),
        ("assistant", "title: first\n\none"),
    ]
    screen = Qwen3GuardNodePostprocessor(guard=judge, with_query=True)
    await lane(screen, "postprocess_nodes", NODES[:1])
    assert len(judge.calls[-1][0].turns) == 1


async def test_a_block_can_raise(lane: Lane) -> None:
    with pytest.raises(BlockedError) as caught:
        await passing(lane, NODES, on_block="raise")
    assert CANARY not in repr(caught.value)
    assert len(await passing(lane, NODES, on_block="raise", policy={"points": {"document": "drop"}})) == 2


async def test_a_review_lets_nothing_through(lane: Lane) -> None:
    assert ids(await passing(lane, NODES, policy={"points": {"document": "review"}})) == ["1", "4"]


async def test_it_says_when_nothing_is_left(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert await passing(lane, NODES[1:2]) == []
    assert "none of 1 nodes may pass" in caplog.text
    assert CANARY not in caplog.text
    caplog.clear()
    assert await passing(lane, []) == []
    assert not caplog.text


async def test_a_dead_guard_lets_no_node_through(lane: Lane) -> None:
    dead = guard(error=GuardUnavailableError("down"))
    with pytest.raises(GuardUnavailableError):
        await passing(lane, NODES, dead)
    assert ids(await passing(lane, NODES, dead, policy={"on_guard_error": "block"})) == ["4"]
    assert len(await passing(lane, NODES, dead, policy={"on_guard_error": "allow"})) == len(NODES)


async def test_a_point_that_is_not_judged_is_not_asked_about(lane: Lane) -> None:
    judge = guard()
    policy = {"points": {"document": {"unsafe": "allow", "controversial": "allow"}}}
    assert await passing(lane, NODES, judge, policy=policy) == NODES
    assert not judge.calls


async def test_listeners_are_not_told_of_nodes_that_do_not_pass(lane: Lane) -> None:
    with listening() as (events, spans):
        await passing(lane, NODES)
    assert CANARY not in repr(spans)
    verdicts = [event for event in events if event.class_name() == "Qwen3GuardVerdictEvent"]
    assert len(verdicts) == 4
    assert CANARY not in repr(events)


# --- many, and long ---


async def test_twenty_nodes_with_a_slow_guard_take_one_question(lane: Lane) -> None:
    judge = guard(delay=0.05)
    screen = Qwen3GuardNodePostprocessor(guard=judge)
    best = 1.0
    for round_ in range(5):  # the best of them: others work on this machine too
        nodes = scored(*(f"text {round_} {place}" for place in range(20)))
        begin = time.perf_counter()
        assert len(await lane(screen, "postprocess_nodes", nodes, QUERY)) == 20
        best = min(best, time.perf_counter() - begin)
    assert len(judge.calls) == 5
    assert best <= 0.08


async def test_duplicates_are_judged_once(lane: Lane) -> None:
    judge = guard()
    screen = Qwen3GuardNodePostprocessor(guard=judge)
    nodes = scored(*["same"] * 10, *[f"same {CANARY}"] * 10)
    assert await lane(screen, "postprocess_nodes", nodes) == nodes[:10]
    assert asked(judge) == ["same", f"same {CANARY}"]
    await lane(screen, "postprocess_nodes", nodes)
    assert len(judge.calls) == 1


async def test_ten_thousand_nodes_go_in_batches(lane: Lane) -> None:
    judge = guard()
    nodes = scored(*(f"text {place} {CANARY if place % 1000 == 999 else ''}" for place in range(10_000)))
    found = await passing(lane, nodes, judge)
    assert found == [node for place, node in enumerate(nodes) if place % 1000 != 999]
    assert max(map(len, judge.calls)) == NODES_AT_ONCE
    assert len(asked(judge)) == 10_000


async def test_nodes_of_a_megabyte_go_few_at_a_time(lane: Lane) -> None:
    judge = guard()
    nodes = scored(*(f"{place} {'words ' * 170_000}{CANARY if place % 2 else ''}" for place in range(6)))
    assert ids(await passing(lane, nodes, judge)) == ["n0", "n2", "n4"]
    most = max(sum(len(conversation.judged.content) for conversation in call) for call in judge.calls)
    assert most <= CHARACTERS_AT_ONCE
    assert len(asked(judge)) == 6


async def test_the_loop_goes_on_while_the_guard_thinks() -> None:
    screen = Qwen3GuardNodePostprocessor(guard=guard(delay=0.2))
    task = asyncio.create_task(screen.apostprocess_nodes(NODES, QUERY))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 5


# --- refill ---


class Shelf(BaseRetriever):
    """Gives its nodes, and counts how often."""

    def __init__(self, nodes: Sequence[NodeWithScore]) -> None:
        super().__init__()
        self.nodes = list(nodes)
        self.count = 0

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.count += 1
        return list(self.nodes)


async def test_further_results_take_the_place_of_what_was_dropped(lane: Lane) -> None:
    shelf = Shelf(scored("a", CANARY, f"{CANARY} c", "d", f"e {CANARY}", "f", "g", "h"))
    judge = guard()
    found = await passing(lane, shelf.nodes[:4], judge, refill=shelf)
    assert ids(found) == ["n0", "n3", "n5", "n6"]
    assert all(node in shelf.nodes for node in found)
    assert len(asked(judge)) == len(set(asked(judge)))
    assert len(judge.calls) == 2


async def test_a_refill_asks_until_there_are_enough_or_no_more(lane: Lane) -> None:
    shelf = Shelf(scored(*(f"{CANARY} {place}" for place in range(30)), "good", "better"))
    judge = guard()
    assert ids(await passing(lane, shelf.nodes[:1], judge, refill=shelf)) == ["n30"]
    assert ids(await passing(lane, shelf.nodes[:5], judge, refill=shelf)) == ["n30", "n31"]
    assert shelf.count == 2


async def test_a_refill_gives_no_node_twice(lane: Lane) -> None:
    shelf = Shelf([*scored("a", CANARY, "b"), *scored("a", CANARY, "b")])
    assert ids(await passing(lane, shelf.nodes[:2], refill=shelf)) == ["n0", "n2"]


async def test_there_is_no_refill_without_need_or_query(lane: Lane) -> None:
    shelf = Shelf(scored("a", CANARY, "b"))
    await passing(lane, shelf.nodes[:1], refill=shelf)
    await lane(Qwen3GuardNodePostprocessor(guard=guard(), refill=shelf), "postprocess_nodes", shelf.nodes[:2])
    assert shelf.count == 0


# --- in query engines ---


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    monkeypatch.setattr(Settings, "_tokenizer", str.split)


def index() -> VectorStoreIndex:
    return VectorStoreIndex(nodes=[node.node.model_copy() for node in NODES], embed_model=MockEmbedding(embed_dim=8))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"])
async def test_no_prompt_has_what_may_not_pass(lane: Lane, mode: str, streaming: bool) -> None:
    """`MockLLM` answers with its prompt."""
    if streaming and mode == "accumulate":
        pytest.skip("LlamaIndex does not stream this mode")
    judge = guard()
    settings: dict[str, Any] = {"similarity_top_k": 5, "response_mode": mode, "streaming": streaming}
    screen = Qwen3GuardNodePostprocessor(guard=judge)
    response = await lane(index().as_query_engine(node_postprocessors=[screen], **settings), "query", "what?")
    answer = await text_of(response)
    assert "first" in answer
    assert CANARY not in answer
    assert "salary" not in answer
    assert ids(response.source_nodes) == ["1"]
    assert len(judge.calls) == 1


async def text_of(response: Any) -> str:
    generator = getattr(response, "response_gen", None)
    if generator is None:
        return str(response)
    if hasattr(generator, "__aiter__"):
        return "".join([token async for token in generator])
    return "".join(generator)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_safe_answer_is_the_same_with_and_without(lane: Lane, streaming: bool) -> None:
    settings: dict[str, Any] = {"similarity_top_k": 5, "streaming": streaming}
    with_guard = index().as_query_engine(
        node_postprocessors=[Qwen3GuardNodePostprocessor(guard=FakeGuard())], **settings
    )
    bare = index().as_query_engine(**settings)
    with_answer, answer = await lane(with_guard, "query", "what?"), await lane(bare, "query", "what?")
    assert await text_of(with_answer) == await text_of(answer)
    assert with_answer.source_nodes == answer.source_nodes


async def test_an_engine_with_nothing_left_says_so(lane: Lane) -> None:
    engine = VectorStoreIndex(nodes=[TextNode(text=CANARY)], embed_model=MockEmbedding(embed_dim=8)).as_query_engine(
        node_postprocessors=[Qwen3GuardNodePostprocessor(guard=guard())]
    )
    assert str(await lane(engine, "query", "what?")) == "Empty Response"


@pytest.mark.parametrize("mode", ["context", "condense_plus_context", "condense_question"])
async def test_chat_engines_ask_it_too(lane: Lane, mode: Any) -> None:
    engine = index().as_chat_engine(
        chat_mode=mode, similarity_top_k=5, node_postprocessors=[Qwen3GuardNodePostprocessor(guard=guard())]
    )
    response = await lane(engine, "chat", "what?")
    assert CANARY not in str(response)
    assert ids(response.source_nodes) == ["1"]


# --- settings, and how they are written down ---


def test_a_wrong_setting_is_refused() -> None:
    for wrong in ({"on_block": "ignore"}, {"refill": "index"}, {"with_querry": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Qwen3GuardNodePostprocessor(guard=guard(), **wrong)
    with pytest.raises(GuardConfigurationError, match=r"no setting 'base_url' .*load_guard"):
        Qwen3GuardNodePostprocessor(guard="openai:any", base_url="http://localhost:1/v1")
    with pytest.raises(GuardConfigurationError, match="no guard is given"):
        Qwen3GuardNodePostprocessor()
    with pytest.raises(GuardConfigurationError, match="check_many"):
        Qwen3GuardNodePostprocessor(guard=3)  # type: ignore[arg-type]


def test_a_screener_may_be_shared_and_a_policy_given_with_it() -> None:
    screener = Screener(guard(), "loose")
    assert Qwen3GuardNodePostprocessor(guard=screener).guard is screener
    other = Qwen3GuardNodePostprocessor(guard=screener, policy="strict")
    assert other.policy.mode == other.guard.policy.mode == "strict"
    assert other.guard.guard is screener.guard


POLICY = Policy(
    mode="loose",
    categories={"PII": "redact"},
    points={"document": {"unsafe": "drop", "categories": {"Violent": {"controversial": "flag"}}}},
    trusted_roles={"system", "tool"},
)


@pytest.mark.parametrize("wrap", [lambda guard: guard, CachedGuard])
async def test_it_is_written_down_and_made_again(lane: Lane, wrap: Any) -> None:
    screen = Qwen3GuardNodePostprocessor(guard=wrap(load_guard("demo", batch_size=4)), policy=POLICY, annotate=True)
    assert screen.class_name() == screen.to_dict()["class_name"] == "Qwen3GuardNodePostprocessor"
    assert screen.to_dict()["guard"] == {"guard": "demo", "batch_size": 4}
    copies = (
        Qwen3GuardNodePostprocessor.from_dict(screen.to_dict()),
        Qwen3GuardNodePostprocessor.from_json(screen.to_json()),
        pickle.loads(pickle.dumps(screen)),
    )
    for copy in copies:
        assert copy.to_dict() == screen.to_dict()
        assert copy.policy == POLICY
        assert copy.annotate
        assert len(await lane(copy, "postprocess_nodes", scored("The library opens at nine."))) == 1


def test_a_guard_of_another_make_has_to_be_given_again() -> None:
    data = Qwen3GuardNodePostprocessor(guard=guard(), policy=POLICY).to_dict()
    assert data["guard"] is None
    with pytest.raises(GuardConfigurationError, match=r"from_dict\(data, guard="):
        Qwen3GuardNodePostprocessor.from_dict(data)
    judge = guard()
    made = Qwen3GuardNodePostprocessor.from_dict(data, guard=judge)
    assert made.guard.guard.guard is judge
    assert made.policy == POLICY


def test_a_refill_is_not_written_down() -> None:
    screen = Qwen3GuardNodePostprocessor(guard="demo", refill=index().as_retriever())
    with pytest.raises(GuardConfigurationError, match="refill cannot be pickled"):
        pickle.dumps(screen)
    again = Qwen3GuardNodePostprocessor.from_dict(screen.to_dict(), refill=screen.refill)
    assert again.refill is screen.refill
    assert screen.model_copy().refill is screen.refill


def remote(**options: Any) -> OpenAIGuard:
    made = load_guard("openai:any", base_url="http://localhost:1/v1", api_key="sk-canary", **options)
    assert isinstance(made, OpenAIGuard)
    return made


@pytest.mark.parametrize(
    "made",
    [
        remote(),
        remote(default_headers={"authorization": "sk-canary"}),
        remote(extra_body={"key": "sk-canary"}),
        load_guard("openai:any", base_url="http://me:sk-canary@localhost:1/v1"),
        load_guard("openai:any", base_url="http://localhost:1/v1?key=sk-canary"),
        OpenAIGuard("any", base_url="http://localhost:1/v1", api_key="sk-canary"),
    ],
)
def test_no_secret_is_written_down(made: Any) -> None:
    screen = Qwen3GuardNodePostprocessor(guard=made)
    try:
        pickled = pickle.dumps(screen)
    except GuardConfigurationError as error:
        pickled = repr(error).encode()
    written = (screen.to_dict(), screen.to_json(), screen.model_dump_json(), repr(screen), str(screen), pickled)
    assert "sk-canary" not in repr(written)


def test_the_key_of_a_pickled_guard_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(Qwen3GuardNodePostprocessor(guard=remote(timeout=3.0)))
    monkeypatch.setenv("QWEN3GUARD_API_KEY", "sk-other")
    assert pickle.loads(pickled).to_dict()["guard"] == {
        "guard": "openai:any",
        "base_url": "http://localhost:1/v1",
        "timeout": 3.0,
    }


class Unpicklable(FakeGuard):
    """Holds what no pickle takes."""

    def __init__(self) -> None:
        super().__init__()
        self.function = lambda conversation: Conversation.of_prompt("x")


def test_what_can_be_pickled_is_and_the_rest_says_why_not() -> None:
    assert isinstance(
        pickle.loads(pickle.dumps(Qwen3GuardNodePostprocessor(guard=guard()))).guard.guard.guard, FakeGuard
    )
    with pytest.raises(GuardConfigurationError, match="Unpicklable cannot be pickled"):
        pickle.dumps(Qwen3GuardNodePostprocessor(guard=Unpicklable()))
