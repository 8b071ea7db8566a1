"""The answers of an agent's model: what it is asked before it reads it, what it says before anybody gets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, Literal

from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage

from ..core.decision import Action, Decision
from ..core.errors import BlockedError
from ..core.flow import arun, run
from ..core.screening import Item
from .agent_models import GuardedModels, GuardedRequest, arefused, refused, tools_of
from .agent_state import ModelAnswer, changes_of, response_and
from .agent_tools import ToolScreening
from .endings import Ending, answering
from .held import HELD, Held, answers_in, approved_of
from .history import Screened, ScreenedFlow, screened
from .messages import refusal_message
from .screener import Screener
from .screens import Screens
from .withheld import calls_for_review

ExitBehavior = Literal["end", "error", "replace"]
Response = ModelResponse[Any]
Request = ModelRequest[Any]
AnswerFlow = Generator[Any, Any, ModelAnswer]


class AnswerScreening:
    """Screens what the model of one agent is asked, and what it answers.

    Args:
        screener: The guard and the policy.
        owner: The name of the middleware.
        tools: Screens the agent's tools; what became of the last step is read from the conversation.
        screens: How a model is guarded, by the names of the tools that the agent runs.
        exit_behavior: As in `Qwen3GuardMiddleware`.
        prompt: As in `Qwen3GuardMiddleware`.
    """

    def __init__(
        self,
        screener: Screener,
        owner: str,
        tools: ToolScreening,
        screens: Callable[[frozenset[str]], Screens],
        *,
        exit_behavior: ExitBehavior,
        prompt: Literal["before", "parallel"],
    ) -> None:
        self._screener = screener
        self._owner = owner
        self._tools = tools
        self._models = GuardedModels(screens)
        self._exit_behavior = exit_behavior
        self._prompt = prompt
        self._policy = screener.policy
        self._known = screener.known

    def run(self, request: Request, handler: Callable[[Request], Response]) -> ModelAnswer:
        """The answer to the request, and what is to be told to the state."""

        def answer(ask: Any) -> Any:
            if isinstance(ask, ModelRequest):
                return refused(handler, ask)
            return self._screener.decide(ask, tell=not isinstance(ask, _Told))

        return run(self._flow(request), answer)

    async def arun(self, request: Request, handler: Callable[[Request], Awaitable[Response]]) -> ModelAnswer:
        """The answer to the request, and what is to be told to the state, without blocking the event loop."""

        async def answer(ask: Any) -> Any:
            if isinstance(ask, ModelRequest):
                return await arefused(handler, ask)
            return await self._screener.adecide(ask, tell=not isinstance(ask, _Told))

        return await arun(self._flow(request), answer)

    def _flow(self, request: Request) -> AnswerFlow:
        """Yields what to judge, and the request to the model; is sent the decisions, and the response."""
        if (stopped := self._stopped_by_tools(request.messages)) is not None:
            return self._instead(stopped, {})
        state: Any = request.state
        self._known.remember(state.get("guard_approved") or ())
        settled = self._tools.settled(request.messages)
        system = [request.system_message] if request.system_message is not None else []
        prompt = screened([*system, *settled.messages], self._policy, self._known)
        seen = Screened([*system, *settled.messages]) if self._prompt == "parallel" else (yield from prompt)
        if seen.stopped is not None and self._exit_behavior == "error":
            raise BlockedError(seen.stopped)
        if seen.stopped is not None and self._exit_behavior == "end":
            return self._instead(seen.stopped, changes_of((settled, seen), state))
        if seen.changed or settled.changed:
            messages: list[Any] = seen.messages
            first = messages.pop(0) if system else None
            request = request.override(system_message=first, messages=messages)
        earlier = answers_in(state, self._owner)
        with answering(self._screener.report, approved_of(earlier)) as given:
            response: Response = yield GuardedRequest.of(request, self._models.of, given.requests)
        ending = given.behind(response.result, tools_of(request))
        if self._prompt == "parallel":
            seen = yield from _read_already(prompt, told=given.ending is not None)
            if seen.stopped is not None and not (ending and ending.refused):
                return self._instead(seen.stopped, changes_of((settled, seen), state))
        if ending is None:
            response = yield from self._not_ours(seen, response)
        update = changes_of((settled, seen), state)
        return response_and(self._kept(update, response, ending, earlier), response)

    def _stopped_by_tools(self, messages: Sequence[Any]) -> Decision | None:
        """The decision about a blocked result of the last step, if it ends the agent."""
        if self._exit_behavior != "end":
            return None
        results = takewhile(lambda message: not isinstance(message, AIMessage), reversed(messages))
        return next(filter(None, map(self._tools.stopping, results)), None)

    def _not_ours(self, seen: Screened, response: Response) -> Generator[Any, Any, Response]:
        """A response that the guarded model did not give, judged."""
        before = seen.messages
        after = yield from screened([*before, *response.result], self._policy, self._known, ask=None)
        if after.stopped is None:
            return replace(response, result=[one for one in after.after[len(before) :] if one is not None])
        if self._exit_behavior == "error":
            raise BlockedError(after.stopped)
        return ModelResponse(result=[self.refusal(after.stopped)])

    def _kept(
        self, update: dict[str, Any], response: Response, ending: Ending | None, earlier: Mapping[str, Held]
    ) -> dict[str, Any]:
        """`update`, and what the state keeps of the answer, and no longer of `earlier` ones."""
        answers = [message for message in response.result if isinstance(message, AIMessage)]
        held: dict[str, Any] = dict.fromkeys(earlier)
        if ending is not None and ending.held is not None and answers[-1].id is not None:
            held[answers[-1].id] = ending.held.stored(self._owner)
        made = self._known.add(response.result)
        if approved_of(earlier) is not None or any(map(calls_for_review, answers)):  # a person has decided, or will
            update["guard_approved"] = [*update.get("guard_approved", ()), *made]
        return update | {HELD: held} if held else update

    def _instead(self, stopped: Decision, update: dict[str, Any]) -> ModelAnswer:
        """The refusal as the model's answer, which ends the agent."""
        response: Response = ModelResponse(result=[self.refusal(stopped)])
        return response_and(update, response)

    def refusal(self, decision: Decision) -> AIMessage:
        """The refusal, as a message that may pass."""
        message = refusal_message(self._policy.refused(decision), decision, like=None)
        self._known.add([message])
        return message


class _Told(tuple[Item, ...]):
    """What was decided, and told, before: the guard's verdicts are kept."""


def _read_already(flow: ScreenedFlow, *, told: bool) -> ScreenedFlow:
    """`flow` about a prompt that the model has read: nobody is asked, and what does not pass as it is has stopped it.

    What was told before is not told again.
    """
    decisions: list[Decision] = []
    try:
        items = next(flow)
        made = yield (_Told(items) if told else items)
        decisions = [one.blocking() if one.action is Action.REVIEW else one for one in made]
        flow.send(decisions)
    except StopIteration as end:
        seen: Screened = end.value
        failed = next((decision for decision in decisions if not decision.passes), None)
        return replace(seen, stopped=seen.stopped or failed.blocking()) if failed else seen
    raise AssertionError("a conversation is judged with one question")
