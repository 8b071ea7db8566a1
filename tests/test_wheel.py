"""The wheel as users install it: what is in it, and the module that LlamaHub looks for."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_it_has_the_package_and_leaves_the_name_space_to_llama_index(wheel: Path) -> None:
    names = {str(path.relative_to(wheel)) for path in wheel.rglob("*.py")}
    assert "qwen3guard_integrations/py.typed" in {str(path.relative_to(wheel)) for path in wheel.rglob("*")}
    assert {name for name in names if name.startswith("llama_index/")} == {
        "llama_index/postprocessor/qwen3guard/__init__.py"
    }
    assert {name.split("/")[0] for name in names} == {"llama_index", "qwen3guard_integrations"}
    report = wheel / "qwen3guard_integrations" / "evaluation" / "report" / "templates"
    assert {path.name for path in report.iterdir()} == {"page.css", "page.html.jinja"}


def test_it_has_the_samples_of_the_evaluation(wheel: Path) -> None:
    inside = Path("qwen3guard_integrations", "evaluation", "data", "samples")
    names = {path.name for path in (ROOT / inside).iterdir()}
    assert len(names) > 15
    assert {path.name for path in (wheel / inside).iterdir()} == names


def test_llama_hub_finds_the_postprocessor(wheel: Path) -> None:
    hub = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["llamahub"]
    (name,) = hub["class_authors"]
    code = (
        f"import llama_index.core, {hub['import_path']} as module; print(module.__file__, module.{name}.class_name())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=wheel,
        env={"PYTHONPATH": str(wheel), "PATH": "", "HOME": str(wheel)},
        capture_output=True,
        text=True,
        check=True,
    )
    file, class_name = run.stdout.split()
    assert Path(file).is_relative_to(wheel)
    assert class_name == name
