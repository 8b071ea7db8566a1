"""The tool calls of an agent: their arguments before the tool runs, their results before anybody reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Final, cast

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langgraph.types import Command

from ..core.conversation import Conversation, Turn
from ..core.decision import Action, Decision, stopping
from ..core.errors import BlockedError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.policy import CALL_WITHHELD, Policy, filled
from ..core.screening import Item
from ..reporting import decision_in, entry
from .gathering import Gathering, Place
from .held import HELD, Held
from .history import Known, Screened
from .messages import turn_of
from .review import Reviewed, ask_person
from .screened_tool import viewing
from .screener import Screener
from .tool_values import as_written, holds_messages, read_call, read_output, read_result
from .values import Reading, unheard
from .withheld import calls_for_review, dropping, is_withheld, mark_of, rejecting

REJECTED: Final = "A reviewer rejected this tool call: the tool did not run."
"""What the model reads in place of the result of a call that a person has rejected without a word."""

Result = ToolMessage | Command[Any]
Handler = Callable[[ToolCallRequest], Result]
CallFlow = Generator[Any, Any, Result]


class ToolScreening:
    """Screens the tool calls of one agent.

    Args:
        screener: The guard and the policy.
        owner: The name of the middleware.
        raises: A block is a `BlockedError`, instead of a tool message that says so.
        holds: Whether a person can be asked about results, before the model is called.
    """

    def __init__(self, screener: Screener, owner: str, *, raises: bool, holds: bool = False) -> None:
        self._screener = screener
        self._owner = owner
        self._known = screener.known
        self._raises = raises
        self.holds = holds
        self._gathering = Gathering(screener)
        self.scope = screener.scope(Point.TOOL_OUTPUT)

    def run(self, request: ToolCallRequest, handler: Handler) -> Result:
        """The result of the call, screened."""

        def answer(ask: Any) -> Any:
            return self._screener.decide(ask) if isinstance(ask, list) else handler(ask)

        return run(self._flow(request), answer)

    async def arun(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]) -> Result:
        """The result of the call, screened, without blocking the event loop."""

        async def answer(ask: Any) -> Any:
            return await (self._screener.adecide(ask) if isinstance(ask, list) else handler(ask))

        return await arun(self._flow(request), answer)

    def _flow(self, request: ToolCallRequest) -> CallFlow:
        """Yields what to judge, and the request for the tool; is sent the decisions, and the tool's result."""
        call = request.tool_call
        messages = messages_in(request.state)
        written = _written_in(messages, call)
        decision = mark_of(written, call["id"])
        if decision is None and not self._judged(written, call):
            reading = read_call(call["name"], call["args"], self._screener.scope(Point.TOOL_CALL))
            context = _context(messages, written)
            items = [Item(one.point, Conversation(turns=(*context, one.conversation.judged))) for one in reading.items]
            decision = next((made for made in (yield items) if not made.passes), None)
        if decision is not None:
            request, instead = self._decided(request, decision)
            if instead is not None:
                return instead
        result = yield from self._executed(request, written)
        return result

    def _judged(self, written: AIMessage | None, call: ToolCall) -> bool:
        """Whether the call is still what it was when the message that holds it was judged."""
        return written is not None and call in written.tool_calls and written in self._known

    def _decided(self, request: ToolCallRequest, decision: Decision) -> tuple[ToolCallRequest, ToolMessage | None]:
        """What becomes of a call that does not pass: a message in place of its result, or the call after a review."""
        call = request.tool_call
        if self._raises and decision.action is not Action.REVIEW:
            raise BlockedError(decision)
        if is_withheld(decision):
            return request, self._message(call, filled(CALL_WITHHELD, decision), decision)
        outcome = ask_person([Reviewed(decision, call["name"], call["args"])])[0]
        match outcome.kind:
            case "approve":
                return request, None
            case "edit":
                edited = ToolCall(name=call["name"], args=dict(outcome.args), id=call["id"], type="tool_call")
                return request.override(tool_call=edited), None
            case "respond":
                return request, self._message(call, outcome.message, None)
            case "reject":
                return request, self._message(call, outcome.message or REJECTED, decision)

    def _message(self, call: ToolCall, text: str, decision: Decision | None) -> ToolMessage:
        message = ToolMessage(
            text,
            name=call["name"],
            tool_call_id=call["id"] or "",
            status="error" if decision else "success",
            response_metadata={"qwen3guard_rejected": True} if decision else {},
        )
        self._known.add([message])
        return message

    def settled(self, messages: Sequence[BaseMessage]) -> Screened:
        """The conversation after a person has decided about calls of its last step.

        What was rejected loses its arguments; a message of which all calls were decided is not asked about again.
        """
        place = next((at for at in range(len(messages) - 1, -1, -1) if isinstance(messages[at], AIMessage)), None)
        written = messages[place] if place is not None else None
        if place is None or not isinstance(written, AIMessage) or not (asked := calls_for_review(written)):
            return Screened(list(messages))
        if written not in self._known:  # its marks are somebody else's
            return Screened(list(messages))
        answers = {message.tool_call_id: message for message in messages[place:] if isinstance(message, ToolMessage)}
        if not all(call["id"] in answers for call, _ in asked):
            return Screened(list(messages))
        after = written
        rejected = [pair for pair in asked if _was_rejected(answers[pair[0]["id"] or ""])]
        if rejected:
            after = rejecting(written, rejected)
        approved = self._known.add([after])
        changes: list[BaseMessage] = [after] if after is not written else []
        return Screened([*messages[:place], after, *messages[place + 1 :]], changes, bool(changes), None, approved)

    # --- the result ---

    def _executed(self, request: ToolCallRequest, written: AIMessage | None) -> CallFlow:
        call_id = request.tool_call["id"] or ""
        result: Any
        step = (written.id or id(written)) if written is not None else object()
        with self._gathering.call(step, call_id, _calls_of(written, call_id)) as place:
            screen = _Result(self, place, request)
            if request.tool is None:
                result = yield request
            else:
                with viewing(request.tool, screen) as view:
                    result = yield request.override(tool=view)
        if screen.blocked is not None:  # another middleware may have taken it for a failure of the tool
            raise screen.blocked
        failed = screen.failed
        # Another middleware may have changed the result, or stood in for the tool.
        reading = unheard(read_output(result, self.scope), screen.judged)
        if reading.items:
            decisions = yield list(reading.items)
            failed = self.failed(decisions) or failed
            result = reading.released(decisions)
        held = screen.held_as(result) if screen.held is not None else None
        if failed is not None:
            result = _marked(result, failed)
        self._known.add(_messages_of(result))
        if held is not None:
            result = result_and({HELD: {call_id: held.stored(self._owner)}}, result)
        return cast("Result", result)

    def failed(self, decisions: Sequence[Decision]) -> Decision | None:
        """The strictest decision that does not let a result pass.

        Raises:
            BlockedError: A block is an error here.
        """
        failed = [decision for decision in decisions if not decision.passes]
        if self._raises and (stop := stopping(failed)) is not None:
            raise BlockedError(stop)
        return max(failed, key=lambda decision: decision.action) if failed else None

    @staticmethod
    def stopping(message: BaseMessage) -> Decision | None:
        """The decision that blocked the result which this message stands for."""
        said = message.response_metadata.get("qwen3guard")
        decision = decision_in(said)
        return decision if decision is not None and decision.stops else None


@dataclass(slots=True)
class _Result:
    """Screens what the tool of one call returns, together with the other results of its step.

    Attributes:
        judged: What there was to judge.
        failed: The decision that does not let it pass.
        blocked: The error that says so.
        held: The result as it is, if a person is to decide about it.
    """

    tools: ToolScreening
    place: Place
    request: ToolCallRequest
    judged: Reading = field(default_factory=lambda: Reading((), tuple), init=False)
    failed: Decision | None = field(default=None, init=False)
    blocked: BlockedError | None = field(default=None, init=False)
    held: Held | None = field(default=None, init=False)
    _is_own: bool = field(default=False, init=False)  # the tool has made the message of it itself

    def before(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> None:
        """The call was judged before."""

    async def abefore(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> None:
        """The call was judged before."""

    def after(self, output: Any, /) -> Any:
        """What callbacks, traces and the model get."""
        reading = self._reading(output)
        return self._after(output, reading, self.place.decide(reading.items))

    async def aafter(self, output: Any, /) -> Any:
        """What callbacks, traces and the model get."""
        reading = self._reading(output)
        return self._after(output, reading, await self.place.adecide(reading.items))

    def _reading(self, output: Any) -> Reading:
        self.judged = read_result(self._content_of(output), self.request.tool_call, self.tools.scope)
        return self.judged

    def _after(self, output: Any, reading: Reading, decisions: Sequence[Decision]) -> Any:
        self.held = self._to_review(output, reading, decisions)
        try:
            self.failed = stopping(decisions) if self.held is not None else self.tools.failed(decisions)
        except BlockedError as error:
            self.blocked = error
            raise
        if self.failed is None:
            return output
        released = reading.released(decisions)
        self.judged = read_result(released, self.request.tool_call, self.tools.scope)
        return released if self._content_of(output) is output else (released, None)

    def _to_review(self, output: Any, reading: Reading, decisions: Sequence[Decision]) -> Held | None:
        """The message of the result if a person is to decide about it; None where nobody can be asked."""
        stop, content = stopping(decisions), self._content_of(output)
        if not self.tools.holds or stop is None or stop.action is not Action.REVIEW:
            return None
        if isinstance(content, Command) or holds_messages(content):  # which change more than one message
            return None
        self._is_own = isinstance(content, ToolMessage)
        if not isinstance(content, ToolMessage):
            artifact = None if content is output else output[1]
            written = as_written(content, whole=False)
            content = ToolMessage(written, artifact=artifact, tool_call_id=self.request.tool_call["id"] or "")
        return Held(content, reading.items, decisions)

    def held_as(self, result: Any) -> Held | None:
        """What waits, as the message that the agent has made of the result; None where it has made another thing."""
        messages = _messages_of(result)
        if self.held is None or len(messages) != 1 or not isinstance(messages[0], ToolMessage):
            return None
        own = ("status", "additional_kwargs", "response_metadata") if self._is_own else ()
        kept = {name: getattr(self.held.message, name) for name in ("content", "artifact", *own)}
        return replace(self.held, message=messages[0].model_copy(update=kept))

    def _content_of(self, output: Any) -> Any:
        """What the model reads of `output`, without its artifact."""
        tool = self.request.tool
        paired = tool is not None and tool.response_format == "content_and_artifact"
        return output[0] if paired and isinstance(output, tuple) and len(output) == 2 else output


def abandoned(messages: Sequence[BaseMessage], policy: Policy, known: Known) -> Screened:
    """The conversation without calls that a person was to decide about, and that nobody did before it went on."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    after: list[BaseMessage] = []
    for message in messages:
        asked = calls_for_review(message) if isinstance(message, AIMessage) else []
        opened = [pair for pair in asked if pair[0]["id"] not in answered]
        after.append(dropping(message, opened, policy) if opened and isinstance(message, AIMessage) else message)
    changes = [new for new, old in zip(after, messages, strict=True) if new is not old]
    return Screened(after, changes, bool(changes))


def _was_rejected(answer: ToolMessage) -> bool:
    return bool(answer.response_metadata.get("qwen3guard_rejected"))


def messages_in(state: Any, key: str = "messages") -> Sequence[BaseMessage]:
    """The messages of a graph's state: a dictionary, an object, or the list itself."""
    if isinstance(state, list):
        return state
    messages = state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)
    return messages or ()


def _written_in(messages: Sequence[BaseMessage], call: ToolCall) -> AIMessage | None:
    """The message in which the model wrote the call."""
    for message in reversed(messages):
        if isinstance(message, AIMessage) and any(one["id"] == call["id"] for one in message.tool_calls):
            return message
    return None


def _context(messages: Sequence[BaseMessage], written: AIMessage | None) -> tuple[Turn, ...]:
    """The turns before a call."""
    before = takewhile(lambda message: message is not written, messages)
    return tuple(turn for turn in map(turn_of, before) if not turn.blank)


def _calls_of(written: AIMessage | None, call_id: str) -> set[str]:
    """The ids of the calls of a step that run."""
    if written is None:
        return {call_id}
    return {call["id"] for call in written.tool_calls if call["id"] and mark_of(written, call["id"]) is None} | {
        call_id
    }


def _marked(result: Any, decision: Decision) -> Any:
    """`result`, which stands for one that did not pass: it says so."""
    if isinstance(result, list):
        return [_marked(item, decision) for item in result]
    if isinstance(result, Command) and isinstance(result.update, dict) and "messages" in result.update:
        update = {**result.update, "messages": _marked(result.update["messages"], decision)}
        return dataclasses.replace(result, update=update)
    if not isinstance(result, ToolMessage):
        return result
    said = {**result.response_metadata, "qwen3guard": entry(decision)}
    return result.model_copy(update={"status": "error", "response_metadata": said})


def result_and(update: Mapping[str, Any], result: Any) -> Any:
    """`result`, and `update` for the state, if there is anything in it."""
    if not any(update.values()):
        return result
    results = result if isinstance(result, list) else [result]
    messages = [one for one in results if isinstance(one, ToolMessage)]
    commands = [one for one in results if isinstance(one, Command)]
    told: Command[Any] = Command(update={"messages": messages, **update})
    return [told, *commands] if commands else told


def _messages_of(result: Any) -> list[BaseMessage]:
    """The messages that a result puts into the state."""
    if isinstance(result, BaseMessage):
        return [result]
    if isinstance(result, list):
        return [message for item in result for message in _messages_of(item)]
    if isinstance(result, Command) and isinstance(result.update, dict):
        return _messages_of(result.update.get("messages"))
    return []
