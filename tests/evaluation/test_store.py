"""The folder of a run: what it holds, what it refuses, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from qwen3guard_integrations import Policy, load_guard
from qwen3guard_integrations.evaluation.rows import Row
from qwen3guard_integrations.evaluation.run_info import GuardInfo, RunInfo, identity
from qwen3guard_integrations.evaluation.runner import evaluate
from qwen3guard_integrations.evaluation.store import GuardFiles, RunError, load_run, opened, read_results
from qwen3guard_integrations.guards import CachedGuard, Guard, OpenAIGuard, WindowedStreamGuard
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard
from tests.evaluation.runs import CANARY, contents, data_of, verdict_on

KEY: Final = "sk-kanarienvogel"


class OtherGuard(FakeGuard):
    """Another class is another guard."""


def server(**options: Any) -> OpenAIGuard:
    guard = load_guard("openai:some/model", base_url=f"http://user:{KEY}@localhost:1/v1", api_key=KEY, **options)
    assert isinstance(guard, OpenAIGuard)
    return guard


# --- what it says ---


def test_run_json_says_what_was_run_and_tells_no_key(tmp_path: Path) -> None:
    guards: dict[str, Guard] = {
        "mine": FakeGuard(),
        "remote": server(timeout=3, default_headers={"Authorization": KEY}, extra_body={"key": KEY}),
    }
    info = RunInfo(
        data="data",
        digest="d",
        rows=1,
        batch_size=32,
        guards=tuple(GuardInfo.of(name, guard) for name, guard in guards.items()),
    )
    mine, remote = info.guards
    assert (mine.guard, mine.files, mine.settings) == ("FakeGuard", "mine", {})
    assert remote.guard.startswith("openai:some/model ")
    assert remote.settings == {"timeout": 3}
    assert KEY not in info.model_dump_json()


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    data = data_of(10)
    evaluate(data, {"a": FakeGuard()}, tmp_path, batch_size=4)
    info = json.loads((tmp_path / "run.json").read_text())
    assert info.pop("versions").keys() == {"qwen3guard-integrations"}  # nothing else judges here
    assert info == {
        "format": 1,
        "data": "made up",
        "digest": data.digest,
        "rows": 10,
        "batch_size": 4,
        "streams": False,
        "policy": {},
        "guards": [{"name": "a", "guard": "FakeGuard", "files": "a", "settings": {}}],
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.results.jsonl", "a.timings.jsonl", "run.json"]


def test_a_guard_in_this_process_depends_on_torch(tmp_path: Path) -> None:
    run = evaluate(data_of(2), {"demo": load_guard("demo")}, tmp_path)
    assert run.info.versions.keys() == {"qwen3guard-integrations", "torch", "transformers"}
    assert run.info.guards[0].guard == "demo"


IDENTITIES: Final[list[tuple[Callable[[], Guard], str]]] = [
    (FakeGuard, "FakeGuard"),
    (lambda: CachedGuard(FakeGuard()), "FakeGuard"),  # what is known changes no verdict
    (lambda: WindowedStreamGuard(FakeGuard()), "WindowedStreamGuard(FakeGuard)"),
    (server, "openai:some/model"),
    (lambda: server(timeout=5, max_concurrency=3), "openai:some/model"),  # these change no verdict either
    (lambda: WindowedStreamGuard(CachedGuard(server())), "WindowedStreamGuard(openai:some/model)"),
]


@pytest.mark.parametrize(("make", "name"), IDENTITIES)
def test_by_what_a_guard_is_known_again(make: Callable[[], Guard], name: str) -> None:
    assert identity(make()) == name


def test_settings_that_change_verdicts_make_another_guard() -> None:
    assert len({identity(server(max_tokens=tokens)) for tokens in (64, 65, 65)}) == 2


NAMES = [
    ("demo", "demo"),
    ("openai:Qwen/Qwen3Guard-Gen-4B", "openai-Qwen-Qwen3Guard-Gen-4B"),
    ("../../etc/passwd", "etc-passwd"),
    ("Wächter ก", "Wächter-ก"),
    ("...", "guard"),
    ("a" * 300, "a" * 100),
]


@pytest.mark.parametrize(("name", "files"), NAMES, ids=[name[:20] for name, _ in NAMES])
def test_files_are_called_after_the_guard_and_stay_in_the_folder(tmp_path: Path, name: str, files: str) -> None:
    run = evaluate(data_of(2), {name: FakeGuard()}, tmp_path / "run")
    assert list(contents(tmp_path / "run")) == [f"{files}.results.jsonl"]
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    assert load_run(tmp_path / "run") == run


# --- what it refuses ---

FIRST: Final[dict[str, Any]] = {"guards": {"a": FakeGuard()}, "batch_size": 4}
OTHERS = [
    pytest.param({"data": data_of(9)}, r"rows \(--dataset, --split, --field, --limit\)", id="rows"),
    pytest.param({"batch_size": 5}, "--batch-size", id="batch size"),
    pytest.param({"guards": {"b": FakeGuard()}}, "guard a", id="guard of another name"),
    pytest.param({"guards": {"a": OtherGuard()}}, "guard a", id="another guard"),
    pytest.param({"guards": {"a": FakeStreamGuard()}, "streams": True}, "--streams, guard a", id="streams"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_the_folder_of_another_run_is_refused_and_left_as_it_is(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    evaluate(folder=tmp_path, **{"data": data_of(10), **FIRST})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunError, match=f"other {message}.*--out.*--restart"):
        evaluate(folder=tmp_path, **{"data": data_of(10), **FIRST, **change})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    evaluate(folder=tmp_path, restart=True, **{"data": data_of(10), **FIRST, **change})


def test_the_policy_belongs_to_a_run_of_streams(tmp_path: Path) -> None:
    info = RunInfo(data="data", digest="d", rows=1, batch_size=1, guards=())
    hold = Policy(hold="none").model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "run.json").write_text(info.model_copy(update={"policy": hold}).model_dump_json())
    with pytest.raises(RunError, match="--policy"):
        opened(tmp_path, info)


def test_other_versions_make_another_run_and_a_guard_that_needs_more_packages_does_not(tmp_path: Path) -> None:
    evaluate(data_of(4), {"a": FakeGuard()}, tmp_path)
    run = evaluate(data_of(4), {"a": FakeGuard(), "demo": load_guard("demo")}, tmp_path)
    assert run.info.versions.keys() > {"qwen3guard-integrations"}
    older = run.info.model_copy(update={"versions": {**run.info.versions, "torch": "1.0"}})
    (tmp_path / "run.json").write_text(older.model_dump_json())
    with pytest.raises(RunError, match="other versions of the packages"):
        evaluate(data_of(4), {"a": FakeGuard(), "demo": load_guard("demo")}, tmp_path)


def test_what_has_lost_its_run_json_is_refused(tmp_path: Path) -> None:
    evaluate(data_of(5), {"a": FakeGuard()}, tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunError, match=r"results of a but no run\.json.*--restart"):
        evaluate(data_of(5), {"a": FakeGuard()}, tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"data": "kanarienvogel"}', "\0\0"])
def test_a_run_json_that_cannot_be_read_is_refused_without_repeating_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match="--restart") as refused:
        evaluate(data_of(5), {"a": FakeGuard()}, tmp_path)
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None
    evaluate(data_of(5), {"a": FakeGuard()}, tmp_path, restart=True)


@pytest.mark.parametrize("names", [["a/b", "a:b"], ["Guard", "guard"]])
def test_guards_that_would_share_files_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(RunError, match="would share the files"):
        evaluate(data_of(5), {name: FakeGuard() for name in names}, tmp_path)


def test_two_runs_at_the_same_time_do_not_write_the_same_files(tmp_path: Path) -> None:
    run = evaluate(data_of(8), {"a": FakeGuard()}, tmp_path)
    rows: tuple[Row, ...] = data_of(8).rows
    with (
        GuardFiles(tmp_path, run.info.guards[0], rows, 32),
        pytest.raises(RunError, match="another process is writing"),
    ):
        evaluate(data_of(8), {"a": FakeGuard()}, tmp_path)
    evaluate(data_of(8), {"a": FakeGuard()}, tmp_path)


# --- how it is read ---


def test_a_run_is_read_as_it_was_returned(tmp_path: Path) -> None:
    run = evaluate(data_of(30), {"a": FakeGuard(verdict_on), "b": FakeGuard()}, tmp_path, batch_size=4)
    assert load_run(tmp_path) == run
    assert read_results(tmp_path / "a.results.jsonl") == run.results["a"]


def test_what_cannot_be_read_is_said_with_its_place(tmp_path: Path) -> None:
    evaluate(data_of(10), {"a": FakeGuard()}, tmp_path, batch_size=4)
    path = tmp_path / "a.results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:8]))
    with pytest.raises(RunError, match="not done: a has judged 8 of 10 rows"):
        load_run(tmp_path)
    path.write_bytes(whole + b'{"id": "kanarienvogel"}\n')
    with pytest.raises(RunError, match=r"line 11 of .* is no result") as refused:
        load_run(tmp_path)
    assert CANARY not in str(refused.value)
    path.unlink()
    with pytest.raises(RunError, match="no results file"):
        load_run(tmp_path)
    with pytest.raises(RunError, match=r"no run\.json"):
        load_run(tmp_path / "elsewhere")
