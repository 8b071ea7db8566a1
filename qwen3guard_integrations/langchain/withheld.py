"""Tool calls that stay in an assistant's message without their arguments, because these may not pass.

An agent goes on after a tool call that is not allowed: the call keeps its name and its id, so that a tool message can
answer it, and loses everything else. The message says so in `response_metadata["qwen3guard"]["withheld"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall, ToolCallChunk

from ..core.decision import Action, Decision
from ..core.points import Point
from .messages import is_name, said_only
from .reporting import entry

Call = Mapping[str, Any]


def is_withheld(decision: Decision) -> bool:
    """Whether a call is withheld by this decision; where a person is to decide, the call is kept for the question."""
    return decision.point is Point.TOOL_CALL and not decision.passes and decision.action is not Action.REVIEW


def withholding(message: AIMessage, withheld: Sequence[tuple[Call, Decision]]) -> AIMessage:
    """A copy of `message` in which the `withheld` calls have no arguments; other calls, text and reasoning stay.

    Args:
        message: A whole message, or a chunk: what it has of the calls is withheld.
        withheld: Calls as `tool_calls_of` gives them for the whole message, and why.
    """
    calls = [call for call, _ in withheld]
    update: dict[str, Any] = said_only(message)
    if isinstance(message, AIMessageChunk):
        chunks = [_chunk_without(chunk, calls) for chunk in message.tool_call_chunks]
        parsed = AIMessageChunk(content="", tool_call_chunks=chunks)
        update |= {
            "tool_call_chunks": chunks,
            "tool_calls": parsed.tool_calls,
            "invalid_tool_calls": parsed.invalid_tool_calls,
        }
    else:
        update |= {
            "tool_calls": [_without(call) if call in calls else call for call in message.tool_calls],
            "invalid_tool_calls": [_invalid(call) if call in calls else call for call in message.invalid_tool_calls],
            "response_metadata": update["response_metadata"] | {"qwen3guard": report(withheld)},
        }
    return message.model_copy(update=update)


def report(withheld: Sequence[tuple[Call, Decision]]) -> dict[str, Any]:
    """What the message says about its withheld calls."""
    return {"withheld": {_id(call): entry(decision) for call, decision in withheld}}


def withheld_in(message: AIMessage | None) -> Mapping[str, Mapping[str, Any]]:
    """The ids of the withheld calls of a message, with the decision about each."""
    said = message.response_metadata.get("qwen3guard") if message is not None else None
    withheld = said.get("withheld") if isinstance(said, Mapping) else None
    return withheld if isinstance(withheld, Mapping) else {}


def _without(call: ToolCall) -> ToolCall:
    return ToolCall(name=_name(call), args={}, id=_id(call), type="tool_call")


def _invalid(call: InvalidToolCall) -> InvalidToolCall:
    return InvalidToolCall(name=_name(call), args="", id=_id(call), error=None, type="invalid_tool_call")


def _chunk_without(chunk: ToolCallChunk, calls: Sequence[Call]) -> ToolCallChunk:
    """`chunk` as it is, or without its part of the arguments where it belongs to one of `calls`."""
    if not any(_belongs(chunk, call) for call in calls):
        return chunk
    begins = chunk["name"] is not None
    return ToolCallChunk(
        name=_name(chunk) if begins else None,
        args="{}" if begins else "",
        id=_id(chunk) if chunk["id"] is not None else None,
        index=chunk["index"],
        type="tool_call_chunk",
    )


def _belongs(chunk: Call, call: Call) -> bool:
    """Whether `chunk` is a piece of `call`: chunks of one call share an index; a chunk without one is a call."""
    if chunk.get("index") is None:
        return bool(chunk == call)
    return bool(chunk["index"] == call.get("index"))


def _name(call: Call) -> str:
    return call["name"] if is_name(call["name"]) else "tool"


def _id(call: Call) -> str:
    return call["id"] if is_name(call.get("id")) else "withheld"
