"""The texts in LlamaIndex's messages, each at its screening point, and messages without some of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, Final

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import BaseModel

from ..core.conversation import Conversation, Role, Turn, context_at
from ..core.decision import Decision
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..core.thinking import said_in, thought_and_said
from ..core.words import is_name, strings_in, tool_call_text

_ROLES: Final[Mapping[str, Role]] = {
    "assistant": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_REASONING_KEYS: Final = ("reasoning_content", "reasoning", "thinking", "thinking_delta")
_CALL_KEYS: Final = ("tool_calls", "function_call")
_JUDGED_KEYS: Final = frozenset((*_REASONING_KEYS, *_CALL_KEYS))
# The guard reads text only: of these no more than their titles.
_MEDIA: Final = (ImageBlock, AudioBlock, VideoBlock)


def role_of(message: ChatMessage) -> Role:
    """Who speaks; a role that is none of ours is taken for the user's, whose texts are judged most widely."""
    return _ROLES.get(getattr(message.role, "value", str(message.role)).lower(), "user")


def text_of(message: ChatMessage) -> str:
    """Every text in the blocks that is neither thinking nor a tool call."""
    said = (block for block in message.blocks if not isinstance(block, ThinkingBlock | ToolCallBlock))
    return "\n".join(filter(None, map(_words, said)))


def reasoning_of(message: ChatMessage) -> str:
    """The thinking: thinking blocks, and what servers put into `reasoning_content`."""
    thoughts = [block.content for block in message.blocks if isinstance(block, ThinkingBlock) and block.content]
    return joined_reasoning("\n".join(thoughts), message.additional_kwargs)


def joined_reasoning(text: str, extra: Mapping[str, Any]) -> str:
    """`text` with the thinking in `extra`, the additional keywords of a message or a response."""
    if not extra:
        return text
    copies = (text, *(strings_in(extra.get(key)) for key in _REASONING_KEYS))
    return "\n".join(dict.fromkeys(filter(None, copies)))  # some servers send the same words under two names


def words_beside(extra: Mapping[str, Any]) -> str:
    """What stands beside a text in additional keywords: citations, annotations, whatever a provider puts there.

    Names, thinking and tool calls are left out: the first say nothing, the others are judged by themselves. Some LLMs
    write all additional keywords of a message into their prompt.
    """
    if not extra:
        return ""
    others = {key: _plain(value) for key, value in extra.items() if key not in _JUDGED_KEYS}
    return "\n".join(line for line in strings_in(others).splitlines() if line.strip() and not is_name(line))


def _words(block: Any) -> str:
    """All words in a block, whatever its kind: rather too much is judged than too little."""
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, CachePoint):
        return ""
    if isinstance(block, DocumentBlock):
        return "\n".join(filter(None, (block.title, _text_of_file(block))))
    if isinstance(block, _MEDIA):
        return strings_in({"title": getattr(block, "title", None)})
    fields = {name: _plain(value) for name, value in block if name != "block_type"}
    return strings_in(fields)


def _plain(value: Any) -> Any:
    """`value` with blocks as their words."""
    if isinstance(value, BaseModel):
        return _words(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _text_of_file(block: DocumentBlock) -> str:
    """What is written in a text file; of others the guard reads nothing."""
    if not isinstance(block.data, bytes) or not (block.document_mimetype or "text/").startswith("text/"):
        return ""
    try:
        return base64.b64decode(block.data, validate=True).decode("utf-8", "replace")
    except ValueError:
        return block.data.decode("utf-8", "replace")


def tool_calls_of(message: ChatMessage) -> list[dict[str, Any]]:
    """The tool calls of an assistant message, each with `name`, `args` and `id`; the copies of some providers once."""
    if role_of(message) != "assistant":
        return []
    calls = [
        {"name": block.tool_name, "args": block.tool_kwargs, "id": block.tool_call_id}
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ]
    others = [*(message.additional_kwargs.get("tool_calls") or ()), message.additional_kwargs.get("function_call")]
    texts = set(map(tool_call_text, calls))
    return calls + [call for call in map(_call_of, filter(None, others)) if tool_call_text(call) not in texts]


def _call_of(call: Any) -> dict[str, Any]:
    """A tool call as a provider writes it: a mapping or an object, in the form of OpenAI, Anthropic or Ollama."""
    function = _entry(call, "function") or call
    arguments = next(filter(None, (_entry(function, key) for key in ("arguments", "input", "args"))), None)
    return {"name": _entry(function, "name"), "args": arguments, "id": _entry(call, "id")}


def _entry(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def parts_of(message: ChatMessage, extra: Mapping[str, Any] = MappingProxyType({})) -> list[tuple[Point, Turn]]:
    """What there is to judge in a message, in the order in which it was written. Blank parts are none.

    Thinking in tags at the beginning of an answer's text is reasoning, as in a stream; the tags are in no part.

    Args:
        message: Anybody's.
        extra: What comes with it: the additional keywords of a response.
    """
    role = role_of(message)
    reasoning = joined_reasoning(reasoning_of(message), extra)
    text, beside = text_of(message), words_beside({**message.additional_kwargs, **extra})
    if role != "assistant":
        point = Point.TOOL_OUTPUT if role == "tool" else Point.PROMPT
        parts = [(point, Turn(role=role, content=_lines(reasoning, text, beside)))]
    else:
        thought, said = thought_and_said(text)
        parts = [
            (Point.REASONING, Turn(role=role, reasoning=_lines(reasoning, thought))),
            (Point.RESPONSE, Turn(role=role, content=_lines(said, beside))),
            *((Point.TOOL_CALL, Turn(role=role, content=tool_call_text(call))) for call in tool_calls_of(message)),
        ]
    return [(point, turn) for point, turn in parts if not turn.blank]


def _lines(*texts: str) -> str:
    return "\n".join(filter(None, texts))


def turn_of(message: ChatMessage) -> Turn:
    """The message as context for later ones, without its thinking; tool calls of an assistant who said nothing else
    stand for the answer."""
    role, text = role_of(message), text_of(message)
    if role == "assistant":
        _, text = thought_and_said(text)
    return Turn(role=role, content=text or _lines(*map(tool_call_text, tool_calls_of(message))))


def items_of(messages: Sequence[ChatMessage], policy: Policy) -> list[list[Item]]:
    """What there is to judge in each message of a conversation, with as much context as `context_at` says."""
    turns = [turn_of(message) for message in messages]
    readings: list[list[Item]] = []
    for place, message in enumerate(messages):
        if turns[place].role in policy.trusted_roles:
            readings.append([])
            continue
        context = context_at(place, turns, last=len(messages) - 1)
        parts = parts_of(message)
        readings.append(
            [
                Item(point, Conversation(turns=(*(() if point is Point.TOOL_OUTPUT else context), turn)))
                for point, turn in parts
            ]
        )
    return readings


def without(message: ChatMessage, decisions: Sequence[Decision], policy: Policy) -> ChatMessage:
    """A copy of `message` without what does not pass.

    Args:
        message: A message with parts that do not pass.
        decisions: One for each of `parts_of(message)`, in that order.
        policy: Says what stands in place of a text; thinking and tool calls are left out.
    """
    failed = {decision.point: decision for decision in decisions if not decision.passes}
    said = next((decision for point, decision in failed.items() if point not in _LEFT_OUT), None)
    calls = [decision.passes for decision in decisions if decision.point is Point.TOOL_CALL]
    blocks: list[Any] = list(message.blocks)
    if Point.REASONING in failed:
        blocks = _without_thinking(blocks)
    if Point.TOOL_CALL in failed:
        blocks = _without_calls(blocks, calls)
    if said is not None:
        kept = [block for block in blocks if isinstance(block, ThinkingBlock | ToolCallBlock)]
        blocks = [*kept, TextBlock(text=policy.redacted(said))]
    elif Point.TOOL_CALL in failed and not any(isinstance(block, TextBlock | ToolCallBlock) for block in blocks):
        blocks.append(TextBlock(text=policy.redacted(failed[Point.TOOL_CALL])))
    return ChatMessage(role=message.role, blocks=blocks, additional_kwargs=_extra(message, set(failed)))


_LEFT_OUT: Final = frozenset({Point.REASONING, Point.TOOL_CALL})


def _without_thinking(blocks: Sequence[Any]) -> list[Any]:
    """The blocks of a whole answer without its thinking: neither the blocks of it, nor what stands in tags."""
    blocks = [block for block in blocks if not isinstance(block, ThinkingBlock)]
    texts = ["" if isinstance(block, ToolCallBlock) else _words(block) for block in blocks]
    spoken = [place for place, text in enumerate(texts) if text]
    for place, said in zip(spoken, said_in([texts[place] for place in spoken], "\n"), strict=True):
        if said != texts[place]:
            blocks[place] = TextBlock(text=said)
    return [block for block in blocks if not isinstance(block, TextBlock) or block.text]


def _without_calls(blocks: Sequence[Any], passes: Sequence[bool]) -> list[Any]:
    """`blocks` without the tool calls that do not pass: the blocks come first in `tool_calls_of`."""
    rest = iter(passes)
    return [block for block in blocks if not isinstance(block, ToolCallBlock) or next(rest)]


def _extra(message: ChatMessage, failed: Set[Point]) -> dict[str, Any]:
    """Of the additional keywords only names, and what was judged by itself and passes: they repeat the rest."""
    judged = _JUDGED_KEYS if role_of(message) == "assistant" else ()
    gone = (*(_REASONING_KEYS if Point.REASONING in failed else ()), *(_CALL_KEYS if Point.TOOL_CALL in failed else ()))
    return {
        key: value
        for key, value in message.additional_kwargs.items()
        if key not in gone and (key in judged or is_name(value))
    }


def without_reasoning(message: ChatMessage) -> ChatMessage:
    """A copy of `message` without its thinking."""
    blocks: list[Any] = [block for block in message.blocks if not isinstance(block, ThinkingBlock)]
    extra = {key: value for key, value in message.additional_kwargs.items() if key not in _REASONING_KEYS}
    return ChatMessage(role=message.role, blocks=blocks, additional_kwargs=extra)
