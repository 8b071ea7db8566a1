"""The tiny guard that ships with the package: a demonstration and a test fixture, never a default."""

from __future__ import annotations

import warnings
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .transformers import TransformersGuard


class DemoGuardWarning(UserWarning):
    """The demo guard was loaded: good for a first look and for tests, not for protecting anybody."""


def load_demo_guard(**options: Any) -> TransformersGuard:
    """The tiny Gen guard in the package: Qwen3 architecture, about a million parameters, no download.

    Args:
        **options: As for `TransformersGuard`; one CPU thread unless `threads` says otherwise, which is the
            fastest for a model of this size.

    Warns:
        DemoGuardWarning: Always. What it gets right and wrong stands in its model card.
    """
    from .transformers import TransformersGuard

    warnings.warn(
        "the demo guard is a demonstration, trained on a few thousand sentences: it misses a good part of what "
        "Qwen3Guard finds. Use real weights to protect anybody: load_guard('transformers:Qwen/Qwen3Guard-Gen-0.6B')",
        DemoGuardWarning,
        stacklevel=3,
    )
    with as_file(files(__package__) / "demo_weights" / "gen") as folder:
        guard = TransformersGuard(str(folder), **{"device": "cpu", "threads": 1, **options})
    guard.model = "demo"
    return guard
