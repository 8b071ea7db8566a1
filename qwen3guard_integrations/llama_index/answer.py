"""One guarded answer of an LLM, from its prompt to its end: what is decided at each step, for both lanes."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal, Protocol

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from ..core.conversation import Conversation, Turn
from ..core.course import Course
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError
from ..core.gate import Gate, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..core.words import tool_call_text
from ..guards.protocol import StreamSession
from ..guards.streaming import open_stream
from ..reporting import entry
from .messages import (
    items_of,
    joined_reasoning,
    parts_of,
    reasoning_of,
    text_of,
    tool_calls_of,
    turn_of,
    without,
    without_reasoning,
)
from .screener import Screener

OnBlock = Literal["refuse", "raise"]
Response = ChatResponse | CompletionResponse

WITHHELD: Final = "qwen3guard_withheld"
"""The only argument of a call that lost its own because they may not pass: a guarded tool answers it and does not
run."""

Flow = Generator[Sequence[Item], list[Decision], Response]


@dataclass(frozen=True, slots=True)
class Screens:
    """How an LLM is guarded: the settings of `guard_llm`.

    Attributes:
        screener: The guard and the policy.
        on_block: What becomes of a blocked answer.
        prompt: Whether the prompt is judged.
        withholds: A tool call that may not pass loses its arguments and stays, so that an agent can go on.
    """

    screener: Screener
    on_block: OnBlock = "refuse"
    prompt: bool = True
    withholds: bool = False

    def where_tools_run(self, decision: Decision) -> Decision:
        """`decision`, without a review that takes place when the tool is about to run."""
        if self.withholds and decision.point is Point.TOOL_CALL and decision.action is Action.REVIEW:
            return decision.model_copy(update={"action": Action.FLAG})
        return decision

    def repeats(self, other: object) -> bool:
        """Whether `other` guards in the same way."""
        return (
            isinstance(other, Screens)
            and self.screener.repeats(other.screener)
            and (self.on_block, self.prompt, self.withholds) == (other.on_block, other.prompt, other.withholds)
        )


# --- chat and completion: the same answer in two forms ---


class Form(Protocol):
    """What differs between answers to messages and answers to a text."""

    def messages(self, prompt: Any) -> list[ChatMessage]:
        """The prompt as messages."""

    def prompt(self, messages: Sequence[ChatMessage]) -> Any:
        """Messages as the prompt."""

    def message(self, response: Any) -> ChatMessage:
        """The answer in a response."""

    def response(self, message: ChatMessage, delta: str | None, extra: dict[str, Any]) -> Response:
        """A response with an answer that is not the model's own, or not all of it."""


class ChatForm:
    """Messages in, messages out."""

    def messages(self, prompt: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The prompt itself."""
        return list(prompt)

    def prompt(self, messages: Sequence[ChatMessage]) -> Any:
        """The messages themselves."""
        return list(messages)

    def message(self, response: ChatResponse) -> ChatMessage:
        """The message of the response."""
        return response.message

    def response(self, message: ChatMessage, delta: str | None, extra: dict[str, Any]) -> ChatResponse:
        """Without the provider's raw answer, which repeats what was left out."""
        return ChatResponse(message=message, delta=delta, additional_kwargs=extra)


class CompletionForm:
    """Text in, text out."""

    def messages(self, prompt: str) -> list[ChatMessage]:
        """The text as the user's."""
        return [ChatMessage(content=prompt)]

    def prompt(self, messages: Sequence[ChatMessage]) -> Any:
        """The text of the only message."""
        return messages[0].content or ""

    def message(self, response: CompletionResponse) -> ChatMessage:
        """The text as the assistant's."""
        extra = response.additional_kwargs
        return ChatMessage(role=MessageRole.ASSISTANT, content=response.text, additional_kwargs=extra)

    def response(self, message: ChatMessage, delta: str | None, extra: dict[str, Any]) -> CompletionResponse:
        """Without the provider's raw answer, which repeats what was left out."""
        return CompletionResponse(text=message.content or "", delta=delta, additional_kwargs=extra)


# --- the prompt ---


@dataclass(slots=True)
class Prompt:
    """The prompt of one call.

    Attributes:
        given: As the caller gave it; after `screened` what the model may get.
        decisions: What was decided.
        after: What stands in place of each message, None for those that go; where something changes.
        stopped: The decision that lets the model get nothing.
    """

    screens: Screens
    form: Form
    given: Any
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
        if kept:
            self.given = self.form.prompt(kept)
        else:  # there is nothing left to answer
            self.stopped = failed.blocking()

    def refusal(self, *, streamed: bool) -> Response:
        """The refusal as the whole answer.

        Raises:
            BlockedError: `on_block` is "raise".
        """
        assert self.stopped is not None
        return _refused(self.screens, self.form, self.stopped, streamed=streamed)


def after_decisions(message: ChatMessage, decisions: Sequence[Decision], policy: Policy) -> ChatMessage | None:
    """The same message where all passes, a copy without what does not, or None where its text is dropped."""
    if all(decision.passes for decision in decisions):
        return message
    if any(decision.action is Action.DROP and decision.point not in _BESIDE for decision in decisions):
        return None
    return without(message, decisions, policy)


_BESIDE: Final = frozenset({Point.REASONING, Point.TOOL_CALL})


def _refused(screens: Screens, form: Form, decision: Decision, *, streamed: bool, before: str = "") -> Response:
    """The last words in place of an answer, or of what is left of it after `before`."""
    if screens.on_block == "raise" and decision.action is not Action.REDACT:
        raise BlockedError(decision)
    words = screens.screener.policy.last_words(decision)
    delta = f"\n\n{words}" if before else words
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=before + delta)])
    return form.response(message, delta if streamed else None, {"qwen3guard": entry(decision)})


# --- the answer ---


@dataclass(slots=True)
class Answer:
    """The answer of one call.

    Attributes:
        prompt: What the model was given.
        told: What was decided about a streamed answer.
    """

    screens: Screens
    form: Form
    prompt: Any
    gate: Gate[Response] = field(init=False)
    _session: StreamSession | None = field(default=None, init=False)
    _growth: Growth = field(init=False)
    _last: Response | None = field(default=None, init=False)
    _left: str = field(default="", init=False)
    _calls: list[dict[str, Any]] = field(default_factory=list, init=False)
    _failed: dict[str, Decision] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(self.policy)
        self._growth = Growth()

    @property
    def policy(self) -> Policy:
        """What is done about verdicts."""
        return self.screens.screener.policy

    @property
    def context(self) -> tuple[Turn, ...]:
        """The conversation that is answered."""
        turns = map(turn_of, self.form.messages(self.prompt))
        return tuple(turn for turn in turns if not turn.blank)

    # --- that comes whole ---

    def screened(self, response: Response) -> Flow:
        """`response` itself where all of it passes, else without what may not.

        Raises:
            BlockedError: The answer was stopped, and `on_block` is "raise".
        """
        message = self.form.message(response)
        parts = parts_of(message)
        context = self.context
        decisions = yield [Item(point, Conversation(turns=(*context, turn))) for point, turn in parts]
        self._calls = tool_calls_of(message)
        others = [decision for decision in decisions if decision.point is not Point.TOOL_CALL]
        own = [*others, *self._calls_decided(decisions[len(others) :])]
        stopped = stopping(own)
        after = after_decisions(message, own, self.policy)
        if after is None:  # dropping the answer leaves nothing to go on with
            failed = next(decision for decision in own if not decision.passes)
            stopped = stopped or failed.blocking()
        if stopped is not None or after is None:
            assert stopped is not None
            return _refused(self.screens, self.form, stopped, streamed=False)
        after = self._withholding(after)
        if after is message:
            return response
        first = next(decision for decision in decisions if not decision.passes)
        return self.form.response(
            after, after.content if response.delta is not None else None, {"qwen3guard": entry(first)}
        )

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
            clock=time.monotonic,
            rest=self._tool_calls,
            rest_decided=self._calls_decided,
        )

    def _pieces(self, response: Response) -> list[Piece]:
        self._last = response
        return self._growth.pieces(self.form.message(response), response.delta, response.additional_kwargs)

    def _without(self, response: Response, muted: frozenset[Point]) -> Response:
        message = without_reasoning(self.form.message(response))
        return self.form.response(message, response.delta, {})

    def _tool_calls(self) -> list[Item]:
        if self._last is None:
            return []
        self._calls = tool_calls_of(self.form.message(self._last))
        turns = [Turn(role="assistant", content=tool_call_text(call)) for call in self._calls]
        return [Item(Point.TOOL_CALL, Conversation(turns=(*self.context, turn))) for turn in turns]

    def _calls_decided(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Decisions about `_calls`: those that do not stop the answer are carried out on its messages."""
        decided = [self.screens.where_tools_run(decision) for decision in decisions]
        pairs = [(tool_call_text(call), decision) for call, decision in zip(self._calls, decided, strict=True)]
        self._failed = {text: decision for text, decision in pairs if self._is_left_out(decision)}
        passing = Decision(point=Point.TOOL_CALL, action=Action.ALLOW)
        return [passing if text in self._failed else decision for text, decision in pairs]

    def _is_left_out(self, decision: Decision) -> bool:
        return not decision.passes and (self.screens.withholds or not decision.stops)

    def _withholding(self, message: ChatMessage) -> ChatMessage:
        """`message`, with calls that may not pass left out, or without their arguments."""
        if not self._failed or not tool_calls_of(message):
            return message
        blocks: list[Any] = []
        for block in message.blocks:
            call = _call_in(block)
            if call is None or tool_call_text(call) not in self._failed:
                blocks.append(block)
            elif self.screens.withholds:
                decision = self._failed[tool_call_text(call)]
                blocks.append(block.model_copy(update={"tool_kwargs": {WITHHELD: entry(decision)}}))
        if not any(isinstance(block, TextBlock | ToolCallBlock) for block in blocks):
            blocks.append(TextBlock(text=self.policy.redacted(next(iter(self._failed.values())))))
        # Copies of calls in the additional keywords go: the blocks say the same.
        return ChatMessage(role=message.role, blocks=blocks)

    def leaves(self, response: Response) -> Response:
        """`response`, on its way to the reader."""
        message = self.form.message(response)
        self._left = text_of(message) or self._left
        after = self._withholding(message)
        return response if after is message else self.form.response(after, response.delta, {})

    def ending(self) -> list[Response]:
        """What the reader gets after everything that may leave has left.

        Raises:
            BlockedError: The answer was stopped, and `on_block` is "raise".
        """
        if self.gate.stopped is None:
            return []
        begun = self._left if self.gate.anything_left else ""
        return [_refused(self.screens, self.form, self.gate.stopped, streamed=True, before=begun)]

    def close(self) -> None:
        """Free the session."""
        if self._session is not None:
            self._session.close()


def _call_in(block: Any) -> Mapping[str, Any] | None:
    if not isinstance(block, ToolCallBlock):
        return None
    return {"name": block.tool_name, "args": block.tool_kwargs, "id": block.tool_call_id}


class Growth:
    """What each response of a stream says more than the one before it.

    Responses are cumulative: their message says all so far, and their delta what is new. Readers use either, so both
    are judged. Some models give only one of them, or messages that are not cumulative.
    """

    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._calls = ""

    def pieces(self, message: ChatMessage, delta: str | None, extra: Mapping[str, Any]) -> list[Piece]:
        """The new text of each track, in the order in which models write them."""
        text, reasoning = text_of(message), reasoning_of(message)
        calls = "\n".join(map(tool_call_text, tool_calls_of(message)))
        thought = joined_reasoning(
            "", {key: value for key, value in extra.items() if key not in message.additional_kwargs}
        )
        pieces = [
            Piece(Point.REASONING, _grown(self._reasoning, reasoning, thought)),
            Piece(Point.RESPONSE, _grown(self._text, text, delta or "")),
        ]
        if calls:  # judged whole at the end: here only that something came
            pieces.append(Piece(Point.TOOL_CALL, _grown(self._calls, calls, "") or "\n"))
        self._text, self._reasoning, self._calls = text or self._text, reasoning or self._reasoning, calls
        return pieces


def _grown(before: str, now: str, delta: str) -> str:
    """What is new in `now`, with `delta` where that says something else."""
    new = now.removeprefix(before)
    return new if delta in new else new + delta
