"""The parts of messages: each is found, judged at its own point, and can be taken out alone."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage, ToolMessage

from qwen3guard_integrations import Action, BlockedError, Decision, Point, Policy
from qwen3guard_integrations.core.gate import Gate
from qwen3guard_integrations.langchain.chunks import pieces_of
from qwen3guard_integrations.langchain.messages import parts_of, reasoning_of, without

from .helpers import BAD, REFUSAL, REMOVED, asked, fake_guard, screen

BAD_64 = base64.b64encode(BAD.encode()).decode()


def tool_call(words: str, number: str = "1") -> dict[str, Any]:
    return {"name": "search", "args": {"query": words}, "id": number, "type": "tool_call"}


def answer(content: Any = "fine", **fields: Any) -> AIMessage:
    return AIMessage(content, **fields)


FOUND: list[tuple[str, BaseMessage, Point]] = [
    ("text", answer(BAD), Point.RESPONSE),
    ("text block", answer([{"type": "text", "text": BAD}]), Point.RESPONSE),
    ("string block", answer(["fine", BAD]), Point.RESPONSE),
    ("words across blocks", answer([{"type": "text", "text": "a bo"}, {"type": "text", "text": "mb"}]), Point.RESPONSE),
    ("text file", HumanMessage([{"type": "text-plain", "text": BAD, "mime_type": "text/plain"}]), Point.PROMPT),
    ("title of a file", HumanMessage([{"type": "text-plain", "text": "x", "title": BAD}]), Point.PROMPT),
    ("encoded file", HumanMessage([{"type": "text-plain", "base64": BAD_64, "mime_type": "text/plain"}]), Point.PROMPT),
    ("v0 text file", HumanMessage([{"type": "file", "source_type": "text", "text": BAD}]), Point.PROMPT),
    (
        "v0 encoded file",
        HumanMessage([{"type": "file", "source_type": "base64", "data": BAD_64, "mime_type": "text/csv"}]),
        Point.PROMPT,
    ),
    (
        "openai file",
        HumanMessage(
            [{"type": "file", "file": {"file_data": f"data:text/plain;base64,{BAD_64}", "filename": "a.txt"}}]
        ),
        Point.PROMPT,
    ),
    (
        "anthropic document",
        HumanMessage([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": BAD}}]),
        Point.PROMPT,
    ),
    ("search result", ToolMessage([{"type": "search_result", "title": BAD}], tool_call_id="1"), Point.TOOL_OUTPUT),
    ("refusal block", answer([{"type": "refusal", "refusal": BAD}]), Point.RESPONSE),
    ("openai refusal", answer("", additional_kwargs={"refusal": BAD}), Point.RESPONSE),
    ("transcript", answer("", additional_kwargs={"audio": {"transcript": BAD, "data": "AAAA"}}), Point.RESPONSE),
    ("reasoning block", answer([{"type": "reasoning", "reasoning": BAD}]), Point.REASONING),
    ("thinking block", answer([{"type": "thinking", "thinking": BAD, "signature": "x"}]), Point.REASONING),
    ("reasoning summary", answer([{"type": "reasoning", "summary": [{"text": BAD}]}]), Point.REASONING),
    ("reasoning_content", answer(additional_kwargs={"reasoning_content": BAD}), Point.REASONING),
    ("responses api", answer(additional_kwargs={"reasoning": {"summary": [{"text": BAD}]}}), Point.REASONING),
    ("reasoning_details", answer(additional_kwargs={"reasoning_details": [{"text": BAD}]}), Point.REASONING),
    ("think tags", answer(f"<think>{BAD}</think>no"), Point.REASONING),
    ("think tags that do not end", answer(f"<think>{BAD}"), Point.REASONING),
    ("think tags of a chunk", AIMessageChunk(content=f"<think>{BAD}</think>no"), Point.REASONING),
    ("think tags of a role", ChatMessage(content=["<think>a bo", "mb</think>no"], role="assistant"), Point.REASONING),
    (
        "think tags across blocks",
        answer([{"type": "text", "text": "<thi"}, f"nk>{BAD}</th", "ink>no"]),
        Point.REASONING,
    ),
    ("think tags in the answer", answer(f"No. <think>{BAD}</think>"), Point.RESPONSE),
    ("answer behind think tags", answer(f"<think>hm</think>{BAD}"), Point.RESPONSE),
    ("think tags of the user", HumanMessage(f"<think>{BAD}</think>no"), Point.PROMPT),
    ("tool call", answer("", tool_calls=[tool_call(BAD)]), Point.TOOL_CALL),
    (
        "broken tool call",
        answer("", invalid_tool_calls=[{"name": "f", "args": "{" + BAD, "id": "1", "error": None}]),
        Point.TOOL_CALL,
    ),
    (
        "function call",
        answer("", additional_kwargs={"function_call": {"name": "f", "arguments": f'{{"q": "{BAD}"}}'}}),
        Point.TOOL_CALL,
    ),
    (
        "escaped arguments",
        answer("", additional_kwargs={"function_call": {"name": "f", "arguments": '{"q": "\\u0062omb"}'}}),
        Point.TOOL_CALL,
    ),
    (
        "words after the arguments",
        AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": '{"q": 1} bomb', "id": "1", "index": 0}]),
        Point.TOOL_CALL,
    ),
    (
        "unlike its copy",
        answer(
            [{"type": "tool_use", "id": "1", "name": "search", "input": {"query": BAD}}], tool_calls=[tool_call("x")]
        ),
        Point.RESPONSE,
    ),
    ("server tool result", answer([{"type": "server_tool_result", "output": [BAD]}]), Point.RESPONSE),
    ("tool output", ToolMessage(BAD, tool_call_id="1"), Point.TOOL_OUTPUT),
    ("tool output block", ToolMessage([{"type": "text", "text": BAD}], tool_call_id="1"), Point.TOOL_OUTPUT),
    ("someone else's role", ChatMessage(content=BAD, role="narrator"), Point.PROMPT),
    ("assistant by name", ChatMessage(content=BAD, role="assistant"), Point.RESPONSE),
    ("name", HumanMessage("fine", name=BAD), Point.PROMPT),
    ("user's reasoning", HumanMessage([{"type": "reasoning", "reasoning": BAD}]), Point.PROMPT),
]


@pytest.mark.parametrize(("message", "point"), [case[1:] for case in FOUND], ids=[case[0] for case in FOUND])
def test_every_part_is_judged_at_its_point(message: BaseMessage, point: Point) -> None:
    with pytest.raises(BlockedError) as error:
        screen().invoke([message])
    assert error.value.point is point
    refused = screen(on_block="refuse").invoke(message)
    assert isinstance(refused, AIMessage)
    assert refused.content == REFUSAL
    assert "bomb" not in repr(refused)


@pytest.mark.parametrize(("message", "point"), [case[1:] for case in FOUND], ids=[case[0] for case in FOUND])
@pytest.mark.parametrize("action", ["redact", "drop"])
def test_nothing_of_a_removed_part_stays(message: BaseMessage, point: Point, action: str) -> None:
    before = message.model_dump()
    rest = screen({"unsafe": action}).invoke([message, HumanMessage("go on")])
    assert "bomb" not in repr(rest)
    assert BAD_64 not in repr(rest)
    assert message.model_dump() == before
    if action == "redact":
        assert type(rest[0]) is type(message)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": BAD_64, "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BAD_64}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BAD_64}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BAD_64}},
        {"type": "input_audio", "input_audio": {"data": BAD_64, "format": "wav"}},
    ],
)
def test_media_are_not_judged(block: dict[str, Any]) -> None:
    guard = fake_guard()
    message = HumanMessage(["Look", block])
    assert screen(guard=guard).invoke(message) is message
    assert [text.strip() for text in asked(guard)] == ["Look"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "1", "name": "search", "input": {"query": BAD}},
        {"type": "tool_use", "id": "1", "name": "search", "input": {}, "partial_json": f'{{"query": "{BAD}"}}'},
        {"type": "tool_call", "id": "1", "name": "search", "args": {"query": BAD}},
        {
            "type": "function_call",
            "call_id": "1",
            "name": "search",
            "arguments": f'{{"query":"{BAD}"}}',
            "status": "done",
        },
    ],
    ids=lambda block: block["type"],
)
def test_copies_of_tool_calls_follow_the_call(block: dict[str, Any]) -> None:
    guard = fake_guard()
    message = answer([{"type": "text", "text": "Searching."}, block], tool_calls=[tool_call(BAD), tool_call("x", "2")])
    rest = screen({"points": {"tool_call": "drop"}}, guard=guard).invoke(message)
    assert asked(guard) == ["Searching.", f'search({{"query": "{BAD}"}})', 'search({"query": "x"})']
    assert rest.content == "Searching."
    assert rest.tool_calls == [tool_call("x", "2")]


def test_parts_fail_one_by_one() -> None:
    message = answer(
        "salary",
        additional_kwargs={"reasoning_content": BAD, "tool_calls": [{"raw": BAD}], "refusal": None},
        tool_calls=[tool_call(BAD), tool_call("x", "2")],
        invalid_tool_calls=[{"name": "f", "args": "{bomb", "id": "3", "error": None}],
    )
    rest = screen({"unsafe": "redact", "categories": {"PII": {"controversial": "flag"}}}).invoke(message)
    assert (rest.content, rest.tool_calls, rest.invalid_tool_calls) == ("salary", [tool_call("x", "2")], [])
    assert "bomb" not in repr(rest)


def test_a_chunk_keeps_the_calls_that_pass() -> None:
    chunk = AIMessageChunk(
        content="",
        tool_call_chunks=[
            {"name": "f", "args": '{"q": "bomb"}', "id": "1", "index": 0},
            {"name": "f", "args": '{"q": "x"}', "id": "2", "index": 1},
        ],
    )
    rest = screen({"unsafe": "drop"}).invoke(chunk)
    assert [call["id"] for call in rest.tool_calls] == [call["id"] for call in rest.tool_call_chunks] == ["2"]
    assert "bomb" not in repr(rest)


def test_metadata_that_repeats_the_words_goes_with_them() -> None:
    message = answer(
        BAD,
        id="7",
        response_metadata={
            "model_name": "m",
            "logprobs": {"content": [{"token": "bomb"}]},
            "token_usage": {"total": 3},
        },
        additional_kwargs={"parsed": {"answer": BAD}},
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    )
    rest = screen({"unsafe": "redact"}).invoke(message)
    assert "bomb" not in repr(rest)
    assert (rest.id, rest.usage_metadata) == ("7", message.usage_metadata)
    assert rest.response_metadata == {"model_name": "m", "token_usage": {"total": 3}}


def test_a_redacted_tool_message_still_answers_its_call() -> None:
    message = ToolMessage(BAD, tool_call_id="1", artifact={"rows": [BAD]}, name="search")
    rest = screen({"unsafe": "redact"}).invoke(message)
    assert (rest.content, rest.tool_call_id, rest.name, rest.artifact) == (REMOVED, "1", "search", None)


# --- thinking in tags ---

THINKING = f"<think>\nShall I say {BAD}?\n</think>\n\n"
CITED: Any = {"type": "text", "text": "No. ", "index": 1, "annotations": [{"title": "a bomb", "start_index": 3}]}


@pytest.mark.parametrize("action", ["drop", "redact"])
@pytest.mark.parametrize(
    ("content", "rest"),
    [
        (f"{THINKING}No.", "No."),
        (f"\n{THINKING}No.", "No."),
        (f"{THINKING}<think>{BAD}</think>\nNo. </think><think>", "No. </think><think>"),
        (f"<think>{BAD}", ""),
        ([{"type": "text", "text": f"{THINKING}No."}], [{"type": "text", "text": "No."}]),
        ([f"{THINKING[:6]}", THINKING[6:], "No.", " Never."], ["No.", " Never."]),
        ([{**CITED, "text": f"{THINKING}No."}], [{"type": "text", "text": "No.", "index": 1}]),
        (["<think>", {"type": "refusal", "refusal": BAD}, "</think>No."], ["No."]),
        ([THINKING, {"type": "refusal", "refusal": "No."}], [{"type": "refusal", "refusal": "No."}]),
        ([{"type": "reasoning", "reasoning": BAD}, " No."], [" No."]),
    ],
)
@pytest.mark.parametrize("kind", [AIMessage, AIMessageChunk])
def test_thinking_in_the_text_can_be_left_out(kind: Any, content: Any, rest: Any, action: str) -> None:
    message = kind(content=content, id="7")
    before = message.model_dump()
    after = screen({"points": {"reasoning": action}}).invoke(message)
    assert (type(after), after.id, after.content) == (kind, "7", rest)
    assert message.model_dump() == before


def test_thinking_that_is_left_out_is_not_in_the_copies_either() -> None:
    message = answer(
        f"{THINKING}Searching.",
        additional_kwargs={"reasoning_content": BAD},
        tool_calls=[tool_call(BAD), tool_call("x", "2")],
        response_metadata={"logprobs": {"content": [{"token": "bomb"}]}},
    )
    rest = screen({"points": {"reasoning": "drop", "tool_call": "drop"}}).invoke(message)
    assert "bomb" not in repr(rest)
    assert (rest.content, rest.tool_calls) == ("Searching.", [tool_call("x", "2")])


def test_thinking_in_the_text_goes_with_a_redacted_answer() -> None:
    message = answer(f"<think>Hm.</think>{BAD}", additional_kwargs={"reasoning_content": "Oh."})
    rest = screen({"unsafe": "redact"}).invoke(message)
    assert (rest.content, rest.additional_kwargs) == (REMOVED, {"reasoning_content": "Oh."})


@pytest.mark.parametrize("action", ["allow", "flag"])
def test_thinking_in_the_text_that_passes_stays(action: str) -> None:
    message = answer(f"{THINKING}No.")
    assert screen({"points": {"reasoning": action}}).invoke(message) is message
    with pytest.raises(BlockedError):
        screen({"points": {"reasoning": action}}).invoke(answer(f"{THINKING}{BAD}"))


def test_later_turns_are_judged_without_the_thinking_before_them() -> None:
    guard = fake_guard()
    screen(guard=guard).invoke([HumanMessage("Why?"), answer("<think>Hm.</think>So."), HumanMessage("And?")])
    *_, last = (conversation for call in guard.calls for conversation in call)
    assert [turn.content for turn in last.turns] == ["Why?", "So.", "And?"]


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "nk>", "</", "<", " ", "\n\n", "a", "b", "c"]), max_size=12
).map("".join)
BESIDE = st.sampled_from([{}, {"reasoning_content": "z"}])


def pieces_of_text(data: Any, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def as_content(data: Any, text: str) -> Any:
    """The text whole, or in blocks of both kinds."""
    if data.draw(st.booleans()):
        return text
    pieces = pieces_of_text(data, text)
    return [piece if data.draw(st.booleans()) else {"type": "text", "text": piece} for piece in pieces]


@given(TEXTS, BESIDE, st.data())
def test_every_character_but_the_tags_is_judged_as_in_a_stream(text: str, beside: Any, data: Any) -> None:
    kind = data.draw(st.sampled_from([AIMessage, AIMessageChunk]))
    parts = parts_of(kind(content=as_content(data, text), additional_kwargs=beside))
    judged = {point: turn.reasoning + turn.content for point, turn in parts}
    gate: Gate[None] = Gate(Policy())
    for chunk in [AIMessageChunk(content=piece) for piece in pieces_of_text(data, text)]:
        gate.push(None, pieces_of(chunk))
    gate.finish()
    streamed = dict.fromkeys((Point.REASONING, Point.RESPONSE), "")
    for piece in gate.ask():
        streamed[piece.point] += piece.text
    if beside:
        streamed[Point.REASONING] = "\n".join(filter(None, ("z", streamed[Point.REASONING])))
    assert judged == {point: words for point, words in streamed.items() if words.strip()}
    missing = Counter(text) - Counter("".join(streamed.values()))
    opened, closed = missing["<"] - missing["/"], missing["/"]
    assert missing == Counter("<think>" * opened + "</think>" * closed), "only tags are in no part"


@given(TEXTS, BESIDE, st.data())
def test_what_stays_without_the_thinking_is_what_was_judged_as_the_answer(text: str, beside: Any, data: Any) -> None:
    message = AIMessage(content=as_content(data, text), additional_kwargs=beside)
    parts = parts_of(message)
    verdicts = [Decision(point=point, action=DROPS.get(point, Action.ALLOW)) for point, _ in parts]
    if all(decision.passes for decision in verdicts):
        return
    after = without(message, verdicts, {})
    said = {point: turn.content for point, turn in parts}.get(Point.RESPONSE, "")
    assert after.text.strip() == said.strip()
    assert not reasoning_of(after)


DROPS = {Point.REASONING: Action.DROP}


def test_reasoning_alone_is_taken_out_of_blocks() -> None:
    blocks: Any = [{"type": "reasoning", "reasoning": BAD}, {"type": "text", "text": "No."}]
    rest = screen({"points": {"reasoning": "redact"}}).invoke(answer(blocks))
    assert rest.content == [{"type": "text", "text": "No."}]


def test_the_refusal_takes_the_id_of_the_answer() -> None:
    chunk = AIMessageChunk(content=BAD, id="7")
    refused = screen(on_block="refuse").invoke(chunk)
    assert (type(refused), refused.id) == (AIMessageChunk, "7")
