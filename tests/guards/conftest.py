"""Servers for the tests of the guards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from .. import model_server
from ..model_server import ModelServer
from .fault_server import FaultServer, Step

DEMO_GEN = Path(str(files("qwen3guard_integrations.guards"))) / "demo_weights" / "gen"


@pytest.fixture
def serve() -> Iterator[Callable[..., FaultServer]]:
    """Starts servers that answer by script and end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*steps: Step) -> FaultServer:
            return stack.enter_context(FaultServer(*steps))

        yield start


@pytest.fixture(scope="session")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve` with the demonstration guard."""
    with model_server.transformers_serve(DEMO_GEN, tmp_path_factory.mktemp("serve")) as server:
        yield server
