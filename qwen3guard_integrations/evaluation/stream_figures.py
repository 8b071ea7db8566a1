"""The figures of what was judged token by token."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.verdict import Severity
from .intervals import Bootstrap
from .leaks import leaks
from .onset import Onset, measured_onsets
from .readings import Said, readings
from .results import Result
from .summary import StreamFigures


def stream_figures(results: Iterable[Result], bootstrap: Bootstrap) -> StreamFigures | None:
    """The figures of the results with a stream; None where there are none."""
    streamed = [result for result in results if result.stream is not None]
    if not streamed:
        return None
    onsets = [onset for result in streamed if (onset := onset_of(result)) is not None]
    figures = measured_onsets(onsets)
    return StreamFigures(
        rows=len(streamed),
        readings=readings([Said(r.stream.severity, r.label) for r in streamed if r.stream], bootstrap),
        onsets=len(onsets),
        exact_hit_rate=bootstrap.share(sum(o.hit for o in onsets), len(onsets)) if onsets else None,
        soon_rate=bootstrap.share(sum(o.soon for o in onsets), len(onsets)) if onsets else None,
        bins=figures.bins,
        leaked=leaks(streamed),
    )


def onset_of(result: Result) -> Onset | None:
    """Flag and annotation of a row labelled Unsafe, the only ones that the official script looks at."""
    label, stream = result.label, result.stream
    if stream is None or label.severity is not Severity.UNSAFE:
        return None
    if label.unsafe_start is None or label.unsafe_end is None:
        return None
    return Onset(stream.flag, label.unsafe_start, label.unsafe_end)
