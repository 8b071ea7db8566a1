"""How answers of an agent's guarded models have ended while one request is under way: so its middleware hears of it.

The middleware gets an answer back through others, which may have changed it, or have answered in place of the model. It
is the model's, and judged, if it still says what the model said.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from operator import is_
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from ..core.decision import Decision
from .held import Held
from .history import words_of
from .reporting import Report

if TYPE_CHECKING:  # a guarded model needs nothing of agents
    from langchain.agents.middleware import ModelRequest


@dataclass(frozen=True, slots=True)
class Ending:
    """How a guarded answer has ended.

    Attributes:
        stopped: The decision that ended it; the refusal is the answer.
        held: The answer that waits for a person to decide, if that is why.
    """

    stopped: Decision | None = None
    held: Held | None = None

    @property
    def refused(self) -> bool:
        """Whether nothing comes of it any more."""
        return self.stopped is not None and self.held is None


@dataclass(slots=True)
class Answers:
    """The answers to one request.

    Attributes:
        approved: The answer that a person has let pass; to `requests` the model gives it, and is not asked.
        requests: The request, and what inner middleware has made of it.
        ending: Of the latest one; None as long as none has ended, as when they are out of LangChain's cache.
    """

    approved: AIMessage | None = None
    requests: list[ModelRequest[Any]] = field(default_factory=list, init=False)
    ending: Ending | None = field(default=None, init=False)
    _given: dict[str, Ending] = field(default_factory=dict, init=False)

    def add(self, message: AIMessage, ending: Ending) -> AIMessage:
        """Remember that a guarded model has given this answer."""
        self._given[_key(message)] = self.ending = ending
        return message

    def approved_for(self, prompt: object) -> AIMessage | None:
        """The answer of the model to `prompt`, if a person has let one pass; a middleware may ask for its own ends."""
        if self.approved is None or not any(_is_prompt_of(request, prompt) for request in self.requests):
            return None
        return self.add(self.approved, Ending())

    def behind(self, messages: Sequence[BaseMessage], tools: Container[str]) -> Ending | None:
        """How the answer in `messages` has ended; None if it is not what a guarded model has said.

        After a structured answer come results of calls of none of the agent's `tools`, which repeat it.
        """
        said = [message for message in messages if not isinstance(message, ToolMessage) or message.name in tools]
        endings = [self._given.get(_key(message)) for message in said]
        return endings[-1] if endings and None not in endings else None


def _is_prompt_of(request: ModelRequest[Any], prompt: object) -> bool:
    """Whether `prompt` is what LangChain asks the model for `request`."""
    system = [request.system_message] if request.system_message is not None else []
    messages = [*system, *request.messages]
    return isinstance(prompt, list) and len(prompt) == len(messages) and all(map(is_, prompt, messages))


def _key(message: BaseMessage) -> str:
    return repr((message.id, words_of(message)))  # agents give a message their name, others metadata


_ANSWERS: Final[ContextVar[Mapping[Report, Answers]]] = ContextVar("qwen3guard_answers", default=MappingProxyType({}))
"""By whom they are reported to: the guards of one agent hear of their own models only."""


@contextmanager
def answering(report: Report, approved: AIMessage | None = None) -> Iterator[Answers]:
    """The answers that models guarded for `report` give inside of the block."""
    answers = Answers(approved)
    token = _ANSWERS.set({**_ANSWERS.get(), report: answers})
    try:
        yield answers
    finally:
        _ANSWERS.reset(token)
        answers.requests.clear()  # which know the list that they are in


def ended(report: Report | None, ending: Ending) -> None:
    """Say how the answer that is under way has ended."""
    if report is not None and (answers := _ANSWERS.get().get(report)) is not None:
        answers.ending = ending


def heard(base: type[BaseChatModel], report: Report) -> dict[str, Callable[..., Any]]:
    """The methods of `base` with which an agent asks its model, for guarded ones: they say what is answered."""

    @functools.wraps(base.invoke)
    def invoke(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        if (answers := _ANSWERS.get().get(report)) is None:
            return base.invoke(self, input, *args, **kwargs)
        if (approved := answers.approved_for(input)) is not None:
            return approved
        with answering(report) as own:
            message = base.invoke(self, input, *args, **kwargs)
        return answers.add(message, own.ending) if own.ending is not None else message

    @functools.wraps(base.ainvoke)
    async def ainvoke(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        if (answers := _ANSWERS.get().get(report)) is None:
            return await base.ainvoke(self, input, *args, **kwargs)
        if (approved := answers.approved_for(input)) is not None:
            return approved
        with answering(report) as own:
            message = await base.ainvoke(self, input, *args, **kwargs)
        return answers.add(message, own.ending) if own.ending is not None else message

    return {"invoke": invoke, "ainvoke": ainvoke}
