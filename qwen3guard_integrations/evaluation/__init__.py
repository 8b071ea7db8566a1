"""How good a guard is: labelled rows, and the figures of the official scripts of Qwen3Guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .data.dataset import DataError, DataSet
    from .data.load import load_rows
    from .metrics import Binary, best_of, measured
    from .onset import Onset, OnsetFigures, flagged, measured_onsets
    from .rows import Label, Row

__all__ = [
    "Binary",
    "DataError",
    "DataSet",
    "Label",
    "Onset",
    "OnsetFigures",
    "Row",
    "best_of",
    "flagged",
    "load_rows",
    "measured",
    "measured_onsets",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(("DataError", "DataSet"), "data.dataset"),
        "load_rows": "data.load",
        **dict.fromkeys(("Binary", "best_of", "measured"), "metrics"),
        **dict.fromkeys(("Onset", "OnsetFigures", "flagged", "measured_onsets"), "onset"),
        **dict.fromkeys(("Label", "Row"), "rows"),
    },
)
