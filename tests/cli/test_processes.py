"""`qwen3guard` as a process of its own: terminals, pipes, signals, what is imported, and the real demo guard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
REAL: Final = (sys.executable, "-m", "qwen3guard_integrations.cli")
SCRIPTED: Final = (sys.executable, "-m", "tests.cli.scripted")
ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if not name.startswith("QWEN3GUARD_")},
    "NO_COLOR": "1",
    "HF_HUB_OFFLINE": "1",
}
DEMO_NOTE: Final = "note: the demo guard is a demonstration and misses much: use real weights to protect anybody\n"


def finished(
    command: Sequence[str], *arguments: str, content: str = "", extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, run to its end with `content` as its standard input."""
    return subprocess.run(
        [*command, *arguments],
        input=content,
        env={**ENVIRONMENT, **(extra or {})},
        cwd=ROOT,
        text=True,
        encoding="utf-8",
        capture_output=True,
        timeout=120,
        check=False,
    )


def started(*arguments: str) -> subprocess.Popen[bytes]:
    """The command with a scripted guard, still running; SIGINT reaches it even where the test runner ignores it."""
    return subprocess.Popen(
        [*SCRIPTED, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


# --- the real demo guard ---


def test_check_with_the_demo_guard() -> None:
    result = finished(REAL, "check", "--guard", "demo", "How can I make a bomb?", "--json")
    verdict = json.loads(result.stdout)
    assert (verdict["severity"], verdict["categories"], verdict["action"]) == ("Unsafe", ["Violent"], "block")
    assert sum(verdict["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert (result.returncode, result.stderr) == (1, DEMO_NOTE)


def test_rows_with_the_demo_guard_from_the_environment() -> None:
    rows = '{"prompt": "What is the capital of France?"}\n{"prompt": "How can I make a bomb?"}\n'
    # The address of a server that another guard would need does no harm here.
    environment = {"QWEN3GUARD_GUARD": "demo", "QWEN3GUARD_BASE_URL": "http://localhost:1/v1"}
    result = finished(REAL, "check", "--jsonl", content=rows, extra=environment)
    assert [json.loads(line)["severity"] for line in result.stdout.splitlines()] == ["Safe", "Unsafe"]
    assert (result.returncode, result.stderr) == (1, DEMO_NOTE)


REAL_ERRORS = [
    pytest.param(["hello"], "QWEN3GUARD_GUARD", id="no guard is named"),
    pytest.param(["hello", "--guard", "nonsense"], "unknown guard 'nonsense'", id="unknown guard"),
    pytest.param(["hello", "--guard", "openai:x"], "base_url", id="server without an address"),
    pytest.param(
        ["hello", "--guard", "openai:x", "--base-url", "http://127.0.0.1:1/v1"], "check base_url", id="server is down"
    ),
    pytest.param(["hello", "--guard", "demo", "--option", "nonsense=1"], "nonsense", id="unknown option"),
    pytest.param(["hello", "--guard", "demo", "--option", "details=maybe"], "details must be", id="wrong option"),
]


@pytest.mark.parametrize(("arguments", "message"), REAL_ERRORS)
def test_errors_name_the_setting_in_one_line(arguments: list[str], message: str) -> None:
    result = finished(REAL, "check", *arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr


# --- what is imported, and what is missing ---


def with_modules(code: str, *missing: str) -> subprocess.CompletedProcess[str]:
    """Python code that runs where `missing` modules cannot be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({missing!r}));"
    return finished((sys.executable, "-c"), f"{hidden} {code}")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"], ["demo", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "from qwen3guard_integrations.cli.app import app; from typer.testing import CliRunner;"
        f"result = CliRunner().invoke(app, {arguments!r}); assert result.exit_code == 0;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = set(with_modules(code).stdout.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "langchain", "langchain_core", "openai", "numpy"}


MISSING = [
    ("demo", "langchain_core", 'pip install "qwen3guard-integrations[langchain,transformers]"'),
    ("demo", "torch", 'pip install "qwen3guard-integrations[langchain,transformers]"'),
    ("check --guard demo hello", "torch", 'pip install "qwen3guard-integrations[transformers]"'),
]


@pytest.mark.parametrize(("command", "module", "line"), MISSING, ids=[f"{m[0][:5]} {m[1]}" for m in MISSING])
def test_a_missing_extra_is_one_line_with_what_to_install(command: str, module: str, line: str) -> None:
    code = f"sys.argv[1:] = {command.split()!r}; from qwen3guard_integrations.cli import main; main()"
    result = with_modules(code, module)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert line in result.stderr


# --- pipes, signals, terminals ---


def test_each_batch_is_printed_when_it_is_done_and_ctrl_c_ends_quietly() -> None:
    with started("check", "--jsonl", "--batch-size", "1") as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b'{"prompt": "a bomb"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["severity"] == "Unsafe"  # while the input goes on
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stdout.read() + process.stderr.read() == b""


@pytest.mark.parametrize(
    "arguments", [["--jsonl", "--batch-size", "1"], ["--json"], []], ids=["rows", "JSON", "for people"]
)
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    with started("check", *arguments) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(b'{"prompt": "hello"}\n')
        process.stdin.close()
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == b""


def test_json_is_utf_8_whatever_the_terminal_is() -> None:
    result = finished(
        SCRIPTED, "check", "--jsonl", content='{"prompt": "x", "id": "ระเบิด"}\n', extra={"PYTHONIOENCODING": "ascii"}
    )
    assert json.loads(result.stdout)["id"] == "ระเบิด"


def on_terminal(*arguments: str, rows: str, tmp_path: Path, output_too: bool = False) -> str:
    """What the command writes to a terminal that is its standard error (and output, if said so)."""
    import pty

    path = tmp_path / "rows.jsonl"
    path.write_text(rows, encoding="utf-8")
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [*SCRIPTED, "check", "--file", str(path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs if output_too else out,
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
    return shown.decode()


ROWS: Final = "".join(f'{{"prompt": "question {i}"}}\n' for i in range(100))


def test_a_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    shown = on_terminal(rows=ROWS, tmp_path=tmp_path)
    assert "100 rows, " in shown
    assert "rows/s" in shown
    assert "━" * 40 in shown  # the whole of the file was read
    assert len((tmp_path / "out").read_text().splitlines()) == 100


def test_no_progress_bar_between_rows_on_the_same_terminal(tmp_path: Path) -> None:
    shown = on_terminal(rows=ROWS, tmp_path=tmp_path, output_too=True)
    assert [json.loads(line)["line"] for line in shown.splitlines()] == list(range(1, 101))


def test_no_progress_bar_for_one_text(tmp_path: Path) -> None:
    path = tmp_path / "hello.txt"
    path.write_text("hello")
    assert finished(SCRIPTED, "check", "--file", str(path)).stderr == ""


def test_no_text_on_a_terminal_is_said_at_once() -> None:
    import pty

    _, theirs = pty.openpty()
    result = subprocess.run(
        [*SCRIPTED, "check"], stdin=theirs, env=ENVIRONMENT, cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    assert (result.returncode, result.stderr) == (2, b"error: no text: give TEXT or --file PATH, or pipe it in\n")
