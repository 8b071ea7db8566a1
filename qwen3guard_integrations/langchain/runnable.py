"""`Qwen3GuardRunnable`: screening as a step of a chain."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_config_list
from pydantic import ConfigDict, Field, field_validator

from ..core.conversation import Conversation, Turn
from ..core.decision import Decision, stopping
from ..core.errors import BlockedError, GuardConfigurationError, GuardError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import screening
from ..core.verdict import Verdict
from ..guards.load import load_guard, written_down
from ..guards.protocol import Guard
from ..guards.streaming import ascreened, screened
from .holding import Held
from .tracing import Run, atraced, atraced_all, traced, traced_all
from .values import DROPPED, Reading, Scope, read, unheard
from .written import Written, aclose, apeeked, close, peeked

if TYPE_CHECKING:
    from .wrapped import GuardedChain

ScreenFlow = Generator[Sequence[Conversation], Sequence[Verdict], list[Any]]


class Place(NamedTuple):
    """Where a value comes from.

    Attributes:
        point: The screening point of its plain texts; None: as the step says, for the entries that it names.
        context: The turns before it.
        known: What passed earlier in the same run and is not judged again.
    """

    point: Point | None = None
    context: tuple[Turn, ...] = ()
    known: Reading | None = None


_HERE: Final = Place()
_LOADING: Final = Lock()


class Qwen3GuardRunnable(RunnableSerializable[Any, Any]):
    """Lets values pass that the guard and the policy allow: unchanged, the same object.

    A step for `|`: it takes strings, messages, prompt values, dictionaries, documents and graph states, judges
    every text in them with one call to the guard, and gives back what it got. What the policy redacts or drops
    goes on as a copy without it; nothing is ever changed in place. Where the policy blocks, `on_block` says what
    happens. What a plain text is depends on where it stands, so say `point="response"` behind an output parser;
    messages and documents know their own screening point. Pictures and sounds in messages, artifacts of tool
    messages and the metadata of documents are not judged.

    To screen what goes into a chain and what comes out of it, use `wrap`: there a blocked question is answered by
    the refusal and the chain is never called. (Between `prompt` and `model`, `on_block="refuse"` would hand the
    refusal to the model as its prompt; use "raise" or `wrap` there.)

    What a model streams goes on while it is written, each chunk as soon as a judgement covers it: token by token with a
    `StreamGuard`, window by window with any other (`WindowedStreamGuard`); `Policy.hold` and `Policy.debounce` say what
    may leave when. Tool calls leave when they are complete. On a block the model is stopped upstream and what follows
    is the refusal, or the error; what was released stays released. For that, stand directly behind the model: without
    asyncio, LangChain's parsers read a model to its end when they are closed. Strings are taken for an answer that is
    being written with `point="response"`; streams of other values are held until all of it is judged.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes (a name, or a dictionary of its arguments).
        policy: What is done about verdicts: a `Policy`, a dictionary, "strict", "loose", or a policy file.
        on_block: "raise" a `BlockedError`, or give a refusal of the same kind ("refuse"): the policy's
            `refusal` as a string for a string, as an assistant message for a message (with
            `finish_reason="content_filter"` and the decision in its `response_metadata`), at the end of a list of
            messages in place of what was stopped.
        point: Of plain texts and the entries of dictionaries; "prompt" if not said.
        input_key: The entries of a dictionary or state to screen; None screens every text in it.

    Raises:
        BlockedError: The policy stopped a text and `on_block` is "raise". `with_retry` and `with_fallbacks`
            catch every exception unless told otherwise: give them `GuardError`, not `Exception`.
        GuardError: The guard gave no verdict; nothing passed (unless `Policy.on_guard_error` says otherwise).
        TypeError: The input holds a value in which texts cannot be found.
        KeyError: `input_key` names an entry that the input does not have.
    """

    guard: Any = Field(repr=False)  # what a guard shows of itself is not for traces
    policy: Policy
    on_block: Literal["raise", "refuse"] = "raise"
    point: Point = Point.PROMPT
    input_key: str | tuple[str, ...] | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    def __init__(
        self,
        guard: Guard | str | Mapping[str, Any],
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        # pydantic would hide what `Policy.of` raises in an error of its own
        super().__init__(guard=guard, policy=Policy.of(policy), **settings)

    @field_validator("guard", mode="before")
    @classmethod
    def _guard(cls, value: Any) -> Guard:
        if isinstance(value, str):
            value = {"guard": value}
        if isinstance(value, Mapping):
            return _loaded_once(json.dumps(value, sort_keys=True))
        if not isinstance(value, Guard):
            raise GuardConfigurationError(
                f"guard must have check_many and acheck_many; {type(value).__name__} has not", hint="see load_guard"
            )
        return value

    @field_validator("policy", mode="before")
    @classmethod
    def _policy(cls, value: Any) -> Policy:
        return Policy.of(value)

    def wrap(self, runnable: Runnable[Any, Any]) -> GuardedChain:
        """`runnable`, with what goes in and what comes out of it screened by this guard and policy.

        The answer is judged together with the question that it answers. On a block with `on_block="refuse"` the
        refusal is an assistant message where `runnable` gives messages, and a string otherwise.
        """
        from .wrapped import GuardedChain

        return GuardedChain(screen=self, bound=runnable)

    # --- what a run does, written once for both lanes ---

    def reading(self, value: Any, where: Place = _HERE) -> Reading:
        """What there is to judge in `value`, which comes from `where`."""
        keys = self.input_key if where.point is None else None
        scope = Scope(
            policy=self.policy,
            point=where.point or self.point,
            context=where.context,
            keys=frozenset((keys,) if isinstance(keys, str) else keys) if keys else None,
        )
        reading = read(value, scope)
        return reading if where.known is None else unheard(reading, where.known)

    def screened(self, readings: Sequence[Reading], steps: Sequence[Run]) -> ScreenFlow:
        """What goes on after each reading: a value, or the `BlockedError` to raise. Asks the guard once for all."""
        decisions = iter((yield from screening([item for reading in readings for item in reading.items], self.policy)))
        outcomes = []
        for reading, step in zip(readings, steps, strict=True):
            own = [next(decisions) for _ in reading.items]
            step.decisions.extend(own)
            outcomes.append(self._outcome(reading, own, step))
        return outcomes

    def _outcome(self, reading: Reading, decisions: list[Decision], step: Run) -> Any:
        released = reading.released(decisions)
        if released is DROPPED:  # dropping all there is leaves nothing to go on with
            decisions = [decision.blocking() for decision in decisions]
            released = reading.released(decisions)
        step.stopped = stopping(decisions)
        return BlockedError(step.stopped) if step.stopped and self.on_block == "raise" else released

    def _one(self, value: Any, step: Run) -> ScreenFlow:
        return self.screened([self.reading(value)], [step])

    def _many(self, values: Sequence[Any], steps: Sequence[Run], return_exceptions: bool) -> ScreenFlow:
        """As `screened` for a batch, whose inputs fail one by one where exceptions are returned."""
        readings: list[Reading | Exception] = []
        for value in values:
            try:
                readings.append(self.reading(value))
            except (TypeError, ValueError, LookupError) as error:
                if not return_exceptions:
                    raise
                readings.append(error)
        readable = [
            (reading, step) for reading, step in zip(readings, steps, strict=True) if isinstance(reading, Reading)
        ]
        try:
            outcomes = yield from self.screened([reading for reading, _ in readable], [step for _, step in readable])
        except GuardError as error:
            if not return_exceptions:
                raise
            outcomes = [error] * len(readable)
        rest = iter(outcomes)
        return [next(rest) if isinstance(reading, Reading) else reading for reading in readings]

    def _look(self, held: Held, step: Run, where: Place, *, final: bool) -> ScreenFlow:
        """The outcome for what a stream has brought so far: `held` itself while it may go on as it is."""
        whole = held.whole()
        outcome = (yield from self.screened([self.reading(whole, where)], [step]))[0]
        return [outcome if step.stopped or (final and outcome is not whole) else held]

    # --- the Runnable interface ---

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """`input`, if it may pass; see the class for what happens if not."""
        with traced(self, config) as step:
            return value_of(run(self._one(input, step), self.guard.check_many)[0])

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """`input`, if it may pass; see the class for what happens if not."""
        async with atraced(self, config) as step:
            return value_of((await arun(self._one(input, step), self.guard.acheck_many))[0])

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """All inputs with one call to the guard. With `return_exceptions`, blocked ones are `BlockedError`s."""
        with traced_all(self, get_config_list(config, len(inputs))) as steps:
            outcomes = run(self._many(inputs, steps, return_exceptions), self.guard.check_many)
            return outcomes if return_exceptions else [value_of(outcome) for outcome in outcomes]

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """All inputs with one call to the guard. With `return_exceptions`, blocked ones are `BlockedError`s."""
        async with atraced_all(self, get_config_list(config, len(inputs))) as steps:
            outcomes = await arun(self._many(inputs, steps, return_exceptions), self.guard.acheck_many)
            return outcomes if return_exceptions else [value_of(outcome) for outcome in outcomes]

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """The chunks of `input`, each as soon as it is judged; on a block the stream upstream is closed."""
        with traced(self, config) as step:
            yield from step.shown(self.released(input, step))

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """The chunks of `input`, each as soon as it is judged; on a block the stream upstream is closed."""
        async with atraced(self, config) as step:
            async for chunk in step.ashown(self.areleased(input, step)):
                yield chunk

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """`input` as the only chunk, if it may pass."""
        yield self.invoke(input, config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """`input` as the only chunk, if it may pass."""
        yield await self.ainvoke(input, config, **kwargs)

    def released(self, chunks: Iterator[Any], step: Run, where: Place = _HERE) -> Iterator[Any]:
        """What goes on in place of `chunks`, as soon as it may; closed as soon as a judgement blocks."""
        first, chunks = peeked(chunks)
        if self._is_written(first, where):
            answer = Written(self, where)
            with closing(answer):
                yield from screened(chunks, answer.course(), answer.session, self.guard, self.policy)
                yield from map(value_of, answer.ending(step))
            return
        held, outcome = Held(), None
        try:
            for chunk in chunks:
                if held.push(chunk):
                    look = self._look(held, step, where, final=False)
                    if (outcome := run(look, self.guard.check_many)[0]) is not held:
                        break
            else:
                outcome = run(self._look(held, step, where, final=True), self.guard.check_many)[0]
        finally:
            close(chunks)
        yield from held.chunks if outcome is held else [value_of(outcome)]

    async def areleased(self, chunks: AsyncIterator[Any], step: Run, where: Place = _HERE) -> AsyncIterator[Any]:
        """What goes on in place of `chunks`, as soon as it may; closed as soon as a judgement blocks."""
        first, chunks = await apeeked(chunks)
        if self._is_written(first, where):
            answer = Written(self, where)
            with closing(answer):
                stream = ascreened(chunks, answer.course(), answer.session, self.guard, self.policy)
                async with aclosing(stream):
                    async for chunk in stream:
                        yield chunk
                for last in answer.ending(step):
                    yield value_of(last)
            return
        held, outcome = Held(), None
        try:
            async for chunk in chunks:
                if held.push(chunk):
                    look = self._look(held, step, where, final=False)
                    if (outcome := (await arun(look, self.guard.acheck_many))[0]) is not held:
                        break
            else:
                last_look = self._look(held, step, where, final=True)
                outcome = (await arun(last_look, self.guard.acheck_many))[0]
        finally:
            await aclose(chunks)
        for chunk in held.chunks if outcome is held else [value_of(outcome)]:
            yield chunk

    def _is_written(self, first: Any, where: Place) -> bool:
        """Whether a stream that begins so is an answer being written, which can be judged piece by piece."""
        return isinstance(first, AIMessageChunk) or (
            isinstance(first, str) and (where.point or self.point) is Point.RESPONSE
        )

    # --- serialisation ---

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: a runnable whose guard came from `load_guard` can be dumped and loaded."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """The path under which LangChain's `load` finds this class."""
        return ["qwen3guard_integrations", "langchain"]

    def to_json(self) -> Any:
        """The constructor call, without the guard's key.

        "Not implemented" for a guard that is not `load_guard`'s, or that has another option which can hold a secret:
        `default_headers`, `extra_body`, or a `base_url` with a password or a query.
        """
        guard = written_down(self.guard)
        if guard is None:
            return self.to_json_not_implemented()
        settings = {"on_block": self.on_block, "point": str(self.point), "input_key": self.input_key}
        policy = self.policy.model_dump(mode="json", exclude_defaults=True)
        return {
            "lc": 1,
            "type": "constructor",
            "id": self.lc_id(),
            "kwargs": {
                "guard": guard,
                "policy": policy,
                **settings,
                **({"name": self.name} if self.name else {}),
            },
        }


def value_of(outcome: Any) -> Any:
    """The value that goes on; a block is raised."""
    if isinstance(outcome, BlockedError):
        raise outcome
    return outcome


def _loaded_once(arguments: str) -> Guard:
    """The guard for `load_guard`'s arguments, the same one each time: a configurable step is made anew for each run."""
    with _LOADING:  # two runs that ask for it at once must not both load a model
        return _loaded(arguments)


@lru_cache(maxsize=16)
def _loaded(arguments: str) -> Guard:
    return load_guard(**json.loads(arguments))
