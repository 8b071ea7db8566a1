"""`evaluate`: order, lanes, failures, and runs that are killed and go on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from qwen3guard_integrations import (
    Conversation,
    GuardConfigurationError,
    GuardError,
    GuardResponseError,
    GuardTimeoutError,
    GuardUnavailableError,
    Policy,
    Severity,
    Turn,
    Verdict,
    load_guard,
)
from qwen3guard_integrations.evaluation.runner import Progress, evaluate
from qwen3guard_integrations.evaluation.streams import judge_streams
from qwen3guard_integrations.guards import CachedGuard, OpenAIGuard
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard, FakeStreamSession
from tests.evaluation.runs import BATCH, CANARY, UnevenGuard, contents, data_of, row, sick, verdict_on

ROOT: Final = Path(__file__).parents[2]


def asked(guard: FakeGuard) -> list[str]:
    """The words by which each call's first text is known, and how many there were."""
    return [f"{call[0].judged.content.rpartition(' ')[0]} x{len(call)}" for call in guard.calls]


# --- what comes out ---


@pytest.mark.parametrize("concurrency", [1, 4])
def test_every_guard_says_something_of_every_row_in_order(tmp_path: Path, concurrency: int) -> None:
    guards = {"a": FakeGuard(verdict_on), "b": FakeGuard({"row 3": "Unsafe"})}
    run = evaluate(data_of(50), guards, tmp_path, batch_size=BATCH, concurrency=concurrency)
    assert list(run.results) == ["a", "b"]
    for results in run.results.values():
        assert [result.id for result in results] == [f"r{number}" for number in range(50)]
        assert [result.label for result in results] == [row(number).label for number in range(50)]
        assert [result.response for result in results] == [number % 2 == 1 for number in range(50)]
    harmful = [result.id for result in run.results["b"] if result.verdict and not result.verdict.safe]
    assert harmful == ["r3", *(f"r{number}" for number in range(30, 40))]
    assert asked(guards["a"])[-1] == "row 48 x2"
    assert len(guards["a"].calls) == 7


def test_results_are_in_the_order_of_the_rows_whatever_finishes_first(tmp_path: Path) -> None:
    guard = UnevenGuard()
    run = evaluate(data_of(120), {"uneven": guard}, tmp_path, batch_size=BATCH, concurrency=4)
    assert [result.id for result in run.results["uneven"]] == [f"r{number}" for number in range(120)]
    assert asked(guard) != sorted(asked(guard), key=lambda call: int(call.split()[1]))  # they did finish otherwise
    assert guard.most == 4  # and no more at once


def test_files_hold_what_is_returned_and_no_text(tmp_path: Path) -> None:
    run = evaluate(data_of(20), {"a": FakeGuard(verdict_on)}, tmp_path, batch_size=BATCH)
    lines = (tmp_path / "a.results.jsonl").read_text().splitlines()
    assert [type(run.results["a"][0]).model_validate_json(line) for line in lines] == list(run.results["a"])
    assert all(CANARY not in path.read_text() for path in tmp_path.iterdir())
    first = next(result.verdict for result in run.results["a"] if result.verdict and not result.verdict.safe)
    assert first.other_categories == ("other",)
    scores = [score for line in lines for score in json.loads(line)["verdict"]["scores"].values()]
    assert scores == [round(score, 6) for score in scores]


def test_times_are_those_of_the_calls_and_add_up_to_the_run(tmp_path: Path) -> None:
    begin = time.perf_counter()
    run = evaluate(data_of(20), {"a": FakeGuard(verdict_on, delay=0.05)}, tmp_path, batch_size=BATCH, concurrency=3)
    took = time.perf_counter() - begin
    assert [(timing.batch, timing.rows) for timing in run.timings["a"]] == [(0, 8), (1, 8), (2, 4)]
    assert all(50 <= call < 1000 * took for timing in run.timings["a"] for call in timing.milliseconds)
    assert 0.05 <= sum(timing.seconds for timing in run.timings["a"]) <= took
    latency = run.latencies({"a": 0.5})["a"]
    assert (latency.calls, latency.cost) == (3, 10.0)
    assert latency.rows_per_second == pytest.approx(20 / sum(timing.seconds for timing in run.timings["a"]))


def test_progress_is_told_for_each_guard_from_where_it_begins(tmp_path: Path) -> None:
    told: list[Progress] = []
    evaluate(data_of(20), {"a": FakeGuard()}, tmp_path, batch_size=BATCH, on_progress=told.append)
    evaluate(data_of(20), {"a": FakeGuard(), "b": FakeGuard()}, tmp_path, batch_size=BATCH, on_progress=told.append)
    assert [(step.guard, step.done) for step in told] == [
        *[("a", done) for done in (0, 8, 16, 20)],
        ("a", 20),
        *[("b", done) for done in (0, 8, 16, 20)],
    ]
    assert {step.rows for step in told} == {20}


async def test_it_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    run = evaluate(data_of(20), {"a": UnevenGuard(0.001)}, tmp_path, batch_size=BATCH)
    assert len(run.results["a"]) == 20


# --- streams ---


@pytest.mark.parametrize("guard", [FakeStreamGuard(verdict_on), FakeGuard(verdict_on)], ids=["tokens", "windows"])
def test_responses_are_judged_as_streams_and_prompts_are_not(tmp_path: Path, guard: FakeGuard) -> None:
    run = evaluate(data_of(30), {"a": guard}, tmp_path, batch_size=BATCH, streams=True, policy=Policy(debounce=1))
    for result in run.results["a"]:
        assert result.verdict
        assert (result.stream is not None) is result.response
    streams = [result.stream for result in run.results["a"] if result.stream]
    assert streams == judge_streams(guard, [row(number) for number in range(1, 30, 2)], Policy(debounce=1))
    assert {severity for stream in streams for severity in stream.tokens} == {"S", "U"}
    assert run.info.policy == {"debounce": 1}


def test_a_run_of_streams_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    evaluate(data_of(60), {"a": FakeStreamGuard(sick)}, tmp_path, batch_size=BATCH, streams=True)
    whole = contents(tmp_path)
    for place in (10, 700, 2_000, 5_000):
        (tmp_path / "a.results.jsonl").write_bytes(whole["a.results.jsonl"][:place])
        evaluate(data_of(60), {"a": FakeStreamGuard(sick)}, tmp_path, batch_size=BATCH, streams=True)
        assert contents(tmp_path) == whole


def test_a_response_that_cannot_be_judged_as_a_stream_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    guard = FakeStreamGuard(sick)
    run = evaluate(data_of(100), {"a": guard}, tmp_path, batch_size=BATCH, streams=True)
    assert [result.id for result in run.results["a"] if result.error] == ["r77"]
    assert sum(result.stream is not None for result in run.results["a"]) == 49


class SlowStreams(FakeStreamGuard):
    """Answers whole texts at once, and streams slowly."""

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> FakeStreamSession:
        time.sleep(0.05)
        return super().open_stream(context, policy)


def test_streams_are_not_in_the_times_of_calls_but_in_those_of_the_run(tmp_path: Path) -> None:
    run = evaluate(data_of(4), {"a": SlowStreams()}, tmp_path, streams=True)
    [timing] = run.timings["a"]
    assert timing.milliseconds[0] < 50 < 1000 * timing.seconds


# --- runs that are stopped ---


def test_a_run_that_was_cut_at_any_byte_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    rows = data_of(100)
    evaluate(rows, {"a": FakeGuard(sick)}, tmp_path / "whole", batch_size=BATCH)
    whole = contents(tmp_path / "whole")
    timings = (tmp_path / "whole" / "a.timings.jsonl").read_bytes()
    complete = FakeGuard(sick)
    evaluate(rows, {"a": complete}, tmp_path / "again", batch_size=BATCH)
    assert contents(tmp_path / "again") == whole
    seeds = random.Random(7)
    for _ in range(60):
        results, times = tmp_path / "again" / "a.results.jsonl", tmp_path / "again" / "a.timings.jsonl"
        results.write_bytes(whole["a.results.jsonl"][: seeds.randrange(len(whole["a.results.jsonl"]))])
        times.write_bytes(timings[: seeds.randrange(len(timings))])
        guard = FakeGuard(sick)
        evaluate(rows, {"a": guard}, tmp_path / "again", batch_size=BATCH)
        assert contents(tmp_path / "again") == whole
        assert asked(guard) == asked(complete)[len(complete.calls) - len(guard.calls) :]  # the same batches
        assert sum(json.loads(line)["rows"] for line in times.read_bytes().splitlines()) <= 100


@pytest.mark.parametrize("damage", [b"\0" * 500, b"\n\n{}\n", b'{"id": "r9"', b"\xff\xfe\n"])
def test_what_a_torn_write_left_is_cut_off(tmp_path: Path, damage: bytes) -> None:
    evaluate(data_of(50), {"a": FakeGuard(verdict_on)}, tmp_path, batch_size=BATCH)
    whole = contents(tmp_path)
    for path in tmp_path.glob("*.jsonl"):
        path.write_bytes(path.read_bytes()[:400] + damage)
    evaluate(data_of(50), {"a": FakeGuard(verdict_on)}, tmp_path, batch_size=BATCH)
    assert contents(tmp_path) == whole


def test_results_of_other_rows_are_cut_off(tmp_path: Path) -> None:
    evaluate(data_of(50), {"a": FakeGuard(verdict_on)}, tmp_path, batch_size=BATCH)
    whole = contents(tmp_path)["a.results.jsonl"].splitlines(keepends=True)
    whole[20], whole[21] = whole[21], whole[20]
    (tmp_path / "a.results.jsonl").write_bytes(b"".join(whole))
    guard = FakeGuard(verdict_on)
    run = evaluate(data_of(50), {"a": guard}, tmp_path, batch_size=BATCH)
    assert asked(guard)[0] == "row 16 x8"
    assert [result.id for result in run.results["a"]] == [f"r{number}" for number in range(50)]


@pytest.mark.parametrize("seed", range(3))
def test_a_process_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-m", "tests.evaluation.runs"]
    subprocess.run([*command, str(tmp_path / "whole"), "0"], cwd=ROOT, check=True)
    whole = contents(tmp_path / "whole")
    moments = random.Random(seed)
    kills = 0
    for part in sorted(moments.uniform(0.05, 0.9) for _ in range(4)):
        with subprocess.Popen([*command, str(tmp_path / "killed"), "0.1"], cwd=ROOT) as process:
            while process.poll() is None and written(tmp_path / "killed") < part * sum(map(len, whole.values())):
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        kills += process.returncode == -signal.SIGKILL
        assert all(whole[name].startswith(lines) for name, lines in complete_lines(tmp_path / "killed").items())
    assert kills == 4
    subprocess.run([*command, str(tmp_path / "killed"), "0"], cwd=ROOT, check=True)
    assert contents(tmp_path / "killed") == whole


def written(folder: Path) -> int:
    """Bytes of results that are there by now."""
    return sum(len(content) for content in contents(folder).values())


def complete_lines(folder: Path) -> dict[str, bytes]:
    """What each results file holds, without a torn line at its end."""
    return {name: content[: content.rfind(b"\n") + 1] for name, content in contents(folder).items()}


def test_the_real_guard_says_the_same_again_after_a_cut(tmp_path: Path) -> None:
    rows, guard = data_of(40), load_guard("demo")
    evaluate(rows, {"demo": guard}, tmp_path, batch_size=BATCH, concurrency=4)
    whole = contents(tmp_path)
    path = tmp_path / "demo.results.jsonl"
    for part in (0.3, 0.7):
        path.write_bytes(whole[path.name][: int(part * len(whole[path.name]))])
        evaluate(rows, {"demo": guard}, tmp_path, batch_size=BATCH, concurrency=4)
        assert contents(tmp_path) == whole


def test_a_guard_in_this_process_is_asked_about_one_batch_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard: Any = load_guard("demo")
    sizes: list[int] = []
    answer = guard._worker._answer

    def counted(asks: list[Any]) -> Any:
        sizes.append(len(asks))
        return answer(asks)

    monkeypatch.setattr(guard._worker, "_answer", counted)
    evaluate(data_of(40), {"demo": CachedGuard(guard)}, tmp_path, batch_size=BATCH, concurrency=4)
    assert sizes == [BATCH] * 5


def test_an_interrupt_keeps_what_is_done_and_cancels_what_is_under_way(tmp_path: Path) -> None:
    def interrupt(step: Progress) -> None:
        if step.done:
            raise KeyboardInterrupt

    guard = UnevenGuard()
    with pytest.raises(KeyboardInterrupt):
        evaluate(data_of(200), {"a": guard}, tmp_path, batch_size=BATCH, on_progress=interrupt)
    deadline = time.monotonic() + 5
    while guard.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert guard.cancelled > 0
    assert guard.batches < 200 / BATCH
    assert len((tmp_path / "a.results.jsonl").read_bytes().splitlines()) == BATCH
    run = evaluate(data_of(200), {"a": UnevenGuard(0)}, tmp_path, batch_size=BATCH)
    assert len(run.results["a"]) == 200


def test_a_guard_is_added_to_a_run_that_is_done(tmp_path: Path) -> None:
    first = FakeGuard(verdict_on)
    evaluate(data_of(20), {"a": first}, tmp_path)
    again, second = FakeGuard(verdict_on), FakeGuard(verdict_on)
    run = evaluate(data_of(20), {"a": again, "b": second}, tmp_path)
    assert (again.calls, len(second.calls)) == ([], 1)
    assert run.results["a"] == run.results["b"]


def test_restart_asks_anew(tmp_path: Path) -> None:
    evaluate(data_of(20), {"a": FakeGuard()}, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    guard = FakeGuard({"row": "Unsafe"})
    run = evaluate(data_of(20), {"a": guard}, tmp_path, restart=True, batch_size=4)
    assert len(guard.calls) == 5
    assert {result.verdict and result.verdict.severity for result in run.results["a"]} == {Severity.UNSAFE}
    assert (tmp_path / "notes.txt").read_text() == "mine"


# --- guards that fail ---


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_row_that_cannot_be_judged_costs_its_neighbours_nothing(tmp_path: Path, concurrency: int) -> None:
    guard = FakeGuard(sick)
    run = evaluate(data_of(100), {"a": guard}, tmp_path, batch_size=BATCH, concurrency=concurrency)
    failed = [result for result in run.results["a"] if result.verdict is None]
    assert [(result.id, result.error) for result in failed] == [("r77", "GuardResponseError")]
    assert len(guard.calls) == 13 + BATCH + 1  # all batches, the rows of one, and whether the guard is well
    [timing] = [timing for timing in run.timings["a"] if timing.batch == 77 // BATCH]
    assert (timing.rows, len(timing.milliseconds)) == (BATCH, BATCH - 1)


@pytest.mark.parametrize("error", [GuardUnavailableError, GuardTimeoutError, GuardConfigurationError])
def test_a_row_that_the_server_refuses_is_recorded_when_the_guard_is_well(
    tmp_path: Path, error: type[GuardError]
) -> None:
    def refusing(conversation: Conversation) -> Verdict:
        if "row 3 " in conversation.judged.content:
            raise error("too long")
        return verdict_on(conversation)

    run = evaluate(data_of(10), {"a": FakeGuard(refusing)}, tmp_path, batch_size=1)
    assert [result.error for result in run.results["a"]] == [None] * 3 + [error.__name__] + [None] * 6


class Dying(FakeGuard):
    """Answers so many calls, and no more."""

    def __init__(self, calls: int) -> None:
        super().__init__(verdict_on)
        self.left = calls

    def _answers(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        self.left -= 1
        self._error = GuardUnavailableError("the server is down") if self.left < 0 else None
        return super()._answers(conversations)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_guard_that_goes_down_ends_the_run_soon_and_it_can_go_on(
    tmp_path: Path, concurrency: int, cached: bool
) -> None:
    guard = Dying(5)
    judge = CachedGuard(guard) if cached else guard
    judge.check_prompt("Hello.")  # known to the cache: it must not be taken for a sign of life
    with pytest.raises(GuardUnavailableError, match="the server is down"):
        evaluate(data_of(1000), {"a": judge}, tmp_path, batch_size=BATCH, concurrency=concurrency)
    assert len(guard.calls) <= 5 + 3 * 4 * concurrency  # not one for each row
    assert b"error" not in contents(tmp_path)["a.results.jsonl"]
    run = evaluate(data_of(1000), {"a": judge_that_is_well(cached)}, tmp_path, batch_size=BATCH)
    assert not any(result.error for result in run.results["a"])


def judge_that_is_well(cached: bool) -> FakeGuard | CachedGuard:
    guard = Dying(10_000)
    return CachedGuard(guard) if cached else guard


def test_the_run_stops_at_the_first_failure_when_told_so(tmp_path: Path) -> None:
    guard = FakeGuard(sick)
    with pytest.raises(GuardResponseError):
        evaluate(data_of(100), {"a": guard}, tmp_path, batch_size=BATCH, concurrency=1, on_error="stop")
    assert len(guard.calls) == 10
    assert len(contents(tmp_path)["a.results.jsonl"].splitlines()) == 72


class Short(FakeGuard):
    """Gives a verdict too few."""

    def _answers(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        return super()._answers(conversations)[1:]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_guard_that_leaves_rows_out_is_refused(tmp_path: Path, concurrency: int) -> None:
    with pytest.raises(GuardResponseError, match="0 verdicts on 1"):
        evaluate(data_of(20), {"a": Short()}, tmp_path, concurrency=concurrency)


class Careless(FakeGuard):
    """Asks a guard on a server synchronously where it should await it."""

    def __init__(self) -> None:
        super().__init__()
        self.server = OpenAIGuard("x", base_url="http://127.0.0.1:1/v1")

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self.server.check_many(conversations)


def test_a_guard_that_blocks_its_own_loop_is_told_so_and_does_not_hang(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="await acheck_many"):
        evaluate(data_of(20), {"a": Careless()}, tmp_path)


WRONG = [
    pytest.param(0, ["a"], {}, "has no rows", id="no rows"),
    pytest.param(5, [], {}, "no guard", id="no guard"),
    pytest.param(5, ["a"], {"batch_size": 0}, "batch_size", id="batch size"),
    pytest.param(5, ["a"], {"concurrency": 0}, "concurrency", id="concurrency"),
]


@pytest.mark.parametrize(("rows", "names", "options", "message"), WRONG)
def test_what_cannot_be_run_is_said_before_anything_is_written(
    tmp_path: Path, rows: int, names: list[str], options: dict[str, int], message: str
) -> None:
    with pytest.raises(GuardConfigurationError, match=message):
        evaluate(data_of(rows), {name: FakeGuard() for name in names}, tmp_path / "run", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
