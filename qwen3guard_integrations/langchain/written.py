"""An answer that comes as a stream of strings or message chunks through a step of a chain."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessageChunk, BaseMessage

from ..core.conversation import Conversation
from ..core.course import Course
from ..core.decision import Action, Decision
from ..core.errors import BlockedError
from ..core.gate import Gate, Piece
from ..core.points import Point
from ..core.screening import Item
from ..guards.streaming import open_stream
from .chunks import last_chunk, pieces_of, whole, without
from .holding import Held
from .messages import parts_of

if TYPE_CHECKING:
    from .runnable import Place, Qwen3GuardRunnable
    from .tracing import Run

_WHOLE: Final = [Piece(Point.DOCUMENT, "-")]  # stands for a value that is judged when the stream has ended


class Written:
    """The screening of one answer on its way through `screen`. Made for it, closed with it."""

    def __init__(self, screen: Qwen3GuardRunnable, where: Place) -> None:
        self._screen = screen
        self._where = where
        self._calls: list[AIMessageChunk] = []
        self._others = Held()
        self._like: AIMessageChunk | None = None
        self.gate: Gate[Any] = Gate(screen.policy)
        self.session = open_stream(screen.guard, where.context, screen.policy)

    def course(self) -> Course[Any]:
        """The screening of the stream."""
        return Course(
            gate=self.gate,
            pieces=self._pieces,
            patience=self.session.patience,
            without=lambda chunk, muted: without(chunk, muted) if isinstance(chunk, BaseMessage) else chunk,
            clock=time.monotonic,
            rest=self._rest,
        )

    def _pieces(self, chunk: Any) -> list[Piece]:
        if isinstance(chunk, str):
            return [Piece(Point.RESPONSE, chunk)]
        if isinstance(chunk, AIMessageChunk):
            self._like = self._like or chunk
            if chunk.tool_call_chunks or chunk.additional_kwargs:
                self._calls.append(chunk)
            return pieces_of(chunk)
        self._others.push(chunk)
        return _WHOLE

    def _rest(self) -> list[Item]:
        """What is judged when the stream has ended: complete tool calls, and values that are no text."""
        items = []
        if self._calls:
            calls = [turn for point, turn in parts_of(whole(self._calls)) if point is Point.TOOL_CALL]
            items = [Item(Point.TOOL_CALL, Conversation(turns=(*self._where.context, turn))) for turn in calls]
        if self._others.chunks:
            items += self._screen.reading(self._others.whole(), self._where).items
        return items

    def ending(self, step: Run) -> list[Any]:
        """What comes after everything that may leave has left: nothing, or what stands in place of the rest."""
        step.decisions.extend(self.gate.decisions)
        stopped = self.gate.stopped
        if stopped is None:
            return []
        if stopped.action is not Action.REDACT:
            step.stopped = stopped
            if self._screen.on_block == "raise":
                return [BlockedError(stopped)]
        return [self._last(stopped)]

    def _last(self, stopped: Decision) -> Any:
        text, seam = self._screen.policy.last_words(stopped), self.gate.seam
        return seam + text if self._like is None else last_chunk(text, stopped, self._like, seam=seam)

    def close(self) -> None:
        """Free the guard's session."""
        self.session.close()


# --- streams whose first chunk says what they are ---

_NOTHING: Final = object()


def peeked(chunks: Iterator[Any]) -> tuple[Any, Iterator[Any]]:
    """The first of `chunks`, and all of them."""
    first = next(chunks, _NOTHING)
    return first, chunks if first is _NOTHING else _Chain([first], chunks)


async def apeeked(chunks: AsyncIterator[Any]) -> tuple[Any, AsyncIterator[Any]]:
    """The first of `chunks`, and all of them."""
    first = await anext(chunks, _NOTHING)
    return first, chunks if first is _NOTHING else _AsyncChain([first], chunks)


class _Chain:
    """`first`, then `rest`, which is closed with this."""

    def __init__(self, first: list[Any], rest: Iterator[Any]) -> None:
        self._rest = rest
        self._all = chain(first, rest)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._all)

    def close(self) -> None:
        close(self._rest)


class _AsyncChain:
    """`first`, then `rest`, which is closed with this."""

    def __init__(self, first: list[Any], rest: AsyncIterator[Any]) -> None:
        self._first = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return self._first.pop() if self._first else await anext(self._rest)

    async def aclose(self) -> None:
        await aclose(self._rest)


async def only(value: Any) -> AsyncIterator[Any]:
    """`value` as the only item."""
    yield value


def close(source: Any) -> None:
    """Close an iterator, if it can be closed."""
    if callable(closing := getattr(source, "close", None)):
        closing()


async def aclose(source: Any) -> None:
    """Close an asynchronous iterator, if it can be closed."""
    if callable(closing := getattr(source, "aclose", None)):
        await closing()
