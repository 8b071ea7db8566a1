"""What `qwen3guard tune` found, on a terminal: figures before and after, and what other thresholds would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..core.visible import visible
from ..evaluation.tuning.aim import ALARMS, RECALL
from ..evaluation.tuning.tuned import Promise, TradeOff, Tuned

_LINES: Final = 12  # of the trade-off: as many as a terminal shows together with the rest
_BAR: Final = 16  # characters


def report(tuned: Tuned) -> RenderableType:
    """Everything that people weigh."""
    return Group(
        Text(visible(f"aim: {tuned.aim}")),
        Text(f"policy: {tuned.policy.mode}, {tuned.rule}"),
        Text(_in_folds(tuned)),
        *(Text(line) for line in _let_through(tuned)),
        Text(),
        _promises(tuned),
        Text(),
        _data(tuned),
        Text(),
        _trade_off(tuned),
    )


def notes(tuned: Tuned) -> Iterator[str]:
    """What to mind."""
    for promise in tuned.promises:
        if not promise.kept:
            yield (
                f"{promise.measure} is {promise.held_out:.4f} on held-out rows, and not "
                f"{_wanted(promise)}: --confidence 0.95 asks for a safer threshold"
            )
    if unmet := sum(not fold.met for fold in tuned.folds):
        yield f"without the rows of one fold, nothing meets the aim in {unmet} of {len(tuned.folds)} folds"
    if tuned.unscored:
        yield f"{tuned.unscored} of {tuned.rows} rows have no scores: no threshold moves them"


def _in_folds(tuned: Tuned) -> str:
    """How much the threshold depends on the rows; that of the other mode is another number."""
    thresholds = [fold.threshold for fold in tuned.folds if fold.mode == tuned.policy.mode]
    if len(thresholds) < len(tuned.folds):
        return f"in the folds: {tuned.policy.mode} in {len(thresholds)} of {len(tuned.folds)}"
    return f"in the folds: {min(thresholds)!r} to {max(thresholds)!r}"


def _let_through(tuned: Tuned) -> Iterator[str]:
    for category in tuned.flagged:
        folds = sum(category in fold.flagged for fold in tuned.folds)
        yield f"let through and recorded: {category} (in {folds} of {len(tuned.folds)} folds)"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(Text(column), no_wrap=True)
    return table


def _promises(tuned: Tuned) -> Table:
    sure = bool(tuned.margin or tuned.confidence)
    table = _table("figure", "all rows", *(["at worst"] if sure else []), "held out", "aim")
    for promise in tuned.promises:
        worst = "" if promise.assured is None else f"{promise.assured:.4f}"
        held_out = Text(f"{promise.held_out:.4f} ± {promise.spread:.4f}", style="" if promise.kept else "yellow")
        assured = [worst] if sure else []
        name = Text(visible(str(promise.measure)))
        table.add_row(name, f"{promise.value:.4f}", *assured, held_out, _wanted(promise))
    return table


def _wanted(promise: Promise) -> str:
    rises = promise.measure.rises
    bound = "" if promise.bound is None else f"at {'least' if rises else 'most'} {promise.bound:g}"
    best = ("highest" if rises else "lowest") if promise.objective else ""
    return ", ".join(filter(None, (bound, best)))


def _data(tuned: Tuned) -> Table:
    table = _table("data set", "rows", "unsafe", "recall", "harmless blocked")
    for part in (*tuned.data, tuned.overall) if len(tuned.data) > 1 else tuned.data:
        before, after = part.before, part.after
        unsafe = after.true_positives + after.false_negatives
        table.add_row(
            Text(visible(part.name)),
            str(after.rows),
            str(unsafe),
            f"{before.recall:.4f} → {after.recall:.4f}",
            f"{before.false_positives} → {after.false_positives} of {after.rows - unsafe}",
        )
    return table


def _trade_off(tuned: Tuned) -> Table:
    """Recall and false alarms at thresholds that are spread along the curve; of false alarms the aim's come first."""
    curve = tuned.trade_off
    alarms = [promise.measure for promise in tuned.promises if promise.measure.figure == ALARMS.figure]
    first, *others = (f"harmless blocked\n{visible(of.data or 'all rows')}" for of in alarms)
    table = _table("", "threshold", "recall\nall rows", "", first, "", *others)
    for place in _places(curve):
        recall, worst, *rest = (curve.figures[str(of)][place] for of in (RECALL, *alarms))
        table.add_row(
            Text(">" if place == curve.chosen else "", style="bold"),
            f"{curve.thresholds[place]:.4g}",
            *(cell for value in (recall, worst) for cell in (Bar(1.0, 0.0, value, width=_BAR), f"{value:.3f}")),
            *(f"{value:.3f}" for value in rest),
        )
    return table


def _places(curve: TradeOff) -> Sequence[int]:
    """At most `_LINES` points of the curve, and the chosen one."""
    last = len(curve.thresholds) - 1
    evenly = {round(last * line / (_LINES - 1)) for line in range(_LINES)}
    return sorted({*evenly, curve.chosen})
