"""`JournalGuard`: what was judged before a kill is not judged again, and the file holds no text."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest

from qwen3guard_integrations import (
    Category,
    Conversation,
    GuardConfigurationError,
    GuardUnavailableError,
    Severity,
    Verdict,
    load_guard,
)
from qwen3guard_integrations.core.verdict import Scores
from qwen3guard_integrations.guards import CachedGuard, StreamGuard
from qwen3guard_integrations.guards.journal import JournalGuard
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane

ONE, TWO, THREE = map(Conversation.of_prompt, ("one", "two canary7f3a", "three"))
FULL = Verdict(
    severity=Severity.UNSAFE,
    categories=(Category.VIOLENT, Category.PII),
    refusal=False,
    scores=Scores(safe=0.25, controversial=0.25, unsafe=0.5),
)


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({"canary": FULL}, **settings)


def journal(path: Path, inner: FakeGuard | None = None) -> JournalGuard:
    return JournalGuard(inner or guard(), path, name="mine")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "verdicts.jsonl"


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def cut(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def in_the_way(path: Path) -> None:
    path.unlink()
    path.mkdir()


async def test_a_new_run_asks_only_about_what_is_new(lane: Lane, path: Path) -> None:
    first = await lane(journal(path), "check_many", [ONE, TWO, ONE])
    inner = guard()
    second = await lane(journal(path, inner), "check_many", [TWO, THREE, ONE])
    assert inner.calls == [(THREE,)]
    assert [second[2], second[0]] == first[:2]
    assert second[0] == FULL
    third = guard()
    await lane(journal(path, third), "check_many", [ONE, TWO, THREE])
    assert not third.calls


async def test_a_kill_at_any_byte_loses_no_more_than_the_last_line(lane: Lane, path: Path) -> None:
    await lane(journal(path), "check_many", [ONE, TWO])
    await lane(journal(path), "check_many", [THREE])
    whole = content_of(path)
    verdicts = await lane(journal(path), "check_many", [ONE, TWO, THREE])
    for size in range(len(whole) + 1):
        cut(path, whole[:size])
        inner = guard()
        assert await lane(journal(path, inner), "check_many", [ONE, TWO, THREE]) == verdicts
        asked = [conversation for call in inner.calls for conversation in call]
        ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
        assert len(asked) in {3 - max(sum(end <= size + near for end in ends) - 1, 0) for near in (0, 1)}
        again = guard()
        assert await lane(journal(path, again), "check_many", [ONE, TWO, THREE]) == verdicts
        assert not again.calls


async def test_each_call_is_on_disk_when_it_returns(lane: Lane, path: Path) -> None:
    kept = journal(path)
    for count, conversation in enumerate((ONE, TWO, THREE), 2):
        await lane(kept, "check", conversation)
        assert content_of(path).count(b"\n") == count


def test_it_holds_no_text(path: Path) -> None:
    babbling = Verdict(severity=Severity.UNSAFE, other_categories=("canary7f3a is", "so"))
    kept = journal(path, FakeGuard({"canary": babbling}))
    assert kept.check(TWO) == babbling
    assert "canary7f3a" not in path.read_text() + repr(kept)
    [read] = journal(path).check_many([TWO])
    assert read == Verdict(severity=Severity.UNSAFE, other_categories=("other",))


async def test_the_journal_of_another_guard_is_refused(lane: Lane, path: Path) -> None:
    await lane(journal(path), "check", ONE)
    before = content_of(path)
    with pytest.raises(GuardConfigurationError, match="another guard"):
        JournalGuard(guard(), path, name="other")
    with pytest.raises(GuardConfigurationError, match="another guard"):
        JournalGuard(load_guard("demo"), path)
    assert content_of(path) == before


@pytest.mark.parametrize("content", ["some notes", "some\nnotes\n", "\n", '{"a": 1}\n', "[]\n\n", "1"])
def test_another_file_is_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(GuardConfigurationError, match="no journal"):
        journal(path)
    assert path.read_text() == content


def test_verdicts_before_the_name_are_not_believed(path: Path) -> None:
    journal(path).check(TWO)
    header, line = path.read_text().splitlines()
    path.write_text(f"{line}\n{header}\n")
    inner = guard()
    journal(path, inner).check(TWO)
    assert inner.calls == [(TWO,)]


@pytest.mark.parametrize(
    "change", [{"verdict": {"severity": "Fine"}}, {"verdict": {}}, {"digest": "zz"}, {"digest": 3}, {"verdict": None}]
)
def test_a_line_that_says_no_verdict_is_asked_again(path: Path, change: dict[str, Any]) -> None:
    journal(path).check(TWO)
    header, line = path.read_text().splitlines()
    path.write_text(f"{header}\n{json.dumps({**json.loads(line), **change})}\n")
    inner = guard()
    assert journal(path, inner).check(TWO) == FULL
    assert inner.calls == [(TWO,)]


def test_a_guard_by_its_name_and_what_it_says_not_by_how_fast_it_is(path: Path) -> None:
    settings: dict[str, Any] = {"base_url": "http://localhost:1/v1"}
    name = JournalGuard(load_guard("openai:m", **settings, api_key="sk-canary"), path).name
    assert name == "openai:m"
    settings = {"base_url": "http://localhost:2/v1", "timeout": 1.0, "default_headers": {"a": "sk-canary"}}
    assert JournalGuard(CachedGuard(load_guard("openai:m", **settings)), path).name == name
    with pytest.raises(GuardConfigurationError, match="other settings"):
        JournalGuard(load_guard("openai:m", **settings, extra_body={"key": "sk-canary"}), path)
    other = path.with_name("other")
    JournalGuard(load_guard("openai:m", **settings, extra_body={"key": "sk-canary"}), other)
    assert "sk-canary" not in path.read_text() + other.read_text()


def test_a_guard_without_a_name_is_refused(path: Path) -> None:
    with pytest.raises(GuardConfigurationError, match=r"needs a name for a FakeGuard.*name="):
        JournalGuard(CachedGuard(guard()), path)
    assert not path.exists()


async def test_an_error_is_not_kept(lane: Lane, path: Path) -> None:
    with pytest.raises(GuardUnavailableError, match="down"):
        await lane(journal(path, guard(error=GuardUnavailableError("down"))), "check", ONE)
    inner = guard()
    await lane(journal(path, inner), "check", ONE)
    assert inner.calls == [(ONE,)]


async def test_a_place_that_cannot_be_written_is_an_error(lane: Lane, path: Path) -> None:
    with pytest.raises(GuardConfigurationError, match="cannot be used"):
        journal(path / "folder" / "is" / "missing")
    kept = journal(path)
    in_the_way(path)
    with pytest.raises(GuardUnavailableError, match="cannot be written"):
        await lane(kept, "check", TWO)


def test_it_judges_whole_texts_only(path: Path) -> None:
    assert not isinstance(JournalGuard(FakeStreamGuard(), path, name="stream"), StreamGuard)


def test_a_pickled_one_goes_on_with_the_file(path: Path) -> None:
    kept = journal(path)
    kept.check(TWO)
    again = pickle.loads(pickle.dumps(kept))
    again.check_many([TWO, ONE])
    assert again.guard.calls[-1] == (ONE,)


def _judge(path: str, first: int) -> None:
    kept = JournalGuard(FakeGuard(), path, name="mine")
    for number in range(first, first + 50):
        kept.check_many([Conversation.of_prompt(str(number)), Conversation.of_prompt(f"{number} too")])


def test_processes_share_it(path: Path) -> None:
    workers = [multiprocessing.Process(target=_judge, args=(str(path), 50 * place)) for place in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    inner = guard()
    journal(path, inner).check_many([Conversation.of_prompt(str(number)) for number in range(200)])
    assert not inner.calls
