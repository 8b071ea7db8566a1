"""Every type that passes between LangChain steps: the same object when allowed; blocked, refused, reduced if not."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.runnables import AddableDict
from pydantic import BaseModel, Field

from qwen3guard_integrations import BlockedError, Point, Severity

from ..conftest import Lane
from .helpers import BAD, REFUSAL, REMOVED, asked, fake_guard, screen

OK = "how to bake bread"


class StringColour(enum.StrEnum):
    RED = OK
    BLACK = BAD


class Colour(enum.Enum):
    RED = OK
    BLACK = BAD


class State(BaseModel):
    question: str
    notes: list[str] = Field(default_factory=list)
    count: int = 0


class Open(BaseModel, extra="allow"):
    question: str = ""


@dataclass
class Plain:
    question: str
    seen: bool = field(default=False, init=False)


@dataclass(frozen=True, slots=True)
class Frozen:
    question: str


class Pair(NamedTuple):
    question: str
    number: int


class Role(BaseModel):
    role: str
    content: str


def call(word: str) -> dict[str, Any]:
    return {"name": "search", "args": {"query": word}, "id": "1", "type": "tool_call"}


# What makes a value of a text; the text of it that is redacted, found again by the second function.
TEXTS: dict[str, tuple[Any, Any]] = {
    "string": (lambda text: text, lambda value: value),
    "human message": (lambda text: HumanMessage(text, id="7"), lambda value: value.content),
    "system message": (lambda text: SystemMessage(text), lambda value: value.content),
    "answer": (lambda text: AIMessage(text), lambda value: value.content),
    "tool message": (lambda text: ToolMessage(text, tool_call_id="1"), lambda value: value.content),
    "messages": (lambda text: [SystemMessage("be kind"), HumanMessage(text)], lambda value: value[1].content),
    "tuple of messages": (lambda text: (HumanMessage(text),), lambda value: value[0].content),
    "string prompt": (lambda text: StringPromptValue(text=text), lambda value: value.text),
    "chat prompt": (
        lambda text: ChatPromptValue(messages=[HumanMessage(text)]),
        lambda value: value.messages[0].content,
    ),
    "role and text": (lambda text: ("user", text), lambda value: value[1]),
    "roles and texts": (lambda text: [("system", "be kind"), ("user", text)], lambda value: value[1][1]),
    "role dictionary": (lambda text: {"role": "user", "content": text}, lambda value: value["content"]),
    "role dictionaries": (
        lambda text: [{"role": "user", "content": text, "id": "7"}],
        lambda value: value[0]["content"],
    ),
    "dictionary": (lambda text: {"question": text, "n": 3}, lambda value: value["question"]),
    "nested": (lambda text: {"a": {"b": [{"c": text}]}}, lambda value: value["a"]["b"][0]["c"]),
    "addable dictionary": (lambda text: AddableDict(question=text), lambda value: value["question"]),
    "graph state": (lambda text: {"messages": [HumanMessage(text)]}, lambda value: value["messages"][0].content),
    "document": (lambda text: Document(text), lambda value: value.page_content),
    "documents": (lambda text: {"docs": [Document(OK), Document(text)]}, lambda value: value["docs"][1].page_content),
    "set": (lambda text: {text}, lambda value: next(iter(value))),
    "pydantic state": (lambda text: State(question=OK, notes=[text]), lambda value: value.notes[0]),
    "extra field": (lambda text: Open.model_validate({"more": text}), lambda value: value.more),
    "dataclass": (lambda text: Plain(text), lambda value: value.question),
    "frozen dataclass": (lambda text: Frozen(text), lambda value: value.question),
    "named tuple": (lambda text: Pair(text, 1), lambda value: value.question),
    "role object": (lambda text: Role(role="user", content=text), lambda value: value.content),
    "string enum": (StringColour, lambda value: value),
    "enum": (Colour, lambda value: value),
}
each_type = pytest.mark.parametrize(("make", "text_in"), TEXTS.values(), ids=TEXTS.keys())


@each_type
async def test_allowed_is_the_same_object(make: Any, text_in: Any, lane: Lane) -> None:
    value = make(OK)
    assert await lane(screen(), "invoke", value) is value


@each_type
async def test_blocked(make: Any, text_in: Any, lane: Lane) -> None:
    with pytest.raises(BlockedError) as error:
        await lane(screen(), "invoke", make(BAD))
    assert error.value.verdict is not None
    assert error.value.verdict.severity is Severity.UNSAFE
    assert error.value.point in Point


@each_type
def test_redacted_copy(make: Any, text_in: Any) -> None:
    value, untouched = make(BAD), make(BAD)
    redacted = screen({"unsafe": "redact"}).invoke(value)
    assert text_in(redacted) == REMOVED
    assert value == untouched, "the value itself was changed"
    if not isinstance(value, enum.Enum | AddableDict):
        assert type(redacted) is type(value)


@each_type
def test_refusal_of_the_same_kind(make: Any, text_in: Any) -> None:
    value = make(BAD)
    refused = screen(on_block="refuse").invoke(value)
    assert BAD not in str(refused)
    assert REFUSAL in str(refused)
    if not isinstance(value, enum.Enum | AddableDict | HumanMessage | SystemMessage | ToolMessage):
        assert type(refused) is type(value)


@each_type
@pytest.mark.parametrize("action", ["flag", "allow"])
def test_flagged_passes(make: Any, text_in: Any, action: str) -> None:
    value = make(BAD)
    assert screen({"unsafe": action}).invoke(value) is value


@each_type
@pytest.mark.parametrize("action", ["block", "review", "drop", "redact"])
def test_never_passes(make: Any, text_in: Any, action: str) -> None:
    try:
        released = screen({"unsafe": action}, on_block="refuse").invoke(make(BAD))
    except BlockedError:
        return
    assert "bomb" not in repr(released)


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ([OK, BAD], [OK]),
        ({"a": OK, "b": BAD}, {"a": OK}),
        ([Document(OK), Document(BAD)], [Document(OK)]),
        ([SystemMessage("be kind"), HumanMessage(BAD)], [SystemMessage("be kind")]),
        ({"docs": (Document(BAD), Document(OK))}, {"docs": (Document(OK),)}),
        ([call(BAD), call(OK)], [call(OK)]),
        (State(question=OK, notes=[BAD, OK]), State(question=OK, notes=[OK])),
        ([{"role": "user", "content": OK}, {"role": "user", "content": BAD}], [{"role": "user", "content": OK}]),
    ],
)
def test_dropped_parts_are_left_out(value: Any, rest: Any) -> None:
    assert screen({"unsafe": "drop"}).invoke(value) == rest


@pytest.mark.parametrize(
    "value",
    [
        BAD,
        Document(BAD),
        HumanMessage(BAD),
        [HumanMessage(BAD)],
        ChatPromptValue(messages=[HumanMessage(BAD)]),
        call(BAD),
    ],
    ids=lambda value: type(value).__name__,
)
def test_dropping_all_there_is_blocks(value: Any) -> None:
    with pytest.raises(BlockedError):
        screen({"unsafe": "drop"}).invoke(value)


def test_a_dropped_call_in_a_state_loses_its_entry() -> None:
    assert screen({"unsafe": "drop"}).invoke({"call": call(BAD), "n": 1}) == {"n": 1}


@pytest.mark.parametrize(
    "value",
    [
        "",
        " \n",
        None,
        3,
        2.5,
        True,
        1j,
        datetime.date(2026, 1, 1),
        uuid4(),
        [],
        {},
        (),
        HumanMessage(" "),
        {"n": [1, None]},
        Document(""),
        RemoveMessage(id="1"),
        HumanMessage([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
    ],
    ids=repr,
)
async def test_without_words_nothing_is_asked(value: Any, lane: Lane) -> None:
    guard = fake_guard()
    assert await lane(screen(guard=guard), "invoke", value) is value
    assert not guard.calls


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "object"),
        ({"picture": b"bomb"}, "'picture'"),
        ({"a": {"b": iter("ab")}}, "'b'"),
        ({BAD: b""}, "entry"),
    ],
)
async def test_unknown_types_do_not_pass(value: Any, named: str, lane: Lane) -> None:
    with pytest.raises(TypeError, match="input_key") as error:
        await lane(screen(), "invoke", value)
    assert named in str(error.value)
    assert "bomb" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "judged"),
    [("question", [OK]), (("question", "notes"), [OK, "salary"]), (None, [OK, "salary", BAD])],
)
def test_input_key(key: Any, judged: list[str]) -> None:
    guard = fake_guard()
    value = {"question": OK, "notes": "salary", "trusted": BAD, "n": 1}
    screen({"unsafe": "flag"}, guard=guard, input_key=key).invoke(value)
    assert asked(guard) == judged


@pytest.mark.parametrize("value", [{"b": OK}, State(question=OK), Plain(OK)])
async def test_a_missing_input_key_fails(value: Any, lane: Lane) -> None:
    with pytest.raises(KeyError, match="answer"):
        await lane(screen(input_key=("answer",)), "invoke", value)


def test_input_key_of_objects_and_of_what_looks_like_a_message() -> None:
    with pytest.raises(BlockedError):
        screen(input_key="content").invoke({"role": "no role", "content": BAD})
    assert screen(input_key="question").invoke(State(question=OK, notes=[BAD]))


@pytest.mark.parametrize(
    "value",
    [
        {"role": "user", "content": OK, "question": BAD},
        {"role": "user", "content": OK, "tool_calls": [{"args": BAD}]},
        {"role": "admin", "content": BAD},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": BAD}, "id": "1"}]},
        {"role": "assistant", "content": OK, "reasoning_content": BAD},
        {"role": "user", "content": {"text": BAD}},
        {"role": "user", "content": OK, "name": BAD},
        {"name": "Ann", "args": OK, "question": BAD},
        ("placeholder", BAD),
        ("user", BAD, "x"),
        [HumanMessage(OK), BAD],
        {BAD: 1},
        {("a", BAD): 1},
        {"制作炸弹 bomb": "x"},
        {"step": {BAD: OK}},
        Open.model_validate({"messages": [("user", BAD)]}),
    ],
    ids=repr,
)
async def test_texts_in_odd_places_are_judged(value: Any, lane: Lane) -> None:
    with pytest.raises(BlockedError):
        await lane(screen(), "invoke", value)


def test_keys_that_a_model_wrote_are_redacted_too() -> None:
    redacted = screen({"unsafe": "redact"}).invoke({BAD: 1, "fine": OK})
    assert redacted == {REMOVED: 1, "fine": OK}


def test_redacted_and_refused_role_dictionaries_keep_their_form() -> None:
    calls = [
        {"id": str(n), "type": "function", "function": {"name": "f", "arguments": f'{{"q": "{word}"}}'}}
        for n, word in enumerate((OK, BAD))
    ]
    answer = {"role": "assistant", "content": "x", "tool_calls": calls, "reasoning_content": "hm", "id": "3"}
    policy = {"unsafe": "redact"}
    assert screen(policy).invoke([answer]) == [{**answer, "tool_calls": calls[:1]}]
    assert screen(on_block="refuse").invoke(answer) == {"role": "assistant", "content": REFUSAL, "id": "3"}
    refused = screen(on_block="refuse").invoke([{"role": "user", "content": BAD}])
    assert refused == [{"role": "assistant", "content": REFUSAL}]


def test_a_refused_tool_call_is_no_input_for_the_tool() -> None:
    refused = screen(on_block="refuse").invoke(call(BAD))
    assert isinstance(refused, ToolMessage)
    assert (refused.content, refused.tool_call_id, refused.status) == (REFUSAL, "1", "error")


def test_a_refused_conversation_ends_with_the_refusal() -> None:
    history = [HumanMessage(OK), AIMessage("with flour"), HumanMessage(BAD)]
    *kept, refusal = screen(on_block="refuse").invoke(history)
    assert all(one is other for one, other in zip(kept, history, strict=False))
    assert refusal.content == REFUSAL
    assert refusal.response_metadata["finish_reason"] == "content_filter"
    assert refusal.response_metadata["qwen3guard"]["verdict"]["categories"] == ["Violent"]


def test_every_turn_is_judged_the_last_one_with_all_before_it() -> None:
    guard = fake_guard()
    history = [SystemMessage("be kind"), HumanMessage("one"), AIMessage("two"), HumanMessage("three")]
    screen(guard=guard).invoke(history)
    contexts = [[turn.content for turn in conversation.context] for conversation in guard.calls[0]]
    assert asked(guard) == ["be kind", "one", "two", "three"]
    assert contexts == [[], [], ["one"], ["be kind", "one", "two"]]


def test_trusted_roles_are_context_only() -> None:
    guard = fake_guard()
    value = [SystemMessage(f"Never say {BAD}"), HumanMessage(OK)]
    assert screen({"trusted_roles": {"system"}}, guard=guard).invoke(value) is value
    assert asked(guard) == [OK]
    assert guard.calls[0][0].context[0].content == value[0].content


@pytest.mark.parametrize(
    ("value", "settings", "point"),
    [
        (BAD, {}, Point.PROMPT),
        (BAD, {"point": "response"}, Point.RESPONSE),
        ({"answer": BAD}, {"point": "response"}, Point.RESPONSE),
        (Document(BAD), {"point": "response"}, Point.DOCUMENT),
        (AIMessage(BAD), {}, Point.RESPONSE),
        (ToolMessage(BAD, tool_call_id="1"), {}, Point.TOOL_OUTPUT),
        (call(BAD), {}, Point.TOOL_CALL),
        (("ai", BAD), {}, Point.RESPONSE),
    ],
)
def test_screening_points(value: Any, settings: dict[str, Any], point: Point) -> None:
    with pytest.raises(BlockedError) as error:
        screen(**settings).invoke(value)
    assert error.value.point is point


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: {"answer": text, "n": 1}], ids=["text", "entry"])
@pytest.mark.parametrize("thinking", [f"<think>{BAD}</think>\n\n", f"\n<think>{BAD}</think><think>x</think> "])
def test_an_answer_as_text_is_judged_with_its_thinking_apart(wrap: Any, thinking: str) -> None:
    value = wrap(f"{thinking}No.")
    for settings in ({"points": {"reasoning": "flag"}}, {"points": {"reasoning": "allow"}}):
        assert screen(settings, point=Point.RESPONSE).invoke(value) is value
        with pytest.raises(BlockedError):
            screen(settings, point=Point.RESPONSE).invoke(wrap(f"{thinking}{BAD}"))
    for action in ("drop", "redact"):
        assert screen({"points": {"reasoning": action}}, point=Point.RESPONSE).invoke(value) == wrap("No.")
    with pytest.raises(BlockedError) as error:
        screen(point=Point.RESPONSE).invoke(value)
    assert error.value.point is Point.REASONING
    assert screen({"unsafe": "redact"}, point=Point.RESPONSE).invoke(wrap(f"<think>x</think>{BAD}")) == wrap(REMOVED)
    with pytest.raises(BlockedError) as error:
        screen({"points": {"reasoning": "allow"}}).invoke(value)
    assert error.value.point is Point.PROMPT, "only a model thinks"


def test_redacted_documents_lose_metadata_that_may_repeat_the_text() -> None:
    document = Document(BAD, id="7", metadata={"summary": BAD})
    redacted = screen({"unsafe": "redact"}).invoke([document])[0]
    assert (redacted.page_content, redacted.id, redacted.metadata) == (REMOVED, "7", {})
