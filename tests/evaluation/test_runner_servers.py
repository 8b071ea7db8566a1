"""`evaluate` against guards on real servers: many requests at once, rows that are refused, servers that go away."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from qwen3guard_integrations import GuardUnavailableError
from qwen3guard_integrations.evaluation.runner import evaluate
from qwen3guard_integrations.guards import OpenAIGuard
from tests.evaluation.runs import contents, data_of
from tests.guards.fault_server import FaultServer, Reply, Request, drop, good, hang, slow, status

ROOT: Final = Path(__file__).parents[2]


def guard_at(server: FaultServer, **options: int) -> OpenAIGuard:
    return OpenAIGuard("m", base_url=server.url, **options)  # type: ignore[arg-type]


def refusing(request: Request) -> Reply:
    """As a server does with one text that is too long for it."""
    return status(400)(request) if "row 33 " in request.text else good(request)


def test_requests_are_many_at_once_and_results_in_order(tmp_path: Path) -> None:
    with FaultServer(slow(0.02)) as server:
        run = evaluate(data_of(120), {"a": guard_at(server)}, tmp_path, batch_size=8, concurrency=4)
    assert [result.id for result in run.results["a"]] == [f"r{number}" for number in range(120)]
    assert len(server.requests) == 120
    assert 8 < server.most_at_once <= 16  # more than one batch, and no more than `max_concurrency`


def test_a_text_that_the_server_refuses_is_recorded(tmp_path: Path) -> None:
    with FaultServer(refusing) as server:
        run = evaluate(data_of(64), {"a": guard_at(server)}, tmp_path, batch_size=16)
    assert [(result.id, result.error) for result in run.results["a"] if result.error] == [
        ("r33", "GuardConfigurationError")
    ]


def test_a_server_that_goes_down_ends_the_run_and_one_that_is_back_ends_with_the_same_bytes(tmp_path: Path) -> None:
    with FaultServer(good) as server:
        evaluate(data_of(200), {"a": guard_at(server)}, tmp_path / "whole", batch_size=8)
    with FaultServer(*[good] * 60, drop) as server:
        with pytest.raises(GuardUnavailableError, match="no connection"):
            evaluate(data_of(200), {"a": guard_at(server)}, tmp_path / "a", batch_size=8)
        assert len(server.requests) < 160
    done = contents(tmp_path / "a")["a.results.jsonl"]
    assert b"error" not in done
    with FaultServer(good) as server:  # at another address
        evaluate(data_of(200), {"a": guard_at(server)}, tmp_path / "a", batch_size=8)
        assert len(server.requests) == 200 - len(done.splitlines())
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"row {n}", "label": "safe"}) + "\n" for n in range(100)))
    with FaultServer(*[good] * 20, hang) as server:
        command = ["eval", "--dataset", str(rows), "--guard", "openai:m", "--base-url", server.url, "--no-report"]
        command += ["--out", str(tmp_path / "run"), "--batch-size", "4", "--option", "timeout=100"]
        with subprocess.Popen(
            [sys.executable, "-m", "qwen3guard_integrations.cli", *command],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            assert process.stderr
            assert server.wait_until(lambda server: len(server.requests) > 20, 60)  # from here on it hangs
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert time.monotonic() - begin < 10  # far below the timeout
            assert re.fullmatch(rb"interrupted; openai:m has judged \d+ of 100 rows, .*\n", process.stderr.read())
