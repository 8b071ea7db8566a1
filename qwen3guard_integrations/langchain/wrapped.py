"""`GuardedChain`: a runnable of which everything that goes in and comes out is screened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_config_list
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec
from pydantic import BaseModel, ConfigDict

from ..core.conversation import Conversation
from ..core.flow import arun, run
from ..core.points import Point
from .messages import refusal_message
from .runnable import Place, Qwen3GuardRunnable, ScreenFlow, value_of
from .tracing import Run, atraced, atraced_all, traced, traced_all
from .values import Reading
from .written import only


@dataclass(frozen=True, slots=True)
class _Call:
    """An ask for what `bound` answers to values that may pass."""

    values: list[Any]
    configs: list[RunnableConfig]


ChainFlow = Generator[Sequence[Conversation] | _Call, Any, list[Any]]


class GuardedChain(RunnableSerializable[Any, Any]):
    """What `Qwen3GuardRunnable.wrap` returns: `bound`, screened by `screen` on the way in and on the way out.

    A blocked question never reaches `bound`. The answer is judged as a response, with the question as its context.
    With `on_block="refuse"` a blocked question is answered by the refusal: an assistant message where `bound` gives
    messages, the state with the refusal as its last message where the input is a state with messages, and a string
    otherwise. A blocked answer is replaced by a refusal of its own kind. What is raised is said at
    `Qwen3GuardRunnable`.
    """

    screen: Qwen3GuardRunnable
    bound: Runnable[Any, Any]

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    # --- what a run does, written once for both lanes ---

    def _chain(self, values: Sequence[Any], steps: Sequence[Run]) -> ChainFlow:
        """What comes out for each value, or the error to raise: two asks to the guard, and one to `bound` between."""
        entries = [self.screen.reading(value) for value in values]
        outcomes = yield from self.screen.screened(entries, steps)
        passed = [i for i, step in enumerate(steps) if not step.stopped]
        for i in set(range(len(values))).difference(passed):
            outcomes[i] = self._refused(values[i], value_of(outcomes[i]), steps[i])
        if passed:
            places = [self._exit(values[i], outcomes[i], entries[i]) for i in passed]
            answers = yield _Call([outcomes[i] for i in passed], [steps[i].child for i in passed])
            exits = [self.screen.reading(answer, place) for answer, place in zip(answers, places, strict=True)]
            screened = yield from self.screen.screened(exits, [steps[i] for i in passed])
            for i, outcome in zip(passed, screened, strict=True):
                outcomes[i] = outcome
        return outcomes

    def _entry(self, value: Any, step: Run) -> ScreenFlow:
        """For a stream: the value with which it may begin, and where its chunks come from; or refusal and None."""
        reading = self.screen.reading(value)
        outcome = value_of((yield from self.screen.screened([reading], [step]))[0])
        if step.stopped:
            return [self._refused(value, outcome, step), None]
        return [outcome, self._exit(value, outcome, reading)]

    def _exit(self, value: Any, passed: Any, reading: Reading) -> Place:
        """Where the answer to `passed` comes from; it is all that `bound` sees of the question `value`."""
        if passed is not value:
            reading = self.screen.reading(passed)
        prompts = [item.conversation.turns for item in reading.items if item.point is Point.PROMPT]
        return Place(Point.RESPONSE, prompts[-1] if prompts else (), known=reading)

    def _refused(self, value: Any, refused: Any, step: Run) -> Any:
        """What answers a question that does not pass; `refused` is the question with the refusal in its place."""
        assert step.stopped is not None
        refusal, kinds = self.screen.policy.refused(step.stopped), _output_classes(self.bound)
        if any(issubclass(kind, BaseMessage) for kind in kinds):
            return refusal_message(refusal, step.stopped, like=None)
        return refused if str not in kinds and isinstance(value, Mapping) and "messages" in value else refusal

    # --- the Runnable interface ---

    def _answer(self, ask: Sequence[Conversation] | _Call, kwargs: dict[str, Any]) -> Any:
        if not isinstance(ask, _Call):
            return self.screen.guard.check_many(ask)
        if len(ask.values) == 1:
            return [self.bound.invoke(ask.values[0], ask.configs[0], **kwargs)]
        return self.bound.batch(ask.values, ask.configs, **kwargs)

    async def _aanswer(self, ask: Sequence[Conversation] | _Call, kwargs: dict[str, Any]) -> Any:
        if not isinstance(ask, _Call):
            return await self.screen.guard.acheck_many(ask)
        if len(ask.values) == 1:
            return [await self.bound.ainvoke(ask.values[0], ask.configs[0], **kwargs)]
        return await self.bound.abatch(ask.values, ask.configs, **kwargs)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer of `bound` to `input`, both screened."""
        with traced(self, config) as step:
            return value_of(run(self._chain([input], [step]), lambda ask: self._answer(ask, kwargs))[0])

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """The answer of `bound` to `input`, both screened."""
        async with atraced(self, config) as step:
            return value_of((await arun(self._chain([input], [step]), lambda ask: self._aanswer(ask, kwargs)))[0])

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """All answers, with two calls to the guard; one by one where exceptions are to be kept apart."""
        if return_exceptions:
            return super().batch(inputs, config, return_exceptions=True, **kwargs)
        with traced_all(self, get_config_list(config, len(inputs))) as steps:
            return [value_of(out) for out in run(self._chain(inputs, steps), lambda ask: self._answer(ask, kwargs))]

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """All answers, with two calls to the guard; one by one where exceptions are to be kept apart."""
        if return_exceptions:
            return await super().abatch(inputs, config, return_exceptions=True, **kwargs)
        async with atraced_all(self, get_config_list(config, len(inputs))) as steps:
            outcomes = await arun(self._chain(inputs, steps), lambda ask: self._aanswer(ask, kwargs))
            return [value_of(outcome) for outcome in outcomes]

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """The chunks of the answer, each as soon as it is judged; on a block `bound` is stopped."""
        with traced(self, config) as step:
            value, place = run(self._entry(input, step), self.screen.guard.check_many)
            if place is None:
                yield from step.shown([value])
                return
            chunks = self.bound.stream(value, step.child, **kwargs)
            yield from step.shown(self.screen.released(chunks, step, place))

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """The chunks of the answer, each as soon as it is judged; on a block `bound` is stopped."""
        async with atraced(self, config) as step:
            value, place = await arun(self._entry(input, step), self.screen.guard.acheck_many)
            if place is None:
                async for chunk in step.ashown(only(value)):
                    yield chunk
                return
            chunks = self.bound.astream(value, step.child, **kwargs)
            async for chunk in step.ashown(self.screen.areleased(chunks, step, place)):
                yield chunk

    # --- what others want to know of a runnable ---

    @property
    def InputType(self) -> Any:  # noqa: N802
        """As of the wrapped runnable."""
        return self.bound.InputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """As of the wrapped runnable."""
        schema: type[BaseModel] = self.bound.get_input_schema(config)  # type: ignore[assignment]  # pydantic 2 here
        return schema

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """As of the wrapped runnable."""
        return self.bound.config_specs

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Screening, the wrapped runnable, screening."""
        return (self.screen | self.bound | self.screen).get_graph(config)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: serialisable where both parts are."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """The path under which LangChain's `load` finds this class."""
        return ["qwen3guard_integrations", "langchain"]


def _output_classes(runnable: Runnable[Any, Any]) -> set[type]:
    """The classes of which the declared output of `runnable` is made; none where it declares nothing."""
    try:
        return set(_classes_in(runnable.OutputType))
    except TypeError:
        return set()


def _classes_in(declared: Any) -> Iterator[type]:
    """The classes that a type is made of: those in unions and annotations too."""
    if isinstance(declared, type):
        yield declared
    for inner in get_args(declared):
        yield from _classes_in(inner)
