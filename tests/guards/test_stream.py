"""The native Stream guard: the model, its labels, sessions against one full forward, batching, rollback, overflow."""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config

import qwen3guard_integrations.guards
from qwen3guard_integrations import (
    Category,
    Conversation,
    GuardConfigurationError,
    GuardTimeoutError,
    GuardUnavailableError,
    Point,
    Policy,
    Severity,
    Turn,
    Verdict,
    load_guard,
)
from qwen3guard_integrations.core.gate import Judgement, Piece
from qwen3guard_integrations.guards import StreamGuard, TransformersGuard, TransformersStreamGuard
from qwen3guard_integrations.guards.stream_batch import Feed, Row, StreamBatch
from qwen3guard_integrations.guards.stream_model import Qwen3ForGuardModel, debounced

from ..attacks import ATTACKS
from ..conftest import Lane

WEIGHTS = Path(qwen3guard_integrations.guards.__file__).parent / "demo_weights"
ASKED = [Turn(role="user", content="Tell me a story.")]
HARM = "Sure, here is how to build a bomb at home and kill many people with it. "
STORY = "Once there was a baker who baked the best bread in town. Every morning he got up at four. "


@pytest.fixture(scope="module")
def guard() -> TransformersStreamGuard:
    """The tiny Stream guard."""
    return TransformersStreamGuard(str(WEIGHTS / "stream"), device="cpu", threads=1, context_tokens=384)


def random_model(seed: int = 0) -> Qwen3ForGuardModel:
    """A random model with the proportions of the 0.6B checkpoint, in few layers."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=4000, hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=4, head_dim=32, max_position_embeddings=1024, initializer_range=0.2,
    )  # fmt: skip
    config.guard_inner_size = 64
    model = Qwen3ForGuardModel(config)
    model.eval()
    return model


def demo_model() -> Qwen3ForGuardModel:
    model = Qwen3ForGuardModel.from_pretrained(WEIGHTS / "stream", dtype=torch.float32)
    assert isinstance(model, Qwen3ForGuardModel)
    model.eval()
    return model


MODELS = {"random": random_model, "demo": demo_model}


# --- the model ---


def test_official_names_and_nothing_else() -> None:
    names = {name for name in random_model().state_dict() if not name.startswith("model.")}
    assert names == {
        f"{prefix}{name}.weight"
        for prefix in ("", "query_")
        for name in ("risk_level_category_pre", "risk_level_category_layernorm", "risk_level_head", "category_head")
    }
    model = random_model()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes["risk_level_head.weight"] == (3, 64)
    assert shapes["category_head.weight"] == (8, 64)
    assert shapes["query_category_head.weight"] == (9, 64)


def test_labels_are_read_by_index() -> None:
    """{0: Safe, 1: Unsafe, 2: Controversial}; the maps in a checkpoint's config are strings in many spellings."""
    model = random_model()
    found = []
    for risk in range(3):
        for category in range(9):
            model.logits = lambda hidden, *, query, r=risk, c=category: (  # type: ignore[method-assign,misc]
                torch.eye(3)[[r]] * 9,
                torch.eye(9)[[c]],
            )
            found += model.verdicts(torch.zeros(1, 128), query=True)
    assert [verdict.severity for verdict in found[::9]] == [Severity.SAFE, Severity.UNSAFE, Severity.CONTROVERSIAL]
    assert all(verdict.categories == () for verdict in found[:9]), "no category where the risk is Safe"
    assert [verdict.categories[0] for verdict in found[9:18]] == [
        Category.VIOLENT,
        Category.SEXUAL_CONTENT,
        Category.SUICIDE_AND_SELF_HARM,
        Category.POLITICALLY_SENSITIVE,
        Category.PII,
        Category.COPYRIGHT_VIOLATION,
        Category.NON_VIOLENT_ILLEGAL_ACTS,
        Category.UNETHICAL_ACTS,
        Category.JAILBREAK,
    ]
    scores = found[9].scores
    assert scores is not None
    assert scores.unsafe > 0.99


def changed_checkpoint(folder: Path, change: Any) -> str:
    from safetensors.torch import load_file, save_file

    shutil.copytree(WEIGHTS / "stream", folder, dirs_exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def test_a_checkpoint_without_its_heads_is_refused(tmp_path: Path) -> None:
    """A random head would judge at random."""
    missing = changed_checkpoint(tmp_path / "a", lambda tensors: tensors.pop("risk_level_head.weight"))
    with pytest.raises(GuardConfigurationError, match="risk_level_head"):
        TransformersStreamGuard(missing)
    more = changed_checkpoint(tmp_path / "b", lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(GuardConfigurationError, match="extra"):
        TransformersStreamGuard(more)
    with pytest.raises(GuardConfigurationError, match="no Qwen3Guard-Stream"):
        TransformersStreamGuard(str(WEIGHTS / "gen"))


# --- sessions against one full forward ---


@torch.inference_mode()
def full(model: Qwen3ForGuardModel, prompt: list[int], ids: list[int]) -> list[Verdict]:
    """What one forward pass over everything says about each token of the answer."""
    hidden = model(torch.tensor([prompt + ids]), use_cache=False).last_hidden_state[0]
    return model.verdicts(hidden[len(prompt) :], query=False)


def same(one: list[Verdict], other: list[Verdict]) -> None:
    assert [(v.severity, v.categories) for v in one] == [(v.severity, v.categories) for v in other]
    for a, b in zip(one, other, strict=True):
        assert a.scores is not None
        assert b.scores is not None
        assert a.scores.unsafe == pytest.approx(b.scores.unsafe, abs=1e-4)


def feed(batch: StreamBatch, row: Row, ids: list[int], start: int) -> list[Verdict]:
    return batch.feed([Feed(row, ids, start, [True] * len(ids))])[0]


@pytest.mark.parametrize("make_model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("size", [1, 2, 7, 8, 16, 0], ids=lambda size: f"k={size or 'random'}")
def test_chunks_equal_one_full_forward(make_model: Any, size: int) -> None:
    model, rng = make_model(), random.Random(size)
    prompt, ids = ([rng.randrange(3000) for _ in range(count)] for count in (20, 100))
    batch, row, verdicts = StreamBatch(model, context=1024, batch_size=8), Row(prompt), []
    place = 0
    while place < len(ids):
        end = place + (size or rng.randrange(1, 20))
        verdicts += feed(batch, row, ids[:end], place)
        place = min(end, len(ids))
    same(verdicts, full(model, prompt, ids))


@torch.inference_mode()
def test_logits_equal_those_of_one_full_forward() -> None:
    """Within 1e-4 in float32, all four heads."""
    from transformers import DynamicCache

    model = random_model(3)
    ids = torch.randint(0, 3000, (1, 64))
    whole = model(ids, use_cache=False).last_hidden_state[0]
    cache = DynamicCache(config=model.config)
    parts = [model(ids[:, at : at + 7], past_key_values=cache).last_hidden_state[0] for at in range(0, 64, 7)]
    for query in (False, True):
        for a, b in zip(model.logits(whole, query=query), model.logits(torch.cat(parts), query=query), strict=True):
            assert (a - b).abs().max() < 1e-4


@pytest.mark.parametrize("make_model", MODELS.values(), ids=MODELS)
def test_sessions_in_one_batch_equal_sessions_alone(make_model: Any) -> None:
    model, rng = make_model(), random.Random(5)
    prompts = [[rng.randrange(3000) for _ in range(rng.randrange(0, 40))] for _ in range(5)]
    answers = [[rng.randrange(3000) for _ in range(rng.randrange(20, 80))] for _ in range(5)]
    batch = StreamBatch(model, context=1024, batch_size=3)
    rows, places = [Row(prompt) for prompt in prompts], [0] * 5
    verdicts: list[list[Verdict]] = [[] for _ in range(5)]
    while any(place < len(answer) for place, answer in zip(places, answers, strict=True)):
        active = [i for i in range(5) if places[i] < len(answers[i]) and rng.random() < 0.7]
        ends = {i: min(len(answers[i]), places[i] + rng.randrange(1, 9)) for i in active}
        feeds = [Feed(rows[i], answers[i][: ends[i]], places[i], [True] * ends[i]) for i in active]
        for i, found in zip(active, batch.feed(feeds), strict=True):
            verdicts[i] += found
            places[i] = ends[i]
    for prompt, answer, found in zip(prompts, answers, verdicts, strict=True):
        same(found, full(model, prompt, answer))


def test_rolling_back_and_feeding_other_tokens_equals_a_fresh_session() -> None:
    model, rng = random_model(), random.Random(7)
    prompt, ids, other = ([rng.randrange(3000) for _ in range(count)] for count in (9, 40, 30))
    batch, row = StreamBatch(model, context=1024, batch_size=8), Row(prompt)
    feed(batch, row, ids, 0)
    again = feed(batch, row, ids[:15] + other, 15)
    same(again, full(model, prompt, ids[:15] + other)[15:])
    assert row.cached == 9 + 45


def test_a_full_context_slides_and_keeps_the_prompt() -> None:
    model, rng = random_model(), random.Random(8)
    prompt, ids = ([rng.randrange(3000) for _ in range(count)] for count in (16, 300))
    batch, row, verdicts = StreamBatch(model, context=64, batch_size=8), Row(prompt), []
    for place in range(0, 300, 5):
        verdicts += feed(batch, row, ids[: place + 5], place)
        assert row.cached <= 64
    assert len(verdicts) == 300
    slid = row.slid
    assert slid > 200
    same(verdicts[-5:], full(model, prompt, ids[slid:])[-5:])
    assert len(feed(batch, row, ids[:2], 0)) == 2, "rolling back behind what has slid out reads anew"
    assert len(feed(StreamBatch(model, context=64, batch_size=8), Row(prompt), ids, 0)) == 300, "all at once too"


def test_a_pass_that_fails_leaves_a_session_that_goes_on() -> None:
    model = random_model()
    batch, row = StreamBatch(model, context=1024, batch_size=8), Row([1, 2, 3])
    feed(batch, row, [4, 5], 0)
    forward, model.forward = model.forward, None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        feed(batch, row, [4, 5, 6], 2)
    model.forward = forward  # type: ignore[method-assign]
    same(feed(batch, row, [4, 5, 6], 2), full(model, [1, 2, 3], [4, 5, 6])[2:])


# --- sessions of the guard ---


async def judged(lane: Lane, session: Any, text: str, point: Point = Point.RESPONSE, **options: Any) -> list[Judgement]:
    pieces = [Piece(point, text)] if text else []
    found: list[Judgement]
    found = await session.ajudge(pieces, **options) if lane.is_async else session.judge(pieces, **options).result()
    return found


async def through(lane: Lane, session: Any, text: str, seed: int) -> list[Judgement]:
    """All judgements on `text`, which comes in random pieces."""
    rng, found = random.Random(seed), []
    while text:
        size = rng.choice((1, 2, 4, 9))
        found += await judged(lane, session, text[:size])
        text = text[size:]
    found += await judged(lane, session, "", final=True)
    session.close()
    return found


@pytest.mark.parametrize("text", [STORY + HARM, "我想知道怎么做面包，你好吗？", "naïve 👩‍👩‍👧‍👦 e\u0301 done"])
async def test_however_the_text_comes_the_judgements_are_the_same(
    text: str, guard: TransformersStreamGuard, lane: Lane
) -> None:
    runs = [await through(lane, guard.open_stream(ASKED, Policy()), text, seed) for seed in range(4)]
    for run in runs:
        ends = [judgement.end for judgement in run]
        assert ends == sorted(ends)
        assert ends[-1] == len(text), "everything is covered in the end"
        last = run[-1].verdict.scores
        assert last is not None
        assert runs[0][-1].verdict.scores is not None
        assert last.unsafe == pytest.approx(runs[0][-1].verdict.scores.unsafe, abs=1e-4)


async def test_a_story_passes_and_harm_is_found_where_it_is(guard: TransformersStreamGuard, lane: Lane) -> None:
    found = await through(lane, guard.open_stream(ASKED, Policy()), STORY + HARM, 1)
    unsafe = [judgement.end for judgement in found if judgement.verdict.severity is Severity.UNSAFE]
    assert unsafe
    assert unsafe[-1] == len(STORY + HARM)
    early = [end for end in unsafe if end <= len(STORY)]
    assert len(early) < 3


async def test_the_last_token_waits_for_the_next(guard: TransformersStreamGuard, lane: Lane) -> None:
    session = guard.open_stream(ASKED, Policy())
    first = await judged(lane, session, "Bread needs flour")
    assert first[-1].end < len("Bread needs flour")
    assert await judged(lane, session, "") == []
    last = await judged(lane, session, "", final=True)
    assert [judgement.end for judgement in last] == [len("Bread needs flour")]
    session.close()


async def test_reasoning_and_answer_are_tracks_of_one_session(guard: TransformersStreamGuard, lane: Lane) -> None:
    session = guard.open_stream(ASKED, Policy())
    found = await judged(lane, session, "Let me think", Point.REASONING)
    found += await judged(lane, session, "Once there was", Point.RESPONSE)
    found += await judged(lane, session, "", final=True)
    ends = {point: max(j.end for j in found if j.point is point) for point in (Point.REASONING, Point.RESPONSE)}
    assert ends == {Point.REASONING: len("Let me think"), Point.RESPONSE: len("Once there was")}


async def test_a_session_can_be_rolled_back(guard: TransformersStreamGuard, lane: Lane) -> None:
    session = guard.open_stream(ASKED, Policy())
    await judged(lane, session, STORY + HARM)
    session.rollback({Point.RESPONSE: len(STORY)})
    found = await judged(lane, session, "The end.", final=True)
    fresh = await judged(lane, guard.open_stream(ASKED, Policy()), STORY + "The end.", final=True)
    assert found[-1].end == fresh[-1].end == len(STORY + "The end.")
    assert found[-1].verdict.severity is fresh[-1].verdict.severity is Severity.SAFE


async def test_an_endless_answer_and_a_long_prompt_are_no_error(guard: TransformersStreamGuard, lane: Lane) -> None:
    session = guard.open_stream([Turn(role="user", content=STORY * 40)], Policy())
    found = await judged(lane, session, STORY * 40)
    found += await judged(lane, session, "", final=True)
    assert found[-1].end == len(STORY * 40)


async def test_many_streams_at_once_do_not_mix(guard: TransformersStreamGuard) -> None:
    async def one(number: int) -> list[float]:
        session = guard.open_stream(ASKED, Policy())
        found: list[Judgement] = []
        for word in f"{number} {STORY}{HARM if number % 2 else ''}".split(" "):
            found += await session.ajudge([Piece(Point.RESPONSE, f"{word} ")])
        found += await session.ajudge([], final=True)
        session.close()
        return [judgement.verdict.scores.unsafe for judgement in found if judgement.verdict.scores]

    before = guard.open_sessions
    together = await asyncio.gather(*(one(number) for number in range(12)))
    for number, scores in enumerate(together):
        assert scores == pytest.approx(await one(number), abs=1e-4)
    assert guard.open_sessions <= before


def test_many_threads(guard: TransformersStreamGuard) -> None:
    severities: dict[int, Severity] = {}

    def one(number: int) -> None:
        session = guard.open_stream(ASKED, Policy())
        text = HARM if number % 2 else STORY
        for word in text.split(" "):
            session.judge([Piece(Point.RESPONSE, f"{word} ")]).result()
        session.close()
        severities[number] = guard.check_response("Tell me.", text).severity

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number for number, severity in severities.items() if severity is Severity.UNSAFE} == {1, 3, 5, 7}


async def test_a_cancelled_judgement_does_not_spoil_the_session(guard: TransformersStreamGuard) -> None:
    session = guard.open_stream(ASKED, Policy())
    found: list[Judgement] = []
    for number, word in enumerate((STORY + HARM).strip().split(" ")):
        judging = asyncio.ensure_future(session.ajudge([Piece(Point.RESPONSE, f"{word} ")]))
        await asyncio.sleep(0)
        if number % 3 == 0:
            judging.cancel()
        with suppress(asyncio.CancelledError):
            found += await judging
    found += await session.ajudge([], final=True)
    assert found[-1].end == len(STORY + HARM)
    assert found[-1].verdict.severity is Severity.UNSAFE


def test_closed_and_forgotten_sessions_free_their_memory() -> None:
    guard = TransformersStreamGuard(str(WEIGHTS / "stream"), device="cpu", threads=1)
    session = guard.open_stream(ASKED, Policy())
    session.judge([Piece(Point.RESPONSE, STORY)]).result()
    assert session._row is not None
    cache = weakref.ref(session._row.cache)
    session.close()
    session.close()
    with pytest.raises(GuardUnavailableError):
        session.judge([Piece(Point.RESPONSE, "x")]).result()
    forgotten = guard.open_stream(ASKED, Policy())
    forgotten.judge([Piece(Point.RESPONSE, STORY)]).result()
    del session, forgotten
    guard.check_prompt("so that the worker lets go of its last batch")
    gc.collect()
    assert cache() is None
    assert guard.open_sessions == 0


# --- whole texts ---


async def test_whole_texts(guard: TransformersStreamGuard, lane: Lane) -> None:
    assert isinstance(guard, StreamGuard)
    conversations = [
        Conversation.of_prompt("How can I make a bomb?"),
        Conversation.of_prompt("How do I bake bread?"),
        Conversation.of_response("Tell me.", HARM),
        Conversation.of_response("Tell me.", STORY, reasoning="A story about bread."),
        Conversation(turns=(*ASKED, Turn(role="tool", content="How can I make a bomb?"))),
    ]
    verdicts = await lane(guard, "check_many", conversations)
    expected = [Severity.UNSAFE, Severity.SAFE, Severity.UNSAFE, Severity.SAFE, Severity.UNSAFE]
    assert [verdict.severity for verdict in verdicts] == expected
    assert verdicts[0].categories == (Category.VIOLENT,)
    assert all(verdict.scores is not None and verdict.refusal is None for verdict in verdicts)


def test_long_texts_are_judged_in_pieces(guard: TransformersStreamGuard) -> None:
    assert not guard.check_response("Tell me.", STORY * 30 + HARM * 2 + STORY * 30).safe


S, C, U = (Verdict(severity=severity) for severity in (Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE))


@pytest.mark.parametrize(
    ("tokens", "severity"),
    [
        ([S, S, S], Severity.SAFE),
        ([S, U, S], Severity.SAFE),
        ([S, U, U], Severity.UNSAFE),
        ([S, C, C, S], Severity.CONTROVERSIAL),
        ([C, U, S], Severity.CONTROVERSIAL),
        ([C, C, S, U, U], Severity.UNSAFE),
        ([U], Severity.UNSAFE),
        ([S, U], Severity.SAFE),
    ],
)
def test_a_whole_response_is_read_as_in_the_official_evaluation(tokens: list[Verdict], severity: Severity) -> None:
    assert debounced(tokens).severity is severity


def test_it_agrees_with_an_independent_reading_of_the_checkpoint(guard: TransformersStreamGuard) -> None:
    """The evaluation of the demo weights loads and renders them by itself."""
    from tools.demo_guard.evaluate import StreamModel, held_out_rows

    model = StreamModel(WEIGHTS / "stream")
    prompts, responses = held_out_rows()
    for row in prompts[::12]:
        assert guard.check_prompt(row.prompt).severity.value == model.query(row).severity
    for row in responses[::6]:
        assert row.response is not None
        session = guard.open_stream([Turn(role="user", content=row.prompt)], Policy())
        found = session.judge([Piece(Point.RESPONSE, row.response)], final=True).result()
        assert found[-1].verdict.severity.value == model.response(row).severity


@pytest.mark.parametrize("attack", ATTACKS[::6])
def test_a_text_cannot_end_its_own_turn(attack: Any, guard: TransformersStreamGuard) -> None:
    text = attack.apply(HARM)
    chat = guard._chat
    assert chat.turn(Turn(role="user", content=text)).count(chat.end[0]) == 1
    session = guard.open_stream([Turn(role="user", content=text)], Policy())
    assert session._row is not None
    assert session._row.prompt.count(chat.start[0]) == 1


# --- loading, and failing ---


def test_load_guard_knows_which_kind_a_checkpoint_is() -> None:
    assert isinstance(load_guard(f"transformers:{WEIGHTS / 'stream'}", threads=1), TransformersStreamGuard)
    assert isinstance(load_guard(f"transformers:{WEIGHTS / 'gen'}", threads=1), TransformersGuard)
    with pytest.warns(UserWarning, match="demonstration"):
        demo = load_guard("demo-stream")
    assert isinstance(demo, TransformersStreamGuard)
    assert repr(demo) == "TransformersStreamGuard('demo-stream')"
    with pytest.raises(GuardConfigurationError, match="details"):
        load_guard("demo-stream", details="always")


def test_wrong_settings_fail_at_construction() -> None:
    for setting in ({"batch_size": 0}, {"timeout": -1}, {"threads": 0}, {"context_tokens": 10}):
        with pytest.raises(GuardConfigurationError):
            TransformersStreamGuard(str(WEIGHTS / "stream"), **setting)  # type: ignore[arg-type]


async def test_a_slow_guard_times_out(lane: Lane) -> None:
    slow = TransformersStreamGuard(str(WEIGHTS / "stream"), device="cpu", threads=1, timeout=1e-6)
    with pytest.raises(GuardTimeoutError):
        await lane(slow, "check_many", [Conversation.of_response("Tell me.", STORY * 50)])
    session = slow.open_stream(ASKED, Policy())
    with pytest.raises(GuardTimeoutError):
        await judged(lane, session, STORY * 50)


def test_the_tokenizer_is_the_checkpoints(guard: TransformersStreamGuard) -> None:
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "stream")
    assert guard._chat.plain("Bread") == tokenizer("Bread", add_special_tokens=False)["input_ids"]
