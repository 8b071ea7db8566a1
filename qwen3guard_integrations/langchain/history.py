"""The messages of an agent's state: those that were not judged yet, and the same conversation after the decisions."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from ..core.decision import Action, Decision, stopping
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from .messages import without
from .review import Kind, Outcome, Reviewed, ask_person
from .values import Scope, read_messages

_MOST_KNOWN: Final = 16_384

Decisions = list[Decision]
Judged = tuple[Decision, Outcome | None]
"""The decision about a text, and what a person said about it."""
AskPerson = Callable[[Sequence[Reviewed]], list[Outcome]]
ScreenedFlow = Generator[Sequence[Item], Decisions, "Screened"]


class Known:
    """Messages that may pass: judged before, or made by this package. Digests only, the latest ones.

    What is known in one thread of a graph is not known in another: an id may be anybody's choice.

    Args:
        owner: Whose they are: what one guard of an agent knows, another has not judged.
        size: How many digests are kept.
    """

    def __init__(self, owner: str = "", size: int = _MOST_KNOWN) -> None:
        self._owner = owner
        self._size = size
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def add(self, messages: Iterable[BaseMessage]) -> list[str]:
        """From now on these are known; what stands for each, for a state that outlives this process."""
        digests = [self._digest(message) for message in messages if _is_itself(message)]
        self.remember(digests)
        return digests

    def remember(self, digests: Iterable[str]) -> None:
        """From now on the messages that these stand for are known."""
        with self._lock:
            self._digests.update(dict.fromkeys(digests))
            while len(self._digests) > self._size:
                self._digests.popitem(last=False)

    def settle(self, item: Item, kind: Kind) -> list[str]:
        """Remember what a person said about a text, and what stands for that; nothing for what is said once only.

        That is an edit, and a word about an answer: "yes" may answer anything.
        """
        lasts = kind in _LASTING and item.conversation.judged.role != "assistant"
        digests = [self._text_digest(item, kind)] if lasts else []
        self.remember(digests)
        return digests

    def said(self, item: Item) -> Kind | None:
        """What a person said before about the same text, at the same point and after the same words."""
        with self._lock:
            return next((kind for kind in _LASTING if self._text_digest(item, kind) in self._digests), None)

    def __contains__(self, message: object) -> bool:
        if not (isinstance(message, BaseMessage) and _is_itself(message)):
            return False
        digest = self._digest(message)
        with self._lock:
            if known := digest in self._digests:
                self._digests.move_to_end(digest)
        return known

    def _digest(self, message: BaseMessage) -> str:
        """What stands for a message in its conversation. Tool messages get their id later: the call's stands for it."""
        own = message.tool_call_id if isinstance(message, ToolMessage) else message.id
        return _hashed((self._owner, _thread(), message.type, own, message.name, words_of(message)))

    def _text_digest(self, item: Item, kind: Kind) -> str:
        """What stands for a person's word about a text in its conversation."""
        turns = [(turn.role, turn.content, turn.reasoning) for turn in item.conversation.turns]
        return _hashed((self._owner, _thread(), kind, str(item.point), turns))


def _is_itself(message: BaseMessage) -> bool:
    """Whether its digest stands for one message. "Yes" without an id may stand anywhere, and mean anything."""
    return message.id is not None or isinstance(message, ToolMessage | SystemMessage)


_THREAD: Final[ContextVar[str | None]] = ContextVar("qwen3guard_thread", default=None)


@contextmanager
def in_thread(config: RunnableConfig) -> Iterator[None]:
    """Inside of the block the thread is that of `config`, and not the one of the run that is under way."""
    token = _THREAD.set(_thread_of(config))
    try:
        yield
    finally:
        _THREAD.reset(token)


def _thread_of(config: RunnableConfig | None) -> str:
    return str(((config or {}).get("configurable") or {}).get("thread_id", ""))


def _thread() -> str:
    thread = _THREAD.get()
    return _thread_of(var_child_runnable_config.get()) if thread is None else thread


_LASTING: Final[tuple[Kind, ...]] = ("approve", "reject")


def _hashed(parts: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()


def words_of(message: BaseMessage) -> tuple[object, ...]:
    """All that a message says, in its content and beside it."""
    calls = (message.tool_calls, message.invalid_tool_calls) if isinstance(message, AIMessage) else None
    return message.content, message.additional_kwargs, calls


@dataclass(frozen=True, slots=True)
class Screened:
    """A conversation after the decisions about it.

    Attributes:
        after: What stands in place of each message; None where it goes. Those that pass are the same objects.
        changes: What must be told to the state, for its `add_messages`: replacements by id, and removals.
        changed: Whether something goes on that is not as it was.
        stopped: The strictest decision that stops.
        approved: What stands for messages that a person has let pass, and for what was said about texts
            (`Known.remember`).
    """

    after: Sequence[BaseMessage | None]
    changes: list[BaseMessage] = field(default_factory=list)
    changed: bool = False
    stopped: Decision | None = None
    approved: Sequence[str] = ()

    @property
    def messages(self) -> list[BaseMessage]:
        """What goes on."""
        return [message for message in self.after if message is not None]


def screened(
    messages: Sequence[BaseMessage], policy: Policy, known: Known, *, ask: AskPerson | None = ask_person
) -> ScreenedFlow:
    """Judge the messages that are not known, all with one question; yields the items and is sent the decisions.

    What does not pass is replaced in its place, so that the conversation keeps its shape and every tool call its
    answer; what the policy drops is removed, except answers to tool calls. The answers to a call that was removed go
    with it. Where the policy says "review", `ask` interrupts the graph until a person has decided; without it such
    messages stay as they are, and unknown.
    """
    fresh = {id(message) for message in messages if message not in known}
    if not fresh:
        return Screened(list(messages))
    scope = Scope(policy=policy, point=Point.PROMPT)
    readings = read_messages(messages, scope, _Except(fresh))
    items = [item for reading in readings for item in reading.items]
    if not items:
        return Screened(list(messages))
    outcome = reviewed(items, (yield items), known, ask)
    decisions = outcome.decisions
    rest = iter(zip(decisions, outcome.said, strict=True))
    judged = [[next(rest) for _ in reading.items] for reading in readings]
    after = [after_decisions(message, own, policy) for message, own in zip(messages, judged, strict=True)]
    after = _without_orphans(messages, after)
    changes = [
        new if new is not None else RemoveMessage(id=old.id)
        for old, new in zip(messages, after, strict=True)
        if new is not old and old.id is not None
    ]
    passed = [new for new, own in zip(after, judged, strict=True) if new is not None and any(by for _, by in own)]
    open_ = [any(decision.action is Action.REVIEW for decision, _ in own) for own in judged]
    known.add(new for new, undecided in zip(after, open_, strict=True) if new is not None and not undecided)
    changed = [*map(id, after)] != [*map(id, messages)]
    stopped = stopping(decisions)
    if stopped is None and all(message is None or isinstance(message, SystemMessage) for message in after):
        failed = next((decision for decision in decisions if not decision.passes), None)  # nothing left to go on with
        stopped = failed and failed.blocking()
    return Screened(after, changes, changed, stopped, [*outcome.settled, *known.add(passed)])


@dataclass(frozen=True, slots=True)
class _Except:
    """All messages but these objects."""

    fresh: set[int]

    def __contains__(self, message: object) -> bool:
        return id(message) not in self.fresh


@dataclass(frozen=True, slots=True)
class Review:
    """What was decided after a person has been asked.

    Attributes:
        decisions: About every text.
        said: What the person said about each; None where nobody was asked.
        settled: What stands for it, so that nobody is asked about the same text again (`Known.remember`).
    """

    decisions: Sequence[Decision]
    said: Sequence[Outcome | None]
    settled: Sequence[str] = ()


def reviewed(items: Sequence[Item], decisions: Sequence[Decision], known: Known, ask: AskPerson | None) -> Review:
    """The decisions about `items`, those with "review" as a person made them: asked now, once for each text, or before.

    Without `ask` they stay as they are.
    """
    said: list[Outcome | None] = [None] * len(items)
    places = [place for place, decision in enumerate(decisions) if decision.action is Action.REVIEW]
    if not places or ask is None:
        return Review(decisions, said)
    outcomes: dict[Item, Outcome] = {}
    for place in places:
        if (kind := known.said(items[place])) is not None:
            outcomes[items[place]] = Outcome(kind)
    new = {items[place]: place for place in reversed(places) if items[place] not in outcomes}
    asked = sorted(new.values())
    answers = ask([_question(items[place], decisions[place]) for place in asked]) if asked else []
    settled: list[str] = []
    for place, answer in zip(asked, answers, strict=True):
        outcomes[items[place]] = answer
        settled += known.settle(items[place], answer.kind)
    decided = list(decisions)
    for place in places:
        outcome = said[place] = outcomes[items[place]]
        action = Action.BLOCK if outcome.kind == "reject" else Action.FLAG
        decided[place] = decided[place].model_copy(update={"action": action})
    return Review(decided, said, settled)


def _question(item: Item, decision: Decision) -> Reviewed:
    turn = item.conversation.judged
    editable = item.point in _WHOLE or item.point is Point.TOOL_OUTPUT
    allowed: Sequence[Kind] = ("approve", "edit", "reject") if editable else ("approve", "reject")
    return Reviewed(decision, str(item.point), {"text": turn.content or turn.reasoning}, allowed)


def after_decisions(message: BaseMessage, judged: Sequence[Judged], policy: Policy) -> BaseMessage | None:
    """The message after the decisions about it; None where it goes."""
    edits = {one.point: str(said.args.get("text", "")) for one, said in judged if said and said.kind == "edit"}
    decisions = [_edited(one) if one.point in edits else one for one, _ in judged]
    failed = [decision for decision in decisions if not decision.passes and decision.action is not Action.REVIEW]
    if not failed:
        return message
    dropped = any(decision.action is Action.DROP and decision.point in _WHOLE for decision in failed)
    if dropped and not stopping(failed) and not _is_needed(message):
        return None
    after = without(message, decisions, {decision.point: policy.redacted(decision) for decision in failed} | edits)
    if isinstance(after, ToolMessage) and any(decision.point not in edits for decision in failed):
        after.status = "error"
    return after


def _edited(decision: Decision) -> Decision:
    """What a person has put in place of a text is treated as a redaction is: nothing else repeats the text."""
    return decision.model_copy(update={"action": Action.REDACT})


def _without_orphans(messages: Sequence[BaseMessage], after: Sequence[BaseMessage | None]) -> list[BaseMessage | None]:
    """`after`, without the answers to tool calls that are gone."""
    before = {call for message in messages if isinstance(message, AIMessage) for call in _call_ids(message)}
    left = {call for message in after if isinstance(message, AIMessage) for call in _call_ids(message)}
    gone = before - left
    return [None if isinstance(message, ToolMessage) and message.tool_call_id in gone else message for message in after]


_WHOLE: Final = frozenset({Point.PROMPT, Point.RESPONSE})


def _is_needed(message: BaseMessage) -> bool:
    """Whether the conversation would lose its shape without the message."""
    return isinstance(message, SystemMessage) or (isinstance(message, AIMessage) and bool(message.tool_calls))


def _call_ids(message: AIMessage) -> set[str]:
    return {call["id"] for call in message.tool_calls if call["id"]}
