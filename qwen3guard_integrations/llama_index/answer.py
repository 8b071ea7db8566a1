"""One guarded answer of an LLM, from its prompt to its end: what is decided at each step, for both lanes."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal, TypeGuard

from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
)

from ..core.conversation import Conversation, Turn
from ..core.course import Course
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError
from ..core.gate import Gate, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..core.thinking import seam_after
from ..guards.protocol import StreamSession
from ..guards.streaming import open_stream
from ..reporting import entry
from .asked import Asked, Said, asked
from .calls import Calls
from .forms import Form, Response
from .growth import Growth
from .messages import (
    answer_in,
    items_of,
    text_of,
    tool_calls_of,
    turn_of,
    without,
    without_reasoning,
)
from .noticing import note_refusal
from .screener import Screener

OnBlock = Literal["refuse", "raise"]

Flow = Generator[Sequence[Item], list[Decision], Response]


@dataclass(frozen=True, slots=True)
class Screens:
    """How an LLM is guarded: the settings of `guard_llm`.

    Attributes:
        screener: The guard and the policy.
        on_block: What becomes of a blocked answer.
        prompt: Whether the prompt is judged.
        withholds: A tool call that may not pass loses its arguments and stays, so that an agent can go on.
        within: The LLM is part of a query engine: its answers are judged as answers to the question to the engine.
    """

    screener: Screener
    on_block: OnBlock = "refuse"
    prompt: bool = True
    withholds: bool = False
    within: bool = False

    def where_tools_run(self, decision: Decision) -> Decision:
        """`decision`, without a review that takes place when the tool is about to run."""
        if self.withholds and decision.point is Point.TOOL_CALL and decision.action is Action.REVIEW:
            return decision.model_copy(update={"action": Action.FLAG})
        return decision

    def answers_like(self, other: object) -> TypeGuard[Screens]:
        """Whether answers that go through `other` would be judged twice here, to the same end."""
        return (
            isinstance(other, Screens)
            and self.screener.repeats(other.screener)
            and (self.on_block, self.withholds) == (other.on_block, other.withholds)
        )


# --- the prompt ---


@dataclass(slots=True)
class Prompt:
    """The prompt of one call.

    Attributes:
        given: As the caller gave it; after `screened` what the model may get.
        answers_last: Without its last message there is nothing to answer.
        decisions: What was decided.
        after: What stands in place of each message, None for those that go; where something changes.
        stopped: The decision that lets the model get nothing.
    """

    screens: Screens
    form: Form
    given: Any
    answers_last: bool = False
    decisions: Sequence[Decision] = ()
    after: list[ChatMessage | None] | None = None
    stopped: Decision | None = None

    def screened(self) -> Generator[Sequence[Item], list[Decision], None]:
        """Judge the prompt, all of it with one question."""
        if not self.screens.prompt:
            return
        policy = self.screens.screener.policy
        messages = self.form.messages(self.given)
        items = items_of(messages, policy)
        decisions = yield [*chain.from_iterable(items)]
        self.decisions = decisions = [self.screens.where_tools_run(decision) for decision in decisions]
        self.stopped = stopping(decisions)
        failed = next((decision for decision in decisions if not decision.passes), None)
        if self.stopped is not None or failed is None:
            return
        rest = iter(decisions)
        judged = [[next(rest) for _ in own] for own in items]
        self.after = [after_decisions(message, own, policy) for message, own in zip(messages, judged, strict=True)]
        kept = [message for message in self.after if message is not None]
        if kept and not (self.answers_last and self.after[-1] is None):
            self.given = self.form.prompt(kept)
        else:  # there is nothing left to answer
            self.stopped = failed.blocking()

    def refusal(self, *, streamed: bool) -> Response:
        """The refusal as the whole answer.

        Raises:
            BlockedError: `on_block` is "raise".
        """
        assert self.stopped is not None
        if self.screens.within and (question := asked()) is not None:
            question.failed = self.stopped
        return refused(self.screens, self.form, self.stopped, streamed=streamed)


def after_decisions(message: ChatMessage, decisions: Sequence[Decision], policy: Policy) -> ChatMessage | None:
    """The same message where all passes, a copy without what does not, or None where its text is dropped."""
    if all(decision.passes for decision in decisions):
        return message
    if any(decision.action is Action.DROP and decision.point not in _BESIDE for decision in decisions):
        return None
    return without(message, decisions, policy)


_BESIDE: Final = frozenset({Point.REASONING, Point.TOOL_CALL})


def refused(screens: Screens, form: Form, decision: Decision, *, streamed: bool, before: str = "") -> Response:
    """The last words in place of an answer, or of what is left of it after `before`."""
    note_refusal(decision)
    if screens.on_block == "raise" and decision.action is not Action.REDACT:
        raise BlockedError(decision)
    words = screens.screener.policy.last_words(decision)
    delta = seam_after(before) + words
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=before + delta)])
    return form.response(message, delta if streamed else None, {"qwen3guard": entry(decision)})


# --- the answer ---


@dataclass(slots=True)
class Answer:
    """The answer of one call.

    Attributes:
        prompt: What the model was given.
        gate: What a streamed answer passes.
        context: The conversation that is answered.
        begun: What had left before this stream began.
    """

    screens: Screens
    form: Form
    prompt: Any
    begun: str = ""
    gate: Gate[Response] = field(init=False)
    context: tuple[Turn, ...] = field(init=False)
    _asked: Asked | None = field(init=False)
    _said: Said | None = field(default=None, init=False)
    _session: StreamSession | None = field(default=None, init=False)
    _growth: Growth = field(init=False)
    _left: str = field(default="", init=False)
    _calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(self.policy)
        self._growth = Growth()
        self._calls = Calls(self.policy, withholds=self.screens.withholds)
        self._asked = asked() if self.screens.within else None
        if self._asked is not None:
            turns = [Turn(role="user", content=self._asked.question)]
        else:
            turns = [*map(turn_of, self.form.messages(self.prompt))]
        self.context = tuple(turn for turn in turns if not turn.blank)

    @property
    def policy(self) -> Policy:
        """What is done about verdicts."""
        return self.screens.screener.policy

    # --- that comes whole ---

    def screened(self, response: Response) -> Flow:
        """`response` itself where all of it passes, else without what may not.

        Raises:
            BlockedError: The answer was stopped, and `on_block` is "raise".
        """
        message = self.form.message(response)
        self._calls.add(tool_calls_of(message, response.additional_kwargs))
        said = [self._item(point, turn) for point, turn in answer_in(message, response.additional_kwargs)]
        decisions = yield [*said, *self._tool_calls()]
        own = [*decisions[: len(said)], *self._calls_decided(decisions[len(said) :])]
        stopped = stopping(own)
        after = after_decisions(message, own, self.policy)
        if after is None:  # dropping the answer leaves nothing to go on with
            failed = next(decision for decision in own if not decision.passes)
            stopped = stopped or failed.blocking()
        if stopped is not None or after is None:
            assert stopped is not None
            self._tell_of(stopped)
            return self._say(refused(self.screens, self.form, stopped, streamed=False))
        after = self._calls.after(after, response.additional_kwargs)
        if after is message:
            self._tell_of(None)
            return self._say(response)
        gone = [decision for decision in decisions if not decision.passes]
        self._tell_of(next((decision for decision in gone if decision.point is not Point.REASONING), None))
        delta = after.content if response.delta is not None else None
        return self._say(self.form.response(after, delta, {"qwen3guard": entry(gone[0])}))

    def _say(self, response: Response, *, streamed: bool = False) -> Response:
        """`response`; the engine that the LLM belongs to is told what may leave it."""
        if self._asked is not None:
            self._said = self._said or self._asked.saying(streamed=streamed)
            self._said.text = text_of(self.form.message(response)) or self._said.text
        return response

    def _tell_of(self, failed: Decision | None) -> None:
        if self._asked is not None:
            self._asked.failed = failed

    # --- that is streamed ---

    @property
    def session(self) -> StreamSession:
        """The guard's session, opened when it is first needed."""
        if self._session is None:
            self._session = open_stream(self.screens.screener.guard, self.context, self.policy)
        return self._session

    def course(self) -> Course[Response]:
        """The screening of the model's stream."""
        return Course(
            gate=self.gate,
            pieces=self._pieces,
            patience=self.session.patience,
            without=self._without,
            beside=self._beside,
            clock=time.monotonic,
            rest=self._tool_calls,
            rest_decided=self._calls_decided,
        )

    def _pieces(self, response: Response) -> list[Piece]:
        message, extra = self.form.message(response), response.additional_kwargs
        pieces = self._growth.pieces(message, response.delta, extra)
        if calls := tool_calls_of(message, extra):
            before = self._calls.size
            self._calls.add(calls)
            # Of a track that is judged whole only the size is asked for: not less than one, that calls came.
            pieces.append(Piece(Point.TOOL_CALL, " " * max(self._calls.size - before, 1)))
        return pieces

    def _without(self, response: Response, muted: frozenset[Point]) -> Response:
        message = without_reasoning(self.form.message(response))
        return self.form.response(message, response.delta, {})

    def _beside(self, response: Response) -> list[Item]:
        words = self._growth.beside(self.form.message(response), response.additional_kwargs)
        return [self._item(Point.RESPONSE, Turn(role="assistant", content=words))] if words else []

    def _item(self, point: Point, turn: Turn) -> Item:
        return Item(point, Conversation(turns=(*self.context, turn)))

    def _tool_calls(self) -> list[Item]:
        return [self._item(Point.TOOL_CALL, turn) for turn in self._calls.turns()]

    def _calls_decided(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Decisions about the calls: those that do not stop the answer are carried out on its messages."""
        return self._calls.decided([self.screens.where_tools_run(decision) for decision in decisions])

    def leaves(self, response: Response) -> Response:
        """`response`, on its way to the reader."""
        message = self.form.message(response)
        self._left = text_of(message) or self._left
        after = self._calls.after(message, response.additional_kwargs)
        return self._say(response if after is message else self.form.response(after, response.delta, {}), streamed=True)

    def ending(self) -> list[Response]:
        """What the reader gets after everything that may leave has left.

        Raises:
            BlockedError: The answer was stopped, and `on_block` is "raise".
        """
        if self.gate.stopped is None:
            return []
        begun = self._left if self.gate.anything_left else self.begun
        self._tell_of(self.gate.stopped)
        last = refused(self.screens, self.form, self.gate.stopped, streamed=True, before=begun)
        return [self._say(last, streamed=True)]

    @property
    def decisions(self) -> list[Decision]:
        """What was decided about a stream."""
        return [*self.gate.decisions, *(decision for _, decision in self._calls.failed)]

    def close(self) -> None:
        """Free the session."""
        if self._session is not None:
            self._session.close()
