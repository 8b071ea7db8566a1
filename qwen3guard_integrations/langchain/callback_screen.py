"""What a callback handler does at each event, written once for both lanes; and what it warns of."""

from __future__ import annotations

import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Literal, get_args
from uuid import UUID

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import LLMResult

from ..core.decision import Decision
from ..core.errors import BlockedError, GuardConfigurationError
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import screening
from ..guards.load import load_guard
from ..guards.protocol import Guard
from .callback_runs import AnswerRun, AskSession, Flow, Question, Runs, pieces_of_token
from .messages import turn_of
from .values import Scope, read

Mode = Literal["stop", "observe"]
Hook = Callable[[UUID, Decision], None]
Steps = Generator[Question, Any, None]

_MOST_DECISIONS: Final = 1000
"""Decisions that a handler keeps: a look at what happened lately, not a log."""
_MOST_PARENTS: Final = 10_000
"""Ids of runs that are remembered, to see whether the handler was told of the run around a model."""


class Qwen3GuardWarning(UserWarning):
    """A callback handler is attached where it cannot do what its mode says."""


_WARNINGS: Final = {
    "below": "{name} was not told of the run around this model, so it seems to be attached at the model itself "
    "(callbacks= of the model, or with_config) and not at the chain or graph: handlers of the graph run first, and a "
    "token that is stopped may have been delivered. Pass it in the config of the outermost call",
    "v3": "this model does not report its tokens (on_llm_new_token), and version 3 events of a model give each text to "
    "the consumer before handlers are told: {name} ends the stream, but the text that it stops has been delivered. "
    "Use guard_model",
    "end": "{name} stopped an answer only when it was complete; version 3 events of a model have given it to the "
    "consumer by then, who in asynchronous runs may not see the error. Use guard_model",
    "sync": "{name} is called in a synchronous run, where LangChain discards what async handlers raise: it only "
    "observes here. Use Qwen3GuardCallbackHandler, or call the chain with ainvoke or astream; synchronous tools run so "
    "even then",
}


class CallbackScreen:
    """The state of a handler and its decisions. See `Qwen3GuardCallbackHandler` for the settings."""

    def __init__(
        self,
        name: str,
        guard: Guard | str,
        policy: Policy | Mapping[str, Any] | str | None,
        mode: Mode,
        on_decision: Hook | None,
    ) -> None:
        if mode not in get_args(Mode):
            raise GuardConfigurationError(f"mode={mode!r}: no such setting", hint='"stop" or "observe"')
        self.guard = load_guard(guard) if isinstance(guard, str) else guard
        if not isinstance(self.guard, Guard):
            raise GuardConfigurationError(
                f"guard must have check_many and acheck_many; {type(guard).__name__} has not", hint="see load_guard"
            )
        self.policy = Policy.of(policy)
        self.stops = mode == "stop"
        self.on_decision = on_decision
        self.decisions: deque[tuple[UUID, Decision]] = deque(maxlen=_MOST_DECISIONS)
        self.runs = Runs()
        self._name = name
        self._parents: OrderedDict[UUID, None] = OrderedDict()
        self._warned: set[str] = set()
        if not self.stops and self.policy.on_guard_error == "raise":  # recorded instead
            self.policy = self.policy.model_copy(update={"on_guard_error": "block"})

    # --- who asks the guard ---

    def reply(self, question: Question) -> Any:
        """The guard's answer."""
        if isinstance(question, AskSession):
            return question.session.judge(question.pieces, final=question.final).result()
        return self.guard.check_many(question)

    async def areply(self, question: Question) -> Any:
        """The guard's answer, without blocking the event loop."""
        if isinstance(question, AskSession):
            return await question.session.ajudge(question.pieces, final=question.final)
        return await self.guard.acheck_many(question)

    # --- the events ---

    def chain_begins(self, run_id: UUID) -> None:
        """A run begins, in which others may."""
        self._parents[run_id] = None
        while len(self._parents) > _MOST_PARENTS:
            self._parents.popitem(last=False)

    def prompt(self, messages: Sequence[BaseMessage], run_id: UUID, run: Mapping[str, Any]) -> Steps:
        """A model is about to be asked."""
        parent = run.get("parent_run_id")
        if parent is not None and parent not in self._parents:
            self.warn("below")
        yield from self._whole(messages, Point.PROMPT, run_id)
        context = tuple(turn for turn in map(turn_of, messages) if not turn.blank)
        in_graph = "langgraph_node" in (run.get("metadata") or {})
        self.runs.put(run_id, AnswerRun(guard=self.guard, policy=self.policy, context=context, in_graph=in_graph))

    def completion_prompt(self, prompt: str, run_id: UUID, run: Mapping[str, Any]) -> Steps:
        """A completion model is about to be asked."""
        return self.prompt([HumanMessage(prompt)], run_id, run)

    def token(self, token: Any, chunk: Any, run_id: UUID) -> Steps:
        """The model reports a token, before anybody gets it."""
        run = self._run(run_id)
        run.has_tokens = True
        return self._written(run, run.written(pieces_of_token(token, chunk), "tokens"), run_id)

    def event(self, event: Mapping[str, Any], run_id: UUID) -> Steps:
        """The model reports an event of version 3."""
        run = self._run(run_id)
        run.has_events = True
        pieces = run.pieces_of_event(event)
        if any(piece.text for piece in pieces) and not (run.has_tokens or run.in_graph):
            self.warn("v3")
        done = event["content"] if event["event"] == "content-block-finish" and not run.in_graph else None
        return self._written(run, run.written(pieces, "events", done), run_id)

    def _run(self, run_id: UUID) -> AnswerRun:
        """The run; a new one where its start was not heard, whose text is then judged without a context."""
        return self.runs.get(run_id) or self.runs.put(run_id, AnswerRun(guard=self.guard, policy=self.policy))

    def _written(self, run: AnswerRun, flow: Flow, run_id: UUID) -> Steps:
        if run.stopped is None or not self.stops:
            self.take((yield from flow), run_id)
        else:  # somebody swallowed the error
            raise _blocked(run.stopped)

    def answered(self, result: LLMResult, run_id: UUID) -> Steps:
        """The model is done."""
        run = self.runs.pop(run_id) or AnswerRun(guard=self.guard, policy=self.policy)
        try:
            decisions = yield from run.ended(result)
        finally:
            run.close()
        try:
            self.take(decisions, run_id)
        finally:
            if run.has_events and not run.in_graph and not all(decision.passes for decision in decisions):
                self.warn("end")
        if self.stops and run.stopped is not None:  # somebody swallowed the error
            raise _blocked(run.stopped)

    def broken(self, run_id: UUID) -> None:
        """The model failed, or was stopped."""
        if (run := self.runs.pop(run_id)) is not None:
            for decision in run.close():
                self._record(run_id, decision)

    def tool_call(self, serialized: Any, text: str, inputs: Any, run_id: UUID) -> Steps:
        """A tool is about to run."""
        self.chain_begins(run_id)
        call = {"name": (serialized or {}).get("name") or "tool", "args": text if inputs is None else inputs}
        return self._whole(call, Point.TOOL_CALL, run_id)

    def tool_output(self, output: Any, run_id: UUID) -> Steps:
        """A tool has run."""
        return self._whole(_said_by(output), Point.TOOL_OUTPUT, run_id)

    def documents(self, documents: Sequence[Any], run_id: UUID) -> Steps:
        """A retriever has found documents."""
        return self._whole(list(documents), Point.DOCUMENT, run_id)

    def _whole(self, value: Any, point: Point, run_id: UUID) -> Steps:
        if point is not Point.PROMPT and not self.policy.judges(point):
            return
        try:
            items = read(value, Scope(policy=self.policy, point=point)).items
        except TypeError:  # no words can be found in it
            if self.stops:
                raise
            self.take([self.policy.decide_unjudged(point)], run_id)
            return
        self.take((yield from screening(items, self.policy)), run_id)

    # --- what comes of it ---

    def take(self, decisions: Sequence[Decision], run_id: UUID) -> None:
        """Record the decisions.

        Raises:
            BlockedError: One of them does not let the text pass, and the mode is "stop".
        """
        for decision in decisions:
            if decision.verdict is not None or decision.guard_failed:
                self._record(run_id, decision)
        failed = [decision for decision in decisions if not decision.passes]
        if failed and self.stops:
            raise _blocked(max(failed, key=lambda decision: decision.action))

    def _record(self, run_id: UUID, decision: Decision) -> None:
        if self.stops and not decision.passes:
            decision = _stopping(decision)
        self.decisions.append((run_id, decision))
        if self.on_decision is not None:
            self.on_decision(run_id, decision)

    def warn(self, what: str) -> None:
        """Warn, once, that the handler cannot stop here."""
        if self.stops and what not in self._warned:
            self._warned.add(what)
            warnings.warn(_WARNINGS[what].format(name=self._name), Qwen3GuardWarning, stacklevel=2)


def _stopping(decision: Decision) -> Decision:
    """`decision` as a handler carries it out, which cannot redact or drop."""
    return decision if decision.stops else decision.blocking()


def _blocked(decision: Decision) -> BlockedError:
    """The error to raise. LangChain logs what it shows of itself, so names that the guard made up stay out."""
    decision = _stopping(decision)
    if decision.verdict is not None:
        verdict = decision.verdict.model_copy(update={"other_categories": ()})
        decision = decision.model_copy(update={"verdict": verdict})
    return BlockedError(decision)


def _said_by(output: Any) -> Any:
    """What a tool returned, for `read`; of a LangGraph `Command`, what it puts into the state or sends to a node."""
    if not (hasattr(output, "update") and hasattr(output, "goto")):
        return output
    goto = output.goto if isinstance(output.goto, list | tuple) else [output.goto]
    return [output.update, *(send.arg for send in goto if hasattr(send, "arg"))]
