"""The tiny guard that ships with the package: a demonstration and a test fixture, never a default."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from .stream import TransformersStreamGuard
    from .transformers import TransformersGuard

G = TypeVar("G", "TransformersGuard", "TransformersStreamGuard")

# One thread is the fastest for a model of this size. It was trained on texts of this length: longer ones go in pieces.
_SETTINGS: Final = {"device": "cpu", "threads": 1, "context_tokens": 384}
_MOST_SIDE_BY_SIDE: Final = 4  # more threads wait for each other: a good part of such a small pass is Python


class DemoGuardWarning(UserWarning):
    """The demo guard was loaded: good for a first look and for tests, not for protecting anybody."""


def load_demo_stream_guard(**options: Any) -> TransformersStreamGuard:
    """The tiny Stream guard in the package: Qwen3 architecture, four heads, about a million parameters, no download.

    Args:
        **options: As for `TransformersStreamGuard`, but with `threads=1` and `context_tokens=384` unless said
            otherwise.

    Warns:
        DemoGuardWarning: Always. What it gets right and wrong stands in its model card.
    """
    from .stream import TransformersStreamGuard

    return _loaded(TransformersStreamGuard, "stream", options)


def load_demo_guard(**options: Any) -> TransformersGuard:
    """The tiny Gen guard in the package: Qwen3 architecture, about a million parameters, no download.

    Args:
        **options: As for `TransformersGuard`, but with `threads=1`, `context_tokens=384`, `batch_size=32` and
            `side_by_side` as many as there are processors, four at most, unless said otherwise.

    Warns:
        DemoGuardWarning: Always. What it gets right and wrong stands in its model card.
    """
    from .transformers import TransformersGuard

    return _loaded(TransformersGuard, "gen", {"batch_size": 32, "side_by_side": _processors(), **options})


def _processors() -> int:
    """Those that this process may use, as far as a batch has a use for them."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_SIDE_BY_SIDE)


def _loaded(kind: type[G], weights: str, options: dict[str, Any]) -> G:
    warnings.warn(
        "the demo guard is a demonstration, trained on a few thousand sentences: it misses a good part of what "
        "Qwen3Guard finds. Use real weights to protect anybody: "
        f"load_guard('transformers:Qwen/Qwen3Guard-{weights.capitalize()}-0.6B')",
        DemoGuardWarning,
        stacklevel=5,
    )
    with as_file(files(__package__) / "demo_weights" / weights) as folder, _no_progress_bar():
        guard = kind(str(folder), **{**_SETTINGS, **options})
    guard.model = "demo" if weights == "gen" else "demo-stream"
    return guard


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Loading takes a tenth of a second: a progress bar would only be noise."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
