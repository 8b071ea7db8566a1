"""The samples in the package: in the published schemas, of every benchmark, and measurable with the demo guards."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen3guard_integrations import Category, load_guard
from qwen3guard_integrations.evaluation import DataSet, load_rows
from qwen3guard_integrations.evaluation.data import BENCHMARKS
from qwen3guard_integrations.guards.demo import DemoGuardWarning
from tools import evaluation_samples

SAMPLES = Path(str(files("qwen3guard_integrations.evaluation.data"))) / "samples"
SPLITS = [(benchmark.name, split) for benchmark in BENCHMARKS.values() for split in benchmark.splits or (None,)]


@pytest.fixture(scope="module")
def everything() -> DataSet:
    return load_rows("sample:all")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return evaluation_samples.demo_tokenizer()


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_every_benchmark_has_a_sample_whose_rows_are_what_it_judges(name: str, split: str | None) -> None:
    data = load_rows(f"sample:{name}", split=split)
    assert 12 <= len(data) <= 42
    assert all(row.is_response is (BENCHMARKS[name].judged == "response") for row in data)
    assert len({row.conversation for row in data}) == len(data)
    assert data.name == f"{BENCHMARKS[name].title}{f' ({split})' if split else ''}, sample"


def test_every_file_is_read() -> None:
    read = {f"{BENCHMARKS[name].sample}-{split}" if split else BENCHMARKS[name].sample for name, split in SPLITS}
    assert read == {path.stem for path in SAMPLES.glob("*.jsonl")}


def test_all_samples_are_one_data_set(everything: DataSet) -> None:
    assert len(everything) >= 250
    assert len({row.id for row in everything}) == len(everything)
    severities = Counter(row.label.severity.value for row in everything)
    assert min(severities["Safe"], severities["Unsafe"]) >= 100
    assert severities["Controversial"]
    assert {category for row in everything for category in row.label.categories} == set(Category)
    assert Counter(row.is_response for row in everything)[True] >= 100
    sources = {row.label.source for row in everything}
    assert sources == {f"{name}-{split}" if split else name for name, split in SPLITS if name != "aegis-defensive"}


def test_a_limit_cuts_all_samples(everything: DataSet) -> None:
    assert load_rows("sample:all", limit=20).rows == everything.rows[:20]


def test_the_tokens_are_those_of_the_demo_stream_guard(tokenizer: Any) -> None:
    """The files are what `python -m tools.evaluation_samples` writes with the tokenizer that is shipped."""
    for split, cases in yaml.safe_load(evaluation_samples.SOURCE.read_text(encoding="utf-8")).items():
        written = [evaluation_samples.record(tokenizer, split, number, case) for number, case in enumerate(cases)]
        lines = (SAMPLES / f"qwen3guardtest-{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == written


@pytest.mark.parametrize("split", ["thinking_loc", "response_loc"])
def test_positions_are_those_of_the_marked_sentence(split: str, tokenizer: Any) -> None:
    cases: list[dict[str, Any]] = yaml.safe_load(evaluation_samples.SOURCE.read_text(encoding="utf-8"))[split]
    for row, case in zip(load_rows("sample:qwen3guardtest", split=split), cases, strict=True):
        marked = case["answer"] if "«" in case["answer"] else case["thinking"]
        sentence = marked.partition("«")[2].partition("»")[0]
        assert row.input_ids is not None
        assert row.label.unsafe_start is not None
        assert row.label.unsafe_end is not None
        found = tokenizer.decode(row.input_ids[row.label.unsafe_start : row.label.unsafe_end + 1])
        assert found.strip() == sentence
        whole = tokenizer.decode(row.input_ids)
        judged = row.conversation.judged
        assert judged.content in whole
        assert judged.reasoning in whole


def test_rendering_the_row_again_gives_its_tokens(tokenizer: Any) -> None:
    """Reasoning and answer were split as the chat template joins them: nothing is lost on the way."""
    for row in load_rows("sample:qwen3guardtest", split="thinking_loc"):
        prompt, answer = row.conversation.turns
        content = f"<think>\n{answer.reasoning}\n</think>\n\n{answer.content}"
        messages = [{"role": "user", "content": prompt.content}, {"role": "assistant", "content": content}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
        assert tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) == row.input_ids


@pytest.mark.filterwarnings(f"ignore::{DemoGuardWarning.__module__}.{DemoGuardWarning.__name__}")
@pytest.mark.parametrize("name", ["demo", "demo-stream"])
def test_figures_on_the_samples_mean_something(everything: DataSet, name: str) -> None:
    """The tiny guards know most of it, and not all: neither perfect nor at a coin's toss."""
    verdicts = load_guard(name).check_many([row.conversation for row in everything])
    right = sum(
        verdict.safe is (row.label.severity.value == "Safe") for verdict, row in zip(verdicts, everything, strict=True)
    )
    assert 0.7 < right / len(everything) < 0.98
