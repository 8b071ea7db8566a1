"""The texts in LlamaIndex's messages, each at its screening point, and messages without some of them."""

from __future__ import annotations

import base64
import codecs
import dataclasses
from collections.abc import Container, Mapping, Sequence, Set
from contextlib import suppress
from io import IOBase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote_to_bytes

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
_REASONING_KEYS: Final = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_delta")
_CALL_KEYS: Final = ("tool_calls", "function_call")
_JUDGED_KEYS: Final = frozenset((*_REASONING_KEYS, *_CALL_KEYS))
# The guard reads text only: of these no more than their titles.
_MEDIA: Final = (ImageBlock, AudioBlock, VideoBlock)


def role_of(message: ChatMessage) -> Role:
    """Who speaks; a role that is none of ours is taken for the user's, whose texts are judged most widely."""
    return _ROLES.get(getattr(message.role, "value", str(message.role)).lower(), "user")


def text_of(message: ChatMessage) -> str:
    """What is said: the text blocks."""
    return message.content or ""


def words_of(message: ChatMessage) -> str:
    """Every text in the blocks that is neither thinking nor a tool call, in their order."""
    return _lines(*(_words(block) for block in message.blocks if not isinstance(block, ThinkingBlock | ToolCallBlock)))


def _lines(*texts: str) -> str:
    return "\n".join(filter(None, texts))


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


def words_beside(message: ChatMessage, extra: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The words that stand beside the text of an answer: see `texts_beside`."""
    return words_in(texts_beside(message, extra))


def words_in(texts: Mapping[str, str], in_pieces: Container[str] = ()) -> str:
    """The lines of texts at several places, each once. Names are left out, which say nothing.

    Args:
        texts: By their place.
        in_pieces: Places at which a text came in pieces: what looks like a name is none there.
    """
    lines = ((place, line) for place, text in texts.items() for line in text.splitlines() if line.strip())
    return _lines(*dict.fromkeys(line for place, line in lines if place in in_pieces or not is_name(line)))


def texts_beside(message: ChatMessage, extra: Mapping[str, Any]) -> dict[str, str]:
    """What stands beside the text of an answer, by its place: blocks of other kinds, and additional keywords with
    citations, annotations, whatever a provider puts there.

    Thinking and tool calls are left out, which are judged by themselves. Some LLMs write all additional keywords of a
    message into their prompt.
    """
    texts = {"blocks": _lines(*_other_words(message))}
    for place, keywords in (("message", message.additional_kwargs), ("response", extra)):
        texts |= {
            f"{place} {key}": strings_in(_plain(value)) for key, value in keywords.items() if key not in _JUDGED_KEYS
        }
    return {place: text for place, text in texts.items() if text}


def _other_words(message: ChatMessage) -> list[str]:
    spoken = TextBlock | ThinkingBlock | ToolCallBlock
    return [_words(block) for block in message.blocks if not isinstance(block, spoken)]


def _words(block: Any) -> str:
    """All words in a block, whatever its kind: rather too much is judged than too little."""
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, CachePoint):
        return ""
    if isinstance(block, DocumentBlock):
        return _lines(block.title or "", _text_of_file(block))
    if isinstance(block, _MEDIA):
        return strings_in({"title": getattr(block, "title", None)})
    fields = {name: _plain(value) for name, value in block if name != "block_type"}
    return strings_in(fields)


def _plain(value: Any, depth: int = 4) -> Any:
    """`value` with blocks as their words, and objects as what they keep."""
    if isinstance(value, BaseModel):
        return _words(value)
    if isinstance(value, str | type) or value is None or not depth:
        return value
    if isinstance(value, Mapping):
        return {name: _plain(one, depth - 1) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one, depth - 1) for one in value]
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        kept = vars(value) if hasattr(value, "__dict__") else {name: getattr(value, name) for name in value.__slots__}
        return _plain(kept, depth - 1)
    return value


_TEXTUAL: Final = ("text/", "json", "xml", "yaml", "csv", "script")


def _text_of_file(block: DocumentBlock) -> str:
    """What is written in a file, wherever it lies on this machine, that says it is text, or nothing of what it is; of
    other kinds of files what can be text."""
    data, kind = _bytes_of(block), block.document_mimetype or "text/"
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16", "replace")
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace") if any(part in kind for part in _TEXTUAL) else ""


def _bytes_of(block: DocumentBlock) -> bytes:
    """Of a file that another machine has, or that nobody can read, nothing."""
    match block.data, block.path, block.url:
        case bytes() as data, _, _:
            try:
                return base64.b64decode(data, validate=True)
            except ValueError:
                return data
        case IOBase() as file, _, _:
            file.seek(0)
            read = file.read()
            file.seek(0)
            return read.encode() if isinstance(read, str) else bytes(read)
        case _, (str() | Path()) as path, _ if path:
            with suppress(OSError):
                return Path(path).read_bytes()
        case _, _, str() as url if url.lower().startswith("data:"):
            head, _, written = url.partition(",")
            with suppress(ValueError):
                return base64.b64decode(written) if head.lower().endswith(";base64") else unquote_to_bytes(written)
    return b""


def tool_calls_of(message: ChatMessage, extra: Mapping[str, Any] = MappingProxyType({})) -> list[dict[str, Any]]:
    """The tool calls in a message, each with `name`, `args` and `id`; the copies of some providers once.

    Args:
        message: Anybody's.
        extra: What comes with it: the additional keywords of a response.
    """
    calls = [call_of(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
    others = [
        call
        for keywords in (message.additional_kwargs, extra)
        for call in (*(keywords.get("tool_calls") or ()), keywords.get("function_call"))
    ]
    if not any(others):
        return calls
    texts = set(map(tool_call_text, calls))
    return calls + [call for call in map(_call_of, filter(None, others)) if tool_call_text(call) not in texts]


def call_of(block: ToolCallBlock) -> dict[str, Any]:
    """The tool call in a block."""
    return {"name": block.tool_name, "args": block.tool_kwargs, "id": block.tool_call_id}


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
    calls = [tool_call_text(call) for call in tool_calls_of(message, extra)]
    if role != "assistant":
        point = Point.TOOL_OUTPUT if role == "tool" else Point.PROMPT
        reasoning, words = joined_reasoning(reasoning_of(message), extra), words_of(message)
        beside = words_beside(ChatMessage(additional_kwargs=message.additional_kwargs), extra)
        parts = [(point, Turn(role=role, content=_lines(reasoning, words, beside, *calls)))]
    else:
        parts = [
            *answer_in(message, extra),
            *((Point.TOOL_CALL, Turn(role=role, content=call)) for call in calls),
        ]
    return [(point, turn) for point, turn in parts if not turn.blank]


def answer_in(message: ChatMessage, extra: Mapping[str, Any]) -> list[tuple[Point, Turn]]:
    """What is thought and said in an answer, whatever role its message has; tool calls are no part of it."""
    thought, said = thought_and_said(text_of(message))
    reasoning = _lines(joined_reasoning(reasoning_of(message), extra), thought)
    parts = [
        (Point.REASONING, Turn(role="assistant", reasoning=reasoning)),
        (Point.RESPONSE, Turn(role="assistant", content=_lines(said, words_beside(message, extra)))),
    ]
    return [(point, turn) for point, turn in parts if not turn.blank]


def turn_of(message: ChatMessage) -> Turn:
    """The message as context for later ones, without its thinking; tool calls of an assistant who said nothing else
    stand for the answer."""
    role = role_of(message)
    if role != "assistant":
        return Turn(role=role, content=words_of(message))
    _, said = thought_and_said(text_of(message))
    text = _lines(said, *_other_words(message))
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
        decisions: About the parts of it; where a tool call does not pass, one for each of them, in their order.
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
        judged_apart = role_of(message) == "assistant"  # of any other message all words are one text
        kept = [block for block in blocks if judged_apart and isinstance(block, ThinkingBlock | ToolCallBlock)]
        blocks = [*kept, TextBlock(text=policy.redacted(said))]
    elif Point.TOOL_CALL in failed and not any(isinstance(block, TextBlock | ToolCallBlock) for block in blocks):
        blocks.append(TextBlock(text=policy.redacted(failed[Point.TOOL_CALL])))
    return ChatMessage(role=message.role, blocks=blocks, additional_kwargs=_extra(message, set(failed)))


_LEFT_OUT: Final = frozenset({Point.REASONING, Point.TOOL_CALL})


def _without_thinking(blocks: Sequence[Any]) -> list[Any]:
    """The blocks of a whole answer without its thinking: neither the blocks of it, nor what stands in tags."""
    blocks = [block for block in blocks if not isinstance(block, ThinkingBlock)]
    said = iter(said_in([block.text for block in blocks if isinstance(block, TextBlock)], "\n"))
    kept = [_saying(block, next(said)) if isinstance(block, TextBlock) else block for block in blocks]
    return [block for block in kept if block is not None]


def _saying(block: TextBlock, said: str) -> TextBlock | None:
    """The same block where it says no more than that, or None where nothing is left of it."""
    if block.text == said:
        return block
    return TextBlock(text=said) if said else None


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
