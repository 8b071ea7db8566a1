"""`guard_tool`: arguments before the tool runs, output before anybody gets it, for every kind of tool."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import BaseTool, FunctionTool, QueryEngineTool, ToolMetadata, ToolOutput
from llama_index.core.tools.types import BaseToolAsyncAdapter
from llama_index.core.workflow import Context

from qwen3guard_integrations import BlockedError, GuardConfigurationError, GuardError, GuardUnavailableError
from qwen3guard_integrations.llama_index import guard_tool
from qwen3guard_integrations.llama_index.calls import WITHHELD
from qwen3guard_integrations.testing import FakeGuard

from ..conftest import Lane
from .helpers import CANARY, fake_guard, listening, words_llm
from .test_query_engine import engine_of

REMOVED = "[removed: Unsafe]"
HELD = "This tool call was withheld by the safety policy (Unsafe): the tool did not run."


class Echo:
    """What a tool does: it remembers what it was asked, and says it again."""

    def __init__(self) -> None:
        self.ran: list[Any] = []

    def __call__(self, q: Any) -> Any:
        self.ran.append(q)
        if q == "leak":
            return f"the {CANARY}"
        if q == "fail":
            raise ValueError("no") from RuntimeError(f"the {CANARY}")
        return f"found {q}"


class Reply:
    """What HTTP libraries give: it says little of itself."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def __str__(self) -> str:
        return "<Reply 200>"


class Frank:
    """Says more to programmers."""

    def __str__(self) -> str:
        return "fine"

    def __repr__(self) -> str:
        return f"Frank(a {CANARY})"


class Plain(BaseTool):
    """A tool with nothing but a call."""

    def __init__(self, echo: Echo) -> None:
        self.echo = echo

    @property
    def metadata(self) -> ToolMetadata:
        return ToolMetadata(name="search", description="d")

    def __call__(self, input: Any) -> ToolOutput:  # noqa: A002  # LlamaIndex's own name
        text = self.echo(input)
        return ToolOutput(tool_name="search", content=text, raw_input={"input": input}, raw_output=text)


def function_tool(echo: Echo) -> FunctionTool:
    def search(q: str) -> Any:
        """Search."""
        return echo(q)

    return FunctionTool.from_defaults(search)


async def called(lane: Lane, tool: Any, q: Any) -> Any:
    if isinstance(tool, Plain):
        return await BaseToolAsyncAdapter(tool).acall(q) if lane.is_async else tool(q)
    return await lane(tool, "call", q=q)


MAKE = pytest.mark.parametrize("make", [function_tool, Plain], ids=["function", "plain"])


@MAKE
async def test_what_is_safe_passes(make: Any, lane: Lane) -> None:
    bare, guarded = make(Echo()), guard_tool(make(Echo()), fake_guard())
    assert await called(lane, guarded, "x") == await called(lane, bare, "x")
    assert isinstance(guarded, type(bare))
    assert (guarded.metadata.name, guarded.metadata.description) == (bare.metadata.name, bare.metadata.description)


@MAKE
async def test_a_call_that_may_not_pass_does_not_run(make: Any, lane: Lane) -> None:
    echo = Echo()
    with listening() as (events, spans):
        output = await called(lane, guard_tool(make(echo), fake_guard()), f"a {CANARY}")
    assert echo.ran == []
    assert (output.content, output.raw_output, output.is_error, output.tool_name) == (HELD, None, True, "search")
    assert CANARY not in repr((output, events, [heard for heard in spans if heard[1] != "in"]))


@MAKE
async def test_an_output_that_may_not_pass_is_nowhere(make: Any, lane: Lane) -> None:
    with listening() as (events, spans):
        output = await called(lane, guard_tool(make(Echo()), fake_guard()), "leak")
    assert (output.content, output.raw_output, output.is_error) == (REMOVED, None, True)
    assert CANARY not in repr((output, events, spans))


@MAKE
async def test_the_words_of_an_error_are_judged(make: Any, lane: Lane) -> None:
    with listening() as (events, spans), pytest.raises(Exception) as raised:
        await called(lane, guard_tool(make(Echo()), fake_guard()), "fail")
    assert str(raised.value) == REMOVED
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert CANARY not in repr((events, spans))


async def test_an_error_that_may_pass_is_the_tools_own(lane: Lane) -> None:
    error = ValueError("fine")

    def fails() -> None:
        """Fails."""
        raise error

    with pytest.raises(ValueError, match="fine") as raised:
        await lane(guard_tool(FunctionTool.from_defaults(fails), fake_guard()), "call")
    assert raised.value is error


@pytest.mark.parametrize(
    "raw",
    [
        {"a": [f"a {CANARY}"]},
        NodeWithScore(node=TextNode(text=f"a {CANARY}")),
        [NodeWithScore(node=TextNode(text="x", metadata={"title": f"a {CANARY}"}))],
        ToolMetadata(name="x", description=f"a {CANARY}"),
        Reply(f"a {CANARY}"),
        [Reply(f"a {CANARY}")],
        Reply([{"deep": f"a {CANARY}"}]),
        Frank(),
    ],
    ids=["mapping", "node", "metadata", "dataclass", "object", "objects", "object of lists", "repr"],
)
async def test_what_only_the_raw_output_says_is_judged(raw: Any, lane: Lane) -> None:
    def give() -> ToolOutput:
        """Give."""
        return ToolOutput(tool_name="give", content="fine", raw_input={}, raw_output=raw)

    tool = FunctionTool.from_defaults(lambda: 1, name="give", callback=lambda _: give())
    output = await lane(guard_tool(tool, fake_guard()), "call")
    assert CANARY not in repr(output)
    assert output.is_error
    assert output.raw_output is None


async def test_every_argument_of_the_model_is_judged(lane: Lane) -> None:
    def search(q: str, options: dict[str, Any]) -> str:
        """Search."""
        return "fine"

    judge = fake_guard()
    tool = FunctionTool.from_defaults(search, partial_params={"options": {"deep": ["a", CANARY]}})
    assert (await lane(guard_tool(tool, judge), "call", q="x", options={"deep": ["a", CANARY]})).content == HELD
    assert (await lane(guard_tool(tool, judge), "call", "x", f"a {CANARY}")).content == HELD


async def test_the_context_of_a_workflow_is_no_argument() -> None:
    seen: list[Any] = []

    async def search(ctx: Context, q: str) -> str:
        """Search."""
        seen.append((ctx, q))
        return "fine"

    search.__annotations__["ctx"] = Context  # LlamaIndex does not read annotations that are strings
    judge = fake_guard()
    tool = guard_tool(FunctionTool.from_defaults(async_fn=search), judge)
    assert (tool.requires_context, tool.ctx_param_name) == (True, "ctx")
    from llama_index.core.agent.workflow import FunctionAgent

    context: Any = Context(FunctionAgent(llm=words_llm()))
    assert (await tool.acall(ctx=context, q="x")).content == "fine"
    assert seen == [(context, "x")]
    assert [one[0].judged.content for one in judge.calls] == ['search({"q": "x"})', "fine"]


async def test_a_query_engine_as_a_tool(lane: Lane) -> None:
    tool = QueryEngineTool.from_defaults(engine_of(words_llm(f"a {CANARY}")), name="library", description="d")
    output = await lane(guard_tool(tool, fake_guard()), "call", "hi")
    assert CANARY not in repr(output)
    safe = QueryEngineTool.from_defaults(engine_of(words_llm("fine")), name="library", description="d")
    assert (await lane(guard_tool(safe, fake_guard()), "call", "hi")).content == "fine"


async def test_blocks_can_be_raised(lane: Lane) -> None:
    tool = guard_tool(function_tool(Echo()), fake_guard(), on_block="raise")
    for q in (f"a {CANARY}", "leak", "fail"):
        with pytest.raises(BlockedError) as raised:
            await lane(tool, "call", q=q)
        assert CANARY not in "".join(traceback.format_exception(raised.value))


async def test_a_dead_guard_lets_nothing_run(lane: Lane) -> None:
    echo = Echo()
    tool = guard_tool(function_tool(echo), FakeGuard(error=GuardUnavailableError("down")))
    with pytest.raises(GuardError, match="down"):
        await lane(tool, "call", q="x")
    assert echo.ran == []


async def test_a_call_that_lost_its_arguments_is_answered(lane: Lane) -> None:
    echo, judge = Echo(), fake_guard()
    tool: Any = guard_tool(function_tool(echo), judge)
    decision = {"point": "tool_call", "action": "block", "severity": "Unsafe"}
    for marker, why in ((decision, "Unsafe"), ({"point": CANARY}, "not judged"), (CANARY, "not judged")):
        output = await lane(tool, "call", **{WITHHELD: marker})
        assert output.content == HELD.replace("Unsafe", why)
    assert (echo.ran, judge.calls) == ([], [])


async def test_outside_of_a_workflow_review_blocks(lane: Lane) -> None:
    tool = guard_tool(function_tool(Echo()), fake_guard(), {"points": {"tool_call": "review"}})
    assert (await lane(tool, "call", q="x")).content == "found x"
    assert (await lane(tool, "call", q=f"a {CANARY}")).content == HELD


def test_a_tool_for_langchain_is_made_of_the_guarded_call() -> None:
    made = type(guard_tool(function_tool(Echo()), fake_guard()))
    assert made.to_langchain_tool is BaseTool.to_langchain_tool
    assert made.to_langchain_structured_tool is BaseTool.to_langchain_structured_tool


def test_several_tools_share_one_guard_and_none_is_guarded_twice() -> None:
    judge = fake_guard()
    tools = guard_tool([function_tool(Echo()), function_tool(Echo())], judge)
    assert type(tools[0]) is type(tools[1])
    assert guard_tool(tools, judge) == tools
    assert guard_tool(tools[0], fake_guard()) is not tools[0]


def test_wrong_settings_are_named() -> None:
    wrong: Any = len
    with pytest.raises(GuardConfigurationError, match="guard_tool takes tools"):
        guard_tool(wrong, fake_guard())
    wrong = "explode"
    with pytest.raises(GuardConfigurationError, match="on_block='explode'"):
        guard_tool(function_tool(Echo()), fake_guard(), on_block=wrong)
