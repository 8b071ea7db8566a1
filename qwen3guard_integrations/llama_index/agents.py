"""`guard_agent`: guarded copies of agents and of whole agent workflows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final, TypeVar

from llama_index.core.agent.workflow import AgentInput, AgentOutput, AgentWorkflow
from llama_index.core.agent.workflow.base_agent import BaseWorkflowAgent
from llama_index.core.agent.workflow.workflow_events import AgentWorkflowStartEvent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import BaseTool
from llama_index.core.workflow import Context, StopEvent, step

from ..core.errors import GuardConfigurationError
from ..core.flow import arun
from ..core.policy import Policy
from ..guards.protocol import Guard
from .answer import OnBlock, Prompt, Screens
from .forms import ChatForm
from .llm import guarded_llm
from .screener import Screener
from .tools import guard_tool

A = TypeVar("A", BaseWorkflowAgent, AgentWorkflow)
_MESSAGES: Final = ChatForm()


def guard_agent(
    agent: A,
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    on_block: OnBlock = "refuse",
) -> A:
    """A copy of an agent, or of a whole `AgentWorkflow`, in which nothing passes unjudged.

    What it is given (message, history, memory) is judged before it stands in the memory or in an event; what each of
    its LLMs reads, thinks, says and calls, as by `guard_llm`; the arguments and the output of every tool, also of those
    from a `tool_retriever` and of hand-offs, as by `guard_tool`. A tool call that may not pass stays in the
    conversation without its arguments and is answered; the other calls of the step run. All share one guard, and no
    text is judged twice. `run`, its handler, events and contexts are used as before.

    Args:
        agent: A `FunctionAgent`, a `ReActAgent`, any other agent of LlamaIndex with an LLM, or an `AgentWorkflow`.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes. "review" at `tool_call` asks a person, as
            `guard_tool` says; the call stands in the memory until then, and after it.
        on_block: "refuse": the agent answers with the policy's refusal. "raise": `run` raises a `BlockedError`; what
            tools are refused is still told to the model.

    Raises:
        GuardConfigurationError: `agent` is no agent, or `on_block` is unknown.

    While it runs: `BlockedError` as above; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise. A guard that fails at a tool is an error of the tool, which the model is
    told without any of the text; the tool does not run, or its output goes nowhere.
    """
    if not isinstance(agent, BaseWorkflowAgent | AgentWorkflow):
        raise GuardConfigurationError(
            f"guard_agent takes an agent of LlamaIndex, not {type(agent).__name__}",
            hint="guard the steps of other workflows with guard_step",
        )
    if on_block not in ("refuse", "raise"):
        raise GuardConfigurationError(f"on_block={on_block!r}: it is 'refuse' or 'raise'")
    screens = Screens(Screener.of(guard, policy), on_block, withholds=True)
    return _guarded(agent, screens)


def _guarded(agent: A, screens: Screens) -> A:
    made: Any = copy.copy(agent)
    if isinstance(agent, AgentWorkflow):
        made.agents = {name: _guarded(one, screens) for name, one in agent.agents.items()}
    else:
        made.llm = guarded_llm(agent.llm, screens)
        made.tools = guard_tool(agent.tools, screens.screener) if agent.tools else agent.tools  # a workflow takes these
    made.__class__ = _guarded_class(type(agent), screens)
    return made  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _guarded_class(base: type[Any], screens: Screens) -> Any:
    """`base` with the step that takes what the agent is given, and the method that names its tools, replaced."""
    metaclass: Any = type(base)
    guard = partial(guard_tool, guard=screens.screener)

    async def init_run(self: Any, ctx: Context, ev: AgentWorkflowStartEvent) -> AgentInput | StopEvent:
        """Judges what the agent is given, and sets up the run."""
        given = await _Given.of(ev)
        prompt = Prompt(screens, _MESSAGES, given.messages, answers_last=given.message is not None)
        await arun(prompt.screened(), screens.screener.adecide)
        if prompt.stopped is None:
            started: AgentInput = await base.init_run(self, ctx, await given.after(prompt.after))
            return started
        refusal: Any = prompt.refusal(streamed=False)
        name = getattr(self, "root_agent", None) or self.name
        output = AgentOutput(response=refusal.message, current_agent_name=name)
        ctx.write_event_to_stream(output)
        return StopEvent(result=output)

    async def get_tools(self: Any, *args: Any, **kwargs: Any) -> Sequence[BaseTool]:
        """The tools for the question, guarded."""
        tools: list[BaseTool] = guard(await base.get_tools(self, *args, **kwargs))
        return tools

    init_run.__qualname__ = f"{base.__qualname__}.init_run"  # a step is a method
    namespace = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "init_run": step(init_run),
        "get_tools": get_tools,
    }
    return metaclass(base.__name__, (base,), namespace)


@dataclass(frozen=True, slots=True)
class _Given:
    """What an agent is given when it begins: a memory of earlier conversations, a history, and a message."""

    event: AgentWorkflowStartEvent
    remembered: Sequence[ChatMessage]
    history: Sequence[ChatMessage]
    message: ChatMessage | None

    @classmethod
    async def of(cls, event: AgentWorkflowStartEvent) -> _Given:
        """What an event gives."""
        memory = event.get("memory", default=None)
        message = event.get("user_msg", default=None)
        return cls(
            event,
            await memory.aget_all() if memory is not None else (),
            event.get("chat_history", default=None) or (),
            ChatMessage(content=message) if isinstance(message, str) else message,
        )

    @property
    def messages(self) -> list[ChatMessage]:
        """All of it, in order."""
        return [*self.remembered, *self.history, *([self.message] if self.message is not None else ())]

    async def after(self, after: Sequence[ChatMessage | None] | None) -> AgentWorkflowStartEvent:
        """The event with what stands in place of each message; the memory is cleaned in its place."""
        if after is None:
            return self.event
        rest = iter(after)
        remembered, history = (
            [message for message in islice(rest, len(part)) if message is not None]
            for part in (self.remembered, self.history)
        )
        if self.remembered:
            await self.event.get("memory").aset(remembered)
        changed = {"chat_history": history, "user_msg": next(rest, None)}
        return AgentWorkflowStartEvent(**{**dict(self.event.items()), **changed})
