"""The command line in this process, with a scripted guard in place of every loaded one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qwen3guard_integrations.cli.app import app
from qwen3guard_integrations.testing import FakeGuard
from tests.cli.scripted import scripted_guard

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours and no setting of the machine in the tests."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("GUARD", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"QWEN3GUARD_{name}", raising=False)


@pytest.fixture
def run() -> Run:
    """`run("check", "hello", input=b"...")`: the command's exit code, stdout and stderr."""

    def run(*arguments: str, input: str | bytes | None = None) -> Result:  # noqa: A002
        return CliRunner().invoke(app, arguments, input=input)

    return run


@dataclass
class Loads:
    """What stands in for `load_guard`: it records its arguments and gives `guard`, or raises `error`."""

    guard: FakeGuard = field(default_factory=scripted_guard)
    error: Exception | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, guard: str | None = None, **options: Any) -> FakeGuard:
        self.calls.append({"guard": guard, **options})
        if self.error:
            raise self.error
        return self.guard


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """The stand-in for `load_guard`; its guard may be replaced before a run."""
    loads = Loads()
    monkeypatch.setattr("qwen3guard_integrations.guards.load.load_guard", loads)
    return loads
