"""Tool calls that do not pass, in an assistant's message after which an agent goes on.

Such a call keeps its name and its id, so that a tool message can answer it, and loses everything else. Only where a
person is to decide it stays whole, and waits. The message says which calls these are, and why, in
`response_metadata["qwen3guard"]["withheld"]` and `["review"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall, ToolCallChunk

from ..core.decision import Action, Decision
from ..core.points import Point
from ..core.policy import Policy
from ..core.words import is_name
from ..reporting import decision_in, entry
from .messages import said_only

Call = Mapping[str, Any]


def is_withheld(decision: Decision) -> bool:
    """Whether a call is withheld by this decision; where a person is to decide, the call is kept for the question."""
    return decision.point is Point.TOOL_CALL and not decision.passes and decision.action is not Action.REVIEW


def withholding(message: AIMessage, failed: Sequence[tuple[Call, Decision]]) -> AIMessage:
    """A copy of `message` with the arguments of withheld calls left out; other calls, text and reasoning stay.

    Args:
        message: A whole message, which is marked; or a chunk, which has nothing left of the withheld calls.
        failed: Calls as `tool_calls_of` gives them for the whole message, and the decisions that do not let them pass.
    """
    calls = [call for call, decision in failed if is_withheld(decision)]
    update: dict[str, Any] = said_only(message) if calls else {}
    if isinstance(message, AIMessageChunk):
        if not calls:
            return message
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
            "response_metadata": {
                **update.get("response_metadata", message.response_metadata),
                "qwen3guard": marks(failed),
            },
        }
    return message.model_copy(update=update)


def marks(calls: Sequence[tuple[Call, Decision]]) -> dict[str, Any]:
    """What the message says about calls that do not pass."""
    said: dict[str, Any] = {}
    for call, decision in calls:
        said.setdefault("withheld" if is_withheld(decision) else "review", {})[_id(call)] = entry(decision)
    return said


def mark_of(message: AIMessage | None, call_id: str | None) -> Decision | None:
    """The decision that the message holds about one of its calls; None for a call that passes."""
    said = message.response_metadata.get("qwen3guard") if message is not None else None
    for kind in ("withheld", "review"):
        marked = said.get(kind) if isinstance(said, Mapping) else None
        if isinstance(marked, Mapping) and call_id in marked:
            return decision_in(marked[call_id])
    return None


def calls_for_review(message: AIMessage) -> list[tuple[ToolCall, Decision]]:
    """The calls of a message that a person is to decide."""
    decided = [(call, mark_of(message, call["id"])) for call in message.tool_calls]
    return [(call, made) for call, made in decided if made is not None and not is_withheld(made)]


def rejecting(message: AIMessage, rejected: Sequence[tuple[ToolCall, Decision]]) -> AIMessage:
    """A copy of `message` that has lost the arguments of the calls that a person rejected; the marks stay."""
    blocked = [(call, made.blocking()) for call, made in rejected]
    after = withholding(message, blocked)
    said = {**marks(calls_for_review(message)), **marks(blocked)}
    gone = {call["id"] for call, _ in rejected}
    said["review"] = {key: mark for key, mark in said.get("review", {}).items() if key not in gone}
    return after.model_copy(update={"response_metadata": {**message.response_metadata, "qwen3guard": said}})


def dropping(message: AIMessage, dropped: Sequence[tuple[ToolCall, Decision]], policy: Policy) -> AIMessage:
    """A copy of `message` without these calls and their marks; never blank."""
    gone = {call["id"] for call, _ in dropped}
    kept = [call for call in message.tool_calls if call["id"] not in gone]
    update = {**said_only(message), "tool_calls": kept}
    if not (kept or update["content"]):
        update["content"] = policy.redacted(dropped[0][1])
    update["response_metadata"] = {
        key: item for key, item in update["response_metadata"].items() if key != "qwen3guard"
    }
    return message.model_copy(update=update)


def _without(call: ToolCall) -> ToolCall:
    return ToolCall(name=_name(call), args={}, id=_id(call), type="tool_call")


def _invalid(call: InvalidToolCall) -> InvalidToolCall:
    return InvalidToolCall(name=_name(call), args="", id=_id(call), error=None, type="invalid_tool_call")


def _chunk_without(chunk: ToolCallChunk, calls: Sequence[Call]) -> ToolCallChunk:
    """`chunk` as it is, or without its part of the arguments where it belongs to one of `calls`."""
    if not any(_belongs(chunk, call) for call in calls):
        return chunk
    begins = bool(chunk["name"])
    return ToolCallChunk(
        name=_name(chunk) if begins else None,
        args="{}" if begins else "",
        id=_id(chunk) if chunk["id"] else None,
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
