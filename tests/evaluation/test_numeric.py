"""The figures without the libraries that they need."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

NUMERIC = "qwen3guard_integrations.evaluation._numeric"


@pytest.mark.parametrize("missing", ["numpy", "scipy", "sklearn"])
def test_what_is_missing_is_named_with_the_line_that_installs_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module(NUMERIC)
    monkeypatch.delitem(sys.modules, NUMERIC)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=missing) as caught:
        importlib.import_module(NUMERIC)
    assert 'pip install "qwen3guard-integrations[eval]"' in str(caught.value)


def test_what_guards_said_is_read_without_any_of_them() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('numpy', 'scipy', 'sklearn')));"
        "from qwen3guard_integrations import Severity;"
        "from qwen3guard_integrations.evaluation.readings import unsafe;"
        "print(unsafe(Severity.CONTROVERSIAL, 'strict'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr
