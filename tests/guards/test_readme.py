"""The two snippets in the README that need weights or a server, run on the demo checkpoint in their place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..model_server import ModelServer
from .conftest import DEMO_GEN

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def snippet(heading: str) -> str:
    found = re.search(rf"### {heading}\n.*?```python\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_real_weights(capsys: pytest.CaptureFixture[str]) -> None:
    code = snippet("With the real weights, in your process")
    assert code.count("transformers:Qwen/Qwen3Guard-Gen-0.6B") == 1
    exec(code.replace("Qwen/Qwen3Guard-Gen-0.6B", str(DEMO_GEN)), {})
    assert "Unsafe" in capsys.readouterr().out


@pytest.mark.server
def test_server(transformers_serve: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    code = snippet("With a server")
    for given, ours in {
        "Qwen/Qwen3Guard-Gen-4B": str(DEMO_GEN),
        "http://localhost:8000/v1": transformers_serve.url,
    }.items():
        assert code.count(given) == 1
        code = code.replace(given, ours)
    exec(code, {})
    assert capsys.readouterr().out.startswith("Safe True")
