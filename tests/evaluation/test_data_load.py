"""Where rows come from: files of every kind, folders, the hub; their order, ids and digest."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from qwen3guard_integrations import Severity
from qwen3guard_integrations.core.conversation import Conversation
from qwen3guard_integrations.evaluation import DataError, DataSet, Label, Row, load_rows
from qwen3guard_integrations.evaluation.data import BENCHMARKS

RECORDS = [
    {"prompt": "How do I bake bread?", "label": "safe"},
    {"prompt": 'Quoted "words",\nand a line break', "label": "unsafe"},
    {"prompt": "Grüße, 你好", "label": "safe"},
]
CANARY = "quetzalcoatl"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def as_lines(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def as_table(path: Path, delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, RECORDS[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(RECORDS)


def write(path: Path) -> None:
    """`RECORDS` in the format that the name says."""
    match path.suffixes:
        case [".jsonl"] | [".ndjson"]:
            path.write_text("\ufeff" + as_lines(RECORDS) + "\n\n", encoding="utf-8")
        case [".jsonl", ".gz"]:
            path.write_bytes(gzip.compress(as_lines(RECORDS).encode()))
        case [".jsonl", ".xz"]:
            path.write_bytes(lzma.compress(as_lines(RECORDS).encode()))
        case [".json"]:
            path.write_text(json.dumps(RECORDS), encoding="utf-8")
        case [".csv"]:
            as_table(path, ",")
        case [".tsv"]:
            as_table(path, "\t")
        case [".parquet"]:
            datasets.Dataset.from_list(RECORDS).to_parquet(str(path))


@pytest.mark.parametrize(
    "name",
    [
        "r.jsonl",
        "r.ndjson",
        "r.jsonl.gz",
        "r.jsonl.xz",
        "r.json",
        "r.csv",
        "r.tsv",
        "r.parquet",
        "name with.dots.jsonl",
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    write(path := tmp_path / name)
    if not path.exists():
        path.write_text(as_lines(RECORDS), encoding="utf-8")
    data = load_rows(str(path))
    assert [row.conversation.judged.content for row in data] == [record["prompt"] for record in RECORDS]
    assert [row.label.severity for row in data] == [Severity.SAFE, Severity.UNSAFE, Severity.SAFE]
    assert data.name == name


def test_a_json_file_may_be_lines_or_an_object_of_lists(tmp_path: Path) -> None:
    (lines := tmp_path / "lines.json").write_text(as_lines(RECORDS), encoding="utf-8")
    (lists := tmp_path / "lists.json").write_text(json.dumps({"a": RECORDS[:1], "b": RECORDS[1:]}), encoding="utf-8")
    (one := tmp_path / "one.json").write_text(json.dumps(RECORDS[0]), encoding="utf-8")
    assert load_rows(str(lines)).rows == load_rows(str(lists)).rows
    assert len(load_rows(str(one))) == 1


def test_a_sample_in_another_schema_and_with_fields_is_still_that_sample() -> None:
    prompts, responses = load_rows("sample:wildguardtest"), load_rows("sample:wildguardtest-response")
    assert load_rows("sample:wildguardtest", schema="wildguardtest-response").rows == responses.rows
    fields = {"prompt": "prompt", "unsafe": "prompt_harm_label"}
    assert [row.conversation for row in load_rows("sample:wildguardtest", fields=fields)] == [
        row.conversation for row in prompts
    ]
    with pytest.raises(DataError, match=r"'nothing' is missing \(fields="):
        load_rows("sample:wildguardtest", fields={"prompt": "nothing"})


def test_a_folder_is_read_as_a_clone_from_the_hub(tmp_path: Path) -> None:
    (tmp_path / "thinking.jsonl").write_text(as_lines(RECORDS[:1]), encoding="utf-8")
    (tmp_path / "other.jsonl").write_text(as_lines(RECORDS), encoding="utf-8")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "".join(f"  - split: {name}\n    path: {name}.jsonl\n" for name in ("thinking", "other"))
    (tmp_path / "README.md").write_text(card + "---\n", encoding="utf-8")
    assert len(load_rows(str(tmp_path), split="other")) == 3
    assert len(load_rows(str(tmp_path), split="thinking")) == 1
    with pytest.raises(DataError, match="splits thinking, other: say which"):
        load_rows(str(tmp_path))
    with pytest.raises(DataError, match="is there a split 'third'"):
        load_rows(str(tmp_path), split="third")


@pytest.mark.parametrize("schema", ["toxicchat", None])
def test_a_clone_of_a_benchmark_has_its_configuration_split_and_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: str | None
) -> None:
    record = {"conv_id": "c", "user_input": "p", "human_annotation": True, "toxicity": 1, "jailbreaking": 0}
    folder = tmp_path / "lmsys" / "toxic-chat"
    folder.mkdir(parents=True)
    card = "---\nconfigs:\n"
    for name in ("toxicchat0124", "toxicchat1123"):
        card += f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}.jsonl\n"
        (folder / f"{name}.jsonl").write_text(json.dumps({**record, "conv_id": name}), encoding="utf-8")
    (folder / "README.md").write_text(card + "---\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [row] = load_rows("lmsys/toxic-chat", schema=schema)
    assert (row.id, row.label.severity) == ("toxicchat0124", Severity.UNSAFE)


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n", encoding="utf-8")
    with pytest.raises(DataError):
        load_rows(str(folder), split="train")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_a_file_can_be_in_the_schema_of_a_benchmark(tmp_path: Path, name: str) -> None:
    record = {"id": 4, "prompt": "p", "type": "contrast_privacy", "label": "unsafe", "focus": "", "note": ""}
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_text(",".join(record) + "\n" + ",".join(map(str, record.values())) + "\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(record), encoding="utf-8")
    data = load_rows(str(path), schema="xstest")
    assert data.name == f"XSTest: {name}"
    assert [(row.id, row.label.severity, row.label.source) for row in data] == [
        ("4", Severity.UNSAFE, "contrast_privacy")
    ]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("r.jsonl", f'{{"prompt": "a", "label": 0}}\n{{"{CANARY}', ["line 2 of r.jsonl", "not JSON"]),
        ("r.jsonl", f'"{CANARY}"', ["line 1 of r.jsonl", "not a JSON object"]),
        ("r.jsonl", b"\xff\xfe" + CANARY.encode(), ["line 1", "not JSON"]),
        ("r.json", f'["{CANARY}"]', ["record 1 of r.json", "not a JSON object"]),
        ("r.json", CANARY, ["line 1 of r.json", "not JSON"]),
        ("r.csv", f"prompt,label\n{CANARY}\n", ["row 1 of r.csv", "not as many values"]),
        ("r.csv", f"prompt,label\na,0\n{CANARY},0,0\n", ["row 2 of r.csv", "not as many values"]),
        ("r.csv", f'prompt,label\n"{CANARY}', ["row 1 is not CSV"]),
        ("r.csv", b"prompt,label\n\xff,0\n", ["row 1 is not CSV in UTF-8"]),
        ("r.jsonl.gz", CANARY, ["cannot read", "r.jsonl.gz"]),
        ("r.parquet", CANARY, ["cannot read", "r.parquet"]),
        ("r.txt", CANARY, ["r.txt", ".jsonl"]),
        ("r.jsonl", "", ["r.jsonl has no rows"]),
        ("r.jsonl", '{"prompt": " ", "label": 0}', ["no rows", "1 x nothing to judge"]),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_shows_nothing(
    tmp_path: Path, name: str, content: str | bytes, parts: list[str]
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load_rows(str(tmp_path / name))
    for part in parts:
        assert part in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:  # nor what it was raised from, which a traceback shows
        assert CANARY not in str(error)
        error = error.__cause__


def test_ids_are_unique_and_made_of_the_row_where_there_is_none(tmp_path: Path) -> None:
    records = [{**RECORDS[0], **more} for more in ({"id": "x"}, {}, {"id": "x"}, {"id": 2}, {"id": ""})]
    (path := tmp_path / "r.jsonl").write_text(as_lines(records), encoding="utf-8")
    assert [row.id for row in load_rows(str(path))] == ["x", "2", "x#3", "2#4", "5"]


def test_a_data_set_refuses_two_rows_of_one_id() -> None:
    row = Row(id="a", conversation=Conversation.of_prompt("p"), label=Label(severity=Severity.SAFE))
    with pytest.raises(DataError, match="same id"):
        DataSet("twice", (row, row))


def test_limit_takes_the_first_rows_and_reads_no_further(tmp_path: Path) -> None:
    (path := tmp_path / "r.jsonl").write_text(as_lines(RECORDS[:2]) + "broken", encoding="utf-8")
    assert load_rows(str(path), limit=2).rows == load_rows(str(path), limit=2).rows
    assert len(load_rows(str(path), limit=1)) == 1
    with pytest.raises(DataError, match="line 3"):
        load_rows(str(path), limit=3)
    with pytest.raises(DataError, match="limit=0"):
        load_rows(str(path), limit=0)


def row(**changes: Any) -> Row:
    label = {"severity": Severity.SAFE, **changes.pop("label", {})}
    plain: dict[str, Any] = {"id": "a", "conversation": Conversation.of_prompt("p")}
    return Row(**{**plain, **changes}, label=Label(**label))


def test_the_digest_is_that_of_ids_texts_tokens_and_labels() -> None:
    other = Conversation.of_response("p", "r")
    rows = [
        row(),
        row(id="b"),
        row(conversation=Conversation.of_prompt("q")),
        row(conversation=other),
        row(conversation=Conversation.of_response("p", "r", reasoning="t")),
        row(conversation=Conversation.of_response("", "pr")),
        row(input_ids=(1, 2)),
        row(input_ids=(1, 3)),
        row(label={"severity": Severity.UNSAFE}),
        row(label={"source": "s"}),
        row(label={"refusal": False}),
    ]
    digests = [DataSet("d", (each,)).digest for each in rows]
    assert len(set(digests)) == len(rows)
    assert DataSet("another name", (rows[0],)).digest == digests[0]
    assert DataSet("d", (rows[0], rows[1])).digest != DataSet("d", (rows[1], rows[0])).digest


def test_the_digest_is_the_same_today_and_tomorrow() -> None:
    """Fixed values: a run from an earlier version can still be compared."""
    full = row(
        conversation=Conversation.of_response("p", "你好", reasoning="t"),
        label={"severity": Severity.UNSAFE, "categories": ("PII",), "unsafe_start": 1, "unsafe_end": 2},
        input_ids=(1, 2, 3),
    )
    assert DataSet("d", (row(),)).digest == "b21a576da0c58837957e6efdadf190ee"
    assert DataSet("d", (full,)).digest == "1138019d04db0b54e9e8895a8f4c8eb1"


class Hub:
    """Stands in for the hub: it has one data set in several splits, and remembers what it was asked."""

    def __init__(self, records: Mapping[str, list[dict[str, Any]]]) -> None:
        self.records = records
        self.asked: list[tuple[Any, ...]] = []

    def load_dataset(self, path: str, name: str | None = None, *, split: str | None = None) -> Any:
        self.asked.append((path, name, split))
        parts = {part: datasets.Dataset.from_list(records) for part, records in self.records.items()}
        return parts[split] if split else datasets.DatasetDict(parts)


@pytest.mark.parametrize("name", [name for name, benchmark in BENCHMARKS.items() if benchmark.hub])
def test_a_benchmark_is_asked_for_by_its_published_place(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    benchmark = BENCHMARKS[name]
    sample = Path(str(sys.modules["qwen3guard_integrations.evaluation.data"].__file__)).parent / "samples"
    stem = f"{benchmark.sample}-{benchmark.split}" if benchmark.splits else benchmark.sample
    records = [json.loads(line) for line in (sample / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()]
    hub = Hub({benchmark.split: records})
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    data = load_rows(name)
    assert hub.asked == [(benchmark.hub, benchmark.config, benchmark.split)]
    assert data.rows == load_rows(f"sample:{name}").rows  # Arrow's types and nulls change nothing


def test_a_hub_id_means_the_benchmark_and_another_split_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub({"thinking_loc": [{"message": [], "label": None}]})
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    with pytest.raises(DataError, match=r"schema='qwen3guardtest'"):
        load_rows("qwen/QWEN3GuardTest", split="thinking_loc")
    assert hub.asked == [("Qwen/Qwen3GuardTest", None, "thinking_loc")]


def test_any_data_set_on_the_hub_with_a_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub({"train": [{"q": "text", "bad": 1}]})
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    fields = {"prompt": "q", "unsafe": "bad"}
    assert load_rows("someone/things:small", fields=fields).rows[0].label.severity is Severity.UNSAFE
    assert load_rows("someone/things", split="train", fields=fields).name == "someone/things (train)"
    assert hub.asked == [("someone/things", "small", None), ("someone/things", None, "train")]
    with pytest.raises(DataError, match="row 1 of someone/things: there is none of 'prompt'"):
        load_rows("someone/things", split="train")


def test_a_data_set_with_several_splits_asks_which(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub({"train": [{"prompt": "p", "label": 1}], "test": [{"prompt": "p", "label": 1}]})
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    with pytest.raises(DataError, match="splits train, test: say which"):
        load_rows("someone/things")


def test_offline_the_error_says_how_to_give_a_local_file() -> None:
    """In a process of its own: the library reads the variable when it is imported."""
    code = (
        "from qwen3guard_integrations.evaluation import DataError, load_rows\n"
        "try: load_rows('toxicchat')\n"
        "except DataError as error: print(error)\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    for part in ("lmsys/toxic-chat", "HF_HUB_OFFLINE", "schema=", "huggingface.co/datasets/lmsys/toxic-chat"):
        assert part in run.stdout


@pytest.mark.parametrize(
    ("dataset", "options", "part"),
    [
        ("no-such-thing", {}, "none of qwen3guardtest, toxicchat"),
        ("folder/missing.jsonl", {}, "is no file"),
        ("folder/missing.parquet", {}, "is no file"),
        ("../folder/missing", {}, "is no file"),
        ("http://host/file", {}, "is no file"),
        ("harmbench-response", {}, "schema='harmbench-response'"),
        ("sample:no-such-thing", {}, "no benchmark 'no-such-thing'"),
        ("sample:all", {"split": "thinking"}, "without a split"),
        ("sample:all", {"fields": {}}, "without a split"),
        ("sample:qwen3guardtest", {"split": "other"}, "thinking, thinking_loc, response_loc"),
        ("sample:xstest", {"schema": "nothing"}, "no benchmark 'nothing'"),
        ("sample:xstest", {"schema": "xstest", "fields": {}}, "not both"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_asking_anybody(
    dataset: str, options: dict[str, Any], part: str
) -> None:
    with pytest.raises(DataError, match=part):
        load_rows(dataset, **options)


def test_samples_need_none_of_the_libraries_for_figures() -> None:
    """And importing the evaluation loads nothing heavy."""
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from qwen3guard_integrations.evaluation import load_rows\n"
        "assert len(load_rows('sample:all')) > 250\n"
        "assert not {'torch', 'numpy', 'pyarrow', 'transformers'} & set(sys.modules)\n"
        "try: load_rows('toxicchat')\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "qwen3guard-integrations[eval]"' in run.stdout
