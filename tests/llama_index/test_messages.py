"""The texts in LlamaIndex's messages: nothing that could say something is left unread."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from qwen3guard_integrations import Action, Decision, Point, Policy
from qwen3guard_integrations.llama_index.messages import (
    items_of,
    parts_of,
    reasoning_of,
    role_of,
    tool_calls_of,
    without,
    without_reasoning,
    words_of,
)

from .helpers import says

BLOCK = Action.BLOCK


def decided(*pairs: tuple[Point, Action]) -> list[Decision]:
    return [Decision(point=point, action=action) for point, action in pairs]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("user", "user"),
        ("assistant", "assistant"),
        ("chatbot", "assistant"),
        ("model", "assistant"),
        ("system", "system"),
        ("developer", "system"),
        ("tool", "tool"),
        ("function", "tool"),
    ],
)
def test_roles(role: str, expected: str) -> None:
    assert role_of(ChatMessage(role=MessageRole(role), content="x")) == expected


@pytest.mark.parametrize(
    "block",
    [
        TextBlock(text="a word"),
        CitableBlock(title="t", source="s", content=[TextBlock(text="a word")]),
        CitableBlock(title="a word", source="s", content=[]),
        CitationBlock(cited_content=TextBlock(text="a word"), source="s", title="t", additional_location_info={}),
        DocumentBlock(title="a word", data=b"%PDF", document_mimetype="application/pdf"),
        DocumentBlock(data=b"a word", document_mimetype="text/plain"),
        DocumentBlock(data=base64.b64encode(b"has a word in it"), document_mimetype="text/plain"),
    ],
    ids=lambda block: block.block_type,
)
def test_blocks_with_words(block: Any) -> None:
    message = ChatMessage(blocks=[TextBlock(text="before"), block])
    assert "a word" in words_of(message)
    ((point, turn),) = parts_of(message)
    assert point is Point.PROMPT
    assert "a word" in turn.content


@pytest.mark.parametrize(
    "document",
    [
        {"data": io.BytesIO(b"has a word in it")},
        {"data": io.BytesIO("größer als a word".encode()), "document_mimetype": "application/xml"},
        {"data": b'{"a": "a word"}', "document_mimetype": "application/json"},
        {"data": "größer als a word".encode("latin-1"), "document_mimetype": "text/plain"},
        {"data": b"has a word in it\0", "document_mimetype": "text/plain"},
        {"data": "größer als a word".encode("latin-1")},
        {"data": "größer als a word".encode("utf-16"), "document_mimetype": "text/plain"},
        {"url": "data:text/plain,has%20a%20word"},
        {"url": "DATA:application/json;base64," + base64.b64encode(b"has a word in it").decode()},
        {"url": "data:;base64," + base64.b64encode(b"has a word in it").decode()},
        {"path": "words.txt"},
    ],
    ids=["file", "xml", "json", "latin-1", "nul", "unknown", "utf-16", "url", "base64 url", "bare url", "path"],
)
def test_text_files_are_read_wherever_they_are(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("has a word in it")
    block = DocumentBlock(**document)
    for _ in range(2):  # nothing is used up
        assert "a word" in words_of(ChatMessage(blocks=[block]))


@pytest.mark.parametrize(
    "document",
    [{"data": b"\x89PNG\x00"}, {"data": b"\xff\xfe"}, {"path": "none.txt"}, {"url": "https://localhost:1/a"}],
)
def test_of_other_files_only_the_title_is_read(document: dict[str, Any]) -> None:
    assert words_of(ChatMessage(blocks=[DocumentBlock(title="a title", **document)])) == "a title"


@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_calls_in_messages_of_others_are_words(role: str) -> None:
    message = ChatMessage(
        role=MessageRole(role), blocks=[TextBlock(text="hi"), ToolCallBlock(tool_name="f", tool_kwargs={"q": "x"})]
    )
    message.additional_kwargs = {"tool_calls": [{"function": {"name": "g", "arguments": '{"q": "y"}'}}]}
    ((_, turn),) = parts_of(message)
    assert turn.content == 'hi\nf({"q": "x"})\ng({"q": "y"})'
    gone = without(message, decided((Point.PROMPT, BLOCK)), Policy())
    assert [type(block) for block in gone.blocks] == [TextBlock]
    assert not gone.additional_kwargs


def test_only_text_can_be_thinking() -> None:
    block = DocumentBlock(title="<think>", data=b"%PDF", document_mimetype="application/pdf")
    assert [point for point, _ in parts_of(says(block, "a word"))] == [Point.RESPONSE]


def test_blocks_without_words() -> None:
    image = ImageBlock(image=base64.b64encode(b"\x89PNG"), image_mimetype="image/png")
    blocks: list[Any] = [image, CachePoint(cache_control={"type": "ephemeral", "ttl": "5m"})]
    assert parts_of(ChatMessage(blocks=blocks)) == []


def test_the_parts_of_an_answer() -> None:
    message = says(ThinkingBlock(content="hm"), "fine", ToolCallBlock(tool_name="f", tool_kwargs={"q": "x"}))
    assert [(point, turn.reasoning or turn.content) for point, turn in parts_of(message)] == [
        (Point.REASONING, "hm"),
        (Point.RESPONSE, "fine"),
        (Point.TOOL_CALL, 'f({"q": "x"})'),
    ]


def test_thinking_that_servers_put_beside_the_answer() -> None:
    message = says("fine")
    message.additional_kwargs = {"reasoning_content": "hm", "reasoning": "hm"}
    assert reasoning_of(message) == "hm"
    assert "reasoning_content" not in without_reasoning(message).additional_kwargs


class Function:
    name, arguments = "f", '{"q": "x"}'


class Call:
    id, function = "c1", Function()


@pytest.mark.parametrize(
    "call",
    [
        Call(),
        {"id": "c1", "function": {"name": "f", "arguments": '{"q": "x"}'}},
        {"id": "c1", "name": "f", "input": {"q": "x"}},
        {"id": "c1", "name": "f", "args": {"q": "x"}},
    ],
)
def test_tool_calls_as_providers_write_them(call: Any) -> None:
    message = says("fine")
    message.additional_kwargs = {"tool_calls": [call]}
    assert tool_calls_of(message) == [{"name": "f", "args": tool_calls_of(message)[0]["args"], "id": "c1"}]
    assert parts_of(message)[-1][1].content == 'f({"q": "x"})'
    message.blocks = [*message.blocks, ToolCallBlock(tool_call_id="c1", tool_name="f", tool_kwargs={"q": "x"})]
    assert len(tool_calls_of(message)) == 1, "a copy is no second call"


# --- messages without some of it ---


def test_what_is_left_out_is_nowhere() -> None:
    message = says(
        ThinkingBlock(content="hm"),
        "fine",
        ToolCallBlock(tool_call_id="1", tool_name="f", tool_kwargs={"q": "a"}),
        ToolCallBlock(tool_call_id="2", tool_name="f", tool_kwargs={"q": "b"}),
    )
    message.additional_kwargs = {"reasoning_content": "hm", "tool_calls": [Call()], "model": "m", "words": "more words"}
    points = [point for point, _ in parts_of(message)]
    actions = {Point.REASONING: Action.DROP, Point.RESPONSE: Action.ALLOW, Point.TOOL_CALL: Action.DROP}
    after = without(message, decided(*((point, actions[point]) for point in points)), Policy())
    assert [block.block_type for block in after.blocks] == ["text"]
    assert after.additional_kwargs == {"model": "m"}


def test_one_call_of_two_is_left_out() -> None:
    blocks = [ToolCallBlock(tool_call_id=q, tool_name="f", tool_kwargs={"q": q}) for q in "ab"]
    message = says(*blocks)
    after = without(message, decided((Point.TOOL_CALL, Action.DROP), (Point.TOOL_CALL, Action.ALLOW)), Policy())
    assert after.blocks == [blocks[1]]
    after = without(message, decided((Point.TOOL_CALL, Action.DROP), (Point.TOOL_CALL, Action.DROP)), Policy())
    assert [block.block_type for block in after.blocks] == ["text"], "an answer with nothing in it is none"


def test_a_redacted_text_leaves_thinking_and_calls() -> None:
    message = says(ThinkingBlock(content="hm"), "bad", ToolCallBlock(tool_name="f"))
    allowed = decided((Point.REASONING, Action.ALLOW), (Point.RESPONSE, Action.REDACT), (Point.TOOL_CALL, Action.ALLOW))
    after = without(message, allowed, Policy(redaction="[gone]"))
    assert [block.block_type for block in after.blocks] == ["thinking", "tool_call", "text"]
    assert after.content == "[gone]"


# --- a conversation ---


def test_every_turn_is_read_and_only_the_last_one_with_all_before_it() -> None:
    messages = [
        ChatMessage(role=MessageRole.SYSTEM, content="s"),
        ChatMessage(content="u1"),
        says("a1"),
        ChatMessage(role=MessageRole.TOOL, content="t"),
        ChatMessage(content="u2"),
    ]
    items = items_of(messages, Policy(trusted_roles={"system"}))
    assert [[item.point for item in own] for own in items] == [
        [],
        [Point.PROMPT],
        [Point.RESPONSE],
        [Point.TOOL_OUTPUT],
        [Point.PROMPT],
    ]
    contexts = [[turn.content for turn in item.conversation.context] for own in items for item in own]
    assert contexts == [[], ["u1"], [], ["s", "u1", "a1", "t"]]


@pytest.mark.parametrize(
    "extra",
    [
        {"citations": ["a poison"]},
        {"annotations": [{"type": "url_citation", "title": "a poison"}]},
        {"nested": {"deep": [{"deeper": "a poison"}]}},
        {"name": "a poison"},
        {"block": TextBlock(text="a poison")},
        {"several": (TextBlock(text="a poison"),)},
    ],
    ids=["strings", "annotations", "nested", "name", "block", "blocks"],
)
@pytest.mark.parametrize("role", list(MessageRole))
def test_what_stands_beside_the_text_is_read(role: MessageRole, extra: dict[str, Any]) -> None:
    for message, beside in (
        (ChatMessage(role=role, content="fine", additional_kwargs=extra), {}),
        (ChatMessage(role=role, content="fine"), extra),
    ):
        ((_, turn),) = parts_of(message, beside)
        assert turn.content == "fine\na poison"


def test_names_beside_the_text_say_nothing() -> None:
    extra = {"tool_call_id": "call_1", "name": "search", "finish_reason": "stop", "tokens": 12, "cost": 0.5, "x": None}
    ((point, turn),) = parts_of(ChatMessage(role=MessageRole.TOOL, content="fine", additional_kwargs=extra), extra)
    assert (point, turn.content) == (Point.TOOL_OUTPUT, "fine")


def test_thinking_that_comes_with_the_response_is_reasoning() -> None:
    parts = dict(parts_of(says("fine"), {"reasoning_content": "hm"}))
    assert (parts[Point.REASONING].reasoning, parts[Point.RESPONSE].content) == ("hm", "fine")
