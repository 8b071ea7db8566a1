"""The texts in LangChain messages, each at its screening point, and messages without some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
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
from ..core.thinking import said_in, thought_and_said
from ..core.words import WORDLESS_KEYS, is_name, parsed, strings_in, tool_call_text

# Blocks that hold a picture, a sound or a file: the guard reads text only, so of these only what is text.
_MEDIA: Final = frozenset({"image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file"})
_TEXT_BLOCKS: Final = frozenset({"text", "input_text", "output_text"})
_REASONING_BLOCKS: Final = frozenset({"reasoning", "thinking"})
# Copies of tool calls in the content, as providers write them, and where the arguments stand in them.
_CALL_BLOCKS: Final = frozenset({"tool_call", "tool_call_chunk", "tool_use", "input_json_delta", "function_call"})
_ARGUMENTS: Final = frozenset({"args", "input", "arguments", "partial_json"})
_CHAT_ROLES: Final[Mapping[str, Role]] = {
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_REASONING_KEYS: Final = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_CALL_KEYS: Final = ("tool_calls", "function_call")


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
    """Every text in the content that stands in no block of reasoning: plain, in blocks of any kind, in text files."""
    return _and_beside(_joined(message, reasoning=False), message)


def _and_beside(text: str, message: BaseMessage) -> str:
    """`text`, and what providers put beside the content of an answer."""
    if not (message.additional_kwargs and isinstance(message, AIMessage)):
        return text
    audio = message.additional_kwargs.get("audio")
    said = (message.additional_kwargs.get("refusal"), audio.get("transcript") if isinstance(audio, Mapping) else None)
    return "\n".join(filter(None, (text, *map(strings_in, said))))


def reasoning_of(message: BaseMessage) -> str:
    """The thinking: reasoning blocks, and what servers put into `reasoning_content`."""
    text = _joined(message, reasoning=True)
    if not message.additional_kwargs:
        return text
    copies = (text, *(strings_in(message.additional_kwargs.get(key)) for key in _REASONING_KEYS))
    return "\n".join(dict.fromkeys(filter(None, copies)))  # some servers send the same words under two names


def _joined(message: BaseMessage, *, reasoning: bool) -> str:
    """The texts or the reasoning in the content. An assistant's blocks are pieces of one text, others' paragraphs."""
    if isinstance(message.content, str):
        return "" if reasoning else message.content
    texts = (text for _, text, is_reasoning in _texts(message) if is_reasoning is reasoning and text)
    return ("" if role_of(message) == "assistant" else "\n").join(texts)


Block = str | dict[str, Any]


def _texts(message: BaseMessage) -> Iterator[tuple[Block, str, bool]]:
    """Each block of a message's content, the text in it, and whether that is reasoning."""
    for block in [message.content] if isinstance(message.content, str) else message.content:
        if isinstance(block, str):
            yield block, block, False
            continue
        kind = block.get("type", "")
        if kind in _REASONING_BLOCKS:
            yield block, strings_in(block), True
        elif _is_text(block):
            yield block, block["text"], False
        elif kind in _CALL_BLOCKS and _is_copy(block, message):
            yield block, "", False
        else:
            words = strings_in(block, media=kind in _MEDIA)
            whole = words and not isinstance(message, BaseMessageChunk)  # blocks of a chunk are pieces of blocks
            yield block, f"\n{words}\n" if whole else words, False


def _is_text(block: Block) -> bool:
    return isinstance(block, str) or (block.get("type", "") in _TEXT_BLOCKS and isinstance(block.get("text"), str))


def tool_calls_of(message: BaseMessage) -> list[Mapping[str, Any]]:
    """The tool calls of an assistant message, those with arguments that cannot be parsed among them.

    Of a chunk, the calls as they were streamed: what is parsed of them leaves out whatever follows the arguments.
    """
    if not isinstance(message, AIMessage):
        return []
    chunks = message.tool_call_chunks if isinstance(message, AIMessageChunk) else []
    calls: list[Mapping[str, Any]] = [*(chunks or (*message.tool_calls, *message.invalid_tool_calls))]
    legacy = message.additional_kwargs.get("function_call")
    if isinstance(legacy, Mapping):
        calls.append({"name": legacy.get("name"), "args": legacy.get("arguments")})
    return calls


def _is_copy(block: Mapping[str, Any], message: BaseMessage) -> bool:
    """Whether a block of the content says nothing but what a tool call of the message says too."""
    copies = [parsed(block[key]) for key in _ARGUMENTS if block.get(key)]
    rest = (value for key, value in block.items() if key not in _ARGUMENTS | WORDLESS_KEYS | {"name"})
    return all(is_name(value) or not strings_in(value) for value in rest) and any(
        call.get("name") == block.get("name") and all(copy == parsed(call.get("args")) for copy in copies)
        for call in tool_calls_of(message)
    )


def parts_of(message: BaseMessage) -> list[tuple[Point, Turn]]:
    """What there is to judge in a message, in the order in which it was written. Blank parts are none.

    Thinking in tags at the beginning of an answer's text is reasoning, as in a stream; the tags are in no part.
    """
    role = role_of(message)
    if role != "assistant":
        point = Point.TOOL_OUTPUT if role == "tool" else Point.PROMPT
        parts = [(point, Turn(role=role, content=_all_text(message)))]
    else:
        thought, said = thought_and_said(_joined(message, reasoning=False))
        thoughts = "\n".join(filter(None, (reasoning_of(message), thought)))
        parts = [
            (Point.REASONING, Turn(role=role, reasoning=thoughts)),
            (Point.RESPONSE, Turn(role=role, content=_and_beside(said, message))),
            *((Point.TOOL_CALL, Turn(role=role, content=tool_call_text(call))) for call in tool_calls_of(message)),
        ]
    return [(point, turn) for point, turn in parts if not turn.blank]


def _all_text(message: BaseMessage) -> str:
    """All texts in a message that no model wrote; a name is one of them where it could say something."""
    name = "" if is_name(message.name) else message.name
    return "\n".join(filter(None, (name, reasoning_of(message), text_of(message))))


def turn_of(message: BaseMessage) -> Turn:
    """The message as context for later ones, without its thinking; tool calls of an assistant who said nothing else
    stand for the answer."""
    role, text = role_of(message), _joined(message, reasoning=False)
    if role == "assistant":
        _, text = thought_and_said(text)
    said = _and_beside(text, message) or "\n".join(map(tool_call_text, tool_calls_of(message)))
    return Turn(role=role, content=said)


def without(message: BaseMessage, decisions: Sequence[Decision], redaction: Mapping[Point, str]) -> BaseMessage:
    """A copy of `message` without the parts that do not pass.

    Args:
        message: An allowed message with parts that are not.
        decisions: One for each of `parts_of(message)`, in that order.
        redaction: What stands in place of the text at each redacted point; of what is in the content nothing else
            stays then.
    """
    failed = {decision.point for decision in decisions if not decision.passes}
    said = failed - {Point.REASONING, Point.TOOL_CALL}
    answers = role_of(message) == "assistant"  # of any other message all words are one text
    update: dict[str, Any] = {
        "additional_kwargs": _without_copies(message.additional_kwargs, failed) if answers else {},
        "response_metadata": _wordless(message.response_metadata),
    }
    if Point.REASONING in failed:
        message = message.model_copy(update={"content": _without_thinking(message)})
    if Point.TOOL_CALL in failed and isinstance(message, AIMessage):
        update |= _without_tool_calls(message, decisions, redaction.get(Point.TOOL_CALL, ""))
    for point in said:
        update["content"] = redaction.get(point, "")
        update["name"] = message.name if is_name(message.name) else None
    if isinstance(message, ToolMessage):
        update["artifact"] = None
    return message.model_copy(update=update)


def _without_copies(extra: Mapping[str, Any], failed: Set[Point]) -> dict[str, Any]:
    """Of what a provider puts beside the content, only what was judged by itself and passes."""
    gone: set[str] = set()
    gone.update(_REASONING_KEYS if Point.REASONING in failed else ())
    gone.update(_CALL_KEYS if Point.TOOL_CALL in failed else ())
    if failed <= {Point.REASONING, Point.TOOL_CALL}:
        return {key: value for key, value in extra.items() if key not in gone}
    return {key: extra[key] for key in (*_REASONING_KEYS, *_CALL_KEYS) if key in extra and key not in gone}


def _without_reasoning(content: str | list[str | dict[str, Any]]) -> str | list[str | dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [block for block in content if isinstance(block, str) or block.get("type") not in _REASONING_BLOCKS]


def _without_thinking(message: BaseMessage) -> str | list[Block]:
    """The content of a whole answer without its reasoning: neither the blocks of it, nor what stands in tags."""
    texts = [(block, text) for block, text, is_reasoning in _texts(message) if not is_reasoning]
    content: list[Block] = []
    for (block, text), said in zip(texts, said_in([text for _, text in texts]), strict=True):
        if said == text or (not _is_text(block) and said.strip() == text.strip()):
            content.append(block)
        elif said and _is_text(block):
            content.append(said if isinstance(block, str) else {**_form_of(block), "text": said})
    return content if isinstance(message.content, list) else "".join(map(str, content))


def _form_of(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key in WORDLESS_KEYS}


def without_reasoning(message: BaseMessage) -> BaseMessage:
    """A copy of `message` without its reasoning."""
    update = {
        "content": _without_reasoning(message.content),
        "additional_kwargs": {
            key: item for key, item in message.additional_kwargs.items() if key not in _REASONING_KEYS
        },
        "response_metadata": _wordless(message.response_metadata),
    }
    return message.model_copy(update=update)


def _wordless(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without what repeats words of the text: log-probabilities do, and citations."""
    return {key: value for key, value in metadata.items() if isinstance(value, str) or not strings_in(value)}


def _without_tool_calls(message: AIMessage, decisions: Sequence[Decision], redaction: str) -> dict[str, Any]:
    verdicts = [decision for decision in decisions if decision.point is Point.TOOL_CALL]
    passes = {id(call): d.passes for call, d in zip(tool_calls_of(message), verdicts, strict=True)}
    # Providers keep a second copy of every call in the content: nothing of it may stay.
    update: dict[str, Any] = {"content": message.text or redaction}
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        kept = [call for call in message.tool_call_chunks if passes[id(call)]]
        parsed = AIMessageChunk(content="", tool_call_chunks=kept)
        calls, invalid = parsed.tool_calls, parsed.invalid_tool_calls
        update["tool_call_chunks"] = kept
    else:
        calls = [call for call in message.tool_calls if passes[id(call)]]
        invalid = [call for call in message.invalid_tool_calls if passes[id(call)]]
    return {**update, "tool_calls": calls, "invalid_tool_calls": invalid}


def said_only(message: AIMessage) -> dict[str, Any]:
    """What remains of `message` besides its tool calls: the fields without the copies that providers keep of calls."""
    content = message.content
    if not isinstance(content, str):
        content = [
            block
            for block in content
            if isinstance(block, str) or block.get("type") in _TEXT_BLOCKS | _REASONING_BLOCKS
        ]
    return {
        "content": content,
        "additional_kwargs": _without_copies(message.additional_kwargs, {Point.TOOL_CALL}),
        "response_metadata": _wordless(message.response_metadata),
    }


def refusal_message(text: str, decision: Decision, like: BaseMessage | None) -> AIMessage:
    """The policy's refusal as an assistant message: a chunk where `like` is one, with the id of a replaced answer."""
    kind = AIMessageChunk if isinstance(like, BaseMessageChunk) else AIMessage
    return kind(
        content=text,
        id=like.id if isinstance(like, AIMessage) else None,
        response_metadata={
            "finish_reason": "content_filter",
            "qwen3guard": decision.model_dump(
                mode="json", exclude_none=True, exclude={"verdict": {"other_categories"}}
            ),
        },
    )
