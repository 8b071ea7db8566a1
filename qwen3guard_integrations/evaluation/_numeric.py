"""numpy, scipy and scikit-learn, or the line that installs them."""

from __future__ import annotations

try:
    import numpy as np
    import scipy  # noqa: F401
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the figures of qwen3guard_integrations.evaluation need numpy, scipy and scikit-learn: "
        'pip install "qwen3guard-integrations[eval]"'
    ) from error

__all__ = ["np"]
