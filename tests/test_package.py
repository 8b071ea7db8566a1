"""The package as a whole: its public names, what importing it loads, and which way its imports point."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

import qwen3guard_integrations
from qwen3guard_integrations import guards

PACKAGE: Final = "qwen3guard_integrations"
ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / PACKAGE

NEWER: Final = ["Qwen3GuardDecisionModel"] if find_spec("langchain_core.decisions") else []
PUBLIC: Final = {
    PACKAGE: [
        "Action",
        "BlockedError",
        "Category",
        "Conversation",
        "Decision",
        "Guard",
        "GuardConfigurationError",
        "GuardError",
        "GuardResponseError",
        "GuardTimeoutError",
        "GuardUnavailableError",
        "Point",
        "Policy",
        "Qwen3GuardError",
        "Scores",
        "Severity",
        "Turn",
        "Verdict",
        "load_guard",
    ],
    f"{PACKAGE}.langchain": [
        "AsyncQwen3GuardCallbackHandler",
        "GuardNode",
        "GuardedChain",
        "Qwen3GuardCallbackHandler",
        *NEWER,
        "Qwen3GuardDocumentFilter",
        "Qwen3GuardMiddleware",
        "Qwen3GuardRunnable",
        "Qwen3GuardWarning",
        "guard_checkpointer",
        "guard_edge",
        "guard_model",
        "guard_node",
        "guard_retriever",
        "guard_tool",
    ],
    f"{PACKAGE}.llama_index": [
        "Qwen3GuardChatEngine",
        "Qwen3GuardEventHandler",
        "Qwen3GuardNodePostprocessor",
        "Qwen3GuardQueryEngine",
        "Qwen3GuardTransform",
        "Qwen3GuardVerdictEvent",
        "guard_agent",
        "guard_llm",
        "guard_retriever",
        "guard_step",
        "guard_tool",
    ],
    f"{PACKAGE}.evaluation": [
        "Aim",
        "AimNotMetError",
        "Binary",
        "Change",
        "DataError",
        "DataSet",
        "Diff",
        "Judging",
        "Label",
        "Latency",
        "Onset",
        "OnsetFigures",
        "Pace",
        "Progress",
        "Result",
        "Row",
        "Run",
        "RunError",
        "StreamResult",
        "Summary",
        "SummaryError",
        "Tuned",
        "best_of",
        "diff",
        "evaluate",
        "flagged",
        "judge_stream",
        "judge_streams",
        "latency_of",
        "load_rows",
        "load_run",
        "measured",
        "measured_onsets",
        "read_results",
        "read_summary",
        "summarise",
        "tune",
        "write_report",
        "write_summary",
    ],
    f"{PACKAGE}.rewards": ["HybridReward", "WorldPM"],
}

# Who may import whom: core <- guards <- {adapters} <- cli. The adapters never import each other.
INSIDE: Final[dict[str, set[str]]] = {
    "_lazy": set(),
    "core": set(),
    "guards": {"core", "_lazy"},
    "testing": {"core", "guards"},
    "__init__": {"core", "guards", "_lazy"},
    "reporting": {"core"},
    "screener": {"core", "guards", "reporting"},
    **{name: {"core", "guards", "_lazy", "reporting", "screener"} for name in ("langchain", "llama_index")},
    **{name: {"core", "guards", "_lazy"} for name in ("evaluation", "rewards", "serving")},
    "cli": {"core", "guards", "_lazy", "langchain", "llama_index", "evaluation", "serving"},
    "__main__": {"cli"},
}
# What the core may import besides the standard library and itself.
CORE_NEEDS: Final = {"pydantic", "yaml"}
HEAVY: Final = {"langchain", "langchain_core", "llama_index", "openai", "transformers", "torch", "pydantic"}


def unit_of(path: Path) -> str:
    """The part of the package that a module belongs to: a folder or a module at the top."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The full names of all that a module imports, wherever in it the import stands, also for types only."""
    here = [PACKAGE, *path.relative_to(SOURCE).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_inward(path: Path) -> None:
    unit = unit_of(path)
    assert unit in INSIDE, f"{unit} has no line in the table of imports"
    inside = {name.split(".")[1] for name in imported(path) if name.startswith(f"{PACKAGE}.")}
    assert inside <= INSIDE[unit] | {unit} | {"__version__"}


@pytest.mark.parametrize("path", sorted((SOURCE / "core").glob("*.py")), ids=lambda path: path.stem)
def test_the_core_imports_no_framework_and_does_no_io(path: Path) -> None:
    names = {name for name in imported(path) if not name.startswith("urllib.parse.")}  # which only reads strings
    outside = {name.split(".")[0] for name in names} - {PACKAGE}
    assert outside <= sys.stdlib_module_names | CORE_NEEDS
    assert not outside & {"asyncio", "http", "socket", "subprocess", "threading", "urllib"}


def test_the_walk_sees_every_kind_of_import() -> None:
    assert f"{PACKAGE}.core.points.Point" in imported(SOURCE / "core" / "errors.py")  # for types only
    assert f"{PACKAGE}.guards.demo.load_demo_guard" in imported(SOURCE / "guards" / "load.py")  # in a function
    assert f"{PACKAGE}._lazy.lazy" in imported(SOURCE / "guards" / "__init__.py")  # two dots


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, {PACKAGE}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert PACKAGE in run.stdout.split()
    assert not HEAVY & set(run.stdout.split())


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_these_and_all_are_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(PUBLIC[package]) == PUBLIC[package]
    for name in PUBLIC[package]:
        assert getattr(module, name).__name__ == name
    assert set(PUBLIC[package]) <= set(dir(module))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Gaurd'"):
        _ = qwen3guard_integrations.Gaurd


def test_the_names_of_the_guards_are_sorted() -> None:
    assert guards.__all__ == sorted(guards.__all__)


PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_that_of_the_project() -> None:
    assert qwen3guard_integrations.__version__ == PROJECT["version"]


@pytest.mark.parametrize("beside", ["openai<3,>=1.108.1", "openai<4,>=2.45"], ids=["LlamaIndex", "LangChain"])
def test_the_openai_packages_of_both_frameworks_can_be_installed_beside_it(beside: str) -> None:
    """What llama-index-llms-openai 0.8.3 and langchain-openai 1.7 need; `make test-openai2` tries it."""
    (own,) = (needed for needed in map(Requirement, PROJECT["dependencies"]) if needed.name == "openai")
    assert "2.54.0" in own.specifier & Requirement(beside).specifier
