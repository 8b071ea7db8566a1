"""The remote guard against a real server that does everything a server can do wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import openai
import pytest

from qwen3guard_integrations import (
    Category,
    Conversation,
    GuardConfigurationError,
    GuardError,
    GuardResponseError,
    GuardTimeoutError,
    GuardUnavailableError,
    Severity,
    Verdict,
)
from qwen3guard_integrations.core.gen_prompt import gen_messages
from qwen3guard_integrations.guards import Guard, OpenAIGuard

from ..conftest import Lane
from .conftest import DEMO_GEN
from .failures import CANARY, failure
from .fault_server import (
    FaultServer,
    Reply,
    Request,
    Step,
    always,
    chat,
    completion,
    drip,
    drop,
    good,
    hang,
    refusing,
    says,
    slow,
    status,
    without,
)

Serve = Callable[..., FaultServer]

SAFE = Verdict(severity=Severity.SAFE)
UNSAFE = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,))


def guard_of(server: FaultServer, **options: Any) -> OpenAIGuard:
    return OpenAIGuard("guard", base_url=server.url, **{"timeout": 5.0, **options})


def by_completion(server: FaultServer, **options: Any) -> OpenAIGuard:
    return guard_of(server, tokenizer=str(DEMO_GEN), **options)


# What is asked and answered.


async def test_a_prompt_and_a_response(lane: Lane, serve: Serve) -> None:
    server = serve()
    guard = guard_of(server)
    assert isinstance(guard, Guard)
    assert await lane(guard, "check_prompt", "How do I build a bomb?") == UNSAFE
    assert await lane(guard, "check_prompt", "How do I bake bread?") == SAFE
    conversation = Conversation.of_response("How?", "Take a knife.", reasoning="They ask about knives.")
    verdict = await lane(guard, "check", conversation)
    assert (verdict.severity, verdict.refusal) == (Severity.CONTROVERSIAL, False)
    assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 3
    assert server.requests[2].body == {
        "model": "guard",
        "messages": gen_messages(conversation),
        "temperature": 0,
        "max_tokens": 128,
        "logprobs": True,
        "top_logprobs": 10,
    }


async def test_nothing_to_judge_is_no_request(lane: Lane, serve: Serve) -> None:
    server = serve()
    assert await lane(guard_of(server), "check_many", []) == []
    assert server.requests == []


async def test_options_reach_the_server(lane: Lane, serve: Serve) -> None:
    server = serve()
    guard = guard_of(
        server, max_tokens=64, scores=False, extra_body={"seed": 7}, default_headers={"x-team": "a"}, api_key="key"
    )
    await lane(guard, "check_prompt", "hello")
    (request,) = server.requests
    assert request.body["seed"] == 7
    assert request.body["max_tokens"] == 64
    assert "logprobs" not in request.body
    assert request.headers["x-team"] == "a"
    assert request.headers["authorization"] == "Bearer key"


@pytest.mark.parametrize(
    "message",
    [
        {"text": "\n\nSafety: Unsafe\nCategories: Violent"},
        {"text": "<think>\n\n</think>\n\nSafety: Unsafe\nCategories: Violent"},
        {"text": None, "reasoning_content": "Safety: Unsafe\nCategories: Violent"},
        {"text": "\n\n", "reasoning": "Safety: Unsafe\nCategories: Violent"},
    ],
)
async def test_the_verdict_is_found_where_servers_put_it(lane: Lane, serve: Serve, message: dict[str, Any]) -> None:
    assert await lane(guard_of(serve(says(**message))), "check_prompt", "x") == UNSAFE


async def test_half_a_surrogate_pair_does_not_stop_the_guard(lane: Lane, serve: Serve) -> None:
    server = serve()
    assert await lane(guard_of(server), "check_prompt", "a bomb \ud83d and \ud83d\ude00") == UNSAFE
    assert server.requests[0].text == "a bomb \ufffd and 😀"


# Failures: each one is the right error, in time, and no verdict.

FAULTS: dict[str, tuple[tuple[Step, ...], type[GuardError], str, int]] = {
    "429 twice": ((status(429),), GuardUnavailableError, "max_concurrency", 2),
    "500 twice": ((status(500),), GuardUnavailableError, "status 500", 2),
    "503 then 429": ((status(503), status(429)), GuardUnavailableError, "status 429", 2),
    "501": ((status(501),), GuardUnavailableError, "status 501", 1),
    "dropped twice": ((drop,), GuardUnavailableError, "base_url", 2),
    "401": ((status(401),), GuardConfigurationError, "api_key", 1),
    "403": ((status(403),), GuardConfigurationError, "api_key", 1),
    "404": ((status(404),), GuardConfigurationError, "check model", 1),
    "413": ((status(413),), GuardConfigurationError, "status 413", 1),
    "400 in any case": ((status(400),), GuardConfigurationError, "status 400", 2),
    "422 in any case": ((status(422),), GuardConfigurationError, "status 422", 2),
    "no JSON": ((always(Reply(f'{{"choices": [{CANARY}'.encode())),), GuardResponseError, "base_url", 1),
    "HTML": ((always(Reply(b"<html>hello</html>", headers={"content-type": "text/html"})),), GuardResponseError, "", 1),
    "not UTF-8": ((always(Reply(b'{"choices": "\xff\xfe"}')),), GuardResponseError, "", 1),
    "empty body": ((always(Reply(b"")),), GuardResponseError, "", 1),
    "no choices": ((always(Reply({"choices": []})),), GuardResponseError, "", 1),
    "an error with status 200": ((lambda request: Reply({"error": request.text}),), GuardResponseError, "", 1),
    "choices of a wrong type": ((lambda request: Reply({"choices": request.text}),), GuardResponseError, "", 1),
    "content of a wrong type": ((says([1, 2]),), GuardResponseError, "", 1),  # type: ignore[arg-type]
    "null": ((says(None),), GuardResponseError, "empty", 1),
    "an echo": ((lambda request: chat(request.text + "\nSafety: Safe"),), GuardResponseError, "Qwen3Guard-Gen", 1),
    "no verdict": ((says("I am a helpful assistant."),), GuardResponseError, "Qwen3Guard-Gen", 1),
    "half a verdict": ((says("Safety: Cont", finish_reason="length"),), GuardResponseError, "raise max_tokens", 1),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_failure_is_an_error_and_never_a_verdict(lane: Lane, serve: Serve, name: str) -> None:
    steps, kind, names, requests = FAULTS[name]
    server = serve(*steps)
    error = await failure(lane, guard_of(server))
    assert type(error) is kind
    assert names in str(error)
    assert len(server.requests) == requests


@pytest.mark.parametrize("step", [hang, drip, slow(30)], ids=["hang", "drip", "slow"])
async def test_the_deadline_is_kept(lane: Lane, serve: Serve, step: Step) -> None:
    server = serve(step)
    start = time.monotonic()
    error = await failure(lane, guard_of(server, timeout=0.4))
    assert 0.3 < time.monotonic() - start < 2
    assert type(error) is GuardTimeoutError
    assert "raise timeout" in str(error)
    assert len(server.requests) == 1
    assert server.wait_until(lambda server: server.abandoned == 1)


async def test_the_deadline_spans_the_retry(lane: Lane, serve: Serve) -> None:
    server = serve(status(500), hang)
    start = time.monotonic()
    assert type(await failure(lane, guard_of(server, timeout=0.8))) is GuardTimeoutError
    assert time.monotonic() - start < 2
    assert len(server.requests) == 2


async def test_a_refused_connection(lane: Lane) -> None:
    with FaultServer() as server:
        guard = guard_of(server)
    error = await failure(lane, guard)
    assert type(error) is GuardUnavailableError
    assert error.retryable
    assert "check base_url" in str(error)


async def test_an_error_that_is_none_of_the_clients_own(lane: Lane, serve: Serve) -> None:
    guard = guard_of(serve(), default_headers={"x-name": "守"})
    error = await failure(lane, guard)
    assert type(error) is GuardUnavailableError
    assert "UnicodeEncodeError" in str(error)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_text_is_not_taken_to_another_host(lane: Lane, serve: Serve, code: int) -> None:
    other = serve()
    error = await failure(lane, guard_of(serve(status(code, location=f"{other.url}/chat/completions"))))
    assert type(error) is GuardConfigurationError
    assert "final address" in str(error)
    assert other.connections == 0


async def test_text_goes_into_no_log(lane: Lane, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await lane(guard_of(serve()), "check_prompt", CANARY)
    await lane(by_completion(serve()), "check_prompt", CANARY)
    for step in (status(500), drop, hang):
        await failure(lane, guard_of(serve(step), timeout=0.8))
    assert "openai._base_client" in {record.name for record in caplog.records}
    assert CANARY not in caplog.text


# The retry.


@pytest.mark.parametrize("first", [status(429), status(500), status(503), drop], ids=["429", "500", "503", "drop"])
async def test_what_may_pass_is_tried_once_more(lane: Lane, serve: Serve, first: Step) -> None:
    server = serve(first, good)
    assert await lane(guard_of(server), "check_prompt", "a bomb") == UNSAFE
    assert len(server.requests) == 2


async def test_retry_after_is_honoured(lane: Lane, serve: Serve) -> None:
    server = serve(status(429, retry_after="0.6"), good)
    start = time.monotonic()
    assert await lane(guard_of(server), "check_prompt", "hello") == SAFE
    assert time.monotonic() - start >= 0.6


@pytest.mark.parametrize("when", ["60", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "date"])
async def test_a_pause_that_is_too_long_is_not_waited_for(lane: Lane, serve: Serve, when: str) -> None:
    server = serve(status(429, retry_after=when), good)
    start = time.monotonic()
    assert type(await failure(lane, guard_of(server))) is GuardUnavailableError
    assert time.monotonic() - start < 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("when", ["soon", "-5", "nan", "inf", formatdate(0, usegmt=True)])
async def test_a_pause_that_makes_no_sense_is_the_usual_one(lane: Lane, serve: Serve, when: str) -> None:
    server = serve(status(503, retry_after=when), good)
    assert await lane(guard_of(server), "check_prompt", "hello") == SAFE
    assert len(server.requests) == 2


# Scores.


def chat_logprobs(text: str, **labels: float) -> dict[str, Any]:
    """Log-probabilities of the tokens "Safety", ":", and a label with its alternatives."""
    top = [{"token": f" {token}", "logprob": logprob, "bytes": None} for token, logprob in labels.items()]
    tokens = [
        {"token": "Safety", "logprob": 0.0, "top_logprobs": []},
        {"token": ":", "logprob": 0.0, "top_logprobs": []},
        {"token": f" {text}", "logprob": labels[text], "top_logprobs": top},
        {"token": "\n", "logprob": 0.0, "top_logprobs": None},
    ]
    return {"content": tokens}


async def test_scores_come_from_the_token_of_the_severity(lane: Lane, serve: Serve) -> None:
    logprobs = chat_logprobs("Unsafe", Unsafe=-0.5, Safe=-1.5, Cont=-2.5, The=-4.0)
    server = serve(says("Safety: Unsafe\nCategories: Violent", logprobs=logprobs))
    verdict = await lane(guard_of(server), "check_prompt", "x")
    assert verdict.scores.unsafe == pytest.approx(0.6652, abs=1e-4)
    assert verdict.scores.safe == pytest.approx(0.2447, abs=1e-4)
    assert verdict.scores.controversial == pytest.approx(0.0900, abs=1e-4)


@pytest.mark.parametrize("code", [400, 422])
async def test_a_server_that_refuses_logprobs_is_asked_without(lane: Lane, serve: Serve, code: int) -> None:
    server = serve(refusing("logprobs", code=code))
    guard = guard_of(server)
    assert await lane(guard, "check_prompt", "a bomb") == UNSAFE
    assert await lane(guard, "check_prompt", "a bomb") == UNSAFE
    assert ["logprobs" in request.body for request in server.requests] == [True, False, False]


async def test_one_refused_text_does_not_end_the_scores(lane: Lane, serve: Serve) -> None:
    server = serve(status(400), status(400), good)
    guard = guard_of(server)
    await failure(lane, guard)
    await lane(guard, "check_prompt", "hello")
    assert ["logprobs" in request.body for request in server.requests] == [True, False, True]


# Many at once.


async def test_verdicts_come_in_order_and_requests_are_bounded(lane: Lane, serve: Serve) -> None:
    server = serve(lambda request: Reply(good(request).body, delay=0.01 + 0.001 * (hash(request.text) % 40)))
    conversations = [Conversation.of_prompt(f"{n} {'bomb' if n % 3 else 'bread'}") for n in range(64)]
    verdicts = await lane(guard_of(server, max_concurrency=8), "check_many", conversations)
    assert [verdict.safe for verdict in verdicts] == [n % 3 == 0 for n in range(64)]
    assert len(server.requests) == 64
    assert server.most_at_once == 8
    assert server.connections <= 8


async def test_the_bound_is_shared_by_all_callers_of_a_loop(serve: Serve) -> None:
    server = serve(slow(0.05))
    guard = guard_of(server, max_concurrency=3)
    await asyncio.gather(*(guard.acheck_prompt("hello") for _ in range(12)))
    assert server.most_at_once == 3


def test_the_bound_is_shared_by_all_threads(serve: Serve) -> None:
    server = serve(slow(0.05))
    guard = guard_of(server, max_concurrency=3)
    with ThreadPoolExecutor(12) as pool:
        verdicts = list(pool.map(guard.check_prompt, ["a bomb", "hello"] * 12))
    assert verdicts == [UNSAFE, SAFE] * 12
    assert server.most_at_once == 3


async def test_waiting_for_a_place_is_not_counted(lane: Lane, serve: Serve) -> None:
    server = serve(slow(0.3))
    conversations = [Conversation.of_prompt("hello")] * 4
    assert await lane(guard_of(server, max_concurrency=1, timeout=0.8), "check_many", conversations) == [SAFE] * 4


async def test_the_first_failure_ends_the_others(lane: Lane, serve: Serve) -> None:
    def step(request: Request) -> Reply:
        if "bad" not in request.text:
            return hang(request)
        server.wait_until(lambda server: len(server.requests) == 4)
        return status(401)(request)

    server = serve(step)
    start = time.monotonic()
    with pytest.raises(GuardConfigurationError, match="api_key"):
        await lane(guard_of(server), "check_many", [Conversation.of_prompt(text) for text in ("a", "b", "bad", "c")])
    assert time.monotonic() - start < 3
    assert server.wait_until(lambda server: server.abandoned == 3)


# Event loops, threads and processes.


def test_two_event_loops_one_after_the_other_and_threads_between(serve: Serve) -> None:
    guard = guard_of(serve())
    for _ in range(3):
        assert asyncio.run(guard.acheck_prompt("a bomb")) == UNSAFE
        assert guard.check_prompt("a bomb") == UNSAFE


def test_closed_event_loops_are_forgotten(serve: Serve) -> None:
    server = serve()
    guard = guard_of(server)
    for _ in range(5):
        asyncio.run(guard.acheck_prompt("hello"))
    assert len(guard._server._channels) == 1


async def test_a_synchronous_check_inside_a_running_loop(serve: Serve) -> None:
    guard = guard_of(serve())
    assert guard.check_prompt("a bomb") == await guard.acheck_prompt("a bomb") == UNSAFE


async def test_connections_are_used_again(lane: Lane, serve: Serve) -> None:
    server = serve()
    guard = guard_of(server)
    for _ in range(5):
        await lane(guard, "check_prompt", "hello")
    assert server.connections == 1


async def test_many_first_calls_on_a_new_loop_make_one_client(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guard_of(serve())
    guard.check_prompt("hello")  # uses up the client that was made with the guard
    made = []
    new_client = guard._server._new_client

    def counted() -> openai.AsyncOpenAI:
        made.append(threading.current_thread())
        return new_client()

    monkeypatch.setattr(guard._server, "_new_client", counted)
    await asyncio.gather(*(guard.acheck_prompt("hello") for _ in range(10)))
    assert len(made) == 1
    assert made[0] is not threading.main_thread()


async def test_cancelling_closes_the_connection(serve: Serve) -> None:
    server = serve(hang)
    task = asyncio.create_task(guard_of(server, timeout=30).acheck_prompt("hello"))
    assert await asyncio.to_thread(server.wait_until, lambda server: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.wait_until, lambda server: server.abandoned == 1)


def test_an_interrupt_closes_the_connection(serve: Serve) -> None:
    server = serve(hang)

    def interrupt() -> None:
        server.wait_until(lambda server: len(server.requests) == 1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        guard_of(server, timeout=30).check_prompt("hello")
    assert server.wait_until(lambda server: server.abandoned == 1)


def run_python(code: str, *arguments: str) -> str:
    """What a new interpreter prints; anything on its standard error, such as an unclosed socket, is a failure."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_connections_are_closed_with_loop_guard_and_process(serve: Serve) -> None:
    server = serve()
    code = """
        import asyncio, gc, sys
        from qwen3guard_integrations.guards import OpenAIGuard
        guard = OpenAIGuard("guard", base_url=sys.argv[1])
        asyncio.run(guard.acheck_prompt("hello"))
        guard.check_prompt("hello")
        async def another():
            await OpenAIGuard("guard", base_url=sys.argv[1]).acheck_prompt("hello")
            gc.collect()
        asyncio.run(another())
    """
    run_python(code, server.url)
    assert len(server.requests) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_process_has_a_loop_of_its_own(serve: Serve) -> None:
    server = serve()
    code = """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork beside threads
        from qwen3guard_integrations.guards import OpenAIGuard
        guard = OpenAIGuard("guard", base_url=sys.argv[1])
        guard.check_prompt("hello")
        if (child := os.fork()) == 0:
            good = not guard.check_prompt("a bomb").safe and not asyncio.run(guard.acheck_prompt("a bomb")).safe
            os._exit(0 if good else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), guard.check_prompt("a bomb").safe)
    """
    assert run_python(code, server.url) == "0 False\n"


# Long texts.


async def test_the_end_of_a_long_text_is_judged(lane: Lane, serve: Serve) -> None:
    server = serve()
    guard = guard_of(server, context_characters=2000, overlap_characters=200)
    assert await lane(guard, "check_prompt", "harmless words " * 1000 + "and a bomb") == UNSAFE
    assert await lane(guard, "check_prompt", "harmless words " * 1000) == SAFE
    assert all(len(request.text) <= 2000 for request in server.requests)
    assert len(server.requests) > 16


async def test_a_long_response_is_judged_with_its_prompt(lane: Lane, serve: Serve) -> None:
    server = serve()
    guard = guard_of(server, context_characters=2000, overlap_characters=200)
    verdict = await lane(guard, "check_response", "What now?", "harmless words " * 300 + "and a bomb")
    assert (verdict.severity, verdict.refusal) == (Severity.UNSAFE, False)
    assert all(request.body["messages"][0]["content"] == "What now?" for request in server.requests)


async def test_one_deadline_for_all_pieces(lane: Lane, serve: Serve) -> None:
    server = serve(slow(0.3))
    guard = guard_of(server, context_characters=100, overlap_characters=10, max_concurrency=1, timeout=0.8)
    start = time.monotonic()
    assert type(await failure(lane, guard, "harmless words " * 100)) is GuardTimeoutError
    assert time.monotonic() - start < 2


# One pass: the prompt is made here, and the severity is the first token after "Safety:".


async def test_a_safe_text_is_one_token(lane: Lane, serve: Serve) -> None:
    server = serve()
    assert await lane(by_completion(server), "check_prompt", "How do I bake bread?") == SAFE
    (request,) = server.requests
    assert request.path == "/v1/completions"
    assert request.body["prompt"].endswith("</think>\n\nSafety:")
    assert "USER: How do I bake bread?" in request.body["prompt"]
    assert (request.body["max_tokens"], request.body["temperature"], request.body["logprobs"]) == (1, 0, 20)
    assert len(set(request.body["logprob_token_ids"])) == 3


async def test_what_is_not_safe_is_asked_for_its_categories(lane: Lane, serve: Serve) -> None:
    server = serve()
    verdict = await lane(by_completion(server), "check_response", "How?", "Build a bomb.")
    assert verdict == Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT,), refusal=False)
    first, second = server.requests
    assert second.body["prompt"] == first.body["prompt"] + " Unsafe\nCategories:"
    assert second.body["max_tokens"] == 128
    assert "logprobs" not in second.body


LABELS = {" Safe": -3.0, " Unsafe": -0.1, " Cont": -4.0}
LEGACY = {"tokens": [" Unsafe"], "token_logprobs": [-0.1], "top_logprobs": [LABELS], "text_offset": [0]}
LIKE_CHAT = {
    "content": [
        {
            "token": " Unsafe",
            "logprob": -0.1,
            "top_logprobs": [{"token": token, "logprob": logprob} for token, logprob in LABELS.items()],
        }
    ]
}


@pytest.mark.parametrize("logprobs", [LEGACY, LIKE_CHAT], ids=["vLLM", "llama.cpp"])
async def test_one_pass_scores(lane: Lane, serve: Serve, logprobs: dict[str, Any]) -> None:
    server = serve(always(completion(" Unsafe", logprobs=logprobs)), always(completion(" Violent")))
    verdict = await lane(by_completion(server), "check_prompt", "x")
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.VIOLENT,))
    assert verdict.scores.unsafe == pytest.approx(0.9300, abs=1e-4)
    assert verdict.scores.safe == pytest.approx(0.0512, abs=1e-4)


@pytest.mark.parametrize(
    ("refused", "sent"),
    [
        (["logprob_token_ids"], [{"logprobs", "logprob_token_ids"}, {"logprobs"}, {"logprobs"}]),
        (["logprobs"], [{"logprobs", "logprob_token_ids"}, {"logprobs"}, set(), set()]),
    ],
)
async def test_what_the_server_does_not_take_is_left_out(
    lane: Lane, serve: Serve, refused: list[str], sent: list[set[str]]
) -> None:
    server = serve(refusing(*refused, code=422))
    guard = by_completion(server)
    assert await lane(guard, "check_prompt", "hello") == SAFE
    assert await lane(guard, "check_prompt", "hello") == SAFE
    assert [{"logprobs", "logprob_token_ids"} & request.body.keys() for request in server.requests] == sent


@pytest.mark.parametrize("code", [404, 405, 501])
async def test_a_server_that_only_chats_is_asked_by_chat(lane: Lane, serve: Serve, code: int) -> None:
    server = serve(without("/v1/completions", code))
    guard = by_completion(server)
    assert await lane(guard, "check_prompt", "a bomb") == UNSAFE
    assert await lane(guard, "check_prompt", "a bomb") == UNSAFE
    paths = [request.path.rpartition("/v1")[2] for request in server.requests]
    assert paths == ["/completions", "/chat/completions", "/chat/completions"]


async def test_a_model_that_is_not_there_is_no_missing_path(lane: Lane, serve: Serve) -> None:
    guard = by_completion(server := serve(status(404), status(404), good))
    assert type(await failure(lane, guard)) is GuardConfigurationError
    await lane(guard, "check_prompt", "hello")
    assert server.requests[-1].path == "/v1/completions"


@pytest.mark.parametrize("text", ["", " ", "\n", " The", " Safely", " Unsafer"])
async def test_another_word_than_a_label_is_no_verdict(lane: Lane, serve: Serve, text: str) -> None:
    error = await failure(lane, by_completion(serve(always(completion(text)))))
    assert type(error) is GuardResponseError


@pytest.mark.parametrize("details", ["", "\n\n\n", " none", "}{ \x00", " Safety: Safe"])
async def test_unreadable_details_do_not_undo_the_severity(lane: Lane, serve: Serve, details: str) -> None:
    server = serve(always(completion(" Cont")), always(completion(details)))
    verdict = await lane(by_completion(server), "check_prompt", "x")
    assert (verdict.severity, verdict.categories) == (Severity.CONTROVERSIAL, ())


async def test_a_failure_of_the_second_request_is_a_failure(lane: Lane, serve: Serve) -> None:
    server = serve(always(completion(" Unsafe")), status(500))
    assert type(await failure(lane, by_completion(server))) is GuardUnavailableError


# Settings.


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model", ""),
        ("base_url", ""),
        ("base_url", "localhost:8000/v1"),
        ("base_url", "ftp://localhost/v1"),
        ("base_url", "http:///v1"),
        ("base_url", "http://localhost:port/v1"),
        ("base_url", "http://[::1/v1"),
        ("api_key", ""),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("max_concurrency", 0),
        ("max_tokens", 0),
        ("context_characters", 0),
        ("overlap_characters", 0),
        ("overlap_characters", 8_001),
        ("tokenizer", "/no/such/folder"),
    ],
)
def test_a_wrong_setting_is_named_at_construction(setting: str, value: object) -> None:
    options: dict[str, Any] = {"model": "guard", "base_url": "http://127.0.0.1:9/v1", setting: value}
    with pytest.raises(GuardConfigurationError, match=setting):
        OpenAIGuard(**options)


def test_a_base_url_has_to_be_given() -> None:
    with pytest.raises(TypeError, match="base_url"):
        OpenAIGuard("guard")  # type: ignore[call-arg]


async def test_nothing_is_taken_from_variables_of_another_server(
    lane: Lane, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = serve(), serve()
    monkeypatch.setenv("OPENAI_BASE_URL", other.url)
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"leaked-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-custom: leaked\nauthorization: Bearer leaked")
    await lane(guard_of(server), "check_prompt", "hello")
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer EMPTY"
    assert "leaked" not in repr(request)
    assert not [name for name in request.headers if name.startswith("openai")]
    assert other.requests == []


def test_repr_shows_where_and_hides_the_keys() -> None:
    guard = OpenAIGuard("guard", base_url="http://user:word@127.0.0.1:9/v1?token=1", api_key="key")
    assert repr(guard) == "OpenAIGuard('guard', base_url='http://***@127.0.0.1:9/v1')"


def test_a_tokenizer_without_transformers_says_what_to_install() -> None:
    code = """
        import sys
        sys.modules["transformers"] = None
        from qwen3guard_integrations.guards import OpenAIGuard
        try:
            OpenAIGuard("guard", base_url="http://127.0.0.1:9/v1", tokenizer="folder")
        except ImportError as error:
            print(error)
    """
    assert 'pip install "qwen3guard-integrations[transformers]"' in run_python(code)


def test_neither_torch_nor_transformers_is_loaded_without_a_tokenizer(serve: Serve) -> None:
    code = """
        import sys
        from qwen3guard_integrations.guards import OpenAIGuard
        OpenAIGuard("guard", base_url=sys.argv[1]).check_prompt("hello")
        print({"torch", "transformers"} & sys.modules.keys())
    """
    assert run_python(code, serve().url) == "set()\n"
