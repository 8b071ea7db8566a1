"""Files with fields of any name: what becomes a row, what is skipped, and what is an error that names its cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3guard_integrations import Category, Severity
from qwen3guard_integrations.evaluation import DataError, DataSet, load_rows

CANARY = "quetzalcoatl"


def written(folder: Path, *records: Any, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def loaded(folder: Path, *records: Any, **options: Any) -> DataSet:
    return load_rows(written(folder, *records), **options)


def severities(data: DataSet) -> list[str]:
    return [row.label.severity.value for row in data]


def test_simple_names_need_no_mapping(tmp_path: Path) -> None:
    data = loaded(
        tmp_path,
        {"id": "a", "prompt": "How do I bake bread?", "label": "safe", "language": "en"},
        {
            "id": 7,
            "prompt": "p",
            "response": "r",
            "reasoning": "t",
            "severity": "Controversial",
            "categories": ["PII", "Self-Harm", "Bad Manners"],
            "refusal": False,
            "source": "chat",
        },
        {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "unsafe": True},
    )
    first, second, third = data
    assert (first.id, first.is_response, first.label.severity) == ("a", False, Severity.SAFE)
    assert first.label.language == "en"
    assert (second.id, second.is_response) == ("7", True)
    assert (second.conversation.judged.content, second.conversation.judged.reasoning) == ("r", "t")
    assert second.label.severity is Severity.CONTROVERSIAL
    assert second.label.categories == (Category.PII, Category.SUICIDE_AND_SELF_HARM)  # the third is none of the nine
    assert (second.label.refusal, second.label.source) == (False, "chat")
    assert (third.id, third.label.severity) == ("3", Severity.UNSAFE)
    assert [turn.role for turn in third.conversation.turns] == ["user", "assistant"]


def test_fields_of_other_names_nested_ones_and_names_with_a_dot(tmp_path: Path) -> None:
    data = loaded(
        tmp_path,
        {"question": "q", "a.b": "in a dotted name", "meta": {"answer": "nested", "verdict": {"bad": 1}}, "n": 3.0},
        fields={
            "prompt": "question",
            "response": "meta.answer",
            "unsafe": "meta.verdict.bad",
            "source": "a.b",
            "id": "n",
        },
    )
    [row] = data
    assert row.conversation.judged.content == "nested"
    assert row.conversation.context[0].content == "q"
    assert row.label.severity is Severity.UNSAFE
    assert (row.label.source, row.id) == ("in a dotted name", "3")


@pytest.mark.parametrize(
    ("setting", "values", "expected"),
    [
        ("x", [True, False, 1, 0, "1", "no", "Unsafe", "HARMFUL", "benign"], "USUSUSUUS"),
        ("x=1", [1, 0, "1", 1.0, True], "USUUS"),
        ("x==harmful", ["harmful", "Harmful ", "unharmful"], "UUS"),
        ("x = 'very bad'|awful", ["very bad", "awful", "bad"], "UUS"),
        ('x!="ok"', ["ok", "OK", "bad"], "SSU"),
        ("x>=0.5", [0.5, 0.49, 1, "0.7"], "USUU"),
        ("x>2", [2, 3], "SU"),
        ("x<=2", [2, 3], "US"),
        ("x<2", [1, 2], "US"),
        ("=yes", ["whatever", None], "UU"),
    ],
)
def test_values_are_read_as_the_setting_says(tmp_path: Path, setting: str, values: list[Any], expected: str) -> None:
    records = [{"t": "a text", "x": value} for value in values]
    data = loaded(tmp_path, *records, fields={"prompt": "t", "unsafe": setting})
    assert "".join(word[0] for word in severities(data)) == expected


def test_rows_without_a_label_or_without_text_are_counted_and_left_out(tmp_path: Path) -> None:
    data = loaded(
        tmp_path,
        {"prompt": "kept", "label": "safe"},
        {"prompt": "p", "label": None},
        {"prompt": "p", "label": " "},
        {"prompt": "\n ", "label": "safe"},
        {"prompt": None, "label": "safe", "response": None},
        {"prompt": "p", "messages": [{"role": "user", "content": ""}], "label": "safe"},
    )
    assert [row.id for row in data] == ["1"]
    assert data.skipped == {"no label": 2, "nothing to judge": 3}


def test_what_is_judged_is_only_what_the_mapping_names(tmp_path: Path) -> None:
    record = {"prompt": "p", "response": "r", "label": "unsafe", "prompt_label": "safe"}
    [prompt] = loaded(tmp_path, record, fields={"prompt": "prompt", "unsafe": "prompt_label"})
    assert (prompt.is_response, prompt.label.severity) == (False, Severity.SAFE)
    [response] = loaded(tmp_path, record)
    assert (response.is_response, response.label.severity) == (True, Severity.UNSAFE)


def test_a_response_alone_is_judged_without_a_prompt(tmp_path: Path) -> None:
    [row] = loaded(tmp_path, {"text": "r", "bad": 0}, fields={"response": "text", "unsafe": "bad"})
    assert row.is_response
    assert row.conversation.context == ()


def test_a_named_response_that_is_blank_leaves_nothing_to_judge(tmp_path: Path) -> None:
    fields = {"prompt": "p", "response": "r", "unsafe": "u"}
    data = loaded(tmp_path, {"p": "p", "r": "", "u": 1}, {"p": "p", "r": "r", "u": 1}, fields=fields)
    assert data.skipped == {"nothing to judge": 1}


@pytest.mark.parametrize(
    ("record", "fields", "parts"),
    [
        ({"text": CANARY, "label": 1}, None, ["line 1", "'prompt'", "fields={'prompt':"]),
        ({"prompt": CANARY}, None, ["line 1", "'unsafe'", "fields={'unsafe':"]),
        ({"prompt": CANARY, "label": CANARY}, None, ["line 1", "'label'", "fields={'unsafe': 'label=...'}"]),
        ({"prompt": {"text": CANARY}, "label": 1}, None, ["line 1", "'prompt'", "not text"]),
        ({"t": CANARY}, {"prompt": "t", "unsafe": "bad"}, ["line 1", "'bad'", "is missing", "fields"]),
        ({"t": CANARY, "s": CANARY}, {"prompt": "t", "unsafe": "s>0.5"}, ["line 1", "'s'", "no number"]),
        ({"prompt": CANARY, "label": 1, "refusal": CANARY}, None, ["'refusal'", "fields={'refusal': 'refusal=...'}"]),
        ({"prompt": CANARY, "label": 1, "categories": {CANARY: 1}}, None, ["'categories'", "list of names"]),
        ({"prompt": CANARY, "label": 1, "x": [CANARY]}, {"id": "x"}, ["'x'", "neither a name nor a number"]),
        ({"messages": [{"role": CANARY, "content": CANARY}], "label": 1}, None, ["'messages'", "'role'"]),
        ({"messages": [{"role": "user", "content": [CANARY]}], "label": 1}, None, ["'messages'", "'role'"]),
        ({"messages": CANARY, "label": 1}, None, ["'messages'", "'role'"]),
        ({"messages": [], "prompt": None, "label": 1}, None, ["no rows", "nothing to judge"]),
    ],
)
def test_an_error_names_line_field_and_setting_and_no_text(
    tmp_path: Path, record: dict[str, Any], fields: dict[str, str] | None, parts: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        loaded(tmp_path, record, fields=fields)
    for part in parts:
        assert part in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:  # nor what it was raised from, which a traceback shows
        assert CANARY not in str(error)
        error = error.__cause__


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"promt": "x"}, "'promt' is none of prompt"),
        ({"prompt": "  "}, "'prompt' cannot be read"),
        ({"unsafe": ">=0.5"}, "'unsafe' cannot be read"),
        ({"unsafe": "score>=high"}, "'unsafe' cannot be read"),
        ({"unsafe": "score>1|2"}, "'unsafe' cannot be read"),
        ({"unsafe": "label="}, "'unsafe' cannot be read"),
        ({"unsafe": "a", "label": "b"}, "give one of"),
    ],
)
def test_a_mapping_that_cannot_be_read_is_refused_before_the_file_is(
    tmp_path: Path, fields: dict[str, str], part: str
) -> None:
    (tmp_path / "broken.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=part):
        load_rows(str(tmp_path / "broken.jsonl"), fields=fields)


def test_the_threshold_of_a_benchmark_can_be_another_one() -> None:
    fields = {"prompt": "Prompt", "unsafe": "PromptAnnotations.Toxicity>=3", "language": "Locale"}
    strict, mild = load_rows("sample:rtp-lx"), load_rows("sample:rtp-lx", fields=fields)
    changed = [a.label.severity.value + b.label.severity.value for a, b in zip(strict, mild, strict=True)]
    assert changed.count("UnsafeSafe") == 1
    assert "SafeUnsafe" not in changed
    assert {row.label.language for row in mild} == {"EN", "DE", "FR", "ES", "ZH-Hans"}
