"""How good a guard is: the figures of the official scripts of Qwen3Guard, for verdicts and for streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .metrics import Binary, best_of, measured
    from .onset import Onset, OnsetFigures, flagged, measured_onsets

__all__ = ["Binary", "Onset", "OnsetFigures", "best_of", "flagged", "measured", "measured_onsets"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(("Binary", "best_of", "measured"), "metrics"),
        **dict.fromkeys(("Onset", "OnsetFigures", "flagged", "measured_onsets"), "onset"),
    },
)
