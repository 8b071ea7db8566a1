"""What the guard of an agent keeps in its state, and how updates of the state are told beside an answer."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentState, ModelResponse
from langchain.agents.middleware.types import ExtendedModelResponse, PrivateStateAttr
from langgraph.types import Command

from .agent_tools import messages_in
from .held import merged
from .history import Screened

ModelAnswer = ModelResponse[Any] | ExtendedModelResponse[Any]


class GuardState(AgentState[Any]):
    """What the middleware keeps in the agent's state, unseen by whoever calls the agent."""

    guard_approved: NotRequired[Annotated[list[str], PrivateStateAttr, operator.add]]
    guard_held: NotRequired[Annotated[dict[str, Any], PrivateStateAttr, merged]]
    guard_stopped: NotRequired[Annotated[dict[str, Any] | None, PrivateStateAttr]]
    guard_verdicts: NotRequired[Annotated[list[dict[str, Any]], PrivateStateAttr, operator.add]]


def with_verdicts(update: dict[str, Any] | None, verdicts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """`update`, and what was reported meanwhile."""
    return {**(update or {}), "guard_verdicts": verdicts} if verdicts else update


def changes_of(conversations: Sequence[Screened], state: Any) -> dict[str, Any]:
    """What has to be told to the state of what was decided about the messages that are in it."""
    stored = {message.id for message in messages_in(state)}
    changes = [change for one in conversations for change in one.changes if change.id in stored]
    update = {"messages": changes, "guard_approved": [digest for one in conversations for digest in one.approved]}
    return {key: value for key, value in update.items() if value}


def response_and(update: dict[str, Any], response: ModelResponse[Any]) -> ModelAnswer:
    """`response`, and `update` for the state."""
    return ExtendedModelResponse(response, Command(update=update)) if update else response


def response_with(answer: ModelAnswer, verdicts: list[dict[str, Any]]) -> ModelAnswer:
    """`answer`, and what was reported meanwhile."""
    if not verdicts:
        return answer
    if isinstance(answer, ModelResponse):
        return response_and({"guard_verdicts": verdicts}, answer)
    update = answer.command.update if answer.command is not None else None
    return response_and({**(update or {}), "guard_verdicts": verdicts}, answer.model_response)
