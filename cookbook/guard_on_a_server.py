"""The guard on a server, over HTTP; runs offline: `transformers serve` serves the demo checkpoint on this machine.

    python cookbook/guard_on_a_server.py

In real life the server is vLLM or another one, and only the two lines in `main` are yours.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from qwen3guard_integrations import load_guard

MODEL = str(files("qwen3guard_integrations") / "guards" / "demo_weights" / "gen")


@contextmanager
def server() -> Iterator[str]:
    """`transformers serve` on a free port; needs `pip install "transformers[serving]"`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = shutil.which("transformers", path=str(Path(sys.executable).parent)) or "transformers"
    with tempfile.TemporaryDirectory() as cache:
        process = subprocess.Popen(
            [command, "serve", MODEL, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": cache},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(20)


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError("the server did not start")


def main() -> None:
    with server() as base_url:
        guard = load_guard(f"openai:{MODEL}", base_url=base_url, timeout=30.0)
        for question in ("What is the capital of France?", "How can I make a bomb?"):
            verdict = guard.check_prompt(question)
            print(f"{question:35} {verdict.severity} {', '.join(verdict.categories)}")

        # The same verdicts from one generated token: the prompt is rendered on this side.
        quick = load_guard(f"openai:{MODEL}", base_url=base_url, timeout=30.0, tokenizer=MODEL)
        print(f"{'in one token:':35} {quick.check_prompt('How can I make a bomb?').severity}")


if __name__ == "__main__":
    main()
