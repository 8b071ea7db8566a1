"""The runnable by itself and in chains: calls to the guard, errors, configuration, serialisation, many runs at once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps, load, loads
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import MessagesState

from qwen3guard_integrations import (
    BlockedError,
    GuardConfigurationError,
    GuardError,
    GuardResponseError,
    GuardTimeoutError,
    GuardUnavailableError,
    Policy,
)
from qwen3guard_integrations.guards import load as loading
from qwen3guard_integrations.langchain import GuardedChain, Qwen3GuardRunnable, runnable
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import BAD, REFUSAL, REMOVED, VIOLENT, Recorder, asked, fake_guard, screen

PROMPT = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "{question}")])


def model(*answers: str) -> FakeListChatModel:
    return FakeListChatModel(responses=list(answers) or ["with flour"])


# --- calls to the guard ---


async def test_one_call_however_many_texts(lane: Lane) -> None:
    guard = fake_guard()
    value = {"question": "a", "docs": [Document("b"), Document("a b")], "messages": [HumanMessage("c"), AIMessage("d")]}
    assert await lane(screen(guard=guard), "invoke", value) is value
    assert [len(call) for call in guard.calls] == [5]


async def test_a_batch_is_one_call_and_judges_equal_texts_once(lane: Lane) -> None:
    guard = fake_guard()
    values = [f"question {n % 10}" for n in range(20)]
    released = await lane(screen(guard=guard), "batch", values)
    assert all(one is other for one, other in zip(released, values, strict=True))
    assert [len(call) for call in guard.calls] == [10]


async def test_an_empty_batch(lane: Lane) -> None:
    guard = fake_guard()
    assert await lane(screen(guard=guard), "batch", []) == []
    assert not guard.calls


async def test_batch_with_exceptions_returned(lane: Lane) -> None:
    guard = fake_guard()
    values = ["fine", BAD, object()]
    fine, blocked, unknown = await lane(screen(guard=guard), "batch", values, return_exceptions=True)
    assert fine == "fine"
    assert isinstance(blocked, BlockedError)
    assert isinstance(unknown, TypeError)
    assert len(guard.calls) == 1


@pytest.mark.parametrize("value", [BAD, object()])
async def test_batch_raises_for_one(value: Any, lane: Lane) -> None:
    with pytest.raises((BlockedError, TypeError)):
        await lane(screen(), "batch", ["fine", value])


async def test_every_input_of_a_batch_has_its_own_config(lane: Lane) -> None:
    recorders = [Recorder(), Recorder()]
    configs = [
        {"callbacks": [recorder], "tags": [f"tag {n}"], "run_name": f"run {n}", "metadata": {"n": n}}
        for n, recorder in enumerate(recorders)
    ]
    await lane(screen(on_block="refuse"), "batch", ["fine", BAD], configs)
    runs = [recorder.runs[0] for recorder in recorders]
    assert [(run.name, run.tags, run.metadata["n"]) for run in runs] == [
        ("run 0", ["tag 0"], 0),
        ("run 1", ["tag 1"], 1),
    ]
    assert [run.outputs["output"] for run in runs if run.outputs] == [
        ["allow at prompt (Safe)"],
        ["block at prompt (Unsafe: Violent)"],
    ]


# --- a guard in trouble ---

TROUBLE = {
    "down": fake_guard(error=GuardUnavailableError("connection refused")),
    "late": fake_guard(error=GuardTimeoutError("no verdict in 1 s")),
    "broken": fake_guard(error=RuntimeError("out of memory")),
}


class WrongNumber:
    """A guard that loses a verdict."""

    def check_many(self, conversations: Any, /) -> Any:
        return []

    async def acheck_many(self, conversations: Any, /) -> Any:
        return []


async def everything(lane: Lane, chain: Any, value: Any) -> list[Any]:
    """What each way of running `chain` gives or raises."""
    results: list[Any] = []
    for method, arguments in (("invoke", [value]), ("batch", [[value]]), ("stream", [value]), ("transform", [None])):
        try:
            if method in {"stream", "transform"}:
                results += await lane.collect(
                    chain, method, *(arguments if method == "stream" else [stream(lane, value)])
                )
            else:
                result = await lane(chain, method, *arguments)
                values = result if method == "batch" else [result]
                results += [("returned", value) if isinstance(value, Exception) else value for value in values]
        except Exception as error:  # noqa: BLE001
            results.append(error)
    return results


def stream(lane: Lane, *chunks: Any) -> Any:
    async def generate() -> Any:
        for chunk in chunks:
            yield chunk

    return generate() if lane.is_async else iter(chunks)


@pytest.mark.parametrize("guard", [*TROUBLE.values(), WrongNumber()], ids=[*TROUBLE, "wrong number"])
@pytest.mark.parametrize("policy", ["raise", "block"])
async def test_nothing_passes_without_a_verdict(guard: Any, policy: Any, lane: Lane) -> None:
    results = await everything(lane, screen({"on_guard_error": policy}, guard=guard), "fine")
    expected: type[Exception] = GuardError if policy == "raise" else BlockedError
    expected = RuntimeError if guard is TROUBLE["broken"] else expected  # no error of ours: never taken for a verdict
    assert [isinstance(result, expected) for result in results] == [True] * 4


@pytest.mark.parametrize(
    "guard", [TROUBLE["down"], TROUBLE["late"], WrongNumber()], ids=["down", "late", "wrong number"]
)
async def test_unjudged_texts_pass_where_the_policy_says_so_and_the_trace_tells(guard: Any, lane: Lane) -> None:
    recorder = Recorder()
    chain = screen({"on_guard_error": "allow"}, guard=guard).with_config(callbacks=[recorder])
    assert await everything(lane, chain, "fine") == ["fine"] * 4
    assert all("the guard gave no verdict" in str(run.outputs) for run in recorder.runs)


async def test_guard_errors_are_returned_for_each_input_of_a_batch(lane: Lane) -> None:
    results = await lane(screen(guard=WrongNumber()), "batch", ["a", "b", object()], return_exceptions=True)
    assert [type(result) for result in results] == [GuardResponseError, GuardResponseError, TypeError]


# --- composition ---


async def test_prompt_model_guard_parser(lane: Lane) -> None:
    chain = PROMPT | screen() | model() | screen() | StrOutputParser()
    assert await lane(chain, "invoke", {"question": "bread?"}) == "with flour"
    with pytest.raises(BlockedError, match="prompt"):
        await lane(chain, "invoke", {"question": BAD})


async def test_behind_parsers(lane: Lane) -> None:
    chain = model('{"steps": ["flour"], "n": 1}') | JsonOutputParser() | screen(point="response")
    assert await lane(chain, "invoke", "bread?") == {"steps": ["flour"], "n": 1}
    chain = model(json.dumps({"steps": [BAD]})) | JsonOutputParser() | screen({"unsafe": "redact"}, point="response")
    assert await lane(chain, "invoke", "x") == {"steps": [REMOVED]}


async def test_branches_and_assignments(lane: Lane) -> None:
    guard = screen()
    branch = RunnableBranch((lambda text: "bread" in text, guard | (lambda text: text.upper())), guard)
    assert await lane(branch, "invoke", "bread") == "BREAD"
    with pytest.raises(BlockedError):
        await lane(branch, "invoke", BAD)
    parallel = RunnableParallel(raw=RunnablePassthrough(), screened=screen(on_block="refuse"))
    assert await lane(parallel, "invoke", BAD) == {"raw": BAD, "screened": REFUSAL}
    assigned = RunnablePassthrough.assign(answer=RunnableLambda(lambda _: BAD)) | screen({"unsafe": "redact"})
    assert await lane(assigned, "invoke", {"question": "x"}) == {"question": "x", "answer": REMOVED}
    mapped = screen().map()
    assert await lane(mapped, "invoke", ["a", "b"]) == ["a", "b"]


async def test_as_a_node_of_a_graph(lane: Lane) -> None:
    graph: Any = StateGraph(MessagesState)
    graph.add_node("screen", screen())
    graph.add_node("model", lambda state: {"messages": [AIMessage("with flour")]})
    graph.add_edge(START, "screen")
    graph.add_edge("screen", "model")
    graph.add_edge("model", END)
    app = graph.compile()
    answer = await lane(app, "invoke", {"messages": [HumanMessage("bread?")]})
    assert [message.content for message in answer["messages"]] == ["bread?", "with flour"]
    with pytest.raises(BlockedError):
        await lane(app, "invoke", {"messages": [HumanMessage(BAD)]})


async def test_a_block_is_not_retried(lane: Lane) -> None:
    guard = fake_guard()
    retried = screen(guard=guard).with_retry(retry_if_exception_type=(GuardError,), wait_exponential_jitter=False)
    with pytest.raises(BlockedError):
        await lane(retried, "invoke", BAD)
    assert len(guard.calls) == 1
    down = fake_guard(error=GuardUnavailableError("down"))
    retried = screen(guard=down).with_retry(
        retry_if_exception_type=(GuardError,), wait_exponential_jitter=False, stop_after_attempt=2
    )
    with pytest.raises(GuardUnavailableError):
        await lane(retried, "invoke", "fine")
    assert len(down.calls) == 2


async def test_a_fallback_does_not_answer_a_blocked_input(lane: Lane) -> None:
    unguarded: Any = RunnableLambda(lambda text: f"unguarded: {text}")
    guarded = screen().with_fallbacks([unguarded], exceptions_to_handle=(GuardError,))
    with pytest.raises(BlockedError):
        await lane(guarded, "invoke", BAD)
    second = screen()
    guarded = screen(guard=TROUBLE["down"]).with_fallbacks([second], exceptions_to_handle=(GuardError,))
    assert await lane(guarded, "invoke", "fine") == "fine"
    with pytest.raises(BlockedError):
        await lane(guarded, "invoke", BAD)


def test_the_graph_can_be_drawn() -> None:
    names = [node.name for node in (PROMPT | screen() | model()).get_graph().nodes.values()]
    assert names[2] == "Qwen3GuardRunnable"
    assert "Qwen3GuardRunnable" in screen().get_graph().draw_mermaid()


def test_piping_changes_nothing() -> None:
    steps: list[Any] = [PROMPT, model(), screen(), StrOutputParser()]
    before = [step.model_dump() for step in steps]
    chain = steps[0] | steps[1] | steps[2] | steps[3]
    chain.invoke({"question": "bread?"})
    assert [step.model_dump() for step in steps] == before
    assert chain.steps == steps


# --- configuration ---


async def test_configurable_policy(lane: Lane) -> None:
    chain = screen("strict").configurable_fields(policy=ConfigurableField(id="policy"))
    with pytest.raises(BlockedError):
        await lane(chain, "invoke", "my salary")
    for policy in ("loose", Policy.loose(), {"mode": "loose"}):
        assert await lane(chain, "invoke", "my salary", {"configurable": {"policy": policy}}) == "my salary"
        assert await lane(chain.with_config(configurable={"policy": policy}), "invoke", "my salary") == "my salary"
    with pytest.raises(BlockedError):
        await lane(chain, "invoke", "my salary")


@pytest.mark.parametrize("policy", ["losse", {"point": {}}, 5])
def test_a_wrong_policy_is_an_error_of_the_guards_own(policy: Any) -> None:
    with pytest.raises(GuardConfigurationError, match="policy"):
        screen(policy)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each guard that was loaded, in place of loading it."""
    arguments: list[dict[str, Any]] = []

    def load_fake(**options: Any) -> FakeGuard:
        arguments.append(options)
        time.sleep(0.01)
        guard = fake_guard(delay=0.01)
        loading._LOADED_WITH[guard] = {key: value for key, value in options.items() if key != "api_key"}
        return guard

    runnable._loaded.cache_clear()
    monkeypatch.setattr(runnable, "load_guard", load_fake)
    return arguments


async def test_a_guard_by_name_is_loaded_once(loaded: list[dict[str, Any]], lane: Lane) -> None:
    chain = screen().configurable_fields(guard=ConfigurableField(id="guard"))
    for _ in range(3):
        assert await lane(chain, "invoke", "fine", {"configurable": {"guard": "demo"}}) == "fine"
    assert loaded == [{"guard": "demo"}]


def test_a_guard_by_name_is_loaded_once_by_many_threads(loaded: list[dict[str, Any]]) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Qwen3GuardRunnable("demo"), range(8)))
    assert loaded == [{"guard": "demo"}]
    assert len({id(one.guard) for one in made}) == 1


def test_round_trip_without_the_key(loaded: list[dict[str, Any]]) -> None:
    guard = {"guard": "openai:m", "base_url": "http://localhost:1/v1", "api_key": "sk-canary"}
    step = Qwen3GuardRunnable(guard, {"mode": "loose"}, on_block="refuse", point="response", input_key=("a",), name="g")
    text = dumps(step.wrap(step))
    assert "sk-canary" not in text + repr(step) + str(step.wrap(step))
    allowed: Any = {
        "allowed_objects": [Qwen3GuardRunnable, GuardedChain],
        "valid_namespaces": ["qwen3guard_integrations"],
    }
    again = loads(text, **allowed)
    assert loaded[1:] == [{"guard": "openai:m", "base_url": "http://localhost:1/v1"}]
    for one in (again.screen, again.bound, load(json.loads(dumps(step)), **allowed)):
        assert (one.policy, one.on_block, one.point, one.input_key, one.name) == (
            step.policy,
            step.on_block,
            step.point,
            step.input_key,
            step.name,
        )


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://user:sk-canary@localhost:1/v1"},
        {"default_headers": {"Authorization": "Bearer sk-canary"}},
        {"extra_body": {"token": "sk-canary"}},
    ],
    ids=["password", "header", "body"],
)
def test_a_guard_with_another_secret_is_not_dumped(loaded: list[dict[str, Any]], options: dict[str, Any]) -> None:
    step = Qwen3GuardRunnable({"guard": "openai:m", "base_url": "http://localhost:1/v1", "timeout": 3, **options})
    assert json.loads(dumps(step))["type"] == "not_implemented"
    assert "sk-canary" not in dumps(step) + dumps(PROMPT | step)


@dataclass(frozen=True)
class KeyGuard:
    """A user's guard whose repr shows its key."""

    api_key: str

    def check_many(self, conversations: Any, /) -> Any:
        return [VIOLENT for _ in conversations]

    async def acheck_many(self, conversations: Any, /) -> Any:
        return self.check_many(conversations)


def test_a_guard_of_ones_own_is_not_dumped_and_its_repr_not_shown() -> None:
    step = screen(guard=KeyGuard("sk-canary"))
    assert json.loads(dumps(step))["type"] == "not_implemented"
    assert "sk-canary" not in dumps(step) + repr(step) + dumps(PROMPT | step)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"guard": object()}, "check_many"),
        ({"policy": {"unsfe": "block"}}, "unsfe"),
        ({"policy": "missing.toml"}, "missing.toml"),
        ({"on_block": "ignore"}, "on_block"),
        ({"point": "nowhere"}, "point"),
        ({"input_keys": "a"}, "input_keys"),
    ],
)
def test_wrong_settings_fail_at_construction(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Qwen3GuardRunnable(**{"guard": fake_guard(), **arguments})


# --- many runs at once ---


async def test_runs_at_once_never_mix(lane: Lane) -> None:
    """Fifty runs of two shared chains, each with words, a policy and callbacks of its own."""
    guard = FakeGuard({"bomb": VIOLENT}, delay=0.002)
    shared = screen(guard=guard, on_block="refuse").configurable_fields(policy=ConfigurableField(id="policy"))
    chain: Any = RunnableLambda(lambda text: [HumanMessage(text)]) | shared
    recorders = [Recorder() for _ in range(50)]

    def run(n: int) -> tuple[str, dict[str, Any]]:
        policy = {"refusal": f"no {n}"} if n % 3 else {"unsafe": "redact", "redaction": f"gone {n}"}
        return f"{'bomb' if n % 2 else 'bread'} {n}", {"configurable": {"policy": policy}, "callbacks": [recorders[n]]}

    if lane.is_async:
        answers = await asyncio.gather(*(chain.ainvoke(*run(n)) for n in range(50)))
    else:
        with ThreadPoolExecutor(25) as pool:
            answers = list(pool.map(lambda n: chain.invoke(*run(n)), range(50)))
    expected = [f"bread {n}" if n % 2 == 0 else f"no {n}" if n % 3 else f"gone {n}" for n in range(50)]
    assert [answer[-1].content for answer in answers] == expected
    assert [len(recorder.of("Qwen3GuardRunnable")) for recorder in recorders] == [1] * 50
    assert sorted(asked(guard)) == sorted(run(n)[0] for n in range(50))


async def test_the_sync_guard_is_never_called_on_the_async_lane() -> None:
    thread = threading.get_ident()

    class Async(FakeGuard):
        def check_many(self, conversations: Any, /) -> Any:
            raise AssertionError("blocks the event loop")

        async def acheck_many(self, conversations: Any, /) -> Any:
            assert threading.get_ident() == thread
            return await super().acheck_many(conversations)

    chain = screen(guard=Async())
    assert await chain.ainvoke("x") == "x"
    assert await chain.abatch(["x"]) == ["x"]
    assert [chunk async for chunk in chain.astream("x")] == ["x"]
    assert await chain.wrap(RunnableLambda(lambda text: text)).ainvoke("x") == "x"


async def test_callbacks_that_raise_on_purpose_are_heard(lane: Lane) -> None:
    class Strict(BaseCallbackHandler):
        raise_error = True

        def on_chain_start(self, *arguments: Any, **settings: Any) -> None:
            raise PermissionError("not today")

    with pytest.raises(PermissionError):
        await lane(screen(), "invoke", "x", {"callbacks": [Strict()]})
