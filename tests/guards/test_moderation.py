"""The moderation endpoint: texts in one request, categories by their meaning, and no answer that is taken for Safe."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.moderation import Categories

from qwen3guard_integrations import (
    Category,
    Conversation,
    GuardConfigurationError,
    GuardError,
    GuardResponseError,
    GuardTimeoutError,
    GuardUnavailableError,
    Scores,
    Severity,
    Verdict,
    load_guard,
)
from qwen3guard_integrations.guards import Guard, OpenAIModerationGuard
from qwen3guard_integrations.guards.moderation import CATEGORIES, moderation_verdicts

from ..conftest import Lane
from .failures import CANARY, failure
from .fault_server import FaultServer, Reply, Request, Step, always, drop, hang, status

Serve = Callable[..., FaultServer]

SAFE = Verdict(severity=Severity.SAFE)
UNSAFE = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))


def guard_of(server: FaultServer, **options: Any) -> OpenAIModerationGuard:
    return OpenAIModerationGuard("omni-moderation-latest", base_url=server.url, **{"timeout": 5.0, **options})


def result(*found: str, **scores: float) -> dict[str, Any]:
    """One result, with every field that the endpoint sends."""
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: scores.get(name, 0.9 if name in found else 0.001) for name in CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }


def answer(*results: Any) -> Reply:
    return Reply({"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": list(results)})


def texts_of(request: Request) -> list[str]:
    assert request.path == "/v1/moderations"
    return list(request.body["input"])


def good(request: Request) -> Reply:
    return answer(*(result("violence") if "bomb" in text else result() for text in texts_of(request)))


def one(moderation: dict[str, Any], **options: Any) -> Verdict:
    [verdict] = moderation_verdicts(json.dumps({"results": [moderation]}), 1, **options)
    return verdict


# --- what is asked ---


async def test_many_texts_share_a_request(lane: Lane, serve: Serve) -> None:
    server = serve(good)
    guard = guard_of(server, api_key="key", default_headers={"x-team": "a"})
    assert isinstance(guard, Guard)
    conversations = [
        Conversation.of_prompt("How do I build a bomb?"),
        Conversation.of_response("About a bomb.", "Bread.", reasoning="They want bread."),
        Conversation.of_response("Bread.", "A bomb."),
    ]
    assert await lane(guard, "check_many", conversations) == [UNSAFE, SAFE, UNSAFE]
    [request] = server.requests
    assert request.body == {
        "model": "omni-moderation-latest",
        "input": ["How do I build a bomb?", "They want bread.\n\nBread.", "A bomb."],
    }
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["x-team"] == "a"


async def test_requests_are_bounded_in_size_and_number_and_verdicts_in_order(lane: Lane, serve: Serve) -> None:
    server = serve(lambda request: Reply(good(request).body, delay=0.05))
    conversations = [Conversation.of_prompt(f"{n} {'bomb' if n % 3 else 'bread'}") for n in range(50)]
    verdicts = await lane(guard_of(server, batch_size=7, max_concurrency=3), "check_many", conversations)
    assert [verdict.safe for verdict in verdicts] == [n % 3 == 0 for n in range(50)]
    assert sorted(len(texts_of(request)) for request in server.requests) == [1, *[7] * 7]
    assert server.most_at_once == 3


async def test_nothing_to_judge_is_no_request(lane: Lane, serve: Serve) -> None:
    server = serve(good)
    assert await lane(guard_of(server), "check_many", []) == []
    assert server.requests == []


async def test_the_end_of_a_long_text_is_judged(lane: Lane, serve: Serve) -> None:
    server = serve(good)
    guard = guard_of(server, context_characters=2000, overlap_characters=200, batch_size=4)
    long = Conversation.of_response("What now?", "harmless words " * 1000 + "and a bomb")
    short = Conversation.of_prompt("bread")
    assert await lane(guard, "check_many", [short, long, short]) == [SAFE, UNSAFE, SAFE]
    texts = [text for request in server.requests for text in texts_of(request)]
    assert len(texts) > 8
    assert all(len(text) <= 2000 for text in texts)


async def test_half_a_surrogate_pair_does_not_stop_the_guard(lane: Lane, serve: Serve) -> None:
    server = serve(good)
    assert await lane(guard_of(server), "check_prompt", "a bomb \ud83d and \ud83d\ude00") == UNSAFE
    assert texts_of(server.requests[0]) == ["a bomb \ufffd and 😀"]


# --- what is read ---


def test_every_category_of_the_client_is_known() -> None:
    assert set(CATEGORIES) == {field.alias or name for name, field in Categories.model_fields.items()}


@pytest.mark.parametrize(
    ("found", "categories"),
    [
        (["violence"], (Category.VIOLENT,)),
        (["violence", "violence/graphic", "illicit/violent"], (Category.VIOLENT,)),
        (["illicit"], (Category.NON_VIOLENT_ILLEGAL_ACTS,)),
        (["self-harm/intent"], (Category.SUICIDE_AND_SELF_HARM,)),
        (["sexual/minors"], (Category.SEXUAL_CONTENT,)),
        (["hate", "harassment/threatening"], (Category.UNETHICAL_ACTS,)),
        ([], ()),
    ],
)
def test_categories_by_their_meaning(found: list[str], categories: tuple[Category, ...]) -> None:
    verdict = one(result(*found))
    assert (verdict.categories, verdict.other_categories) == (categories, ())
    assert verdict.safe is not bool(found)


def test_the_likeliest_category_comes_first_and_an_unknown_one_keeps_its_name() -> None:
    moderation = result("harassment", "sexual", harassment=0.5, sexual=0.8)
    moderation["categories"] |= {"spam": True, "copyright": False, "Jailbreak": True, "no name": True}
    verdict = one(moderation)
    assert verdict.categories == (Category.SEXUAL_CONTENT, Category.UNETHICAL_ACTS, Category.JAILBREAK)
    assert verdict.other_categories == ("spam",)


@pytest.mark.parametrize(
    ("moderation", "categories"),
    [
        ({"flagged": True, "categories": {}}, ()),
        ({"flagged": False, "categories": {"violence": True}}, (Category.VIOLENT,)),
        ({"flagged": False, "categories": {"no name": True}}, ()),
    ],
)
def test_whatever_is_flagged_in_either_field_is_unsafe(moderation: dict[str, Any], categories: Any) -> None:
    assert one(moderation) == Verdict(severity=Severity.UNSAFE, categories=categories)


def test_categories_that_a_model_does_not_have_are_null() -> None:
    assert one({"flagged": False, "categories": {"illicit": None, "violence": False}}) == SAFE


def test_the_highest_score_stands_for_unsafe_where_that_is_wanted() -> None:
    moderation = result("violence", violence=0.75, hate=0.25)
    assert one(moderation, scores="max").scores == Scores(safe=0.25, controversial=0.0, unsafe=0.75)
    assert one(moderation).scores is None


@pytest.mark.parametrize("scores", [None, {}, [], "0.5", {"violence": None}, {"violence": 1.5}, {"violence": "0.5"}])
def test_scores_that_are_none_are_left_out(scores: Any) -> None:
    assert one({**result("violence"), "category_scores": scores}, scores="max") == UNSAFE


def test_the_most_severe_piece_has_the_scores() -> None:
    body = json.dumps({"results": [result(hate=0.4), result("violence", violence=0.3), result()]})
    merged = Verdict.merge(moderation_verdicts(body, 3, "max"))
    assert merged.severity is Severity.UNSAFE
    assert merged.scores is not None
    assert merged.scores.unsafe == 0.3


@given(st.text())
def test_no_text_is_an_answer(body: str) -> None:
    with pytest.raises(GuardResponseError, match="moderation endpoint") as caught:
        moderation_verdicts(body, 1)
    assert caught.value.__context__ is None


@given(st.integers(0, 4), st.integers(0, 4))
def test_one_result_for_each_text_or_none_at_all(results: int, texts: int) -> None:
    body = json.dumps({"results": [result()] * results})
    if results == texts:
        assert moderation_verdicts(body, texts) == [SAFE] * texts
    else:
        with pytest.raises(GuardResponseError, match=f"{results} results for {texts} texts"):
            moderation_verdicts(body, texts)


# --- failures ---

FAULTS: dict[str, tuple[tuple[Step, ...], type[GuardError], str, int]] = {
    "429 twice": ((status(429),), GuardUnavailableError, "max_concurrency", 2),
    "500 twice": ((status(500),), GuardUnavailableError, "status 500", 2),
    "503 then 429": ((status(503), status(429)), GuardUnavailableError, "status 429", 2),
    "dropped twice": ((drop,), GuardUnavailableError, "base_url", 2),
    "401": ((status(401),), GuardConfigurationError, "api_key", 1),
    "404": ((status(404),), GuardConfigurationError, "check model", 1),
    "400": ((status(400),), GuardConfigurationError, "lower batch_size", 1),
    "413": ((status(413),), GuardConfigurationError, "context_characters", 1),
    "no JSON": ((always(Reply(b"<html>")),), GuardResponseError, "base_url", 1),
    "an error with status 200": ((lambda request: Reply({"error": texts_of(request)}),), GuardResponseError, "", 1),
    "no results": ((always(answer()),), GuardResponseError, "batch_size=1", 1),
    "too many results": ((always(answer(result(), result())),), GuardResponseError, "2 results for 1", 1),
    "null": ((always(answer(None)),), GuardResponseError, "moderation endpoint", 1),
    "not flagged, in words": (
        (always(answer({**result(), "flagged": "no"})),),
        GuardResponseError,
        "moderation endpoint",
        1,
    ),
    "no flag": ((always(answer({"categories": {}})),), GuardResponseError, "moderation endpoint", 1),
    "categories in a list": (
        (always(answer({"flagged": False, "categories": []})),),
        GuardResponseError,
        "moderation endpoint",
        1,
    ),
    "an echo for a category": (
        (lambda request: answer({"flagged": False, "categories": {"violence": texts_of(request)[0]}}),),
        GuardResponseError,
        "moderation endpoint",
        1,
    ),
    "a chat": ((always(Reply({"choices": [{"message": {"content": "safe"}}]})),), GuardResponseError, "base_url", 1),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_failure_is_an_error_and_never_a_verdict(lane: Lane, serve: Serve, name: str) -> None:
    steps, kind, says, requests = FAULTS[name]
    server = serve(*steps)
    error = await failure(lane, guard_of(server))
    assert type(error) is kind
    assert says in str(error)
    assert len(server.requests) == requests


@pytest.mark.parametrize("first", [status(429), status(500), drop], ids=["429", "500", "drop"])
async def test_what_may_pass_is_tried_once_more(lane: Lane, serve: Serve, first: Step) -> None:
    server = serve(first, good)
    assert await lane(guard_of(server), "check_prompt", "a bomb") == UNSAFE
    assert len(server.requests) == 2


async def test_the_deadline_is_kept_by_every_request(lane: Lane, serve: Serve) -> None:
    server = serve(lambda request: Reply(good(request).body, delay=0.3))
    four = [Conversation.of_prompt("bread")] * 4
    assert await lane(guard_of(server, timeout=0.8, batch_size=1, max_concurrency=1), "check_many", four) == [SAFE] * 4
    start = time.monotonic()
    assert type(await failure(lane, guard_of(serve(hang), timeout=0.4))) is GuardTimeoutError
    assert time.monotonic() - start < 2


async def test_a_name_that_repeats_the_text_stays_out_of_the_verdict(lane: Lane, serve: Serve) -> None:
    server = serve(lambda request: answer({"flagged": True, "categories": {texts_of(request)[0]: True}}))
    verdict = await lane(guard_of(server), "check_prompt", f"{CANARY} and more")
    assert CANARY not in repr(verdict)
    assert not verdict.safe


@pytest.mark.parametrize("code", [301, 307])
async def test_text_is_not_taken_to_another_host(lane: Lane, serve: Serve, code: int) -> None:
    other = serve(good)
    error = await failure(lane, guard_of(serve(status(code, location=f"{other.url}/moderations"))))
    assert type(error) is GuardConfigurationError
    assert other.connections == 0


# --- settings ---


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", ""),
        ("base_url", ""),
        ("base_url", "api.openai.com/v1"),
        ("api_key", ""),
        ("timeout", 0),
        ("max_concurrency", 0),
        ("batch_size", 0),
        ("scores", "sum"),
        ("scores", True),
        ("context_characters", 0),
        ("overlap_characters", 8_001),
    ],
)
def test_a_wrong_setting_is_named_at_construction(setting: str, value: object) -> None:
    options: dict[str, Any] = {"model": "m", "base_url": "http://127.0.0.1:9/v1", setting: value}
    with pytest.raises(GuardConfigurationError, match=setting):
        OpenAIModerationGuard(**options)


async def test_it_is_loaded_by_name_and_only_with_an_address(
    lane: Lane, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = serve(good), serve(good)
    for name in ("BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"QWEN3GUARD_{name}", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", other.url)
    monkeypatch.setenv("OPENAI_API_KEY", "leaked")
    with pytest.raises(GuardConfigurationError, match="base_url"):
        load_guard("openai-moderation:omni-moderation-latest")
    guard = load_guard("openai-moderation:omni-moderation-latest", base_url=server.url, api_key="key", scores="max")
    verdict = await lane(guard, "check_prompt", "a bomb")
    assert verdict.scores == Scores(safe=1 - 0.9, controversial=0, unsafe=0.9)
    assert repr(guard) == f"OpenAIModerationGuard('omni-moderation-latest', base_url='{server.url}')"
    assert server.requests[0].headers["authorization"] == "Bearer key"
    assert other.connections == 0
