"""`qwen3guard eval`: the command in this process with scripted guards, and as a process that is interrupted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from qwen3guard_integrations import Conversation, GuardUnavailableError, Verdict
from qwen3guard_integrations.evaluation import load_run
from qwen3guard_integrations.testing import FakeGuard
from tests.cli.conftest import Loads, Run
from tests.cli.scripted import verdict_on
from tests.cli.test_processes import ENVIRONMENT, ROOT, SCRIPTED, finished, started, with_modules

CANARY: Final = "kanarienvogel"
KEY: Final = "sk-0123456789"
USUAL: Final = ("--guard", "demo", "--resamples", "20", "--no-report", "--json")


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """40 labelled prompts: every second one is unsafe, and the guard finds all of those but misjudges one other."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(labelled(number)) + "\n" for number in range(40)), encoding="utf-8")
    return str(path)


def labelled(number: int) -> dict[str, Any]:
    harmful = number % 2 == 0
    word = "a bomb" if harmful or number == 7 else "bread"
    return {"id": f"q{number}", "prompt": f"{word} {number} {CANARY}", "label": "unsafe" if harmful else "safe"}


@pytest.fixture
def evaluate(run: Run, rows: str, tmp_path: Path) -> Callable[..., Any]:
    """The command on `rows`, into the folder "run", with few resamples; without a report unless one is asked for."""

    def evaluate(*arguments: str) -> Any:
        usual = ("--dataset", rows, "--out", str(tmp_path / "run"), "--resamples", "20", "--no-report")
        return run("eval", *usual, *arguments)

    return evaluate


Evaluate = Callable[..., Any]


# --- one command ---


def test_one_command_judges_and_reports(evaluate: Evaluate, loads: Loads, tmp_path: Path) -> None:
    result = evaluate("--guard", "demo", "--report")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "rows.jsonl: 40 rows"
    assert lines[4].split()[:1] == ["demo"]
    # 20 found, one false alarm: precision 20/21, recall 1, F1 40/41, and one in twenty harmless rows is blocked.
    assert [figure for figure in lines[4].split() if figure.count(".") == 1] == [
        "0.976",
        "0.976",
        "0.952",
        "1.000",
        "0.050",
    ]
    assert lines[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "demo.results.jsonl",
        "demo.timings.jsonl",
        "report.html",
        "report.md",
        "run.json",
        "summary.json",
    ]
    assert loads.calls == [{"guard": "demo", "base_url": None, "api_key": None}]


def test_json_is_the_summary(evaluate: Evaluate, loads: Loads, tmp_path: Path) -> None:
    result = evaluate("--guard", "demo", "--report", "--json")
    summary = json.loads(result.stdout)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["guards"][0]["readings"]["strict"]["false_positives"] == 1
    assert summary["guards"][0]["latency"]["cost"] is None


def test_no_text_leaves_but_for_the_page(evaluate: Evaluate, loads: Loads, tmp_path: Path) -> None:
    result = evaluate("--guard", "demo", "--report")
    assert CANARY not in result.stdout + result.stderr
    with_text = [path.name for path in (tmp_path / "run").iterdir() if CANARY in path.read_text(encoding="utf-8")]
    assert with_text == ["report.html"]
    evaluate("--guard", "demo", "--report", "--no-texts")
    assert CANARY not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_no_report(evaluate: Evaluate, loads: Loads, tmp_path: Path) -> None:
    result = evaluate("--guard", "demo")
    assert "report" not in result.stdout
    assert "0.976" in result.stdout
    assert not list((tmp_path / "run").glob("report*"))
    assert (tmp_path / "run" / "summary.json").exists()  # a later run can be compared with it


def test_rows_are_chosen_and_mapped(run: Run, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"question": "a bomb", "kind": "bad"}\n{"question": "bread", "kind": "good"}\n'
        '{"question": "", "kind": "bad"}\n{"question": "milk", "kind": "good"}\n'
    )
    out = str(tmp_path / "run")
    mapping = ["--field", "prompt=question", "--field", "unsafe=kind=bad"]
    result = run("eval", "--dataset", str(path), *mapping, "--limit", "3", *USUAL, "--out", out)
    assert json.loads(result.stdout)["rows"] == 3
    assert json.loads(result.stdout)["guards"][0]["confusion"]["Unsafe"]["Unsafe"] == 1
    assert result.stderr == "note: own.jsonl: rows left out: 1 x nothing to judge\n"


def test_a_sample_in_the_schema_of_a_benchmark(run: Run, loads: Loads, tmp_path: Path) -> None:
    result = run("eval", "--dataset", "sample:xstest", *USUAL, "--out", str(tmp_path / "run"))
    assert json.loads(result.stdout)["data"] == "XSTest, sample"


def test_streams(evaluate: Evaluate, run: Run, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(
        '{"prompt": "Well?", "response": "Take a bomb. And then wait.", "label": "unsafe"}\n'
        '{"prompt": "Well?", "response": "Take flour, and water.", "label": "safe"}\n'
    )
    result = run("eval", "--dataset", str(path), "--streams", *USUAL, "--out", str(tmp_path / "run"))
    [guard] = json.loads(result.stdout)["guards"]
    assert guard["stream"]["rows"] == 2
    assert guard["stream"]["leaked"]["none"]["rows"] == 1


# --- guards ---


def test_guards_on_the_same_rows(evaluate: Evaluate, loads: Loads, tmp_path: Path) -> None:
    result = evaluate(
        *("--guard", "demo", "--guard", "openai:x/y", "--base-url", "http://localhost:1/v1", "--api-key", KEY),
        *("--option", "timeout=3", "--price", "0.5", "--json"),
    )
    assert loads.calls == [
        {"guard": "demo", "base_url": None, "api_key": None, "timeout": 3},
        {"guard": "openai:x/y", "base_url": "http://localhost:1/v1", "api_key": KEY, "timeout": 3},
    ]
    summary = json.loads(result.stdout)
    assert [(guard["guard"], guard["latency"]["cost"]) for guard in summary["guards"]] == [
        ("demo", 20.0),
        ("openai:x/y", 20.0),
    ]
    assert [(comparison["a"], comparison["b"]) for comparison in summary["comparisons"]] == [("demo", "openai:x/y")] * 2
    assert KEY not in "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "run").iterdir())


def test_guards_of_a_file(evaluate: Evaluate, loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    path = tmp_path / "guards.toml"
    path.write_text(
        """
        [small]
        guard = "transformers:./small"
        details = "always"
        threads = 2

        [service]
        guard = "openai:big"
        base_url = "http://localhost:1/v1"
        api_key_env = "MY_KEY"
        price = 0.25
        """
    )
    result = evaluate("--guards", str(path), "--guard", "demo", "--json")
    assert loads.calls == [
        {"guard": "demo", "base_url": None, "api_key": None},
        {"guard": "transformers:./small", "base_url": None, "api_key": None, "details": "always", "threads": 2},
        {"guard": "openai:big", "base_url": "http://localhost:1/v1", "api_key": KEY},
    ]
    guards = json.loads(result.stdout)["guards"]
    assert [(guard["guard"], guard["latency"]["cost"]) for guard in guards] == [
        ("demo", None),
        ("small", None),
        ("service", 10.0),
    ]


def test_the_guard_of_the_environment(evaluate: Evaluate, loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3GUARD_GUARD", "openai:mine")
    assert json.loads(evaluate("--json").stdout)["guards"][0]["guard"] == "openai:mine"


def test_two_runs_are_compared(evaluate: Evaluate, run: Run, loads: Loads, tmp_path: Path) -> None:
    first, second = str(tmp_path / "run"), str(tmp_path / "later")
    assert evaluate("--guard", "demo", "--report").exit_code == 0
    loads.guard = FakeGuard()  # lets everything pass
    assert evaluate("--guard", "demo", "--report", "--out", second).exit_code == 0
    assert [run("eval", "diff", before, after).exit_code for before, after in ((first, first), (first, second))] == [
        0,
        1,
    ]
    assert "recall.strict" in run("eval", "diff", first, second).stdout


# --- what goes wrong ---

ERRORS = [
    pytest.param(["--guard", "demo", "--guard", "demo"], "demo is named twice", id="a guard twice"),
    pytest.param(["--guard", "demo", "--guard", "demo-stream", "--base-url", "http://x"], "--base-url", id="no server"),
    pytest.param(["--guard", "demo", "--option", "x"], "--option takes key=value", id="option"),
    pytest.param(["--guard", "demo", "--field", "prompt"], "--field takes WHAT=FIELD", id="field"),
    pytest.param(["--guard", "demo", "--dataset", "nosuch"], "'nosuch' is no file", id="data set"),
    pytest.param(["--guard", "demo", "--policy", "nosuch.toml"], "nosuch.toml", id="policy"),
    pytest.param(["--guards", "nosuch.toml"], "cannot read nosuch.toml", id="guards file"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors_are_one_line_that_names_the_setting(
    evaluate: Evaluate, loads: Loads, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = evaluate(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr
    assert loads.calls == []  # it is said before a model is loaded
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["--dataset", "--out"])
def test_what_is_missing_is_said(run: Run, loads: Loads, missing: str) -> None:
    given = {"--dataset": "sample:xstest", "--out": "run", "--guard": "demo"}
    result = run("eval", *(word for name, value in given.items() if name != missing for word in (name, value)))
    assert (result.exit_code, result.stderr) == (2, f"error: {missing} is missing\n")


FILES = [
    pytest.param("", "names no guard", id="empty"),
    pytest.param("[a", "is no TOML file", id="no TOML"),
    pytest.param('a = "demo"', r"a is no table; write \[a\]", id="no table"),
    pytest.param("[a]\ntimeout = 3", r'\[a\] needs guard = "provider:model"', id="no guard"),
    pytest.param("[a]\nguard = 3", r"guard of \[a\] must be a string", id="guard"),
    pytest.param(f'[a]\nguard = "openai:x"\napi_key = "{KEY}"', 'api_key_env = "NAME"', id="key"),
    pytest.param('[a]\nguard = "openai:x"\napi_key_env = "NO_KEY"', "set NO_KEY in the environment", id="no key"),
    pytest.param('[a]\nguard = "demo"\nprice = -1', r"price of \[a\]", id="price"),
    pytest.param('[a]\nguard = "demo"\nprice = true', r"price of \[a\]", id="no price"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_errors_in_a_guards_file(evaluate: Evaluate, loads: Loads, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "guards.toml"
    path.write_text(content)
    result = evaluate("--guards", str(path))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert re.search(message, result.stderr)
    assert KEY not in result.stderr


def test_the_folder_of_another_run_is_refused(evaluate: Evaluate, loads: Loads) -> None:
    assert evaluate("--guard", "demo").exit_code == 0
    result = evaluate("--guard", "demo", "--batch-size", "7")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"error: .* holds another run, with other --batch-size: .*--out.*--restart.*\n", result.stderr)
    assert evaluate("--guard", "demo", "--batch-size", "7", "--restart").exit_code == 0


def test_a_folder_that_cannot_be_written(run: Run, loads: Loads, rows: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("eval", "--dataset", rows, "--guard", "demo", "--out", str(tmp_path / "file" / "run"))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert re.match(r"error: cannot write to .*file/run: Not a directory \(--out\)", result.stderr)


class Stopping(FakeGuard):
    """Raises `error` in place of every answer after so many."""

    def __init__(self, error: BaseException, *, after: int = 2) -> None:
        super().__init__(verdict_on)
        self.last, self.after = error, after

    def _answers(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        answers = super()._answers(conversations)
        if len(self.calls) > self.after:
            raise self.last
        return answers


def test_a_guard_that_goes_down_ends_the_run_and_the_same_command_goes_on(
    evaluate: Evaluate, loads: Loads, tmp_path: Path
) -> None:
    ways = ("--guard", "demo", "--batch-size", "8", "--concurrency", "1")
    loads.guard = Stopping(GuardUnavailableError("the server is down"))
    result = evaluate(*ways)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: the server is down; demo has judged 16 of 40 rows, and the same command goes on from there\n"
    )
    assert not (tmp_path / "run" / "summary.json").exists()
    loads.guard = Stopping(GuardUnavailableError("the server is down"), after=3)
    assert evaluate(*ways).exit_code == 0
    assert len(loads.guard.calls) == 3


def test_an_interrupt_says_how_to_go_on(evaluate: Evaluate, loads: Loads) -> None:
    loads.guard = Stopping(KeyboardInterrupt())
    result = evaluate("--guard", "demo", "--batch-size", "8", "--concurrency", "1")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == ("interrupted; demo has judged 16 of 40 rows, and the same command goes on from there\n")


class Choosy(FakeGuard):
    """Has no verdict on one text."""

    def _answers(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        if any("a bomb 8 " in conversation.judged.content for conversation in conversations):
            raise GuardUnavailableError("too long")
        return super()._answers(conversations)


def test_rows_without_a_verdict_are_counted_or_stop_the_run(evaluate: Evaluate, loads: Loads) -> None:
    loads.guard = Choosy(verdict_on)
    result = evaluate("--guard", "demo", "--on-error", "stop")
    assert (result.exit_code, result.stderr.partition(";")[0]) == (2, "error: too long")
    result = evaluate("--guard", "demo")
    assert result.exit_code == 0
    assert result.stderr == "note: demo: rows without a verdict, which count as blocked: 1 x GuardUnavailableError\n"
    assert "failed" in result.stdout


# --- the page about it ---


def test_the_page_shows_what_happens(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    session = re.search(r"^```console\n\$ qwen3guard (eval .*--guard demo .*)\n([^`]*)```", page, re.MULTILINE)
    assert session
    monkeypatch.chdir(tmp_path)
    result = run(*session[1].split())
    assert without_speed(result.stdout) == without_speed(session[2])


def without_speed(output: str) -> list[list[str]]:
    """The words of each line, but for the rows a second."""
    return [line.split()[:-1] if line.startswith("demo") else line.split() for line in output.splitlines()]


# --- as a process ---


def many(folder: Path, count: int) -> str:
    path = folder / "many.jsonl"
    path.write_text("".join(json.dumps(labelled(number)) + "\n" for number in range(count)))
    return str(path)


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["eval", "--dataset", many(tmp_path, 6_000), "--guard", "scripted", "--out", str(out)]
    command += ["--no-report", "--resamples", "0", "--batch-size", "10"]
    results = out / "scripted.results.jsonl"
    with started(*command) as process:
        assert process.stderr
        while process.poll() is None and not (results.exists() and results.stat().st_size > 30_000):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        said = process.stderr.read().decode()
    assert re.fullmatch(
        r"interrupted; scripted has judged [\d,]+ of 6,000 rows, and the same command goes on from there\n", said
    )
    done = results.read_bytes()
    assert 30_000 < len(done) < 6_000 * 50
    result = finished(SCRIPTED, *command)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(load_run(out).results["scripted"]) == 6_000
    assert results.read_bytes().startswith(done[: done.rfind(b"\n")])


def test_a_bar_for_each_guard_on_a_terminal(tmp_path: Path) -> None:
    import os
    import pty

    ours, theirs = pty.openpty()
    command = ["eval", "--dataset", many(tmp_path, 300), "--guard", "one", "--guard", "two"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [*SCRIPTED, *command, "--out", str(tmp_path / "run"), "--resamples", "0"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=theirs,
            env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"},
            cwd=ROOT,
        )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0
    last = shown.decode().rpartition("one ")[2]
    assert last.count("300/300") == 2
    assert last.count("rows/s") == 2
    assert "two" in last
    assert (tmp_path / "out").read_text().startswith("many.jsonl: 300 rows\n")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "from qwen3guard_integrations.cli.app import app; from typer.testing import CliRunner;"
        "result = CliRunner().invoke(app, ['eval', '--help']); assert result.exit_code == 0;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = set(with_modules(code).stdout.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "openai", "numpy", "matplotlib", "datasets", "scipy"}


@pytest.mark.parametrize("module", ["numpy", "jinja2"])
def test_a_missing_extra_is_said_before_anything_is_judged(tmp_path: Path, module: str) -> None:
    arguments = ["eval", "--dataset", "sample:xstest", "--guard", "demo", "--out", str(tmp_path / "run")]
    code = f"sys.argv[1:] = {arguments!r}; from qwen3guard_integrations.cli import main; main()"
    result = with_modules(code, module)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert 'pip install "qwen3guard-integrations[eval]"' in result.stderr
    assert not (tmp_path / "run").exists()
