"""The texts in LangChain messages, each at its screening point, and messages without some of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from ..core.conversation import Role, Turn
from ..core.decision import Decision
from ..core.points import Point

# Blocks that hold a picture, a sound or a file: the guard reads text only.
_MEDIA: Final = frozenset({"image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file"})
_CHAT_ROLES: Final[Mapping[str, Role]] = {
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_REASONING_KEYS: Final = ("reasoning_content", "reasoning")


def role_of(message: BaseMessage) -> Role:
    """Who speaks; a role that is none of ours is taken for the user's, whose texts are judged most widely."""
    match message:
        case AIMessage():
            return "assistant"
        case HumanMessage():
            return "user"
        case SystemMessage():
            return "system"
        case ToolMessage() | FunctionMessage():
            return "tool"
        case ChatMessage():
            return _CHAT_ROLES.get(message.role.lower(), "user")
        case _:
            return _CHAT_ROLES.get(message.type.lower(), "user")


def text_of(message: BaseMessage) -> str:
    """Every text in the content that is not reasoning: plain, in blocks of any kind, in text files."""
    return "\n".join(text for text, is_reasoning in _texts(message.content) if not is_reasoning)


def reasoning_of(message: BaseMessage) -> str:
    """The thinking: reasoning blocks, and what servers put into `reasoning_content`."""
    texts = [text for text, is_reasoning in _texts(message.content) if is_reasoning]
    extra = (message.additional_kwargs.get(key) for key in _REASONING_KEYS)
    return "\n".join((*texts, *(text for text in extra if isinstance(text, str) and text)))


def _texts(content: str | Sequence[str | Mapping[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Each text in a message's content, and whether it is reasoning."""
    if isinstance(content, str):
        yield content, False
        return
    for block in content:
        if isinstance(block, str):
            yield block, False
            continue
        kind = block.get("type", "")
        if kind in {"reasoning", "thinking"}:
            yield _strings_in(block), True
        elif kind in {"text", "input_text", "output_text", "text-plain"} and isinstance(block.get("text"), str):
            yield block["text"], False
        elif kind not in _MEDIA:
            yield _strings_in(block), False


def _strings_in(block: object) -> str:
    """All words in a block whose form is not known: rather too much is judged than too little."""
    if isinstance(block, str):
        return block
    if isinstance(block, Mapping):
        hidden = {"type", "id", "index", "signature"}
        return "\n".join(filter(None, (_strings_in(value) for key, value in block.items() if key not in hidden)))
    if isinstance(block, Sequence) and not isinstance(block, bytes):
        return "\n".join(filter(None, map(_strings_in, block)))
    return ""


def tool_calls_of(message: BaseMessage) -> list[Mapping[str, Any]]:
    """The tool calls of an assistant message, those with arguments that cannot be parsed among them."""
    return [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []


def tool_call_text(call: Mapping[str, Any]) -> str:
    """A tool call as text: `name({"argument": "value"})`."""
    arguments = call.get("args")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False, default=str)
    return f"{call.get('name') or 'tool'}({arguments})"


def parts_of(message: BaseMessage) -> list[tuple[Point, Turn]]:
    """What there is to judge in a message, in the order in which it was written. Blank parts are none."""
    role = role_of(message)
    if role != "assistant":
        point = Point.TOOL_OUTPUT if role == "tool" else Point.PROMPT
        parts = [(point, Turn(role=role, content=_all_text(message)))]
    else:
        parts = [
            (Point.REASONING, Turn(role=role, reasoning=reasoning_of(message))),
            (Point.RESPONSE, Turn(role=role, content=text_of(message))),
            *((Point.TOOL_CALL, Turn(role=role, content=tool_call_text(call))) for call in tool_calls_of(message)),
        ]
    return [(point, turn) for point, turn in parts if not turn.blank]


def _all_text(message: BaseMessage) -> str:
    return "\n".join(text for text, _ in _texts(message.content))


def turn_of(message: BaseMessage) -> Turn:
    """The message as context for later ones; tool calls of an assistant who said nothing else stand for the answer."""
    text = text_of(message) or "\n".join(map(tool_call_text, tool_calls_of(message)))
    return Turn(role=role_of(message), content=text)


def without(message: BaseMessage, decisions: Sequence[Decision], redaction: Mapping[Point, str]) -> BaseMessage:
    """A copy of `message` without the parts that do not pass.

    Args:
        message: An allowed message with parts that are not.
        decisions: One for each of `parts_of(message)`, in that order.
        redaction: What stands in place of the text at each redacted point.
    """
    update: dict[str, Any] = {}
    failed = [decision for decision in decisions if not decision.passes]
    points = {decision.point for decision in failed}
    if Point.REASONING in points:
        update["content"] = _without_reasoning(message.content)
        kept = {key: value for key, value in message.additional_kwargs.items() if key not in _REASONING_KEYS}
        update["additional_kwargs"] = kept
    if Point.TOOL_CALL in points and isinstance(message, AIMessage):
        update |= _without_tool_calls(message, decisions, redaction.get(Point.TOOL_CALL, ""))
    for point in points - {Point.REASONING, Point.TOOL_CALL}:
        update["content"] = redaction.get(point, "")
    return message.model_copy(update=update)


def _without_reasoning(content: str | list[str | dict[str, Any]]) -> str | list[str | dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [block for block in content if isinstance(block, str) or block.get("type") not in {"reasoning", "thinking"}]


def _without_tool_calls(message: AIMessage, decisions: Sequence[Decision], redaction: str) -> dict[str, Any]:
    verdicts = [decision for decision in decisions if decision.point is Point.TOOL_CALL]
    passes = {id(call): d.passes for call, d in zip(tool_calls_of(message), verdicts, strict=True)}
    calls = [call for call in message.tool_calls if passes[id(call)]]
    # Providers keep a second copy of every call in the content or in additional_kwargs: nothing of it may stay.
    extra = {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"}
    update: dict[str, Any] = {
        "tool_calls": calls,
        "invalid_tool_calls": [call for call in message.invalid_tool_calls if passes[id(call)]],
        "additional_kwargs": extra,
        "content": message.text or redaction,
    }
    if isinstance(message, AIMessageChunk):
        update["tool_call_chunks"] = [
            {"type": "tool_call_chunk", "name": c["name"], "args": json.dumps(c["args"]), "id": c["id"], "index": i}
            for i, c in enumerate(calls)
        ]
    return update


def refusal_message(text: str, decision: Decision, like: BaseMessage | None) -> AIMessage:
    """The policy's refusal as an assistant message: a chunk where `like` is one, with the id of a replaced answer."""
    kind = AIMessageChunk if isinstance(like, BaseMessageChunk) else AIMessage
    return kind(
        content=text,
        id=like.id if isinstance(like, AIMessage) else None,
        response_metadata={
            "finish_reason": "content_filter",
            "qwen3guard": decision.model_dump(mode="json", exclude_none=True),
        },
    )
