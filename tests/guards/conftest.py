"""Servers for the tests of the guards."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

from .fault_server import FaultServer, Step

DEMO_GEN = Path(str(files("qwen3guard_integrations.guards"))) / "demo_weights" / "gen"
START = 120  # seconds: it imports torch, on a busy machine


@pytest.fixture
def serve() -> Iterator[Callable[..., FaultServer]]:
    """Starts servers that answer by script and end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*steps: Step) -> FaultServer:
            return stack.enter_context(FaultServer(*steps))

        yield start


@dataclass(frozen=True)
class ModelServer:
    """A running model server."""

    url: str
    model: str


@pytest.fixture(scope="session")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve` with the demonstration guard, on the CPU and without any network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(DEMO_GEN), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(log.parent), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], env=environment, stdout=output, stderr=output
        )
    try:
        end = time.monotonic() + START
        while not _healthy(port):
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"transformers serve did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield ModelServer(f"http://127.0.0.1:{port}/v1", str(DEMO_GEN))
    finally:
        server.terminate()
        server.wait(20)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
