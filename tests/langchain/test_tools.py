"""`guard_tool`: arguments before the tool runs, results before anybody gets them; everything else as it was."""

from __future__ import annotations

import copy
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    ToolException,
    tool,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel, ConfigDict, Field

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardUnavailableError
from qwen3guard_integrations.langchain import Qwen3GuardMiddleware, guard_tool
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import VIOLENT, Recorder, asked

CANARY = "canary7f3a"
REMOVED = "[removed: Violent]"
WITHHELD = "withheld by the safety policy (Violent)"


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({CANARY: VIOLENT}, **settings)


def call(text: str, name: str = "echo") -> Any:
    return {"name": name, "args": {"q": text}, "id": "c1", "type": "tool_call"}


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def echo_of(q: str) -> str:
    """Say it again."""
    ran.append(q)
    return f"a {CANARY}" if q == "leak" else f"echo {q}"


async def aecho_of(q: str) -> str:
    """Say it again."""
    return echo_of(q)


class Echo(BaseTool):
    """A tool with a class of its own."""

    name: str = "echo"
    description: str = "Say it again."

    def _run(self, q: str) -> str:
        return echo_of(q)


class AsyncEcho(Echo):
    """A tool with two ways of its own."""

    async def _arun(self, q: str) -> str:
        return echo_of(q)


TOOLS: dict[str, BaseTool] = {
    "decorated": tool("echo")(echo_of),
    "both ways": StructuredTool.from_function(echo_of, aecho_of, name="echo"),
    "class": Echo(),
    "class with both": AsyncEcho(),
}


@pytest.mark.parametrize("kind", TOOLS)
async def test_safe_calls_are_untouched_and_judged_once(kind: str, lane: Lane) -> None:
    judge = guard()
    bare, guarded = TOOLS[kind], guard_tool(TOOLS[kind], judge)
    assert isinstance(guarded, type(bare))
    assert (guarded.name, guarded.description, guarded.args) == (bare.name, bare.description, bare.args)
    assert await lane(guarded, "invoke", {"q": "x"}) == "echo x"
    message = await lane(guarded, "invoke", call("y"))
    assert message == await lane(bare, "invoke", call("y"))
    assert asked(judge) == ['echo({"q": "x"})', "echo x", 'echo({"q": "y"})', "echo y"]


@pytest.mark.parametrize("kind", TOOLS)
async def test_a_call_that_may_not_pass_does_not_run(kind: str, lane: Lane) -> None:
    guarded = guard_tool(TOOLS[kind], guard())
    message = await lane(guarded, "invoke", call(f"a {CANARY}"))
    assert (message.status, message.tool_call_id, message.name) == ("error", "c1", "echo")
    assert WITHHELD in message.content
    assert WITHHELD in await lane(guarded, "invoke", {"q": CANARY})
    with pytest.raises(BlockedError):
        await lane(guard_tool(TOOLS[kind], guard(), on_block="raise"), "invoke", call(CANARY))
    assert not ran


@pytest.mark.parametrize("kind", TOOLS)
async def test_callbacks_and_traces_get_the_clean_result(kind: str, lane: Lane) -> None:
    recorder = Recorder()
    guarded = guard_tool(TOOLS[kind], guard())
    message = await lane(guarded, "invoke", call("leak"), {"callbacks": [recorder]})
    assert (message.status, message.content, message.tool_call_id) == ("error", REMOVED, "c1")
    assert await lane(guarded, "invoke", {"q": "leak"}, {"callbacks": [recorder]}) == REMOVED
    assert CANARY not in repr([[run.inputs, run.outputs, run.error, run.events, run.extra] for run in recorder.runs])
    assert len(recorder.runs) == 2


async def test_an_artifact_is_kept_with_what_passes_and_goes_with_what_does_not(lane: Lane) -> None:
    @tool(response_format="content_and_artifact")
    def find(q: str) -> Any:
        """Find documents."""
        return f"found {q}", [Document(q)]

    guarded = guard_tool(find, guard())
    kept = await lane(guarded, "invoke", call("x", "find"))
    assert (kept.content, kept.artifact) == ("found x", [Document("x")])

    @tool("find", response_format="content_and_artifact")
    def leak(q: str) -> Any:
        """Find documents."""
        return f"found {CANARY}", [Document(CANARY)]

    gone = await lane(guard_tool(leak, guard()), "invoke", call("x", "find"))
    assert (gone.content, gone.artifact, gone.status) == (REMOVED, None, "error")


async def test_messages_and_commands_that_a_tool_returns_are_judged(lane: Lane) -> None:
    @tool
    def message(q: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer by a message."""
        return ToolMessage(q * 2, tool_call_id=tool_call_id, id="m1", artifact="x")

    @tool
    def command(q: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer by a command."""
        return Command(update={"messages": [ToolMessage("x" + q[::-1], tool_call_id=tool_call_id)], "note": q[::-1]})

    guarded = guard_tool([message, command], FakeGuard({CANARY * 2: VIOLENT, "bmob"[::-1]: VIOLENT}))
    found = await lane(guarded[0], "invoke", call(CANARY, "message"))
    assert (found.content, found.id, found.artifact, found.status) == (REMOVED, "m1", None, "error")
    found = await lane(guarded[1], "invoke", call("bmob", "command"))
    assert found.update["note"] == REMOVED
    assert [(one.content, one.tool_call_id) for one in found.update["messages"]] == [(REMOVED, "c1")]
    untouched = await lane(guarded[1], "invoke", call("x", "command"))
    assert untouched.update["note"] == "x"


UPDATES: dict[str, Any] = {
    "a system message": {"messages": [SystemMessage(CANARY)]},
    "a user's message": {"messages": [HumanMessage(CANARY)]},
    "an answer": {"messages": [AIMessage(CANARY)]},
    "one message": {"messages": HumanMessage(CANARY)},
    "a dictionary": {"messages": [{"role": "system", "content": CANARY}]},
}


@pytest.mark.parametrize("kind", UPDATES)
async def test_what_a_tool_says_by_a_command_is_its_own_word_whoever_is_said_to_speak(kind: str, lane: Lane) -> None:
    @tool
    def command(q: str) -> Any:
        """Answer by a command."""
        return Command(update=UPDATES[kind])

    allowed = {"unsafe": "allow", "controversial": "allow"}
    policy = {"trusted_roles": ["system"], "points": {"prompt": allowed, "response": allowed}}
    found = (await lane(guard_tool(command, guard(), policy), "invoke", call("x", "command"))).update["messages"]
    before = UPDATES[kind]["messages"]
    assert isinstance(found, type(before))
    (one,) = found if isinstance(found, list) else [found]
    if isinstance(one, BaseMessage):
        assert one.content == REMOVED
        assert type(one) is type(before[0] if isinstance(before, list) else before)
    else:
        assert one == {"role": "system", "content": REMOVED}


class NoteModel(BaseModel):
    note: str


@dataclass
class NoteData:
    note: str


COMMANDS: dict[str, tuple[Command[Any], Command[Any]]] = {
    "pairs": (
        Command(update=[("note", CANARY), ("other", "fine")]),
        Command(update=[("note", REMOVED), ("other", "fine")]),
    ),
    "a model": (Command(update=NoteModel(note=CANARY)), Command(update=[("note", REMOVED)])),
    "a dataclass": (Command(update=NoteData(note=CANARY)), Command(update=[("note", REMOVED)])),
    "several to go to": (
        Command(goto=[Send("a", {"q": CANARY}, timeout=3), Send("a", "fine"), "b"]),
        Command(goto=[Send("a", REMOVED, timeout=3), Send("a", "fine"), "b"]),
    ),
    "one to go to": (Command(goto=Send("a", CANARY)), Command(goto=Send("a", REMOVED))),
    "an answer to an interrupt": (Command(resume=CANARY), Command(resume=REMOVED)),
}


@pytest.mark.parametrize("kind", COMMANDS)
async def test_every_part_of_a_command_is_judged(kind: str, lane: Lane) -> None:
    given, clean = COMMANDS[kind]

    @tool
    def command(q: str) -> Any:
        """Answer by a command."""
        return given

    assert await lane(guard_tool(command, guard()), "invoke", call("x", "command")) == clean
    assert await lane(guard_tool(command, FakeGuard()), "invoke", call("x", "command")) is given


async def test_several_messages_are_each_judged(lane: Lane) -> None:
    @tool
    def both(q: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer twice."""
        fine, bad = (ToolMessage(text, tool_call_id=tool_call_id) for text in ("fine", f"a {CANARY}"))
        return [fine, Command(update={"messages": [bad]})]

    fine, command = await lane(guard_tool(both, guard()), "invoke", call("x", "both"))
    assert (fine.content, fine.status) == ("fine", "success")
    assert [(one.content, one.status) for one in command.update["messages"]] == [(REMOVED, "error")]


class Hidden(BaseModel):
    text: str = Field(repr=False)


RESULTS: dict[str, Any] = {
    "blocks": [{"type": "text", "text": f"a {CANARY}"}],
    "a block of no known kind": [{"type": "person", "id": CANARY}],
    "texts": ["fine", CANARY],
    "a key": {CANARY: 1},
    "nested": {"a": [{"b": ("c", CANARY)}]},
    "a set": {CANARY},
    "metadata": [Document("fine", metadata={"source": CANARY})],
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("by_call", [True, False])
async def test_every_text_of_a_result_is_judged_once(kind: str, by_call: bool, lane: Lane) -> None:
    @tool("echo")
    def give(q: str) -> Any:
        """Give it."""
        return RESULTS[kind]

    judge = guard()
    found = await lane(guard_tool(give, judge), "invoke", call("x") if by_call else {"q": "x"})
    assert (found.content if by_call else found) == REMOVED
    assert len(asked(judge)) == 2
    untouched = await lane(guard_tool(give, FakeGuard()), "invoke", {"q": "x"})
    assert untouched is RESULTS[kind]


async def test_what_does_not_show_in_print_is_judged_where_the_caller_gets_the_thing_itself(lane: Lane) -> None:
    @tool("echo")
    def give(q: str) -> Any:
        """Give it."""
        return Hidden(text=q[::-1])

    guarded = guard_tool(give, guard())
    assert await lane(guarded, "invoke", {"q": CANARY[::-1]}) == REMOVED
    assert await lane(guarded, "invoke", {"q": "x"}) == Hidden(text="x")


class Opaque:
    text = CANARY


def generated() -> Iterator[str]:
    yield CANARY


async def agenerated() -> AsyncIterator[str]:
    yield CANARY


@pytest.mark.parametrize("make", [Opaque, generated, agenerated])
async def test_a_result_that_cannot_be_read_does_not_pass(make: Any, lane: Lane) -> None:
    @tool("echo")
    def give(q: str) -> Any:
        """Give it."""
        return make()

    with pytest.raises(TypeError, match="cannot find the text"):
        await lane(guard_tool(give, guard()), "invoke", {"q": "x"})


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    q: str


class Renamed(BaseModel):
    q: str = Field(alias="question")


SCHEMAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "JSON": ({"type": "object", "properties": {"q": {"type": "string"}}}, {"q": "x", "note": CANARY}),
    "open": (Open, {"q": "x", "note": CANARY}),
    "renamed": (Renamed, {"question": CANARY}),
}


@pytest.mark.parametrize("kind", SCHEMAS)
async def test_arguments_that_the_schema_does_not_name_are_judged(kind: str, lane: Lane) -> None:
    def take(**arguments: Any) -> str:
        ran.append(str(arguments))
        return "taken"

    schema, written = SCHEMAS[kind]
    bare = StructuredTool(name="echo", description="Take it.", args_schema=schema, func=take)
    harmless = dict.fromkeys(written, "x")
    assert (await lane(guard_tool(bare, guard()), "invoke", call("") | {"args": harmless})).content == "taken"
    message = await lane(guard_tool(bare, guard()), "invoke", call("") | {"args": written})
    assert WITHHELD in message.content
    assert len(ran) == 1


def injected(
    q: str,
    state: Annotated[dict[str, Any], InjectedState],
    runtime: ToolRuntime,
    tool_call_id: Annotated[str, InjectedToolCallId],
    config: RunnableConfig,
) -> str:
    """Count the messages."""
    ran.append(f"{runtime.tool_call_id} {tool_call_id} {config['configurable']['who']}")
    return f"{len(state['messages'])} messages"


async def ainjected(
    q: str,
    state: Annotated[dict[str, Any], InjectedState],
    runtime: ToolRuntime,
    tool_call_id: Annotated[str, InjectedToolCallId],
    config: RunnableConfig,
) -> str:
    """Count the messages."""
    return injected(q, state, runtime, tool_call_id, config)


class Injected(BaseTool):
    """Gets the same by its own methods."""

    name: str = "count"
    description: str = "Count the messages."

    def _run(
        self,
        q: str,
        state: Annotated[dict[str, Any], InjectedState],
        runtime: ToolRuntime,
        config: RunnableConfig,
        run_manager: Any = None,
    ) -> str:
        assert run_manager is not None
        return injected(q, state, runtime, "c1", config)


COUNTING: dict[str, Any] = {
    "decorated": tool("count")(injected),
    "both ways": StructuredTool.from_function(injected, ainjected, name="count"),
    "class": Injected(),
}


def tool_graph(one: BaseTool, **settings: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([one]))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    return graph.compile(**settings)


async def test_what_the_caller_injects_is_not_the_model_s_words(lane: Lane) -> None:
    @tool("echo")
    def of_account(q: str, account: Annotated[str, InjectedToolArg]) -> str:
        """Look it up."""
        return f"{q} of {account[:3]}"

    judge = guard()
    message = await lane(guard_tool(of_account, judge), "invoke", call("x") | {"args": {"q": "x", "account": CANARY}})
    assert message.content == "x of can"
    assert asked(judge) == ['echo({"q": "x"})', "x of can"]


@pytest.mark.parametrize("kind", COUNTING)
async def test_what_is_injected_arrives_and_is_not_the_model_s_words(kind: str, lane: Lane) -> None:
    judge = guard()
    bare = COUNTING[kind]
    guarded = guard_tool(bare, judge)
    assert guarded.tool_call_schema.model_json_schema() == bare.tool_call_schema.model_json_schema()
    messages = [HumanMessage(CANARY), AIMessage("", tool_calls=[call("x", "count")])]
    result = await lane(tool_graph(guarded), "invoke", {"messages": messages}, {"configurable": {"who": CANARY}})
    assert result["messages"][-1].content == "2 messages"
    assert asked(judge) == ['count({"q": "x"})', "2 messages"]
    assert ran == [f"c1 c1 {CANARY}"]


async def test_a_tool_may_ask_a_person(lane: Lane) -> None:
    @tool("echo")
    def ask(q: str) -> str:
        """Ask a person."""
        return f"they said {interrupt('may I?')}"

    judge = guard()
    graph = tool_graph(guard_tool(ask, judge), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    messages = [HumanMessage("q"), AIMessage("", tool_calls=[call("x")])]
    stopped = await lane(graph, "invoke", {"messages": messages}, config)
    assert [one.value for one in stopped["__interrupt__"]] == ["may I?"]
    result = await lane(graph, "invoke", Command(resume=CANARY), config)
    assert result["messages"][-1].content == REMOVED
    assert asked(judge) == ['echo({"q": "x"})', f"they said {CANARY}"]


async def test_other_errors_of_the_tool_are_left_alone(lane: Lane) -> None:
    broken = ZeroDivisionError("by nought")

    @tool("echo")
    def fail(q: str) -> str:
        """Fail."""
        raise broken

    with pytest.raises(ZeroDivisionError) as raised:
        await lane(guard_tool(fail, guard()), "invoke", call("x"))
    assert raised.value is broken


async def test_the_words_of_a_tool_exception_are_judged(lane: Lane) -> None:
    @tool("echo")
    def fail(q: str) -> str:
        """Fail."""
        raise ToolException(f"cannot {q[::-1]}")

    fail.handle_tool_error = True
    guarded = guard_tool(fail, guard())
    message = await lane(guarded, "invoke", call("x"))
    assert (message.content, message.status) == ("cannot x", "error")
    message = await lane(guarded, "invoke", call(CANARY[::-1]))
    assert (message.content, message.status) == (REMOVED, "error")


class Detailed(ToolException):
    """Says more to whoever asks."""

    detail = CANARY


def detail_of(error: ToolException) -> Any:
    """What a tool makes of its errors for the model."""
    return [{"type": "text", "text": f"failed: {getattr(error, 'detail', '')}"}]


def fail(error: Exception, response_format: Any = "content", **handlers: Any) -> BaseTool:
    def echo(q: str) -> Any:
        """Fail."""
        if isinstance(error, ToolException):
            raise error
        return NoteModel(note=error)

    return StructuredTool.from_function(echo, response_format=response_format, **handlers)


@pytest.mark.parametrize("response_format", ["content", "content_and_artifact"])
@pytest.mark.parametrize(
    ("error", "handlers", "said"),
    [
        (ToolException("fine"), {"handle_tool_error": True}, "fine"),
        (ToolException(CANARY), {"handle_tool_error": True}, REMOVED),
        (ToolException(CANARY), {"handle_tool_error": "It failed."}, "It failed."),
        (Detailed("fine"), {"handle_tool_error": detail_of}, REMOVED),
        (ToolException("fine"), {"handle_tool_error": detail_of}, [{"type": "text", "text": "failed: "}]),
        (ValueError(), {"handle_validation_error": lambda error: f"{CANARY} {type(error).__name__}"}, REMOVED),
        (ValueError(), {"handle_validation_error": "Wrong."}, "Wrong."),
    ],
)
async def test_what_a_tool_makes_of_its_errors_for_the_model_is_judged(
    error: Exception, handlers: dict[str, Any], said: Any, response_format: Any, lane: Lane
) -> None:
    recorder, judge = Recorder(), guard()
    guarded = guard_tool(fail(error, response_format, **handlers), judge)
    message = await lane(guarded, "invoke", call("x"), {"callbacks": [recorder]})
    assert (message.content, message.status, message.artifact) == (said, "error", None)
    assert (message.name, message.tool_call_id) == ("echo", "c1")
    assert await lane(guarded, "invoke", {"q": "x"}) == said
    assert CANARY not in repr([[run.outputs, run.error, run.events] for run in recorder.runs])
    assert len(asked(judge)) == 2


class DiesOfResults(FakeGuard):
    """Judges calls, and no results."""

    def _answers(self, conversations: Any) -> Any:
        if any(one.judged.role == "tool" for one in conversations):
            raise GuardUnavailableError("down")
        return super()._answers(conversations)


@pytest.mark.parametrize(
    ("judge", "settings", "expected"),
    [
        (guard(), {"on_block": "raise"}, BlockedError),
        (guard(), {}, ToolException),
        (DiesOfResults(), {}, GuardUnavailableError),
    ],
)
async def test_no_error_carries_the_words_of_the_one_before(
    judge: FakeGuard, settings: Any, expected: type[Exception], lane: Lane
) -> None:
    recorder = Recorder()
    guarded = guard_tool(fail(ToolException(f"a {CANARY}")), judge, **settings)
    with pytest.raises(expected) as raised:
        await lane(guarded, "invoke", call("x"), {"callbacks": [recorder]})
    assert f"a {CANARY}" not in "".join(traceback.format_exception(raised.value))
    (run,) = recorder.runs
    assert run.error
    assert CANARY not in repr([run.outputs, run.error, run.events])


async def test_an_error_that_may_pass_is_the_tool_s_own(lane: Lane) -> None:
    error = ToolException("fine")
    error.__cause__ = ZeroDivisionError("by nought")
    with pytest.raises(ToolException) as raised:
        await lane(guard_tool(fail(error), guard()), "invoke", call("x"))
    assert raised.value is error
    assert isinstance(error.__cause__, ZeroDivisionError)


async def test_copies_of_a_guarded_tool_are_guarded(lane: Lane) -> None:
    guarded = guard_tool(TOOLS["decorated"], guard())
    fields = {name: getattr(guarded, name) for name in type(guarded).model_fields}
    described = guarded.configurable_fields(description=ConfigurableField(id="description"))
    for one in (
        copy.copy(guarded),
        copy.deepcopy(guarded),
        guarded.model_copy(update={"description": "Other."}),
        type(guarded)(**fields),
        described.with_config(configurable={"description": "Other."}),
    ):
        assert await lane(one, "invoke", {"q": "leak"}) == REMOVED


async def test_a_plain_tool_of_one_argument(lane: Lane) -> None:
    plain = Tool("echo", echo_of, "Say it again.")
    judge = guard()
    assert await lane(guard_tool(plain, judge), "invoke", "x") == "echo x"
    assert asked(judge) == ['echo({"input": "x"})', "echo x"]


async def test_a_dead_guard_lets_nothing_run(lane: Lane) -> None:
    dead = guard_tool(TOOLS["decorated"], guard(error=GuardUnavailableError("down")))
    with pytest.raises(GuardUnavailableError):
        await lane(dead, "invoke", call("x"))
    assert not ran


def test_guarding_twice_with_equal_settings_is_guarding_once() -> None:
    judge = guard()
    once = guard_tool(TOOLS["decorated"], judge, {"mode": "loose"})
    assert guard_tool(once, judge, {"mode": "loose"}) is once
    between = guard_tool(once, FakeGuard())
    assert guard_tool(between, judge, {"mode": "loose"}) is between
    assert guard_tool(once, judge, "strict") is not once
    assert guard_tool(once, guard(), {"mode": "loose"}) is not once
    assert guard_tool(once, judge, {"mode": "loose"}, on_block="raise") is not once


async def test_two_guards_both_judge(lane: Lane) -> None:
    strict, other = guard(), FakeGuard({"other": VIOLENT})
    guarded = guard_tool(guard_tool(TOOLS["decorated"], strict), other)
    assert (await lane(guarded, "invoke", call("x"))).content == "echo x"
    assert asked(strict) == asked(other) == ['echo({"q": "x"})', "echo x"]
    assert (await lane(guarded, "invoke", call("other"))).status == "error"
    assert (await lane(guarded, "invoke", call(CANARY))).status == "error"
    assert ran == ["x"]


async def test_a_tool_node_without_an_agent(lane: Lane) -> None:
    middleware = Qwen3GuardMiddleware(guard())
    wrappers: Any = {"wrap_tool_call": middleware.wrap_tool_call, "awrap_tool_call": middleware.awrap_tool_call}
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([TOOLS["decorated"]], **wrappers))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    written = AIMessage("", tool_calls=[call(CANARY), call("leak") | {"id": "c2"}, call("x") | {"id": "c3"}])
    result = await lane(graph.compile(), "invoke", {"messages": [HumanMessage("q"), written]})
    withheld, removed, fine = result["messages"][2:]
    assert WITHHELD in withheld.content
    assert (removed.content, fine.content) == (REMOVED, "echo x")
    assert ran == ["leak", "x"]


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(GuardConfigurationError, match="takes tools"):
        guard_tool(echo_of, guard())  # type: ignore[call-overload]
    with pytest.raises(GuardConfigurationError, match="on_block"):
        guard_tool(TOOLS["class"], guard(), on_block="ignore")  # type: ignore[call-overload]
