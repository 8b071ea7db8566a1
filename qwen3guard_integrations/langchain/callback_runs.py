"""What is asked and decided about one model run that a callback handler is told of. No callbacks and no I/O here.

A handler hears of an answer up to three times: in tokens, in events of version 3, and whole. Each text is judged once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Literal
from uuid import UUID

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, LLMResult

from ..core.conversation import Conversation, Turn
from ..core.decision import Decision
from ..core.errors import GuardError
from ..core.gate import Gate, Piece
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item, screening
from ..core.thinking import thought_and_said
from ..core.words import tool_call_text
from ..guards.protocol import Guard, StreamSession
from ..guards.streaming import open_stream
from .chunks import pieces_of
from .values import Scope, read

Source = Literal["tokens", "events"]

# In blocks of events: judged whole, with the answer.
_CALL_BLOCKS: Final = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})
_MOST_RUNS: Final = 1000
"""Runs that are remembered at once: far more than one process streams, and a bound for those that never end."""
_IDLE_SECONDS: Final = 600.0
"""After so long without a word a run is taken for abandoned, the default timeout of model clients."""


@dataclass(frozen=True, slots=True)
class AskSession:
    """A question to the session of an answer. The reply: its judgements."""

    session: StreamSession
    pieces: Sequence[Piece]
    final: bool


Question = Sequence[Conversation] | AskSession
Flow = Generator[Question, Any, list[Decision]]


@dataclass(slots=True, kw_only=True)
class AnswerRun:
    """One answer of a model, as far as it is known.

    Attributes:
        guard: Who judges.
        policy: What is done about verdicts.
        context: The turns that are answered.
        in_graph: A LangGraph node runs the model.
        has_tokens: The model reports tokens (`on_llm_new_token`).
        has_events: It is run for events of version 3 (`on_stream_event`).
    """

    guard: Guard
    policy: Policy
    context: tuple[Turn, ...] = ()
    in_graph: bool = False
    has_tokens: bool = False
    has_events: bool = False
    _gate: Gate[None] = field(init=False)
    _session: StreamSession | None = field(default=None, init=False)
    _seen: dict[Point, str] = field(default_factory=dict, init=False)
    _read: dict[tuple[Source, Point], int] = field(default_factory=dict, init=False)
    _blocks: dict[tuple[Any, Point], str] = field(default_factory=dict, init=False)
    _calls: set[Item] = field(default_factory=set, init=False)
    _told: list[Decision] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._gate = Gate(self.policy)

    @property
    def stopped(self) -> Decision | None:
        """The first decision that does not let the answer pass."""
        return next((decision for decision in self._told if not decision.passes), None)

    # --- what is being written ---

    def written(self, pieces: Sequence[Piece], source: Source, done: Mapping[str, Any] | None = None) -> Flow:
        """Judge what `source` brings, as soon as the guard wants to. New decisions that do not let it pass.

        A block that is `done` is judged without waiting for more: nobody who reads the events of a model itself waits
        for what is decided when the answer has ended.
        """
        gate = self._gate
        gate.push(None, [fresh for piece in pieces if (fresh := self._fresh(piece, source)).text])
        if gate.unasked and (done is not None or self._opened().patience(gate.unasked) <= 0):
            yield from self._judge(final=False)
        gate.take()  # nothing is held back here: only forgotten
        news = self._news(lambda decision: not decision.passes)
        if done is not None and done.get("type") in _CALL_BLOCKS and not self.stopped:
            news += yield from self._judge_call(done)
        return news

    def _judge_call(self, call: Mapping[str, Any]) -> Flow:
        turn = Turn(role="assistant", content=tool_call_text(call))
        item = Item(Point.TOOL_CALL, Conversation(turns=(*self.context, turn)))
        self._calls.add(item)
        decisions = yield from screening([item], self.policy)
        self._told += decisions
        return decisions

    def _fresh(self, piece: Piece, source: Source) -> Piece:
        """What of `piece` the other source has not brought yet; all of it where the two do not agree."""
        key, seen = (source, piece.point), self._seen.get(piece.point, "")
        begin = self._read.get(key, 0)
        heard = seen[begin : begin + len(piece.text)]
        agrees = piece.text.startswith(heard)
        text = piece.text[len(heard) :] if agrees else piece.text
        self._seen[piece.point] = seen + text
        self._read[key] = begin + len(piece.text) if agrees else len(seen + text)
        return Piece(piece.point, text)

    def _opened(self) -> StreamSession:
        if self._session is None:
            self._session = open_stream(self.guard, self.context, self.policy)
        return self._session

    def _judge(self, *, final: bool) -> Generator[Question, Any, None]:
        try:
            self._gate.judged((yield AskSession(self._opened(), self._gate.ask(), final)))
            if final:
                self._gate.settle()
        except GuardError as error:
            self._gate.failed(error)

    def _news(self, wanted: Callable[[Decision], bool] = lambda decision: True) -> list[Decision]:
        told = set(map(id, self._told))
        news = [decision for decision in self._gate.decisions if wanted(decision) and id(decision) not in told]
        self._told += news
        return news

    # --- its end ---

    def ended(self, result: LLMResult) -> Flow:
        """Judge what is left of the stream, and of the whole answer what was not streamed. All new decisions."""
        gate = self._gate
        gate.finish()
        if gate.asked and gate.stopped is None:
            yield from self._judge(final=True)
        decisions = self._news()
        if self.stopped is None:
            decisions += yield from screening(self._not_streamed(result), self.policy)
        return decisions

    def _not_streamed(self, result: LLMResult) -> list[Item]:
        items = [item for batch in result.generations for generation in batch for item in self._items(generation)]
        return [item for item in items if item not in self._calls and not self._was_streamed(item)]

    def _was_streamed(self, item: Item) -> bool:
        turn = item.conversation.judged
        thought, said = thought_and_said(self._seen.get(Point.RESPONSE, ""))
        thoughts = "\n".join(filter(None, (self._seen.get(Point.REASONING), thought)))
        streamed = {Point.REASONING: thoughts, Point.RESPONSE: said}.get(item.point, "")
        return streamed.strip() == (turn.reasoning or turn.content).strip()

    def _items(self, generation: Generation) -> Sequence[Item]:
        answer = generation.message if isinstance(generation, ChatGeneration) else generation.text
        return read(answer, Scope(policy=self.policy, point=Point.RESPONSE, context=self.context)).items

    def close(self) -> list[Decision]:
        """Free the session. What was decided so far and is not known yet."""
        if self._session is not None:
            self._session.close()
        return self._news()

    # --- what callbacks bring, as pieces ---

    def pieces_of_event(self, event: Mapping[str, Any]) -> list[Piece]:
        """The text in an event of version 3. Complete blocks repeat what their deltas said: that is left out."""
        match event:
            case {"event": "content-block-delta", "index": index, "delta": {"type": "text-delta", "text": text}}:
                pieces = [Piece(Point.RESPONSE, text)]
            case {
                "event": "content-block-delta",
                "index": index,
                "delta": {"type": "reasoning-delta", "reasoning": text},
            }:
                pieces = [Piece(Point.REASONING, text)]
            case {"event": "content-block-start", "index": index, "content": {"type": "text" | "reasoning"} as block}:
                pieces = _pieces_of_block(block)
            case {"event": "content-block-finish", "index": index, "content": block}:
                whole = _pieces_of_block(block)
                return [Piece(p.point, p.text.removeprefix(self._blocks.get((index, p.point), ""))) for p in whole]
            case _:
                return []
        for piece in pieces:
            self._blocks[index, piece.point] = self._blocks.get((index, piece.point), "") + piece.text
        return pieces


def pieces_of_token(token: Any, chunk: Any) -> list[Piece]:
    """The text in a token. Tool calls are no text before they are complete."""
    if isinstance(chunk, ChatGenerationChunk):
        pieces = pieces_of(chunk.message)
    elif chunk is not None:
        pieces = [Piece(Point.RESPONSE, chunk.text)]
    else:
        pieces = pieces_of(AIMessageChunk(content=token))
    pieces = [piece for piece in pieces if piece.text]
    if not pieces and isinstance(token, str):  # a model may report a token beside an empty chunk
        pieces = [Piece(Point.RESPONSE, token)]
    return [piece for piece in pieces if piece.point is not Point.TOOL_CALL]


def _pieces_of_block(block: Mapping[str, Any]) -> list[Piece]:
    if block.get("type") in _CALL_BLOCKS:
        return []
    return [piece for piece in pieces_of(AIMessageChunk(content=[dict(block)])) if piece.text]


class Runs:
    """The runs that are under way, by id. Those that never end are closed in time, the longest silent first."""

    def __init__(self, most: int = _MOST_RUNS, idle: float = _IDLE_SECONDS) -> None:
        self._most, self._idle = most, idle
        self._runs: OrderedDict[UUID, tuple[AnswerRun, float]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def put(self, run_id: UUID, run: AnswerRun) -> AnswerRun:
        """Remember a run; one of the same id that did not end is closed."""
        with self._lock:
            before = self._runs.pop(run_id, None)
            gone = [before] if before else []
            while self._runs and (len(self._runs) >= self._most or self._oldest < time.monotonic() - self._idle):
                gone.append(self._runs.popitem(last=False)[1])
            self._runs[run_id] = (run, time.monotonic())
        for old, _ in gone:
            old.close()
        return run

    @property
    def _oldest(self) -> float:
        return next(iter(self._runs.values()))[1]

    def get(self, run_id: UUID) -> AnswerRun | None:
        """The run, if it is known."""
        with self._lock:
            if run_id not in self._runs:
                return None
            run, _ = self._runs[run_id]
            self._runs[run_id] = (run, time.monotonic())
            self._runs.move_to_end(run_id)
            return run

    def pop(self, run_id: UUID) -> AnswerRun | None:
        """The run, if it is known, which is over."""
        with self._lock:
            run, _ = self._runs.pop(run_id, (None, 0.0))
            return run
