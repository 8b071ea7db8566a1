"""`load_guard`: names, settings from the environment, and no guard by accident."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3guard_integrations import GuardConfigurationError, load_guard
from qwen3guard_integrations.guards import OpenAIGuard, TransformersGuard
from qwen3guard_integrations.guards.demo import DemoGuardWarning
from qwen3guard_integrations.guards.load import how_loaded, written_down


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GUARD", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"QWEN3GUARD_{name}", raising=False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "QWEN3GUARD_GUARD"),
        ({"guard": "qwen"}, "unknown guard 'qwen'"),
        ({"guard": "openai:m"}, "base_url"),
        ({"guard": "openai:", "base_url": "http://localhost:1/v1"}, "model"),
        ({"guard": "transformers:"}, "no model named"),
        ({"guard": "demo", "base_url": "http://localhost:1/v1"}, "takes no base_url"),
        ({"guard": "remote-stream:m", "base_url": "ws://localhost:1"}, "over the network"),
        ({"guard": "demo", "colour": "red"}, "colour"),
        ({"guard": "openai:m", "base_url": "http://localhost:1/v1", "colour": "red"}, "colour"),
    ],
)
def test_wrong_names_and_settings_say_what_to_set(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(GuardConfigurationError, match=says):
        load_guard(**arguments)


def test_the_environment_is_read_where_an_argument_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3GUARD_GUARD", "openai:from-the-environment")
    monkeypatch.setenv("QWEN3GUARD_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("QWEN3GUARD_API_KEY", "secret-key")
    guard = load_guard()
    assert isinstance(guard, OpenAIGuard)
    assert "from-the-environment" in repr(guard)
    assert "secret-key" not in repr(guard)
    assert how_loaded(guard) == {"guard": "openai:from-the-environment", "base_url": "http://localhost:1/v1"}
    # The address is a server's: it does not disturb a guard in this process.
    assert isinstance(load_guard("demo"), TransformersGuard)


def test_the_demo_guard_warns_and_is_remembered_by_name() -> None:
    with pytest.warns(DemoGuardWarning, match="demonstration"):
        guard = load_guard("demo", details="never")
    assert how_loaded(guard) == {"guard": "demo", "details": "never"}
    assert repr(guard) == "TransformersGuard('demo')"
    assert how_loaded(object()) is None


@pytest.mark.parametrize(
    "options",
    [
        {"default_headers": {"X-Token": "secret-token"}},
        {"extra_body": {"token": "secret-token"}},
        {"base_url": "http://me:secret-token@localhost:1/v1"},
        {"base_url": "http://localhost:1/v1?key=secret-token"},
    ],
    ids=["header", "body", "password", "query"],
)
def test_what_can_hold_a_secret_is_not_written_down(options: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"guard": "openai:x", "base_url": "http://localhost:1/v1", "timeout": 3.0}
    assert written_down(load_guard(**plain, api_key="secret-token")) == plain
    assert written_down(load_guard(**{**plain, **options})) is None
    assert written_down(object()) is None
