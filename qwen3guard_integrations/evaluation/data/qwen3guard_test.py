"""Qwen3GuardTest: responses with thinking, and responses whose first unsafe sentence is marked.

Schema as on the data set's card (Qwen/Qwen3GuardTest, revision 8a8391a) and as QwenLM/Qwen3Guard, eval/eval_stream.py
reads it: `unique_id`, `message` (a list of role and content), `unsafe_type`, `source`, `label` (Safe or Unsafe) and,
in the splits `thinking_loc` and `response_loc`, `input_ids`, `unsafe_start_index`, `unsafe_end_index`. Indices are
positions in `input_ids`, the whole conversation in Qwen3's chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...core.conversation import Turn
from ...core.verdict import Severity
from ..rows import Label
from .benchmark import Benchmark
from .records import NO_LABEL, Draft, Drafts, Record, split_thinking
from .words import categories_of, empty

_LABELS: Final = {"safe": Severity.SAFE, "unsafe": Severity.UNSAFE}


def _drafts(record: Record) -> Drafts:
    """A response each. `<think>` text becomes the turn's reasoning; safe rows have no positions."""
    turns = tuple(_turn(record, message) for message in _messages(record))
    severity = record.choice("label", _LABELS)
    if severity is None:
        yield NO_LABEL
        return
    input_ids = _input_ids(record)
    start, end = _span(record, input_ids) if severity is Severity.UNSAFE else (None, None)
    label = Label(
        severity=severity,
        categories=categories_of([record.key("unsafe_type") or ""]),
        source=record.key("source"),
        unsafe_start=start,
        unsafe_end=end,
    )
    yield Draft(turns, label, record.key("unique_id"), input_ids)


def _messages(record: Record) -> list[Mapping[str, Any]]:
    messages = record.value("message")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, Mapping) for each in messages):
        raise record.error("message", "is no list of messages")
    if messages[-1].get("role") != "assistant":
        raise record.error("message", "does not end with the assistant's message")
    return messages


def _turn(record: Record, message: Mapping[str, Any]) -> Turn:
    role, content = message.get("role"), message.get("content")
    if not isinstance(content, str) or role not in {"system", "user", "assistant"}:
        raise record.error("message", "has a message without a known role and content")
    reasoning, answer = split_thinking(content) if role == "assistant" else ("", content)
    return Turn(role=role, content=answer, reasoning=reasoning)


def _input_ids(record: Record) -> tuple[int, ...] | None:
    tokens = record.find("input_ids")
    if empty(tokens):
        return None
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise record.error("input_ids", "is no list of token ids")
    return tuple(tokens)


def _span(record: Record, input_ids: tuple[int, ...] | None) -> tuple[int | None, int | None]:
    """Where the first unsafe sentence begins and ends; nowhere in the split without marks.

    Raises:
        DataError: There is only one end, or the sentence is not within the tokens.
    """
    start, end = (_position(record, name) for name in ("unsafe_start_index", "unsafe_end_index"))
    if start is None and end is None:
        return None, None
    last = len(input_ids) if input_ids else 0
    if start is None or end is None or not 0 <= start <= end < last:
        raise record.error("unsafe_start_index", "and 'unsafe_end_index' mark nothing within 'input_ids'")
    return start, end


def _position(record: Record, name: str) -> int | None:
    value = record.number_at(name) if record.has(name) else None
    if value is not None and not value.is_integer():
        raise record.error(name, "is no whole number")
    return None if value is None else int(value)


QWEN3GUARD_TEST: Final = Benchmark(
    name="qwen3guardtest",
    title="Qwen3GuardTest",
    hub="Qwen/Qwen3GuardTest",
    split="thinking",
    splits=("thinking", "thinking_loc", "response_loc"),
    judged="response",
    drafts=_drafts,
    licence="CC BY-NC 4.0",
    sample="qwen3guardtest",
)
