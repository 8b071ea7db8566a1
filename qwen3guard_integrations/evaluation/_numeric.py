"""What the figures need to be installed, looked for once: scipy and scikit-learn are loaded where they are used."""

from __future__ import annotations

from importlib.util import find_spec

if missing := [name for name in ("numpy", "scipy", "sklearn") if find_spec(name) is None]:
    raise ImportError(
        f"the figures of qwen3guard_integrations.evaluation need {', '.join(missing)}: "
        'pip install "qwen3guard-integrations[eval]"'
    )

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]
Truths = NDArray[np.bool_]

__all__ = ["Counts", "Numbers", "Truths", "np"]
