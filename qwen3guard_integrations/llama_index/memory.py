"""Memories whose blocks are judged: what they bring into a prompt is in no chat history."""

from __future__ import annotations

from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import BaseMemoryBlock, Memory
from pydantic import Field

from ..core.decision import Action
from .messages import parts_of
from .nodes import item_of
from .screener import Screener

M = TypeVar("M", bound=Memory)


def guard_memory(memory: M, screener: Screener) -> M:
    """A view of the same conversation in which each memory block brings only what may pass, at the point `document`."""
    if not memory.memory_blocks:
        return memory
    blocks = [
        _GuardedBlock(
            name=block.name,
            description=block.description,
            priority=block.priority,
            accept_short_term_memory=block.accept_short_term_memory,
            block=block,
            screener=screener,
        )
        for block in memory.memory_blocks
    ]
    return memory.model_copy(update={"memory_blocks": blocks})


class _GuardedBlock(BaseMemoryBlock[Any]):
    """A memory block that gives nothing, or the redaction, in place of what may not pass."""

    block: Any  # pydantic would make a block anew that is generic in something else
    screener: Any = Field(repr=False)

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> Any:
        return await self._passing(await self.block.aget(messages, **block_kwargs))

    async def _aput(self, messages: list[ChatMessage]) -> None:
        await self.block.aput(messages)

    async def aput(
        self, messages: list[ChatMessage], from_short_term_memory: bool = False, session_id: str | None = None
    ) -> None:
        """Push to the memory block."""
        await self.block.aput(messages, from_short_term_memory, session_id)

    async def atruncate(self, content: Any, tokens_to_truncate: int) -> Any:
        """Less of `content`, judged: the block may write it anew."""
        return await self._passing(await self.block.atruncate(content, tokens_to_truncate))

    async def _passing(self, content: Any) -> Any:
        if (item := item_of(_words(content))) is None:
            return content
        (decision,) = await self.screener.adecide([item])
        if decision.passes:
            return content
        return self.screener.policy.redacted(decision) if decision.action is Action.REDACT else ""


def _words(content: str | list[Any] | None) -> str:
    """All words of what a block holds: a text, blocks of a message, or messages."""
    if isinstance(content, str) or content is None:
        return content or ""
    messages = [one if isinstance(one, ChatMessage) else ChatMessage(blocks=[one]) for one in content]
    turns = [turn for message in messages for _, turn in parts_of(message)]
    return "\n\n".join(text for turn in turns for text in (turn.reasoning, turn.content) if text)
