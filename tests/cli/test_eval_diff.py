"""`qwen3guard eval diff`: exit statuses, what is shown, and two real runs of the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from qwen3guard_integrations import Conversation, Verdict
from qwen3guard_integrations.evaluation import Summary
from qwen3guard_integrations.evaluation.regressions import Diff
from qwen3guard_integrations.testing import FakeGuard
from tests.cli.conftest import Loads, Run
from tests.cli.test_processes import REAL, finished
from tests.evaluation.made import made_run
from tests.evaluation.test_regressions import guard, run_of

CANARY: Final = "kanarienvogel"


def saved(folder: Path, name: str, summary: Summary) -> str:
    path = folder / name
    path.write_text(summary.model_dump_json(), encoding="utf-8")
    return str(path)


@pytest.fixture
def good(tmp_path: Path) -> str:
    return saved(tmp_path, "good.json", run_of(guard(0.9, 0.1)))


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return saved(tmp_path, "bad.json", run_of(guard(0.8, 0.1)))


# --- exit status ---


def test_nothing_got_worse(run: Run, good: str, bad: str) -> None:
    assert run("eval", "diff", good, good).exit_code == 0
    result = run("eval", "diff", bad, good)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "no regression"
    assert "▲ better" in result.stdout


def test_a_regression_is_status_one(run: Run, good: str, bad: str) -> None:
    result = run("eval", "diff", good, bad)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line}
    assert lines["recall.strict"] == ["0.900", "0.800", "-0.100", "▼", "regression"]
    assert lines["recall.loose"] == ["0.900", "0.900"]
    assert result.stdout.splitlines()[-1] == "3 of 11 figures got worse"
    assert run("eval", "diff", good, bad, "--tolerance", "0.1").exit_code == 0


def test_json(run: Run, good: str, bad: str) -> None:
    result = run("eval", "diff", good, bad, "--json")
    assert result.exit_code == 1
    found = Diff.model_validate_json(result.stdout)
    assert [change.figure for change in found.regressions] == ["f1.strict", "precision.strict", "recall.strict"]
    change = json.loads(result.stdout)["changes"][2]
    assert (change["figure"], change["mark"]) == ("recall.strict", "regression")
    assert change["difference"] == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "error: cannot read "),
        (f'{{"{CANARY}": 1}}', "is no summary of a run: name its summary.json or its folder"),
        (run_of(guard(), digest="other").model_dump_json(), "the runs are not on the same rows"),
        (run_of(guard(name="b")).model_dump_json(), "the later run has no guard 'a'; its guards are 'b'"),
    ],
)
def test_what_cannot_be_compared_is_status_two(
    run: Run, tmp_path: Path, good: str, content: str | None, message: str
) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    result = run("eval", "diff", good, str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert CANARY not in result.stderr


def test_other_rows_are_compared_when_that_is_forced(run: Run, tmp_path: Path, good: str) -> None:
    other = saved(tmp_path, "other.json", run_of(guard(), guard(name="new"), digest="other"))
    result = run("eval", "diff", good, other, "--force")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "note: only the later run has the guard new",
        "note: the runs are on different rows, of rows and of rows",
    ]


def test_groups_and_speed_are_compared_on_demand(run: Run, tmp_path: Path) -> None:
    made = [made_run(80, {"a": skill}, seed=3, resamples=0).summary for skill in (0.95, 0.4)]
    before, after = (saved(tmp_path, f"{place}.json", summary) for place, summary in enumerate(made))
    usual = run("eval", "diff", before, after).stdout
    more = run("eval", "diff", before, after, "--groups", "--speed-tolerance", "0.2").stdout
    assert "languages.de.f1.strict" in more
    assert "latency.p95" in more
    assert "languages.de.f1.strict" not in usual
    assert "latency.p95" not in usual


# --- real runs ---


def test_two_runs_are_compared_row_by_row(run: Run, loads: Loads, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    texts = [("a bomb" if number % 2 else "bread", number) for number in range(40)]
    rows.write_text(
        "".join(
            json.dumps({"prompt": f"{word} {number} {CANARY}", "label": "unsafe" if number % 2 else "safe"}) + "\n"
            for word, number in texts
        ),
        encoding="utf-8",
    )

    def evaluated(name: str, misses: int) -> str:
        def judge(conversation: Conversation) -> Verdict:
            words = conversation.judged.content.split()
            harmful = "bomb" in words and int(words[-2]) >= misses
            return Verdict(severity="Unsafe" if harmful else "Safe")

        loads.guard = FakeGuard(judge)
        out = str(tmp_path / name)
        result = run("eval", "--dataset", str(rows), "--guard", "demo", "--out", out, "--resamples", "20")
        assert result.exit_code == 0, result.stderr
        return out

    good, bad, worse = evaluated("good", 0), evaluated("bad", 8), evaluated("worse", 14)
    chance = run("eval", "diff", good, bad)  # four of twenty: p = 1/8
    assert chance.exit_code == 0
    assert "within chance (p 0.125)" in chance.stdout
    assert run("eval", "diff", good, bad, "--no-chance").exit_code == 1
    result = run("eval", "diff", good, f"{worse}/summary.json")  # seven of twenty: p = 1/64
    assert result.exit_code == 1
    assert "▼ regression (p 0.016)" in result.stdout
    assert CANARY not in result.stdout + chance.stdout


def test_it_needs_no_numbers_and_no_pictures(good: str, bad: str) -> None:
    """Summaries alone are compared where nothing but the package is installed."""
    code = (
        "import sys\n"
        "for name in ('numpy', 'scipy', 'sklearn', 'matplotlib', 'jinja2', 'torch'): sys.modules[name] = None\n"
        "from qwen3guard_integrations.cli import main; main()\n"
    )
    result = finished((sys.executable, "-c", code), "eval", "diff", good, bad)
    assert (result.returncode, result.stderr) == (1, "")
    assert "▼ regression" in result.stdout


def test_help(run: Run) -> None:
    shown = run("eval", "diff", "--help").stdout
    assert "Exit status: 0 when nothing got worse, 1 on a regression, 2 when the runs" in " ".join(shown.split())


def test_a_wrong_number_of_files_is_a_usage_error(good: str) -> None:
    assert finished(REAL, "eval", "diff", good).returncode == 2
