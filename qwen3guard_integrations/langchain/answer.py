"""One guarded answer of a chat model, from its prompt to its end: what is decided at each step, for both lanes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, content
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from ..core.conversation import Conversation, Turn
from ..core.course import Course
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError
from ..core.gate import Gate
from ..core.points import Point
from ..core.screening import Item, screening
from ..core.thinking import thought_and_said
from ..core.words import is_name
from ..guards.protocol import StreamSession
from ..guards.streaming import open_stream
from .chunks import last_chunk, pieces_of, whole, without
from .endings import Ending, ended
from .held import Held
from .messages import parts_of, refusal_message, tool_calls_of, turn_of
from .screens import Screens
from .values import DROPPED, Reading, Scope, read, read_conversation
from .withheld import marks, withholding

M = TypeVar("M", bound=AIMessage)
HAS_REFUSAL_BLOCKS: Final = hasattr(content, "RefusalContentBlock")  # langchain-core 1.8


@dataclass(frozen=True, slots=True)
class JudgedResult:
    """A whole answer of the model, as it was read, and what was decided about it."""

    result: ChatResult
    readings: Sequence[Reading]
    decisions: Sequence[Decision]


PromptFlow = Generator[Sequence[Conversation], Sequence[Any], None]
JudgedFlow = Generator[Sequence[Conversation], Sequence[Any], JudgedResult]


@dataclass(slots=True)
class Answer:
    """The state of one call: made for it, and dropped with it.

    Attributes:
        screens: The settings.
        blocks: The model writes content blocks (`output_version="v1"`).
        messages: What the model is given: what was asked, without what the policy redacted of it, and after a block
            what has left of the answer so far with the intervention.
        gate: Of the stream.
        stopped: The decision that ended the answer.
        held: The answer that waits for a person to decide; the refusal stands in its place.
        told: What was decided about the prompt, about whole answers, and about tries that were taken back.
    """

    screens: Screens
    asked: list[BaseMessage]
    blocks: bool = False
    messages: list[BaseMessage] = field(init=False)
    gate: Gate[ChatGenerationChunk] = field(init=False)
    stopped: Decision | None = field(default=None, init=False)
    held: Held | None = field(default=None, init=False)
    tries: int = field(default=0, init=False)
    waited: int | None = field(default=None, init=False)
    told: list[Decision] = field(default_factory=list, init=False)
    given: list[BaseMessage] = field(init=False)
    _session: StreamSession | None = field(default=None, init=False)
    _prompt: Reading | None = field(default=None, init=False)
    _seen: list[AIMessageChunk] = field(default_factory=list, init=False)
    _left: list[AIMessageChunk] = field(default_factory=list, init=False)
    _calls: list[Mapping[str, Any]] = field(default_factory=list, init=False)
    _failed: list[tuple[Mapping[str, Any], Decision]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.messages = self.given = self.asked
        if self.screens.prompt != "off":
            scope = Scope(policy=self.screens.policy, point=Point.PROMPT)
            self._prompt = read_conversation(self.asked, scope, self.screens.known)
        self.gate = Gate(
            self.screens.policy,
            reserve=self.screens.buffer_tokens if self.screens.on_block == "regenerate" else 0,
            locked=self.parallel,
        )

    # --- the prompt ---

    @property
    def parallel(self) -> bool:
        """Whether the prompt is judged while the model already works."""
        return self.screens.prompt == "parallel" and self._prompt is not None and bool(self._prompt.items)

    @property
    def prompt_items(self) -> Sequence[Item]:
        """What there is to judge in the prompt."""
        return self._prompt.items if self._prompt is not None else ()

    def screen_prompt(self) -> PromptFlow:
        """Judge the prompt, before the model gets it."""
        if self._prompt is None or self.parallel:
            return
        decisions = yield from screening(self._prompt.items, self.screens.policy)
        self.prompt_decided(decisions)

    def prompt_decided(self, decisions: Sequence[Decision]) -> None:
        """Take the decisions about the prompt: it stops the answer, goes on, or goes on without what was redacted."""
        assert self._prompt is not None
        self.told += decisions
        self.stopped = stopping(decisions)
        if self.stopped is None and not all(decision.passes for decision in decisions):
            released = self._prompt.released(decisions)
            first = next(decision for decision in decisions if not decision.passes)
            if self.parallel or released is DROPPED:  # the model has read it already, or there is nothing to read
                self.stopped = first.blocking()
            else:
                self.messages = self.given = list(released)

    @property
    def context(self) -> list[Turn]:
        """The conversation that is answered."""
        return [turn for turn in map(turn_of, self.asked) if not turn.blank]

    # --- the stream ---

    @property
    def session(self) -> StreamSession:
        """The guard's session, opened when it is first needed."""
        if self._session is None:
            self._session = open_stream(self.screens.guard, self.context, self.screens.policy)
        return self._session

    def course(self) -> Course[ChatGenerationChunk]:
        """The screening of the next stream of the model."""
        self._seen = []
        return Course(
            gate=self.gate,
            pieces=self._pieces,
            patience=self.session.patience,
            without=_without,
            clock=time.monotonic,
            prompt=self.prompt_items if self.gate.locked else (),
            rest=self._tool_calls,
            rest_decided=self._calls_decided,
        )

    def _pieces(self, chunk: ChatGenerationChunk) -> Any:
        message = chunk.message
        if isinstance(message, AIMessageChunk):
            self._seen.append(message)
            if self.tries and self._left:  # one answer has one id, however often the model began anew
                message.id = self._left[0].id
        return pieces_of(message)

    def _tool_calls(self) -> list[Item]:
        calls = [chunk for chunk in self._seen if chunk.tool_call_chunks or chunk.additional_kwargs]
        if not calls:
            return []
        message = whole(calls)
        self._calls = tool_calls_of(message)
        parts = parts_of(message)
        return [
            Item(point, Conversation(turns=(*self.context, turn))) for point, turn in parts if point is Point.TOOL_CALL
        ]

    def _calls_decided(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Decisions about `_calls`; calls of tools that the agent knows do not stop the answer but are marked in it."""
        if not self.screens.withholds or not decisions:
            return decisions
        decided = [(call, _markable(call, decision)) for call, decision in zip(self._calls, decisions, strict=True)]
        self._failed = [pair for pair in decided if self._only_marked(*pair)]
        return [
            Decision(point=decision.point, action=Action.ALLOW) if self._only_marked(call, decision) else decision
            for call, decision in decided
        ]

    def _only_marked(self, call: Mapping[str, Any], decision: Decision) -> bool:
        return not decision.passes and call.get("name") in self.screens.withholds

    def leaves(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        """`chunk`, on its way to the reader."""
        if self._failed and isinstance(chunk.message, AIMessageChunk):
            message = withholding(chunk.message, self._failed)
            chunk = chunk if message is chunk.message else ChatGenerationChunk(message=message)
        if self._last_try and isinstance(chunk.message, AIMessageChunk):
            self._left.append(chunk.message)
        return chunk

    # --- what follows a block ---

    def again(self) -> bool:
        """Whether the model is asked once more, with `messages`; otherwise `stopped` is final."""
        self.stopped = self.gate.stopped
        self.waited = self.gate.dropped
        self.told += (decision for _, decision in self._failed)
        if not self._may_try_again():
            self.told += self.gate.decisions
            return False
        self.told += [self.gate.stopped] if self.gate.stopped else []
        self.session.rollback(self.gate.rewind())
        if self.gate.thinks:  # what comes next is no part of the thinking that was cut off
            closing = AIMessageChunk(content=self.gate.seam, id=self._left[0].id)
            self.gate.push(_chunk(closing), pieces_of(closing), time.monotonic())
        return True

    def _may_try_again(self) -> bool:
        if (
            self.stopped is None
            or self.stopped.action is Action.REDACT
            or self.stopped.point not in _WRITTEN
            or self.tries >= self._last_try
        ):
            return False
        self.tries += 1
        self.stopped = None
        self.messages = self._messages_again()
        return True

    @property
    def _last_try(self) -> int:
        """The number of the last try, the fallback model's included; the first one is 0."""
        return self.last_own_try + (self.screens.fallback is not None)

    @property
    def last_own_try(self) -> int:
        """The number of the last try of the model itself; the one after it is the fallback model's."""
        return self.screens.retries if self.screens.on_block == "regenerate" else 0

    @property
    def falls_back(self) -> bool:
        """Whether it is the fallback model's turn."""
        return self.screens.fallback is not None and self.tries > self.last_own_try

    def _messages_again(self) -> list[BaseMessage]:
        """What the next try is given: of what has left only what was said, for no model is given its thinking again."""
        _, text = thought_and_said(str(whole(self._left).text) if self._left else "")
        if self.falls_back and not text.strip():
            return self.given
        kept = [AIMessage(content=text)] if text.strip() else []
        return [*self.given, *kept, HumanMessage(content=self.screens.intervention)]

    def ending(self) -> list[ChatGenerationChunk]:
        """What the reader gets after everything that may leave has left.

        Raises:
            BlockedError: The answer was stopped, and `on_block` is "raise".
        """
        like = next(iter(self._left or self._seen), None)
        if self.stopped is None:
            return [_chunk(self._report(like))] if self.tries or self._failed else []
        if self.screens.on_block == "raise" and self.stopped.action is not Action.REDACT:
            raise BlockedError(self.stopped)
        text = self.screens.policy.last_words(self.stopped)
        message = last_chunk(text, self.stopped, like, seam=self.gate.seam)
        message.response_metadata["qwen3guard"] |= self._effort(refused=True)
        return [_chunk(self._in_blocks(message))]

    def _in_blocks(self, message: M) -> M:
        """A refusal with a block that says so, where the model writes blocks and LangChain knows that kind."""
        if self.blocks and HAS_REFUSAL_BLOCKS:
            text = str(message.text)  # LangChain's own kind of string does not merge with others
            words = text.removeprefix(self.gate.seam)
            message.content = [{"type": "text", "text": text}, {"type": "refusal", "refusal": words}]
        return message

    def _report(self, like: AIMessageChunk | None) -> AIMessageChunk:
        return AIMessageChunk(
            content=[] if like is not None and isinstance(like.content, list) else "",
            id=like.id if like is not None else None,
            response_metadata={"qwen3guard": {**self._effort(refused=False), **marks(self._failed)}},
            chunk_position="last",
        )

    def _effort(self, *, refused: bool) -> dict[str, Any]:
        """What an answer that is not the first says of itself: how many came before it, and whose it is."""
        if not self.tries:
            return {}
        waited = {} if self.waited is None else {"wait_tokens": self.waited}
        return {"retries": self.tries, **waited, **({"fallback": True} if self.falls_back and not refused else {})}

    def close(self) -> None:
        """Free the session."""
        if self._session is not None:
            self._session.close()

    # --- an answer that comes whole ---

    def judged(self, result: ChatResult) -> JudgedFlow:
        """`result` with the decisions about it. Changes nothing, so that the prompt may be judged meanwhile."""
        scope = Scope(policy=self.screens.policy, point=Point.RESPONSE, context=tuple(self.context))
        readings = [read(generation.message, scope) for generation in result.generations]
        items = [item for reading in readings for item in reading.items]
        decisions = yield from screening(items, self.screens.policy)
        return JudgedResult(result, readings, decisions)

    def released(self, judged: JudgedResult) -> ChatResult | None:
        """The result, without what may not pass; None if the model is to be asked once more, with `messages`.

        Raises:
            BlockedError: The answer was stopped, and `on_block` is "raise".
        """
        result, readings, decisions = judged.result, judged.readings, judged.decisions
        self.told += decisions
        rest = iter(decisions)
        screened = []
        for generation, reading in zip(result.generations, readings, strict=True):
            own = self._without_calls(generation.message, [next(rest) for _ in reading.items])
            screened.append(self._released(generation, reading, own))
            self.stopped = self.stopped or stopping(own) or self._dropped(reading, own)
            self.held = self._to_review(generation, reading, own) if len(readings) == 1 else None
        if self.held is None and self.stopped is not None and self._may_try_again():
            return None
        if self.held is None and self.stopped is not None and self.screens.on_block == "raise":
            raise BlockedError(self.stopped)
        if all(new is old for new, old in zip(screened, result.generations, strict=True)):
            return result
        return ChatResult(generations=screened, llm_output=result.llm_output)

    def _to_review(self, generation: ChatGeneration, reading: Reading, decisions: list[Decision]) -> Held | None:
        """The answer as it goes on if a person lets it pass; None where nobody is to be asked about it."""
        pairs = list(zip(reading.items, decisions, strict=True))
        asked = [(item, decision) for item, decision in pairs if decision.action is Action.REVIEW]
        if not (self.screens.holds and asked and all(item.point in _SAID for item, _ in asked)):
            return None
        passing = [
            decision.model_copy(update={"action": Action.FLAG}) if decision.action is Action.REVIEW else decision
            for decision in decisions
        ]
        message = self._as_given(self._released(generation, reading, passing))
        return None if stopping(passing) else Held(message, *zip(*asked, strict=True))

    def _as_given(self, generation: ChatGeneration) -> BaseMessage:
        """The message as LangChain gives it to whoever has asked the model."""
        message = generation.message
        said = {**(generation.generation_info or {}), **message.response_metadata}
        if not self.blocks:
            return message.model_copy(update={"response_metadata": said})
        return message.model_copy(
            update={"content": message.content_blocks, "response_metadata": {**said, "output_version": "v1"}}
        )

    def _without_calls(self, message: BaseMessage, decisions: list[Decision]) -> list[Decision]:
        """Decisions about a message, those about its tool calls as `_calls_decided` leaves them."""
        self._calls = tool_calls_of(message)
        others = [decision for decision in decisions if decision.point is not Point.TOOL_CALL]
        return [*others, *self._calls_decided(decisions[len(others) :])]

    @staticmethod
    def _dropped(reading: Reading, decisions: list[Decision]) -> Decision | None:
        """Dropping the answer leaves nothing to go on with: the decision as a block."""
        if reading.released(decisions) is not DROPPED:
            return None
        dropping = next(decision for decision in decisions if not decision.passes)
        return dropping.blocking()

    def _released(self, generation: ChatGeneration, reading: Reading, decisions: list[Decision]) -> ChatGeneration:
        message = reading.released(decisions)
        if self._failed and isinstance(message, AIMessage) and tool_calls_of(message):
            message = withholding(message, self._failed)
        if message is generation.message:
            return self._passed(generation)
        refused = stopping(decisions) or self._dropped(reading, decisions)
        if message is DROPPED and refused is not None:
            message = refusal_message(self.screens.policy.refused(refused), refused, like=generation.message)
        if isinstance(generation.message, AIMessage) and isinstance(message, AIMessage):
            message.usage_metadata = generation.message.usage_metadata  # the tokens were spent all the same
            message = _saying(message, self._effort(refused=refused is not None))
            message = self._in_blocks(message) if refused is not None else message
        return ChatGeneration(message=message, generation_info=None)

    def _passed(self, generation: ChatGeneration) -> ChatGeneration:
        """An answer that goes on as it is; where it is not the first, a copy that says so."""
        if not self.tries or not isinstance(generation.message, AIMessage):
            return generation
        return generation.model_copy(update={"message": _saying(generation.message, self._effort(refused=False))})

    def refusal(self) -> ChatResult:
        """The refusal as the whole answer.

        Raises:
            BlockedError: `on_block` is "raise".
        """
        assert self.stopped is not None
        if self.screens.on_block == "raise":
            raise BlockedError(self.stopped)
        message = self._in_blocks(refusal_message(self.screens.policy.refused(self.stopped), self.stopped, like=None))
        return ChatResult(generations=[ChatGeneration(message=message)])


def _saying(message: AIMessage, effort: Mapping[str, Any]) -> AIMessage:
    """`message`, or a copy that says so where it took an effort."""
    if not effort:
        return message
    before = message.response_metadata.get("qwen3guard")
    said = {**(before if isinstance(before, Mapping) else {}), **effort}
    return message.model_copy(update={"response_metadata": {**message.response_metadata, "qwen3guard": said}})


def _markable(call: Mapping[str, Any], decision: Decision) -> Decision:
    """`decision`; a block where a person was to decide about a call that no mark can name."""
    if decision.action is not Action.REVIEW or is_name(call.get("id")):
        return decision
    return decision.blocking()


_SAID = frozenset({Point.RESPONSE, Point.REASONING})
_WRITTEN = _SAID | {Point.TOOL_CALL}


def _without(chunk: ChatGenerationChunk, muted: frozenset[Point]) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=without(chunk.message, muted))  # log-probabilities repeat every word


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message, generation_info=None)


@contextmanager
def told(answer: Answer) -> Iterator[None]:
    """At the end, whoever is to be told hears what was decided, and the answer's session is freed."""
    try:
        yield
        ended(answer.screens.report, Ending(answer.stopped, answer.held))
    finally:
        answer.close()
        if answer.screens.report is not None:
            answer.screens.report.tell(answer.told)


@asynccontextmanager
async def atold(answer: Answer) -> AsyncIterator[None]:
    """At the end, whoever is to be told hears what was decided, and the answer's session is freed."""
    try:
        yield
        ended(answer.screens.report, Ending(answer.stopped, answer.held))
    finally:
        answer.close()
        if answer.screens.report is not None:
            await answer.screens.report.atell(answer.told)
