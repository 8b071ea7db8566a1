"""The schemas of the public benchmarks: one record of each, and odd ones, with the rows that they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3guard_integrations import Category, Severity
from qwen3guard_integrations.evaluation import DataError, DataSet, Label, load_rows
from qwen3guard_integrations.evaluation.data import BENCHMARKS
from qwen3guard_integrations.evaluation.data import categories as tables
from qwen3guard_integrations.evaluation.data.records import split_thinking
from qwen3guard_integrations.evaluation.data.words import letters

SAFE, CONTROVERSIAL, UNSAFE = Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE
CANARY = "quetzalcoatl"

# For each benchmark: a record as published, changes to it, and the labels that they should give; a text stands for a
# reason to skip.
TOXIC_CHAT = {
    "conv_id": "c1", "user_input": "p", "model_output": "r", "human_annotation": True, "toxicity": 0,
    "jailbreaking": 0, "openai_moderation": "[]",
}  # fmt: skip
MODERATION: dict[str, Any] = {"prompt": "p", **dict.fromkeys(("S", "H", "V", "HR", "SH", "S3", "H2", "V2"), 0)}
RTP_NOTES = dict.fromkeys(("Bias", "Insult", "Violence", "SelfHarm", "SexualContent", "IdentityAttack"), 1)
RTP_LX = {"Index": 3, "Prompt": "p", "Locale": "PT-BR", "PromptAnnotations": {"Toxicity": 1, **RTP_NOTES}}
AEGIS = {
    "id": "a1", "text": " p ", "text_type": "user_message", "num_annotations": 3,
    "labels_0": "Safe", "labels_1": "Safe", "labels_2": "Safe", "labels_3": None, "labels_4": None,
}  # fmt: skip
AEGIS2 = {
    "id": "b1", "prompt": "p", "response": "r", "prompt_label": "unsafe", "response_label": "safe",
    "violated_categories": "Guns and Illegal Weapons, Needs Caution",
}  # fmt: skip
SST = {"id": "s1", "harm_area": "Scams and Fraud", "counter": 1, "category": "Instructions", "prompt": "p"}
HARMBENCH = {
    "Behavior": "p", "FunctionalCategory": "standard", "SemanticCategory": "illegal", "Tags": "",
    "ContextString": "", "BehaviorID": "b",
}  # fmt: skip
HARMBENCH_RESPONSE = {
    "test_case": "p", "generation": "r", "experiment": "default", "human_0": 1, "human_1": 0, "human_2": 0,
}  # fmt: skip
WILDGUARD = {
    "prompt": "p", "response": "r", "adversarial": True, "prompt_harm_label": "harmful",
    "response_harm_label": "unharmful", "response_refusal_label": "refusal", "subcategory": "cyberattack",
}  # fmt: skip
XSTEST = {"id": 9, "prompt": "p", "type": "homonyms", "label": "safe", "focus": "f", "note": None}
XSTEST_RESPONSE = {
    "prompt": "p", "response": "r", "label": "unharmful", "prompt_type": "prompt_safe",
    "prompt_harm_category": "homonyms",
}  # fmt: skip
BEAVER = {"prompt": "p", "response": "r", "is_safe": True, "category": {"self_harm": False, "child_abuse": False}}
POLYGUARD = {
    **WILDGUARD, "id": 12, "language": "Thai", "prompt_label": "unsafe", "prompt_categories": "S9 S6",
    "response_label": "safe", "response_categories": "",
}  # fmt: skip

CASES: list[tuple[str, dict[str, Any], dict[str, Any], str | Label]] = [
    ("toxicchat", TOXIC_CHAT, {}, Label(severity=SAFE, source="vanilla")),
    (
        "toxicchat",
        TOXIC_CHAT,
        {"toxicity": 1, "jailbreaking": 1},
        Label(severity=UNSAFE, source="jailbreaking", categories=(Category.JAILBREAK,)),
    ),
    ("toxicchat", TOXIC_CHAT, {"jailbreaking": 1}, Label(severity=SAFE, source="jailbreaking")),
    ("toxicchat", TOXIC_CHAT, {"toxicity": "1", "human_annotation": "True"}, Label(severity=UNSAFE, source="vanilla")),
    ("toxicchat", TOXIC_CHAT, {"human_annotation": False}, "not labelled by people"),
    ("toxicchat", TOXIC_CHAT, {"toxicity": None}, "no label"),
    ("openai-moderation", MODERATION, {}, Label(severity=SAFE)),
    ("openai-moderation", MODERATION, {"S": None, "V": None}, Label(severity=SAFE)),
    (
        "openai-moderation",
        MODERATION,
        {"H2": 1, "V": 1, "H": 1},
        Label(severity=UNSAFE, categories=(Category.UNETHICAL_ACTS, Category.VIOLENT)),
    ),
    ("openai-moderation", {"prompt": "p", "SH": 1}, {}, Label(severity=UNSAFE, categories=(Category("Self-Harm"),))),
    ("rtp-lx", RTP_LX, {}, Label(severity=SAFE, language="PT-BR")),
    (
        "rtp-lx",
        RTP_LX,
        {"PromptAnnotations": {"Toxicity": 2.0, **RTP_NOTES, "SelfHarm": 2, "Insult": 3}},
        Label(severity=UNSAFE, language="PT-BR", categories=(Category.UNETHICAL_ACTS, Category("Self-Harm"))),
    ),
    ("rtp-lx", RTP_LX, {"PromptAnnotations": {"Toxicity": None}}, "no label"),
    ("rtp-lx", RTP_LX, {"PromptAnnotations": None}, "no label"),
    ("aegis", AEGIS, {}, Label(severity=SAFE, language="en")),
    ("aegis", AEGIS, {"labels_0": "Violence"}, Label(severity=SAFE, language="en")),
    (
        "aegis",
        AEGIS,
        {"labels_0": "Violence, Needs Caution", "labels_2": "Sexual (minor), Violence"},
        Label(severity=UNSAFE, language="en", categories=(Category.VIOLENT, Category.SEXUAL_CONTENT)),
    ),
    (
        "aegis",
        AEGIS,
        {"labels_0": "Needs Caution", "labels_1": "Needs Caution"},
        Label(severity=CONTROVERSIAL, language="en"),
    ),
    (
        "aegis",
        AEGIS,
        {"labels_0": "Needs Caution", "labels_1": "Profanity"},
        Label(severity=CONTROVERSIAL, language="en", categories=(Category.UNETHICAL_ACTS,)),
    ),
    (
        "aegis-defensive",
        AEGIS,
        {"labels_0": "Needs Caution", "labels_1": "Needs Caution"},
        Label(severity=UNSAFE, language="en"),
    ),
    ("aegis-defensive", AEGIS, {"labels_0": "Needs Caution"}, Label(severity=SAFE, language="en")),
    ("aegis", AEGIS, {"labels_2": None}, "no label"),
    ("aegis", AEGIS, {"text_type": "llm_response"}, "not a user's message alone"),
    ("aegis2", AEGIS2, {}, Label(severity=UNSAFE, language="en", categories=(Category.VIOLENT,))),
    ("aegis2", AEGIS2, {"prompt_label": "safe"}, Label(severity=SAFE, language="en")),
    ("aegis2", AEGIS2, {"prompt": "REDACTED"}, "redacted by the data set"),
    ("aegis2-response", AEGIS2, {}, Label(severity=SAFE, language="en")),
    ("aegis2-response", AEGIS2, {"response": None, "response_label": None}, "no label"),
    ("aegis2-response", AEGIS2, {"response": None}, "nothing to judge"),
    (
        "simplesafetytests",
        SST,
        {},
        Label(severity=UNSAFE, language="en", source="Scams and Fraud", categories=(Category("Illegal Acts"),)),
    ),
    (
        "simplesafetytests",
        {"id": "s", "harm_area": "Child Abuse", "prompts_final": "p"},
        {},
        Label(severity=UNSAFE, language="en", source="Child Abuse"),
    ),
    (
        "harmbench",
        HARMBENCH,
        {},
        Label(severity=UNSAFE, language="en", source="illegal", categories=(Category("Illegal Acts"),)),
    ),
    (
        "harmbench",
        HARMBENCH,
        {"FunctionalCategory": "copyright", "SemanticCategory": "copyright"},
        Label(severity=UNSAFE, language="en", source="copyright", categories=(Category.COPYRIGHT_VIOLATION,)),
    ),
    ("harmbench", HARMBENCH, {"FunctionalCategory": "contextual"}, "a behaviour that needs its context"),
    (
        "harmbench",
        {"prompt": "p", "category": "chemical_biological"},
        {},
        Label(severity=UNSAFE, language="en", source="chemical_biological", categories=(Category.VIOLENT,)),
    ),
    ("harmbench-response", HARMBENCH_RESPONSE, {}, Label(severity=SAFE, source="default")),
    ("harmbench-response", HARMBENCH_RESPONSE, {"human_2": 1}, Label(severity=UNSAFE, source="default")),
    ("harmbench-response", HARMBENCH_RESPONSE, {"human_2": None}, "no label"),
    (
        "wildguardtest",
        WILDGUARD,
        {},
        Label(severity=UNSAFE, language="en", source="adversarial", categories=(Category("Illegal Acts"),)),
    ),
    ("wildguardtest", WILDGUARD, {"prompt_harm_label": None}, "no label"),
    (
        "wildguardtest-response",
        WILDGUARD,
        {"adversarial": False},
        Label(severity=SAFE, language="en", source="vanilla", refusal=True),
    ),
    (
        "wildguardtest-response",
        WILDGUARD,
        {"response_harm_label": "harmful", "response_refusal_label": None},
        Label(severity=UNSAFE, language="en", source="adversarial", categories=(Category("Illegal Acts"),)),
    ),
    ("xstest", XSTEST, {}, Label(severity=SAFE, language="en", source="homonyms")),
    ("xstest", XSTEST, {"type": "contrast_discr"}, Label(severity=UNSAFE, language="en", source="contrast_discr")),
    ("xstest", XSTEST, {"type": None, "label": "unsafe"}, Label(severity=UNSAFE, language="en")),
    ("xstest-response", XSTEST_RESPONSE, {}, Label(severity=SAFE, language="en", source="homonyms")),
    (
        "xstest-response",
        XSTEST_RESPONSE,
        {"label": "harmful"},
        Label(severity=UNSAFE, language="en", source="homonyms"),
    ),
    (
        "xstest-response",
        XSTEST_RESPONSE,
        {"label": "refusal"},
        Label(severity=SAFE, language="en", source="homonyms", refusal=True),
    ),
    ("xstest-response", XSTEST_RESPONSE, {"label": "compliance"}, "no label"),
    ("beavertails", BEAVER, {}, Label(severity=SAFE, language="en")),
    (
        "beavertails",
        BEAVER,
        {"is_safe": False, "category": {"self_harm": True, "child_abuse": True}},
        Label(severity=UNSAFE, language="en", categories=(Category("Self-Harm"),)),
    ),
    (
        "polyguard",
        POLYGUARD,
        {},
        Label(severity=UNSAFE, language="Thai", source="adversarial", categories=(Category.VIOLENT,)),
    ),
    (
        "polyguard-response",
        POLYGUARD,
        {"response_harm_label": "harmful", "response_categories": "S7, S13"},
        Label(
            severity=UNSAFE,
            language="Thai",
            source="adversarial",
            refusal=True,
            categories=(Category.PII, Category.POLITICALLY_SENSITIVE),
        ),
    ),
]


def loaded(folder: Path, schema: str, *records: dict[str, Any]) -> DataSet:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return load_rows(str(path), schema=schema)


@pytest.mark.parametrize(("schema", "record", "changes", "expected"), CASES)
def test_labels_of_published_records(
    tmp_path: Path, schema: str, record: dict[str, Any], changes: dict[str, Any], expected: str | Label
) -> None:
    if isinstance(expected, str):
        with pytest.raises(DataError, match=f"no rows; skipped: 1 x {expected}"):
            loaded(tmp_path, schema, {**record, **changes})
        return
    [row] = loaded(tmp_path, schema, {**record, **changes})
    assert row.label == expected
    assert row.is_response is (BENCHMARKS[schema].judged == "response")
    judged = row.conversation.judged
    assert judged.content == ("r" if row.is_response else "p")
    if row.is_response:
        assert [turn.content for turn in row.conversation.context] == ["p"]


def test_every_benchmark_has_a_case() -> None:
    assert {schema for schema, *_ in CASES} | {"saferlhf", "qwen3guardtest"} == set(BENCHMARKS)


@pytest.mark.parametrize(
    ("schema", "record", "key"),
    [
        ("toxicchat", TOXIC_CHAT, "c1"),
        ("rtp-lx", RTP_LX, "PT-BR-3"),
        ("aegis", AEGIS, "a1"),
        ("aegis2-response", AEGIS2, "b1"),
        ("simplesafetytests", SST, "s1"),
        ("harmbench", HARMBENCH, "b"),
        ("xstest", XSTEST, "9"),
        ("polyguard", POLYGUARD, "12-Thai"),
        ("beavertails", BEAVER, "1"),
    ],
)
def test_ids_are_those_of_the_data_set(tmp_path: Path, schema: str, record: dict[str, Any], key: str) -> None:
    [row] = loaded(tmp_path, schema, record)
    assert row.id == key


def test_the_page_on_data_says_where_each_benchmark_is_and_under_which_licence() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation-data.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:3] == "| `"]
    rows = {cell[0].strip("`"): cell for cell in cells if len(cell) == 5}
    assert list(rows) == list(BENCHMARKS)
    place = ""
    for name, benchmark in BENCHMARKS.items():
        place = rows[name][1] if rows[name][1] != "the same" else place
        parts = (benchmark.hub or "not there", benchmark.config or "", benchmark.split)
        assert all(part in place for part in parts)
        assert ("(gated)" in place) is benchmark.gated
        assert rows[name][4] == benchmark.licence


SAFE_RLHF = {
    "prompt": "p", "response_0": "first", "response_1": "second", "is_response_0_safe": True,
    "is_response_1_safe": False, "response_1_harm_category": {"Cybercrime": True, "Violence": False, "Drugs": True},
    "response_1_source": "Alpaca3-8B",
}  # fmt: skip


def test_a_record_of_safe_rlhf_is_two_rows(tmp_path: Path) -> None:
    first, second = loaded(tmp_path, "saferlhf", SAFE_RLHF)
    assert (first.id, second.id) == ("1-0", "1-1")
    assert (first.conversation.judged.content, second.conversation.judged.content) == ("first", "second")
    assert first.label == Label(severity=SAFE, language="en")
    assert second.label == Label(
        severity=UNSAFE, language="en", source="Alpaca3-8B", categories=(Category("Illegal Acts"),)
    )


def test_one_of_its_two_can_be_left_out(tmp_path: Path) -> None:
    data = loaded(tmp_path, "saferlhf", {**SAFE_RLHF, "response_0": ""}, {**SAFE_RLHF, "is_response_1_safe": None})
    assert [row.id for row in data] == ["1-1", "2-0"]
    assert data.skipped == {"nothing to judge": 1, "no label": 1}


GUARD_TEST: dict[str, Any] = {
    "unique_id": "u1",
    "message": [
        {"role": "user", "content": "p"},
        {"role": "assistant", "content": "<think>\nfirst\n\nsecond\n</think>\n\nr"},
    ],
    "unsafe_type": "Violent",
    "source": "BeaverTails",
    "label": "Unsafe",
    "input_ids": [5, 6, 7, 8],
    "unsafe_start_index": 1,
    "unsafe_end_index": 3,
}


def test_qwen3_guard_test_has_reasoning_tokens_and_positions(tmp_path: Path) -> None:
    [row] = loaded(tmp_path, "qwen3guardtest", GUARD_TEST)
    assert (row.conversation.judged.reasoning, row.conversation.judged.content) == ("first\n\nsecond", "r")
    assert row.input_ids == (5, 6, 7, 8)
    assert row.label == Label(
        severity=UNSAFE, categories=(Category.VIOLENT,), source="BeaverTails", unsafe_start=1, unsafe_end=3
    )


def test_the_split_without_positions_has_none(tmp_path: Path) -> None:
    record = {key: GUARD_TEST[key] for key in ("unique_id", "message", "unsafe_type", "source", "label")}
    nothing = {**GUARD_TEST, "input_ids": None, "unsafe_start_index": None, "unsafe_end_index": None}
    safe = {**record, "unique_id": "u2", "label": "Safe", "unsafe_type": ""}
    first, second, third = loaded(tmp_path, "qwen3guardtest", record, {**nothing, "unique_id": "u3"}, safe)
    for row in (first, second, third):
        assert (row.input_ids, row.label.unsafe_start, row.label.unsafe_end) == (None, None, None)
    assert (third.label.severity, third.label.categories) == (SAFE, ())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unsafe_end_index": 4}, "unsafe_start_index"),
        ({"unsafe_start_index": 3, "unsafe_end_index": 2}, "unsafe_start_index"),
        ({"unsafe_start_index": None}, "unsafe_start_index"),
        ({"unsafe_start_index": -1}, "unsafe_start_index"),
        ({"unsafe_start_index": 1.5}, "unsafe_start_index"),
        ({"unsafe_start_index": CANARY}, "unsafe_start_index"),
        ({"input_ids": None}, "unsafe_start_index"),
        ({"input_ids": [CANARY]}, "input_ids"),
        ({"input_ids": [True]}, "input_ids"),
        ({"message": CANARY}, "message"),
        ({"message": []}, "message"),
        ({"message": [{"role": "user", "content": CANARY}]}, "message"),
        ({"message": [{"role": "assistant", "content": [CANARY]}]}, "message"),
        ({"message": [{"role": CANARY, "content": ""}, {"role": "assistant", "content": ""}]}, "message"),
        ({"label": CANARY}, "label"),
    ],
)
def test_a_record_that_cannot_be_is_an_error(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(
        DataError, match=rf"line 1 of records.jsonl: field '{field}'.*schema='qwen3guardtest'"
    ) as caught:
        loaded(tmp_path, "qwen3guardtest", {**GUARD_TEST, **changes})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reasoning", "answer"),
    [
        ("an answer", "", "an answer"),
        ("<think>\nt\n</think>\n\nr", "t", "r"),
        ("<think></think>r", "", "r"),
        ("t\n</think>\n\nr", "t", "r"),  # the template had opened it
        ("<think>\nnever ends", "never ends", ""),
        ("<think>t</think>a </think> b", "t", "a </think> b"),
        ("It writes <think> in the middle</think>.", "", "It writes <think> in the middle</think>."),
        (" \n<think>t</think>r", "t", "r"),
    ],
)
def test_thinking_is_split_from_the_answer(content: str, reasoning: str, answer: str) -> None:
    assert split_thinking(content) == (reasoning, answer)


@pytest.mark.parametrize(
    ("schema", "record"),
    [
        ("toxicchat", TOXIC_CHAT),
        ("rtp-lx", RTP_LX),
        ("aegis", AEGIS),
        ("aegis2", AEGIS2),
        ("aegis2-response", AEGIS2),
        ("simplesafetytests", SST),
        ("harmbench", HARMBENCH),
        ("harmbench-response", HARMBENCH_RESPONSE),
        ("wildguardtest", WILDGUARD),
        ("wildguardtest-response", WILDGUARD),
        ("xstest", XSTEST),
        ("xstest-response", XSTEST_RESPONSE),
        ("beavertails", BEAVER),
        ("saferlhf", SAFE_RLHF),
        ("polyguard", POLYGUARD),
        ("qwen3guardtest", GUARD_TEST),
        ("openai-moderation", MODERATION),
    ],
)
def test_a_record_in_another_schema_is_an_error_not_a_row(tmp_path: Path, schema: str, record: dict[str, Any]) -> None:
    """No benchmark takes records without its fields for rows, or skips them all in silence."""
    with pytest.raises(DataError, match=rf"field '.*' is missing.*schema='{schema}'"):
        loaded(tmp_path, schema, record, {"something": "else"})


@pytest.mark.parametrize(
    ("schema", "record", "field"),
    [
        ("toxicchat", TOXIC_CHAT, "toxicity"),
        ("toxicchat", TOXIC_CHAT, "human_annotation"),
        ("openai-moderation", MODERATION, "HR"),
        ("rtp-lx", RTP_LX, "PromptAnnotations"),
        ("aegis2", AEGIS2, "prompt_label"),
        ("harmbench-response", HARMBENCH_RESPONSE, "human_1"),
        ("wildguardtest", WILDGUARD, "prompt_harm_label"),
        ("wildguardtest-response", WILDGUARD, "response_refusal_label"),
        ("xstest-response", XSTEST_RESPONSE, "label"),
        ("beavertails", BEAVER, "is_safe"),
        ("beavertails", {**BEAVER, "is_safe": False}, "category"),
        ("saferlhf", SAFE_RLHF, "is_response_1_safe"),
        ("polyguard-response", POLYGUARD, "response_harm_label"),
    ],
)
def test_an_unknown_label_is_an_error_that_names_its_field(
    tmp_path: Path, schema: str, record: dict[str, Any], field: str
) -> None:
    with pytest.raises(DataError, match=f"line 1 of records.jsonl: field '{field}'") as caught:
        loaded(tmp_path, schema, {**record, field: CANARY})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "record"), [(schema, record) for schema, record, changes, label in CASES if not changes]
)
def test_a_blank_text_is_counted(tmp_path: Path, schema: str, record: dict[str, Any]) -> None:
    name = next(key for key, value in record.items() if value in ("p", "r", " p ") and _judged(schema, value))
    with pytest.raises(DataError, match="skipped: 1 x nothing to judge"):
        loaded(tmp_path, schema, {**record, name: " \n"})


def _judged(schema: str, value: str) -> bool:
    return (value == "r") is (BENCHMARKS[schema].judged == "response")


def test_tables_of_categories_are_found_however_they_are_spelt() -> None:
    named = [value for name, value in vars(tables).items() if name.isupper() and not name.startswith("_")]
    assert len(named) == 9
    for table in named:
        assert all(key == letters(key) for key in table)
