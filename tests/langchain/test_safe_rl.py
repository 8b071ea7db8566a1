"""Qwen3-4B-SafeRL, as a second model: over HTTP as vLLM serves it, thinking or not, whole or streamed, in agents."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

from qwen3guard_integrations import Point
from qwen3guard_integrations.guards import WindowedStreamGuard
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware, guard_model
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane
from ..guards.fault_server import FaultServer, Reply, Request, Step, chat
from ..model_server import ModelServer, transformers_serve
from .helpers import PII, REFUSAL, VIOLENT, ChunkModel, fake_guard
from .tiny_chat import write_chat_model
from .ways import WAYS

SAFE_RL = "Qwen/Qwen3-4B-SafeRL"
INTERVENTION = inspect.signature(guard_model).parameters["intervention"].default
HARMFUL = ["Take a pan, ", "then the ", "bomb goes ", "here and ", "more."]
BREAD = ["Let us ", "bake ", "bread."]
THOUGHT = ["They ", "want ", "dinner."]

Serve = Callable[..., FaultServer]


def token_guard() -> FakeStreamGuard:
    """Unsafe from the word "bomb" on, token by token."""
    return FakeStreamGuard({"bomb": VIOLENT})


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts chat servers that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*steps: Step) -> FaultServer:
            return stack.enter_context(FaultServer(*steps))

        yield start


def writes(answer: Sequence[str], *, thinking: Sequence[str] = (), parsed: bool = False) -> Step:
    """A server of a Qwen3: it thinks unless `enable_thinking` is false, in the text or, `parsed`, beside it."""

    def step(request: Request) -> Reply:
        thinks = request.body.get("chat_template_kwargs", {}).get("enable_thinking", True) and bool(thinking)
        reasoning = list(thinking) if thinks and parsed else []
        said = ["<think>", *thinking, "</think>\n\n", *answer] if thinks and not parsed else list(answer)
        if not request.body.get("stream"):
            return chat("".join(said), reasoning_content="".join(reasoning) or None)
        deltas = [*({"reasoning_content": piece} for piece in reasoning), *({"content": piece} for piece in said)]
        return Reply(b"".join(map(_event, [{"role": "assistant"}, *deltas, None])), headers=_EVENTS)

    return step


_EVENTS = {"content-type": "text/event-stream"}


def _event(delta: dict[str, str] | None) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None if delta else "stop"}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def client(server: FaultServer | ModelServer, *, thinking: bool | None = None, kind: Any = ChatOpenAI) -> Any:
    """SafeRL on a server; None leaves it to the server whether it thinks."""
    body = None if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}
    model = server.model if isinstance(server, ModelServer) else SAFE_RL
    return kind(
        model=model,
        base_url=server.url,
        api_key="EMPTY",
        max_retries=0,
        extra_body=body,
        http_async_client=httpx.AsyncClient(),  # the one that LangChain shares would outlive the loop of its test
    )


class ReadsReasoning(ChatOpenAI):
    """Reads `reasoning_content`, as classes for such servers do (ChatDeepSeek of langchain-deepseek)."""

    def _create_chat_result(self, response: Any, generation_info: Any = None) -> Any:
        result = super()._create_chat_result(response, generation_info)
        reasoning = response.choices[0].message.model_extra.get("reasoning_content")
        result.generations[0].message.additional_kwargs["reasoning_content"] = reasoning
        return result

    def _convert_chunk_to_generation_chunk(self, chunk: dict[str, Any], *rest: Any) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(chunk, *rest)
        if made and chunk.get("choices") and (piece := chunk["choices"][0]["delta"].get("reasoning_content")):
            made.message.additional_kwargs["reasoning_content"] = piece
        return made


async def said(lane: Lane, model: Any, streamed: bool, asked: str = "Dinner?") -> Any:
    """The whole answer."""
    if not streamed:
        return await lane(model, "invoke", asked)
    first, *rest = await lane.collect(model, "stream", asked)
    for chunk in rest:
        first += chunk
    return first


streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
guards = pytest.mark.parametrize("make_guard", [token_guard, fake_guard], ids=["token", "windowed"])


# --- as the fallback model ---


@streamed
@guards
@pytest.mark.parametrize("thinking", [False, True], ids=["non-thinking", "thinking"])
async def test_a_blocked_answer_is_handed_over(
    lane: Lane, serve: Serve, make_guard: Any, streamed: bool, thinking: bool
) -> None:
    plain, safe = serve(writes(HARMFUL[2:])), serve(writes(BREAD, thinking=THOUGHT))
    fallback = client(safe, thinking=thinking)
    answer = await said(lane, guard_model(client(plain), make_guard(), fallback_model=fallback), streamed)
    assert answer.text == ("<think>They want dinner.</think>\n\n" if thinking else "") + "Let us bake bread."
    [request] = safe.requests
    assert request.body["model"] == SAFE_RL
    assert request.body["chat_template_kwargs"] == {"enable_thinking": thinking}
    assert request.body["messages"] == [{"role": "user", "content": "Dinner?"}]
    assert bool(request.body.get("stream")) is streamed


@streamed
async def test_what_has_left_is_what_it_goes_on_from(lane: Lane, serve: Serve, streamed: bool) -> None:
    safe = serve(writes(BREAD))
    model = guard_model(client(serve(writes(HARMFUL))), token_guard(), fallback_model=client(safe, thinking=False))
    answer = await said(lane, model, streamed)
    asked = [message["content"] for message in safe.requests[0].body["messages"]]
    if streamed:
        assert answer.text == "Take a pan, then the Let us bake bread."
        assert asked == ["Dinner?", "Take a pan, then the ", INTERVENTION]
    else:
        assert answer.text == "Let us bake bread."
        assert asked == ["Dinner?"]


@streamed
@guards
async def test_it_is_guarded_itself(lane: Lane, serve: Serve, make_guard: Any, streamed: bool) -> None:
    fallback = client(serve(writes(["Well, ", "a bomb ", "it is."])))
    model = guard_model(client(serve(writes(HARMFUL[2:]))), make_guard(), fallback_model=fallback)
    answer = await said(lane, model, streamed)
    assert "bomb" not in repr(answer)
    assert answer.text.endswith(REFUSAL)
    assert answer.response_metadata["finish_reason"] == "content_filter"


@guards
@pytest.mark.parametrize(
    ("parsed", "streamed"),
    [(False, True), (False, False), (True, True), (True, False)],
    ids=["<think> streamed", "<think> whole", "reasoning_content streamed", "reasoning_content whole"],
)
async def test_what_it_thinks_is_judged_as_thinking(
    lane: Lane, serve: Serve, make_guard: Any, streamed: bool, parsed: bool
) -> None:
    thinks = writes(BREAD, thinking=["Perhaps ", "a bomb ", "then."], parsed=parsed)
    plain, fallback = client(serve(writes(HARMFUL[2:]))), client(serve(thinks), kind=ReadsReasoning)
    answer = await said(lane, guard_model(plain, make_guard(), fallback_model=fallback), streamed)
    assert "bomb" not in repr(answer)
    assert answer.text.endswith(REFUSAL)
    assert answer.response_metadata["qwen3guard"]["point"] == Point.REASONING
    # With a policy for thinking of its own: it passes, and the answer is judged all the same.
    unjudged = {"points": {"reasoning": {"unsafe": "flag", "controversial": "allow"}}}
    answer = await said(lane, guard_model(plain, make_guard(), unjudged, fallback_model=fallback), streamed)
    assert answer.text.endswith("Let us bake bread.")
    assert "a bomb then" in (answer.additional_kwargs["reasoning_content"] if parsed else answer.text)


@guards
@pytest.mark.parametrize("on_block", ["refuse", "regenerate"])
async def test_both_think_beside_the_text(lane: Lane, serve: Serve, make_guard: Any, on_block: Any) -> None:
    plain = client(serve(writes(BREAD, thinking=["Well, ", "a bomb ", "it is."], parsed=True)), kind=ReadsReasoning)
    safe = serve(writes(BREAD, thinking=THOUGHT, parsed=True))
    fallback = client(safe, kind=ReadsReasoning)
    model = guard_model(plain, make_guard(), on_block=on_block, retries=0, fallback_model=fallback)
    answer = await said(lane, model, streamed=True)
    assert answer.text == "Let us bake bread."
    thought = answer.additional_kwargs["reasoning_content"]
    assert thought.removeprefix("Well, ") == "They want dinner."
    assert len(safe.requests[0].body["messages"]) == 1  # nothing of the answer had left that it could go on from


def every_word() -> WindowedStreamGuard:
    """Every window is a word, unless the model is faster."""
    return WindowedStreamGuard(fake_guard(), {"first_tokens": 1, "most_tokens": 1, "sentence_tokens": 1})


THINKS_HARM = writes(BREAD, thinking=["Well. ", "a bomb ", "it is."])


@pytest.mark.parametrize(
    ("make_guard", "own", "left", "kept"),
    [
        (token_guard, THINKS_HARM, "<think>Well. </think>\n\n", None),
        (every_word, THINKS_HARM, "<think>Well. </think>\n\n", None),
        (token_guard, writes(["a bomb ", "it is."], thinking=["Well. "]), "<think>Well. </think>\n\n", None),
        (token_guard, writes(["Flour. ", "a bomb "]), "Flour. ", "Flour. "),
        (
            token_guard,
            writes(["Flour. ", "a bomb "], thinking=["Well. "]),
            "<think>Well. </think>\n\nFlour. ",
            "\n\nFlour. ",
        ),
    ],
    ids=["while thinking", "while thinking, windowed", "before the answer", "without thinking", "behind thinking"],
)
async def test_a_second_model_thinks_in_the_text_too(
    lane: Lane, serve: Serve, make_guard: Any, own: Step, left: str, kept: str | None
) -> None:
    """What is cut off is closed, and what is given on is what was said."""
    safe = serve(writes(BREAD, thinking=THOUGHT))
    model = guard_model(client(serve(own)), make_guard(), fallback_model=client(safe))
    answer = await said(lane, model, streamed=True)
    assert answer.text == f"{left}<think>They want dinner.</think>\n\nLet us bake bread."
    given = [message["content"] for message in safe.requests[0].body["messages"]]
    assert given == (["Dinner?"] if kept is None else ["Dinner?", kept, INTERVENTION])


@pytest.mark.parametrize("on_block", ["refuse", "regenerate"])
async def test_its_second_thinking_is_judged_as_thinking(lane: Lane, serve: Serve, on_block: Any) -> None:
    flag = {"points": {"reasoning": {"unsafe": "flag", "controversial": "block"}}}
    guard = FakeStreamGuard({"bomb": VIOLENT, "salary": PII})
    own = writes(BREAD, thinking=["Well. ", "their salary ", "it is."])
    fallback = client(serve(writes(BREAD, thinking=["A ", "bomb ", "then."])))
    model = guard_model(client(serve(own)), guard, flag, on_block=on_block, retries=0, fallback_model=fallback)
    answer = await said(lane, model, streamed=True)
    assert answer.text.endswith("<think>A bomb then.</think>\n\nLet us bake bread.")
    # Behind an answer that has begun it is none: no answer calls itself thinking.
    begun = client(serve(writes(["Flour. ", "their salary ", "it is."])))
    answer = await said(lane, guard_model(begun, guard, flag, fallback_model=fallback), streamed=True)
    assert "bomb" not in repr(answer)
    assert answer.text.endswith(REFUSAL)


async def test_the_own_model_thinks_anew(lane: Lane, serve: Serve) -> None:
    steps = [writes(BREAD, thinking=[*["well "] * 60, "a bomb ", "then."]), writes(BREAD, thinking=THOUGHT)]
    own = serve(*steps)
    answer = await said(lane, guard_model(client(own), token_guard(), on_block="regenerate"), streamed=True)
    first, second = answer.text.split("</think>\n\n", 1)
    assert first.removeprefix("<think>").strip(" wel") == ""
    assert 20 <= first.count("well ") <= 25
    assert second == "<think>They want dinner.</think>\n\nLet us bake bread."
    given = [message["content"] for message in own.requests[1].body["messages"]]
    assert given == ["Dinner?", INTERVENTION], "as with thinking beside the text, nothing was said yet"


@pytest.mark.parametrize("settings", [{}, {"on_block": "regenerate", "buffer_tokens": 1, "retries": 1}])
async def test_a_refusal_is_no_thinking(lane: Lane, serve: Serve, settings: Any) -> None:
    own = serve(writes(BREAD, thinking=["Well. ", "Yes. ", "a bomb ", "it is."]))
    answer = await said(lane, guard_model(client(own), token_guard(), **settings), streamed=True)
    assert answer.text.startswith("<think>Well. ")
    assert answer.text.endswith(f"</think>\n\n{REFUSAL}")
    assert answer.text.count("think>") in (2, 4), "every tag is closed"


@guards
@pytest.mark.parametrize("parsed", [False, True], ids=["<think>", "reasoning_content"])
async def test_unsafe_thinking_can_be_left_out_of_a_whole_answer(
    lane: Lane, serve: Serve, make_guard: Any, parsed: bool
) -> None:
    thinks = writes(BREAD, thinking=["Perhaps ", "a bomb ", "then."], parsed=parsed)
    plain, fallback = client(serve(writes(HARMFUL[2:]))), client(serve(thinks), kind=ReadsReasoning)
    dropping = {"points": {"reasoning": "drop"}}
    model = guard_model(plain, make_guard(), dropping, fallback_model=fallback)
    answer = await said(lane, model, streamed=False)
    assert "bomb" not in repr(answer)
    assert answer.text == "Let us bake bread."


@streamed
async def test_chat_openai_itself_leaves_out_reasoning_content(lane: Lane, serve: Serve, streamed: bool) -> None:
    """So it reaches nobody, and there is nothing to judge."""
    fallback = client(serve(writes(BREAD, thinking=["a bomb"], parsed=True)))
    model = guard_model(client(serve(writes(HARMFUL[2:]))), token_guard(), fallback_model=fallback)
    answer = await said(lane, model, streamed)
    assert answer.text == "Let us bake bread."
    assert "bomb" not in repr(answer)


@streamed
async def test_a_blocked_prompt_reaches_no_model_unless_the_policy_lets_it(
    lane: Lane, serve: Serve, streamed: bool
) -> None:
    plain, safe = serve(writes(HARMFUL)), serve(writes(BREAD))
    settings: dict[str, Any] = {"fallback_model": client(safe), "on_block": "regenerate", "retries": 0}
    answer = await said(lane, guard_model(client(plain), token_guard(), **settings), streamed, "A bomb?")
    assert answer.text == REFUSAL
    assert plain.requests == safe.requests == []
    flagged = guard_model(client(plain), token_guard(), {"points": {"prompt": "flag"}}, **settings)
    assert (await said(lane, flagged, streamed, "A bomb?")).text.endswith("Let us bake bread.")
    assert [len(server.requests) for server in (plain, safe)] == [1, 1]


# --- as the model that regenerates ---

LONG = [*("word " for _ in range(60)), "a bomb ", "and more"]


async def test_it_regenerates_in_place_of_the_same_model(lane: Lane, serve: Serve) -> None:
    """Nothing of the last 40 tokens has left; SafeRL goes on from the last clean place, at once."""
    plain, safe = serve(writes(LONG)), serve(writes(BREAD))
    fallback = client(safe, thinking=False)
    model = guard_model(client(plain), token_guard(), on_block="regenerate", retries=0, fallback_model=fallback)
    answer = await said(lane, model, streamed=True)
    kept = answer.text.removesuffix("Let us bake bread.")
    assert kept == "word " * kept.count("word ")
    assert 20 <= kept.count("word ") <= 25  # 60 and the bomb came, 40 tokens were taken back
    _, begun, told = safe.requests[0].body["messages"]
    assert (begun, told["content"]) == ({"role": "assistant", "content": kept}, INTERVENTION)
    assert answer.response_metadata["qwen3guard"]["retries"] == 1
    assert [len(server.requests) for server in (plain, safe)] == [1, 1]


@streamed
async def test_after_the_own_tries_of_the_model(lane: Lane, serve: Serve, streamed: bool) -> None:
    plain, safe = serve(writes(HARMFUL)), serve(writes(BREAD))
    model = guard_model(
        client(plain), token_guard(), on_block="regenerate", retries=2, fallback_model=client(safe, thinking=False)
    )
    answer = await said(lane, model, streamed)
    assert answer.text == "Let us bake bread."
    assert [len(server.requests) for server in (plain, safe)] == [3, 1]
    last = plain.requests[-1].body["messages"]
    assert last[-1]["content"] == INTERVENTION


# --- in agents ---


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("agent")])
@pytest.mark.parametrize("regenerate", [False, True], ids=["fallback", "regenerate"])
async def test_agents_hand_over_in_every_way_of_running(
    way: str, regenerate: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe = serve(writes(BREAD))
    middleware = Qwen3GuardMiddleware(token_guard(), regenerate=regenerate, fallback_model=client(safe, thinking=False))
    monkeypatch.setattr(
        "tests.langchain.ways.create_agent", lambda model, tools: create_agent(model, [], middleware=[middleware])
    )
    given = [item async for item in WAYS[way](client(serve(writes(HARMFUL[2:]))), {})]
    assert "bomb" not in repr(given)
    assert "bread" in repr(given)
    assert len(safe.requests) == 1


@streamed
async def test_the_state_of_an_agent_has_the_safe_answer_only(lane: Lane, serve: Serve, streamed: bool) -> None:
    middleware = Qwen3GuardMiddleware(FakeGuard({"bomb": "Unsafe"}), fallback_model=client(serve(writes(BREAD))))
    agent = create_agent(client(serve(writes(HARMFUL[2:]))), [], middleware=[middleware])
    state: Any = {"messages": [HumanMessage("Dinner?")]}
    if streamed:
        *_, last = await lane.collect(agent, "stream", state, stream_mode="values")
    else:
        last = await lane(agent, "invoke", state)
    assert [message.text for message in last["messages"]] == ["Dinner?", "Let us bake bread."]


# --- on a real server ---


@pytest.fixture(scope="module")
def safe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve` with a tiny Qwen3 that can think, in place of SafeRL."""
    folder = write_chat_model(
        tmp_path_factory.mktemp("model"), ["Let", " us", " keep", " to", " bread", "."], ["They", " want", " dinner"]
    )
    with transformers_serve(folder, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.mark.server
@streamed
@guards
@pytest.mark.parametrize("thinking", [False, True], ids=["non-thinking", "thinking"])
async def test_a_served_checkpoint_answers_in_place_of_the_model(
    lane: Lane, safe_server: ModelServer, make_guard: Any, streamed: bool, thinking: bool
) -> None:
    fallback = client(safe_server, thinking=thinking, kind=ReadsReasoning)
    model = guard_model(ChunkModel.of("The bomb ", "goes here."), make_guard(), fallback_model=fallback)
    answer = await said(lane, model, streamed)
    assert answer.text.strip() == "Let us keep to bread."
    reasoning = (answer.additional_kwargs.get("reasoning_content") or "").strip()
    assert reasoning == ("They want dinner" if thinking else "")


@pytest.mark.server
@streamed
async def test_what_a_served_checkpoint_thinks_is_judged(lane: Lane, safe_server: ModelServer, streamed: bool) -> None:
    guard = FakeStreamGuard({"bomb": VIOLENT, "dinner": VIOLENT})
    fallback = client(safe_server, thinking=True, kind=ReadsReasoning)
    model = guard_model(ChunkModel.of("The bomb ", "goes here."), guard, fallback_model=fallback)
    answer = await said(lane, model, streamed, "What now?")
    assert "dinner" not in repr(answer)
    assert answer.text.endswith(REFUSAL)
    assert answer.response_metadata["qwen3guard"]["point"] == Point.REASONING


@pytest.mark.server
async def test_a_served_checkpoint_in_an_agent(lane: Lane, safe_server: ModelServer) -> None:
    middleware = Qwen3GuardMiddleware(token_guard(), fallback_model=client(safe_server, thinking=False))
    agent = create_agent(ChunkModel.of("The bomb ", "goes here."), [], middleware=[middleware])
    state: Any = {"messages": [HumanMessage("What is for dinner?")]}
    chunks = await lane.collect(agent, "stream", state, stream_mode="messages")
    assert "bomb" not in repr(chunks)
    assert "".join(chunk.text for chunk, _ in chunks if isinstance(chunk, AIMessage)).strip() == "Let us keep to bread."
