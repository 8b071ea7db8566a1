"""A stream that is held until all of it is judged: chunks in, the same chunks out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, Final

from langchain_core.messages import AIMessageChunk, BaseMessageChunk
from langchain_core.runnables.utils import AddableDict

FIRST_LOOK: Final = 400
"""Characters after which a running stream is judged for the first time; then each time it has doubled, so that all
looks together cost no more than twice the last one."""


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
        """What the chunks add up to: one value of their kind, or all of them where they cannot be added.

        Dictionaries in a stream are partial: each chunk holds some of the keys.
        """
        if not self.chunks:
            return None
        kind = next((kind for kind in (str, BaseMessageChunk, AddableDict) if isinstance(self.chunks[0], kind)), None)
        if kind is None or not all(isinstance(chunk, kind) for chunk in self.chunks):
            return self.chunks[0] if len(self.chunks) == 1 else self.chunks
        return "".join(self.chunks) if kind is str else reduce(add, self.chunks)


def _size_of(chunk: Any) -> int:
    """Characters that a chunk adds; nothing for chunks that are judged only when the stream has ended."""
    if isinstance(chunk, str):
        return len(chunk)
    return len(chunk.text) if isinstance(chunk, AIMessageChunk) else 0
