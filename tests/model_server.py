"""A real model server for tests: `transformers serve`, on the CPU and without any network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START = 120  # seconds: it imports torch, on a busy machine


@dataclass(frozen=True)
class ModelServer:
    """A running model server."""

    url: str
    model: str


@contextmanager
def transformers_serve(model: Path, folder: Path) -> Iterator[ModelServer]:
    """`transformers serve` with the checkpoint in `model`; its log goes to `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(model), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
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
        yield ModelServer(f"http://127.0.0.1:{port}/v1", str(model))
    finally:
        server.terminate()
        server.wait(20)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
