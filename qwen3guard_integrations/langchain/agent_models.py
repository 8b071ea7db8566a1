"""The models of an agent: guarded copies of them, whoever chooses them, and what becomes of a refused request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final

from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain.agents.structured_output import StructuredOutputValidationError
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from ..core.errors import GuardConfigurationError
from .model import guarded
from .screens import Screens

_MOST_MODELS: Final = 8


@dataclass(slots=True)
class GuardedModels:
    """Guarded copies of an agent's models, each made once; anew when somebody has changed the model.

    Args:
        screens: How a model is guarded, by the names of the tools that the agent runs.
    """

    screens: Callable[[frozenset[str]], Screens]
    _made: dict[tuple[int, frozenset[str]], _GuardedModel] = field(default_factory=dict, init=False)

    def of(self, request: ModelRequest[Any]) -> BaseChatModel:
        """The model of the request, guarded; calls of tools that the agent runs may be withheld."""
        model: Any = request.model
        if not isinstance(model, BaseChatModel):
            raise GuardConfigurationError(
                f"the agent's model is a {type(model).__name__}, which cannot be guarded while it streams",
                hint="give create_agent a chat model, or the name of one",
            )
        names = tools_of(request)
        made = self._made.get((id(model), names))
        if made is None or made.of is not model or not _is_same(made.as_it_was, vars(model)):
            made = _GuardedModel(model, dict(vars(model)), guarded(model, self.screens(names)))
            self._made[id(model), names] = made
            while len(self._made) > _MOST_MODELS:
                self._made.pop(next(iter(self._made)), None)
        return made.guarded


def tools_of(request: ModelRequest[Any]) -> frozenset[str]:
    """The names of the tools that the agent runs."""
    return frozenset(tool.name for tool in request.tools if isinstance(tool, BaseTool))


@dataclass(frozen=True, slots=True)
class _GuardedModel:
    of: BaseChatModel
    as_it_was: dict[str, Any]
    guarded: BaseChatModel


def _is_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    return before.keys() == now.keys() and all(map(is_, before.values(), now.values()))


Guards = tuple[tuple[Callable[[ModelRequest[Any]], BaseChatModel], list[ModelRequest[Any]]], ...]


class GuardedRequest(ModelRequest[Any]):
    """A request to a guarded model; one that an inner middleware puts in its place is guarded too."""

    _guards: Guards  # of the agent's middleware, the outermost first

    @classmethod
    def of(
        cls,
        request: ModelRequest[Any],
        guard: Callable[[ModelRequest[Any]], BaseChatModel],
        requests: list[ModelRequest[Any]],
    ) -> GuardedRequest:
        """`request`, its model guarded by `guard`; it, and what inner middleware makes of it, comes into `requests`."""
        outer: Guards = request._guards if isinstance(request, GuardedRequest) else ()
        made = cls._of(request, (*outer, (guard, requests)))
        vars(made).update(model=guard(made))
        return made

    @classmethod
    def _of(cls, request: ModelRequest[Any], guards: Guards) -> GuardedRequest:
        made = object.__new__(cls)
        vars(made).update(vars(request), _guards=guards)
        for _, requests in guards:
            requests.append(made)
        return made

    def override(self, **overrides: Any) -> ModelRequest[Any]:
        """As LangChain's, with a guarded model."""
        made = self._of(super().override(**overrides), self._guards)
        if "model" in overrides:
            made._guard_model()
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "model" and "_guards" in vars(self):  # LangChain still lets it be assigned
            self._guard_model()

    def _guard_model(self) -> None:
        for guard, _ in self._guards:
            vars(self).update(model=guard(self))


# --- a structured answer that was refused ---


def refused(handler: Callable[[Any], ModelResponse[Any]], request: ModelRequest[Any]) -> ModelResponse[Any]:
    """What `handler` answers, or the refusal that could not be read as a structured answer."""
    try:
        return handler(request)
    except StructuredOutputValidationError as error:
        return _refusal_in(error)


async def arefused(
    handler: Callable[[Any], Awaitable[ModelResponse[Any]]], request: ModelRequest[Any]
) -> ModelResponse[Any]:
    """What `handler` answers, or the refusal that could not be read as a structured answer."""
    try:
        return await handler(request)
    except StructuredOutputValidationError as error:
        return _refusal_in(error)


def _refusal_in(error: StructuredOutputValidationError) -> ModelResponse[Any]:
    said = error.ai_message.response_metadata.get("qwen3guard")
    if not isinstance(said, Mapping) or _DECIDED.isdisjoint(said):  # an answer that passed; of a second try, perhaps
        raise error
    return ModelResponse(result=[error.ai_message])


_DECIDED: Final = frozenset({"action", "withheld", "review"})
