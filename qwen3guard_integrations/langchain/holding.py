"""A stream of values that are no answer being written: held until all of it is judged. Chunks in, the same out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessageChunk
from langchain_core.runnables.utils import AddableDict

from ..core.course import FIRST_LOOK
from .messages import reasoning_of


@dataclass(slots=True)
class Held:
    """The chunks of one stream so far. No I/O: the caller reads, judges and releases.

    Attributes:
        chunks: Every chunk, as it came.
    """

    chunks: list[Any] = field(default_factory=list)
    _size: int = 0
    _next_look: int = FIRST_LOOK

    def push(self, chunk: Any) -> bool:
        """Take a chunk; True when it is time to judge what there is, so that a harmful stream can be stopped early."""
        self.chunks.append(chunk)
        self._size += _size_of(chunk)
        if self._size < self._next_look:
            return False
        self._next_look = 2 * self._size
        return True

    def whole(self) -> Any:
        """What the chunks say together: one value of their kind, or all of them where they cannot be joined.

        A text that is cut into chunks is judged in one piece, wherever in the chunks it stands, and no chunk is
        left out because a later one would take its place.
        """
        return _whole(self.chunks, pieces=True) if self.chunks else None


def _whole(chunks: Sequence[Any], *, pieces: bool) -> Any:
    """The values of `chunks` together.

    With `pieces`, strings are pieces of one text; otherwise each may also be the one before it with more at its end.
    """
    kinds: dict[Any, list[Any]] = {}
    for chunk in chunks:
        kinds.setdefault(_kind_of(chunk), []).append(chunk)
    wholes = [whole for kind, same in kinds.items() for whole in _joined(kind, same, pieces)]
    return wholes[0] if len(wholes) == 1 else wholes


def _kind_of(chunk: Any) -> Any:
    """What a chunk must have in common with another to be joined with it."""
    kind = next((kind for kind in (str, BaseMessageChunk, AddableDict, dict) if isinstance(chunk, kind)), None)
    return ("tuple", len(chunk)) if type(chunk) is tuple else kind


def _joined(kind: Any, chunks: list[Any], pieces: bool) -> list[Any]:
    if len(chunks) == 1:
        return chunks
    if kind is str:
        return ["".join(chunks if pieces else _latest(chunks))]
    if kind is BaseMessageChunk:
        same = all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
        return [chunks[0] + chunks[1:] if same else reduce(add, chunks)]
    if kind is AddableDict or kind is dict:
        keys = dict.fromkeys(key for chunk in chunks for key in chunk)
        values = {key: [chunk[key] for chunk in chunks if key in chunk] for key in keys}
        return [kind({key: _whole(values[key], pieces=kind is AddableDict) for key in keys})]
    if isinstance(kind, tuple):
        return [tuple(_whole(values, pieces=False) for values in zip(*chunks, strict=True))]
    return _latest(chunks)


def _latest(values: list[Any]) -> list[Any]:
    """`values` without those that the next one repeats and adds to, as a parser of unfinished JSON gives them."""
    return [value for value, later in pairwise(values) if not _within(value, later)] + values[-1:]


def _within(value: Any, later: Any) -> bool:
    """Whether `later` says all that `value` says."""
    if isinstance(value, str) and isinstance(later, str):
        return later.startswith(value)
    if isinstance(value, dict) and isinstance(later, dict):
        return all(key in later and _within(entry, later[key]) for key, entry in value.items())
    if isinstance(value, list) and isinstance(later, list):
        return len(value) <= len(later) and all(map(_within, value, later))
    return value is later or value is None or isinstance(value, int | float)


def _size_of(chunk: Any) -> int:
    """Characters that a chunk adds; nothing for chunks that are judged only when the stream has ended."""
    if isinstance(chunk, str):
        return len(chunk)
    if not isinstance(chunk, AIMessageChunk):
        return 0
    calls = sum(len(call["args"] or "") for call in chunk.tool_call_chunks)
    return len(chunk.text) + len(reasoning_of(chunk)) + calls
