"""The shell sessions in docs/command-line.md that use the demo guard: run, and compared with what the page shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import Run

PAGE: Final = Path(__file__).parents[2] / "docs" / "command-line.md"
SESSIONS: Final = [
    session
    for session in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if "--guard demo" in session
]


def steps(session: str) -> Iterator[tuple[str, str]]:
    """Each command, with the output that the page shows."""
    for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        yield command, shown


def without_digits(output: str) -> str:
    """Scores differ in their last digits from one processor to the next."""
    return re.sub(r"\b0\.\d+\b", "0.x", output)


@pytest.mark.parametrize("session", SESSIONS, ids=[session.splitlines()[0][2:50] for session in SESSIONS])
def test_the_page_shows_what_happens(run: Run, session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status = 0
    for command, shown in steps(session):
        match [part.split() and shlex.split(part) for part in command.split(" | ")]:
            case [["cat", name]]:
                Path(name).write_text(shown, encoding="utf-8")
            case [["echo", "$?"]]:
                assert shown == f"{status}\n"
            case [["echo", text], ["qwen3guard", *arguments]]:
                result = run(*arguments, input=f"{text}\n")
                assert without_digits(result.stdout) == without_digits(shown)
            case [["qwen3guard", *arguments]]:
                result = run(*arguments)
                status = result.exit_code
                assert without_digits(result.stdout) == without_digits(shown)
            case _:
                pytest.fail(f"the test cannot run {command!r}")


def test_there_are_sessions_to_run() -> None:
    assert len(SESSIONS) == 3
