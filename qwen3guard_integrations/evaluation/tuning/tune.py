"""`tune`: labelled results and an aim in; a policy, and what it promises, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...core.policy import Mode, Policy
from ...core.verdict import Category
from .._numeric import np
from ..results import Result
from .aim import ALARMS, FIGURES, RECALL, Aim, AimNotMetError, Measure
from .cases import Cases, Outcome, Ranks
from .choosing import Choice, Wanted, choices, ways
from .folds import cross_validated
from .search import best_to_be_had
from .tuned import DataFigures, Promise, TradeOff, Tuned
from .wanted import checked, wanted

POINTS: Final = 200
"""Points of the curve that are kept: finer than a picture shows, and some KB of JSON however many rows there were."""

_OF_ALL_ROWS: Final = tuple(Measure(figure=figure) for figure in FIGURES)


def tune(
    results: Mapping[str, Sequence[Result]],
    aim: Aim | str | Iterable[str],
    *,
    base: Policy | None = None,
    folds: int = 5,
    seed: int = 0,
    margin: float = 0.0,
    confidence: float | None = None,
    categories: bool | Iterable[Category | str] = True,
    labels: Mode = "strict",
    guard: str | None = None,
) -> Tuned:
    """The policy that fits `aim` best on labelled results of one guard.

    One threshold is tuned, that from which a text is not let through: P(Unsafe) + P(Controversial) where Controversial
    is stopped, else P(Unsafe). Every threshold that makes a difference is tried, on all rows. How well what is found
    so will do on other rows is measured by cross-validation: for each fold everything is chosen anew without its rows,
    and measured on them. A text counts as blocked where `Policy.decide` does not let it pass unchanged.

    Args:
        results: By the names of the data sets. Rows without scores are decided as their verdict says; rows on which
            the guard failed, as the policy's `on_guard_error` says.
        aim: What must hold, and what is then made as good as it can be; see `evaluation.tuning.aim`.
        base: The policy to begin with: its other settings stay. None tries the strict and the loose one.
        folds: Parts of the cross-validation; unsafe and harmless rows of each data set are divided evenly.
        seed: Of the division into folds.
        margin: By how much the guard's scores may be off: constraints hold even where they are off for the worst.
            Batches in bfloat16 were seen to move P(Unsafe) by 0.028 (vsomani0/Qwen3Guard_Emoji_Bench).
        confidence: Hold the constraints against the one-sided exact bound of their figures with this confidence, such
            as 0.95, and not against the figures: few rows then ask for a safer threshold. The bound is that of each
            threshold by itself. (There is none for F1.)
        categories: Which categories may be let through and recorded ("flag") where the objective gains by it and the
            constraints still hold: True, those of which at least ten rows are stopped, most of them harmless, and for
            which `base` has no rule; the named ones; or False, none.
        labels: "strict" counts a row that is labelled Controversial as unsafe, "loose" as harmless.
        guard: Its name, for the comments in the policy file.

    Raises:
        GuardConfigurationError: The aim or a setting is wrong, or does not fit the data; the message says which.
        AimNotMetError: No threshold meets all constraints; the message says what is the best that can be had.
    """
    wish = wanted(Aim.of(aim).among(list(results)), margin, confidence, categories)
    cases = Cases.of(results, labels)
    checked(cases, wish.aim, folds)
    every = np.ones(len(cases), dtype=bool)
    begin = ways(cases, base)
    best, *others = choices(cases, every, begin, wish)
    if not best.met:
        raise AimNotMetError(_not_met([best, *others], wish))
    before, after = (cases.outcome(policy, every) for policy in (base or Policy.strict(), best.policy))
    parts, held_out = cross_validated(cases, begin, wish, folds, seed)
    measures = tuple(dict.fromkeys((*wish.aim.measures, *_OF_ALL_ROWS)))
    return Tuned(
        policy=best.policy,
        aim=wish.aim,
        guard=guard,
        threshold=best.way.name,
        flagged=best.flagged,
        promises=tuple(_promise(measure, best, after, held_out) for measure in measures),
        overall=DataFigures(name="all rows", before=before[None], after=after[None]),
        data=tuple(DataFigures(name=name, before=before[name], after=after[name]) for name in cases.names),
        folds=parts,
        trade_off=_trade_off(best, measures),
        rows=len(cases),
        unscored=len(cases) - cases.scored,
        labels=labels,
        margin=margin,
        confidence=confidence,
    )


def _promise(measure: Measure, best: Choice, outcome: Outcome, held_out: Sequence[Outcome]) -> Promise:
    values = [measure.of(part[measure.data]) for part in held_out]
    aim = best.figures.aim
    constraint = aim.constraint_on(measure)
    return Promise(
        measure=measure,
        value=measure.of(outcome[measure.data]),
        held_out=float(np.mean(values)),
        spread=float(np.std(values, ddof=1)),
        bound=constraint.bound if constraint else None,
        assured=float(best.figures.assured[constraint][best.gap]) if constraint else None,
        objective=measure in aim.objectives,
    )


def _trade_off(best: Choice, measures: Sequence[Measure]) -> TradeOff:
    values = best.search.figures(best.policy, best.figures.aim, None, measures).values
    steps = np.abs(np.diff(values[RECALL])) + np.abs(np.diff(values[ALARMS]))
    kept = np.union1d(_spread(np.concatenate([[0.0], np.cumsum(steps)])), [best.gap])
    return TradeOff(
        thresholds=tuple(best.search.threshold(gap) for gap in kept),
        figures={str(measure): tuple(values[measure][kept].tolist()) for measure in measures},
        chosen=int(np.searchsorted(kept, best.gap)),
    )


def _spread(walked: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Ranks:
    """At most `POINTS` places of a curve, about equally far apart along it, both ends among them."""
    places = np.unique(walked)
    if len(places) > POINTS:
        places = np.linspace(0.0, walked[-1], POINTS)
    return np.unique(np.minimum(np.searchsorted(walked, places), len(walked) - 1))


def _not_met(tried: Sequence[Choice], wish: Wanted) -> str:
    after = [f"scores off by {wish.margin:g}"] if wish.margin else []
    after += [f"confidence {wish.confidence:g}"] if wish.confidence is not None else []
    with_these = f" with {' and '.join(after)}" if after else ""
    wanted_all = " and ".join(map(str, wish.aim.constraints))
    best = best_to_be_had([choice.figures for choice in tried], wish.aim)
    return f"no threshold meets {wanted_all}{with_these}: {best}"
