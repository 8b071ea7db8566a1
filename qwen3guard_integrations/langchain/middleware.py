"""`Qwen3GuardMiddleware`: every screening point of an agent, in one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command, TracePolicy, omit_payload

from ..core.decision import Action, Decision
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.protocol import Guard
from ..reporting import entry
from .agent_answers import AnswerScreening, ExitBehavior
from .agent_state import GuardState, ModelAnswer, response_with, with_verdicts
from .agent_tools import ToolScreening, abandoned, messages_in, result_and
from .held import HELD, held_in, review
from .history import Screened, screened
from .screener import Screener
from .screens import OnBlock, Screens

ToolResult = ToolMessage | Command[Any]

_UNJUDGED: Final = {"unsafe": Action.ALLOW, "controversial": Action.ALLOW}


class Qwen3GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Screens everything that an agent reads, thinks, calls and says: `create_agent(model, tools, middleware=[this])`.

    Put it first in the list: the first middleware is the outermost. Each text is judged once, at its screening point,
    before anybody gets it:

    - `prompt`: every message that the agent is given and that was not judged before, not only the last one;
    - `response` and `reasoning`: inside the model (`guard_model`), so that no stream, update, checkpoint or trace holds
      anything unsafe;
    - `tool_call`: the arguments, when the model has written them. A call that may not pass stays in the message without
      its arguments and is answered by a tool message; the other calls of the step run;
    - `tool_output`: what the tools return, all results of a step with one question to the guard, before callbacks,
      traces and the model see them.

    What does not pass is replaced in the state, in its place, and is in nothing that follows. Messages that pass stay
    the same, byte for byte. The user's own words reach the checkpointer and the trace of the whole run with the input,
    before any middleware runs: `Qwen3GuardRunnable.wrap(agent)` stands before these.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes. Its verdicts are kept, so that no text is paid twice.
        policy: What is done about verdicts: a `Policy`, a dictionary, "strict", "loose", or a policy file. For example
            `{"points": {"reasoning": "drop"}}` leaves unsafe thinking out and keeps a safe answer; "review" asks a
            person, as `HumanInTheLoopMiddleware` does (needs a checkpointer).
        check_input: Judge what the agent is given.
        check_output: Judge what the model answers.
        check_reasoning: Judge what the model thinks.
        check_tool_calls: Judge the arguments of tool calls.
        check_tool_results: Judge what tools return.
        prompt: "before": the model is asked once what the agent was given has been judged. "parallel": at the same
            time; nothing that the model says is seen and no tool runs before the prompt has passed, but the model's
            provider reads it unjudged. A prompt that may not pass, or not as it is, ends the agent.
        exit_behavior: After a block: "end" the agent with the refusal, raise a `BlockedError` ("error"), or go on with
            the text replaced ("replace"). Blocked tool calls are answered and the agent goes on, except with "error".
        violation_message: What the user reads in place of what was blocked; `{categories}` is filled in. None: the
            policy's `refusal`.
        regenerate: Let the model try again after a blocked answer, before the refusal (`guard_model`).
        retries: With `regenerate`, how often; 0 goes on from the last clean place with the `fallback_model` at once.
        fallback_model: Answers in place of a blocked answer, guarded in the same way.
        record_verdicts: Keep every decision, without its text, in the state's private `guard_verdicts`.
        name: Of the middleware; two in one agent need different ones, and judge each for itself.

    Raises:
        GuardConfigurationError: A setting is unknown or out of range, or `prompt="parallel"` stands with another
            `exit_behavior` than "end", or with a policy by which a person reviews prompts.

    While the agent runs: `BlockedError` with "error"; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise.

    Attributes:
        screener: The guard and the policy at work; `screener.report.counts` has what was decided so far.
    """

    trace_policy = TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload)

    def __new__(
        cls, guard: Any = None, policy: Any = None, *, exit_behavior: ExitBehavior = "end", **settings: Any
    ) -> Qwen3GuardMiddleware:
        """One with more hooks where the settings need them: LangChain reads from the class which hooks there are."""
        if cls is not Qwen3GuardMiddleware:
            return super().__new__(cls)
        raises, reviews = exit_behavior == "error", any(map(Policy.of(policy).reviews, _HELD))
        return super().__new__(_KINDS[raises, reviews])

    def __init__(
        self,
        guard: Guard | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        *,
        check_input: bool = True,
        check_output: bool = True,
        check_reasoning: bool = True,
        check_tool_calls: bool = True,
        check_tool_results: bool = True,
        prompt: Literal["before", "parallel"] = "before",
        exit_behavior: ExitBehavior = "end",
        violation_message: str | None = None,
        regenerate: bool = False,
        retries: int = 5,
        fallback_model: BaseChatModel | None = None,
        record_verdicts: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if exit_behavior not in ("end", "error", "replace"):
            raise GuardConfigurationError(f"exit_behavior={exit_behavior!r}: it is 'end', 'error' or 'replace'")
        if prompt not in ("before", "parallel"):
            raise GuardConfigurationError(
                f"prompt={prompt!r}: it is 'before' or 'parallel'; see check_input to leave out"
            )
        if retries < 0:
            raise GuardConfigurationError(f"retries={retries}: it must not be negative")
        checks = {
            Point.PROMPT: check_input,
            Point.RESPONSE: check_output,
            Point.REASONING: check_reasoning,
            Point.TOOL_CALL: check_tool_calls,
            Point.TOOL_OUTPUT: check_tool_results,
        }
        points = {point: _UNJUDGED for point, checked in checks.items() if not checked}
        policy = Policy.of(policy)
        policy = policy.model_copy(
            update={
                "points": {**policy.points, **points},
                "refusal": policy.refusal if violation_message is None else violation_message,
            }
        )
        if prompt == "parallel" and (exit_behavior != "end" or policy.reviews(Point.PROMPT)):
            raise GuardConfigurationError(
                'prompt="parallel" ends the agent at a prompt that may not pass',
                hint='set exit_behavior="end" and no "review" at the point "prompt", or prompt="before"',
            )
        self._name = name or "Qwen3GuardMiddleware"
        self.screener = Screener(guard, policy, owner=self._name)
        self.exit_behavior = exit_behavior
        self._prompt = prompt
        self.record_verdicts = record_verdicts
        # Every entry of a state costs time in every step: without a need for them there are none of ours.
        reviews = any(map(policy.reviews, Point))
        self.state_schema = GuardState if reviews or record_verdicts or exit_behavior == "error" else AgentState
        self._known = self.screener.known
        self._holds = isinstance(self, _Reviewing)
        self._tools = ToolScreening(self.screener, self._name, raises=exit_behavior == "error", holds=self._holds)
        self._on_block: OnBlock = "raise" if exit_behavior == "error" else "regenerate" if regenerate else "refuse"
        self._retries = retries
        self._fallback = fallback_model
        self._answers = AnswerScreening(
            self.screener, self._name, self._tools, self._screens, exit_behavior=exit_behavior, prompt=prompt
        )

    @property
    def name(self) -> str:
        """The name of the middleware in the agent's graph."""
        return self._name

    @property
    def policy(self) -> Policy:
        """What is done about verdicts."""
        return self.screener.policy

    # --- the agent begins ---

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Judge what the agent is given."""
        with self._recording() as verdicts:
            return with_verdicts(run(self._begins(state), self.screener.decide), verdicts)

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Judge what the agent is given."""
        with self._recording() as verdicts:
            return with_verdicts(await arun(self._begins(state), self.screener.adecide), verdicts)

    def _begins(self, state: Any) -> Generator[Sequence[Item], list[Decision], dict[str, Any] | None]:
        self._known.remember(state.get("guard_approved") or ())
        settled = abandoned(messages_in(state), self.policy, self._known)
        seen = Screened(settled.messages)
        if self._prompt == "before":
            seen = yield from screened(settled.messages, self.policy, self._known)
        changes: list[BaseMessage] = [*settled.changes, *seen.changes]
        update: dict[str, Any] = {"guard_approved": seen.approved} if seen.approved else {}
        if waiting := held_in(state, self._name):  # nobody has decided, and the conversation goes on without it
            update[HELD] = dict.fromkeys(waiting)
        if seen.stopped is not None and self.exit_behavior != "replace":
            update |= self._end(seen.stopped, changes)
        if changes:
            update["messages"] = changes
        return update or None

    def _end(self, stopped: Decision, changes: list[BaseMessage]) -> dict[str, Any]:
        """What tells the agent to end because of what it was given."""
        if self.exit_behavior == "error":
            raise BlockedError(stopped)
        changes.append(self._answers.refusal(stopped))
        return {"jump_to": "end"}

    @contextmanager
    def _recording(self) -> Iterator[list[dict[str, Any]]]:
        """What is reported meanwhile, if it is to be kept in the state."""
        if not self.record_verdicts:
            yield []
            return
        with self.screener.report.collecting() as verdicts:
            yield verdicts

    # --- the model ---

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelAnswer:
        """Judge what is new in the prompt, and let the guarded model answer."""
        with self._recording() as verdicts:
            return response_with(self._answers.run(request, handler), verdicts)

    def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> Coroutine[Any, Any, ModelAnswer]:
        """Judge what is new in the prompt, and let the guarded model answer.

        A function that gives a coroutine: around every `async def` hook langsmith's `traceable` goes to a thread and
        back twice, traced or not, which costs more than all that is done here. In a trace this hook's own span ends
        early, and what it does stands beside it.
        """
        return self._awrap_model_call(request, handler)

    async def _awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelAnswer:
        with self._recording() as verdicts:
            return response_with(await self._answers.arun(request, handler), verdicts)

    def _screens(self, names: frozenset[str]) -> Screens:
        return Screens(
            guard=self.screener.guard,
            policy=self.policy,
            on_block=self._on_block,
            prompt=self._prompt,  # "before": what an inner middleware has added for the model alone
            known=self._known,
            retries=self._retries,
            fallback=self._fallback,
            withholds=frozenset() if self.exit_behavior == "error" else names,
            report=self.screener.report,
            holds=self._holds and any(map(self.policy.reviews, (Point.RESPONSE, Point.REASONING))),
        )

    # --- the tools ---

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]) -> ToolResult:
        """Judge a call that the model did not write or that was changed, run the tool, and judge what it returns."""
        with self._recording() as verdicts:
            result: ToolResult = result_and({"guard_verdicts": verdicts}, self._tools.run(request, handler))
            return result

    def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> Coroutine[Any, Any, ToolResult]:
        """Judge a call that the model did not write or that was changed, run the tool, and judge what it returns."""
        return self._awrap_tool_call(request, handler)

    async def _awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        with self._recording() as verdicts:
            result: ToolResult = result_and({"guard_verdicts": verdicts}, await self._tools.arun(request, handler))
            return result


class _Raising(Qwen3GuardMiddleware):
    """Raises for what the agent was given only after the state has been cleaned of it."""

    def _end(self, stopped: Decision, changes: list[BaseMessage]) -> dict[str, Any]:
        return {"jump_to": "end", "guard_stopped": entry(stopped)}

    def _begins(self, state: Any) -> Generator[Sequence[Item], list[Decision], dict[str, Any] | None]:
        update = yield from super()._begins(state)
        return {"guard_stopped": None, **(update or {})} if state.get("guard_stopped") else update

    def after_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Raise the `BlockedError`, if the agent was stopped before it began."""
        if stopped := state.get("guard_stopped"):
            raise BlockedError(Decision.model_validate(stopped))
        return None

    async def aafter_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Raise the `BlockedError`, if the agent was stopped before it began."""
        return self.after_agent(state, runtime)


class _Reviewing(Qwen3GuardMiddleware):
    """Asks a person about answers and tool results, where the graph can wait: after the model, and before it.

    After the agent too, where a tool's result is the agent's (`return_direct`).
    """

    @hook_config(can_jump_to=["end", "model"])
    def after_model(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide about the answer, if one waits for it."""
        return self._settled(state, AIMessage)

    @hook_config(can_jump_to=["end", "model"])
    async def aafter_model(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide about the answer, if one waits for it."""
        return self._settled(state, AIMessage)

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide about results of tools, if some wait for it."""
        return self._settled(state, ToolMessage)

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide about results of tools, if some wait for it."""
        return self._settled(state, ToolMessage)

    def after_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide about results of tools that no model is to read."""
        return self._settled(state, ToolMessage)

    async def aafter_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide about results of tools that no model is to read."""
        return self.after_agent(state, runtime)

    def _settled(self, state: Any, kind: type[BaseMessage]) -> dict[str, Any] | None:
        held = held_in(state, self._name).items()
        waiting = {key: one for key, one in held if isinstance(one.message, kind) and one.waits}
        if not waiting:
            return None
        self._known.remember(state.get("guard_approved") or ())
        outcome = review(waiting, messages_in(state), self.policy, self._known)
        approved = [*outcome.approved, *self._known.add(outcome.changes)]
        kept = {key: one and one.stored(self._name) for key, one in outcome.held.items()}
        update: dict[str, Any] = {"messages": outcome.changes, HELD: kept, "guard_approved": approved}
        if any(kept.values()):
            update["jump_to"] = "model"
        elif outcome.stopped is not None and self.exit_behavior == "error":
            update |= self._end(outcome.stopped, [])
        return update


class _RaisingAndReviewing(_Reviewing, _Raising):
    """Does both."""

    def after_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Let a person decide, and raise the `BlockedError`, if something was stopped then or before."""
        update = super().after_agent(state, runtime)
        _Raising.after_agent(self, {**state, **(update or {})}, runtime)
        return update


_HELD: Final = (Point.RESPONSE, Point.REASONING, Point.TOOL_OUTPUT)
_KINDS: Final[Mapping[tuple[bool, bool], type[Qwen3GuardMiddleware]]] = {
    (False, False): Qwen3GuardMiddleware,
    (True, False): _Raising,
    (False, True): _Reviewing,
    (True, True): _RaisingAndReviewing,
}
