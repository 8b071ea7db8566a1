"""`qwen3guard tune`: runs in, a policy file out, and what it says on the way."""

from __future__ import annotations

import glob
import json
import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from qwen3guard_integrations import Policy, Verdict, load_guard
from qwen3guard_integrations.evaluation import Result, evaluate, load_rows
from qwen3guard_integrations.testing import FakeGuard
from tests.cli.conftest import Run
from tests.cli.test_docs import PAGE, without_digits
from tests.evaluation.labelled import SAFE, UNSAFE, drawn, scored
from tests.evaluation.runs import CANARY, data_of, verdict_on

SPLIT: Final = [*(scored(0.6 + n / 50, UNSAFE) for n in range(10)), *(scored(0.1 + n / 25, SAFE) for n in range(10))]


def written(path: Path, rows: list[Result]) -> str:
    """A results file with these rows."""
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run of two guards."""
    folder = tmp_path_factory.mktemp("runs") / "made-up"
    guards = {"one": FakeGuard(verdict_on), "bare": FakeGuard(lambda _: Verdict(severity="Safe"))}
    evaluate(data_of(60), guards, folder)
    return str(folder)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return written(tmp_path / "wild.results.jsonl", SPLIT)


# --- what comes out ---


def test_a_run_becomes_a_policy_file(run: Run, folder: str, tmp_path: Path) -> None:
    out, plot = tmp_path / "policy.toml", tmp_path / "trade-off.svg"
    aim = ("--aim", "recall>=0.8", "--aim", "fewest blocks@made up")
    result = run("tune", folder, "--guard", "one", *aim, "--out", str(out), "--plot", str(plot))
    assert result.exit_code == 0, result.stderr
    policy = Policy.from_file(out)
    [value] = {policy.thresholds.unsafe, policy.thresholds.controversial} - {None}
    assert f"= {value!r} on" in result.stdout
    assert "# Guard: one" in out.read_text(encoding="utf-8")
    assert "# Data: made up, 60 rows, 20 of them unsafe" in out.read_text(encoding="utf-8")
    assert plot.read_text(encoding="utf-8").startswith("<?xml")
    assert CANARY not in result.output + out.read_text(encoding="utf-8") + plot.read_text(encoding="utf-8")


def test_what_is_shown(run: Run, file: str, tmp_path: Path) -> None:
    exaggerated = written(tmp_path / "xs.jsonl", [scored(0.02 + n / 50, SAFE) for n in range(10)])
    data = (file, f"xstest={exaggerated}")
    result = run("tune", *data, "--policy", "strict", "--aim", "recall at least 0.9, fewest blocks on XSTest")
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert lines[:2] == [
        "aim: recall>=0.9; fewest blocks@xstest",
        "policy: strict, stopped from P(Unsafe) + P(Controversial) = 0.5 on",
    ]
    assert lines[2].startswith("in the folds: 0.")
    shown = [line.split("  ") for line in lines]
    assert [[cell.strip() for cell in row if cell] for row in shown if row[0] in {"recall", "xstest"}] == [
        ["recall", "1.0000", "1.0000 ± 0.0000", "at least 0.9"],
        ["xstest", "10", "0", "0.0000 → 0.0000", "0 → 0 of 10"],
    ]
    assert next(line for line in lines if line.startswith(">")).split()[:2] == [">", "0.5"]
    assert lines[-3:] == ["", "[thresholds]", "controversial = 0.5"]
    assert result.stderr == ""


def test_the_printed_policy_is_a_policy(run: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # no line of it is wrapped
    result = run("tune", file, "--aim", "false_positive_rate<=0.5, highest recall, highest precision")
    path = tmp_path / "printed.toml"
    path.write_text(result.stdout[result.stdout.index("# Written by") :], encoding="utf-8")
    assert Policy.from_file(path).thresholds != Policy().thresholds


def test_json(run: Run, file: str, tmp_path: Path) -> None:
    out = tmp_path / "policy.json"
    result = run("tune", file, "--aim", "highest f1", "--folds", "2", "--margin", "0.03", "--json", "--out", str(out))
    [line] = result.stdout.splitlines()
    tuned = json.loads(line)
    assert tuned["policy"] == json.loads(out.read_text(encoding="utf-8"))
    assert (tuned["rows"], len(tuned["folds"]), tuned["margin"]) == (20, 2, 0.03)
    assert tuned["data"][0]["name"] == "wild"


def test_options_reach_the_search(run: Run, tmp_path: Path) -> None:
    politics = [scored(0.7 + n / 100, SAFE, "Politically Sensitive Topics") for n in range(16)]
    file = written(tmp_path / "wild.jsonl", [*SPLIT, *politics])
    arguments = ("tune", file, "--aim", "recall>=1, fewest blocks", "--policy", "strict")
    assert "let through and recorded: Politically Sensitive Topics (in 5 of 5 folds)" in run(*arguments).stdout
    assert "let through" not in run(*arguments, "--no-categories").stdout
    assert "let through" not in run(*arguments, "--flag-category", "Violent").stdout
    assert "let through" in run(*arguments, "--flag-category", "violent", "--flag-category", "political").stdout
    shown = run(*arguments, "--margin", "0.05", "--confidence", "0.8", "--labels", "loose", "--seed", "3")
    assert shown.exit_code == 1  # ten rows that are all found are no proof that all are
    assert "with scores off by 0.05 and confidence 0.8: the highest recall is 0.8513" in shown.stderr


def test_a_policy_file_to_begin_with(run: Run, file: str, tmp_path: Path) -> None:
    base, out = tmp_path / "base.yaml", tmp_path / "tuned.yaml"
    base.write_text("mode: loose\npoints: {document: drop}\nrefusal: Not here.\n", encoding="utf-8")
    assert run("tune", file, "--aim", "highest f1", "--policy", str(base), "--out", str(out)).exit_code == 0
    tuned, before = Policy.from_file(out), Policy.from_file(base)
    assert tuned == before.model_copy(update={"thresholds": tuned.thresholds}) != before


def test_notes_go_to_standard_error(run: Run, tmp_path: Path) -> None:
    rows = [scored((number * 37 % 101) / 101, UNSAFE if number % 2 else SAFE) for number in range(101)]
    bare = Result(id="", label=rows[0].label, verdict=Verdict(severity="Safe"))
    file = written(tmp_path / "d.jsonl", [*rows, bare])
    result = run("tune", file, "--aim", "recall>=0.9, fewest blocks", "--policy", "strict")
    assert result.exit_code == 0
    first, second = result.stderr.splitlines()
    assert first.startswith("note: recall is 0.8")
    assert first.endswith("on held-out rows, and not at least 0.9: --confidence 0.95 asks for a safer threshold")
    assert second == "note: 1 of 102 rows have no scores: no threshold moves them"


def test_folds_without_which_the_aim_is_not_met_are_told(run: Run, tmp_path: Path) -> None:
    rows = [*[scored(0.9, UNSAFE)] * 10, *[scored(0.9, SAFE)] * 5, *[scored(0.1, SAFE)] * 10]
    file = written(tmp_path / "d.jsonl", rows)
    result = run("tune", file, "--aim", "precision>=0.66, highest recall", "--no-categories")
    assert result.exit_code == 0
    assert re.search(r"without the rows of one fold, nothing meets the aim in [1-4] of 5 folds\n", result.stderr)


# --- what cannot be ---


def test_an_aim_that_cannot_be_met(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "policy.toml"
    file = written(tmp_path / "d.jsonl", drawn(60, 1, spread=0.4))
    result = run("tune", file, "--aim", "recall>=0.99, precision>=0.99", "--out", str(out), "--no-categories")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("not met: no threshold meets recall>=0.99 and precision>=0.99: the highest recall")
    assert not out.exists()


WRONG = [
    pytest.param(["{file}", "--aim", "recal>=0.9"], "error: aim 'recal>=0.9': 'recal' is none of", id="aim"),
    pytest.param(["{file}", "--aim", "highest f1", "--margin", "7"], "error: margin is 7.0", id="margin"),
    pytest.param(["{folder}", "--aim", "highest f1"], "choose with --guard, one of one, bare", id="guards"),
    pytest.param(
        ["{folder}", "--guard", "two", "--aim", "highest f1"], "has no guard 'two': --guard is one of", id="guard"
    ),
    pytest.param(["{folder}", "--guard", "bare", "--aim", "highest f1"], "error: the guard gives no scores", id="bare"),
    pytest.param(["{missing}", "--aim", "highest f1"], "has no run.json", id="no run"),
    pytest.param(
        ["{file}", "{file}", "--aim", "highest f1"], "error: two runs are of wild: give them names", id="name"
    ),
    pytest.param(["{file}", "--aim", "highest f1", "--out", "policy.ini"], "must end in .toml, .yaml", id="format"),
    pytest.param(["{file}", "--aim", "highest f1", "--plot", "a.pdf"], "must end in .svg, .png", id="picture"),
    pytest.param(
        ["{file}", "--aim", "highest f1", "--out", "{missing}/a.toml"], "there is no folder", id="folder of the policy"
    ),
    pytest.param(
        ["{file}", "--aim", "highest f1", "--no-categories", "--flag-category", "PII"], "not both", id="categories"
    ),
    pytest.param(["{file}", "--aim", "highest f1", "--policy", "a.toml"], "cannot read the policy file", id="policy"),
    pytest.param(
        ["{file}", "--aim", "highest f1", "--folds", "12"], "10 unsafe rows, too few for 12 folds (lower", id="folds"
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_is_wrong_is_said_in_one_line(
    run: Run, folder: str, file: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    places = {"folder": folder, "file": file, "missing": str(tmp_path / "missing")}
    result = run("tune", *(argument.format(**places) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_runs_of_different_guards(run: Run, folder: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    evaluate(data_of(20, "other"), {"two": FakeGuard(verdict_on)}, other)
    one = tmp_path / "one"
    evaluate(data_of(20, "one"), {"one": FakeGuard(verdict_on)}, one)
    result = run("tune", str(one), str(other), "--aim", "highest f1")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: the runs are of different guards (one, two): choose with --guard\n",
    )
    assert run("tune", folder, str(one), "--guard", "one", "--aim", "highest f1").exit_code == 0


def test_the_page_shows_what_happens(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [(command, shown)] = re.findall(
        r"^\$ (qwen3guard tune .*)\n((?:[^`]*\n)+)```", PAGE.read_text("utf-8"), re.MULTILINE
    )
    guards = {"demo": load_guard("demo")}
    for name in ("openai-moderation", "toxicchat", "wildguardtest", "xstest"):
        evaluate(load_rows(f"sample:{name}"), guards, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    _, *arguments = shlex.split(command)
    result = run(*(found for argument in arguments for found in sorted(glob.glob(argument)) or [argument]))
    lines = [line.rstrip() for line in (result.stdout + result.stderr).splitlines()]
    assert without_digits("\n".join(lines) + "\n") == without_digits(shown)


def test_help_says_what_an_aim_is(run: Run) -> None:
    result = run("tune", "--help")
    assert result.exit_code == 0
    assert "fewest blocks@xstest" in result.stdout
