"""Results of guards on the same rows, made into the figures of a `Summary`.

What each figure means, by which formula and whose, is told in docs/evaluation-figures.md and by the module that
computes it: `readings`, `scored` (`curves`, `calibration`), `refusals`, `stream_figures` (`onset`, `leaks`), `latency`,
`compare` and, for all of their intervals, `intervals`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from .compare import comparisons
from .intervals import Bootstrap
from .readings import blocked_on_failure, by_category, by_name, confusion, over_blocking, readings, severity_of
from .refusals import refusals
from .results import Result
from .scored import scored
from .stream_figures import stream_figures
from .summary import GuardSummary, Latency, Summary

NOT_JUDGED: Final = "NotJudged"
"""Stands for the error's name where a result has neither verdict nor stream nor error."""


def summarise(
    data: str,
    digest: str,
    results: Mapping[str, Sequence[Result]],
    *,
    latencies: Mapping[str, Latency] = MappingProxyType({}),
    resamples: int = 1000,
    seed: int = 0,
) -> Summary:
    """The figures of one run.

    Args:
        data: Name of the data set and its split.
        digest: Of its rows (`DataSet.digest`).
        results: What each guard said of each row, in the same order for all of them.
        latencies: How long its calls took, for each guard of which that is known.
        resamples: How many bootstrap resamples an interval is computed from; 0 for no intervals.
        seed: Of the resamples: the same results and seed give the same summary.

    Raises:
        ValueError: The guards were not asked about the same rows in the same order; or `latencies` names a guard
            without results; or `resamples` is negative.
    """
    bootstrap = Bootstrap(resamples, seed)
    rows = _same_rows(results)
    if unknown := latencies.keys() - results.keys():
        raise ValueError(f"latencies of {', '.join(sorted(unknown))}, of which there are no results")
    return Summary(
        data=data,
        rows=rows,
        digest=digest,
        guards=tuple(_guard(name, said, latencies.get(name), bootstrap) for name, said in results.items()),
        comparisons=comparisons(results),
    )


def _same_rows(results: Mapping[str, Sequence[Result]]) -> int:
    """How many rows there were."""
    names = list(results)
    asked = [[(result.id, result.label, result.response) for result in results[name]] for name in names]
    for name, rows in zip(names, asked, strict=True):
        if rows != asked[0]:
            raise ValueError(f"the results of {names[0]!r} and {name!r} are not of the same rows in the same order")
    return len(asked[0]) if asked else 0


def _guard(name: str, results: Sequence[Result], latency: Latency | None, bootstrap: Bootstrap) -> GuardSummary:
    rows = blocked_on_failure(results)
    return GuardSummary(
        guard=name,
        rows=len(results),
        failed=_failed(results),
        readings=readings(rows, bootstrap),
        confusion=confusion(results),
        categories=by_category(rows, bootstrap),
        languages=by_name(rows, lambda label: label.language, bootstrap),
        sources=by_name(rows, lambda label: label.source, bootstrap),
        over_blocking=over_blocking(rows, bootstrap),
        scored=scored(results, bootstrap),
        refusals=refusals(results, bootstrap),
        stream=stream_figures(results, bootstrap),
        latency=latency,
    )


def _failed(results: Iterable[Result]) -> dict[str, int]:
    """How many rows the guard gave no verdict on, by the error's name."""
    errors = Counter(result.error or NOT_JUDGED for result in results if severity_of(result) is None)
    return {name: errors[name] for name in sorted(errors)}
