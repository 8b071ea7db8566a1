"""The pictures of a report: curves, calibration, and where streams were flagged. All guards are in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...core.policy import Mode
from ...core.verdict import Severity
from ...core.visible import visible
from ..catalogue import MODES, defined, number, reading
from ..onset import BINS
from ..summary import GuardSummary, Scored
from .svg import LINE, QUIET, SERIES, Picture, picture

# Nothing is told by colour alone: guards differ in their lines and hatches too, readings in their marks.
_LINES: Final = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))
_HATCHES: Final = ("", "////", "....", "\\\\\\\\", "xxxx", "----")
_MARKS: Final[dict[Mode, str]] = {"strict": "o", "loose": "s"}
_MARKED: Final = "Marks: the guards' own verdicts, read strictly (●) and, where no label is Controversial, loosely (■)."
_NAME: Final = 40  # characters of a guard's name that fit under a picture

_Axis = Literal["recall", "precision", "false_positive_rate"]


class _Shown(NamedTuple):
    """A guard in a picture; `place` decides its colour and its line, the same ones in every picture."""

    place: int
    guard: GuardSummary
    scored: Scored

    @property
    def style(self) -> dict[str, Any]:
        return {"color": _colour(self.place), "linestyle": _LINES[self.place % len(_LINES)]}


def score_pictures(guards: Sequence[GuardSummary]) -> tuple[Picture, ...]:
    """Precision-recall curves, ROC curves, and the reliability diagram; none where no guard gives scores."""
    shown = [_Shown(place, guard, guard.scored) for place, guard in enumerate(guards) if guard.scored]
    return (_precision_recall(shown), _roc(shown), _reliability(shown)) if shown else ()


def _precision_recall(shown: Sequence[_Shown]) -> Picture:
    def draw(figure: Figure) -> None:
        axes = _unit_square(figure, "Recall", "Precision")
        for one in shown:
            curve = one.scored.precision_recall
            # Between two thresholds nothing is known, and no line through both is promised: steps, as in scikit-learn.
            axes.plot(curve.x, curve.y, drawstyle="steps-post", label=_named(one, "AP", curve.area.value), **one.style)
        _verdicts(axes, shown, "recall", "precision")
        _legend(figure)

    caption = f"Precision and recall over all thresholds of the score (AP: average precision). {_MARKED}"
    values = _values(shown, [one.scored.precision_recall.area.value for one in shown])
    return picture("precision-recall", caption, f"Average precision: {values}", draw, _height(shown))


def _roc(shown: Sequence[_Shown]) -> Picture:
    def draw(figure: Figure) -> None:
        axes = _unit_square(figure, "False positive rate", "Recall")
        axes.plot((0, 1), (0, 1), color=QUIET, linewidth=0.8)
        for one in shown:
            curve = one.scored.roc
            axes.plot(curve.x, curve.y, label=_named(one, "area", curve.area.value), **one.style)
        _verdicts(axes, shown, "false_positive_rate", "recall")
        _legend(figure)

    caption = f"ROC: recall and false alarms over all thresholds of the score. The thin line is chance. {_MARKED}"
    values = _values(shown, [one.scored.roc.area.value for one in shown])
    return picture("roc", caption, f"Area under the ROC curve: {values}", draw, _height(shown))


def _reliability(shown: Sequence[_Shown]) -> Picture:
    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, height_ratios=(4, 1), sharex=True)
        _unit_square(figure, "", "Part that is unsafe", upper)
        upper.plot((0, 1), (0, 1), color=QUIET, linewidth=0.8)
        for one in shown:
            bins = [bin_ for bin_ in one.scored.calibration if bin_.rows]
            error = _named(one, "ECE", one.scored.calibration_error)
            means, parts = [bin_.mean_score for bin_ in bins], [bin_.unsafe for bin_ in bins]
            upper.plot(means, parts, marker="o", markersize=4, label=error, **one.style)
        _histogram(lower, shown)
        _legend(figure)

    caption = (
        "Reliability: of the rows with about this score, how many are unsafe; on the thin line a score is what it says "
        "(ECE: expected calibration error). Below: how many rows there are, as a part of all."
    )
    values = _values(shown, [one.scored.calibration_error for one in shown])
    return picture("reliability", caption, f"Expected calibration error: {values}", draw, _height(shown, 3.8))


def _histogram(axes: Axes, shown: Sequence[_Shown]) -> None:
    """The rows of each bin, guards beside each other."""
    for number_, one in enumerate(shown):
        bins = one.scored.calibration
        width = (bins[0].high - bins[0].low) * 0.9 / len(shown)
        lefts = [bin_.low + width * (number_ + 0.05) for bin_ in bins]
        parts = [bin_.rows / max(one.scored.rows, 1) for bin_ in bins]
        axes.bar(lefts, parts, width, align="edge", color=_colour(one.place), hatch=_hatch(one.place), edgecolor=LINE)
    axes.set(xlabel="Score", ylabel="Rows", yticks=(0, 1), ylim=(0, 1), xlim=(-0.03, 1.03))


def onset_picture(guards: Sequence[GuardSummary]) -> Picture | None:
    """Where streams were flagged; None where no stream has an annotated unsafe sentence."""
    shown = [(place, guard, guard.stream) for place, guard in enumerate(guards) if guard.stream and guard.stream.onsets]
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        width = 0.8 / len(shown)
        for number_, (place, guard, stream) in enumerate(shown):
            parts = [stream.bins.get(name, 0) / stream.onsets for name in BINS]
            lefts = [bin_ - 0.4 + width * number_ for bin_ in range(len(BINS))]
            style: dict[str, Any] = {"color": _colour(place), "hatch": _hatch(place), "edgecolor": LINE}
            axes.bar(lefts, parts, width, align="edge", label=_short(guard.guard), **style)
        axes.set_xticks(range(len(BINS)), map(bin_name, BINS), rotation=35, ha="right", rotation_mode="anchor")
        axes.set(ylabel="Part of the streams", ylim=(0, 1))
        axes.grid(visible=False, axis="x")
        _legend(figure)

    caption = "Where the flag stands: before the unsafe sentence, in it, so many tokens after its end, or nowhere."
    values = "; ".join(
        f"{guard.guard}: {', '.join(f'{bin_name(name)} {stream.bins.get(name, 0)}' for name in BINS)}"
        for _, guard, stream in shown
    )
    return picture("onsets", caption, f"Streams by where they were flagged. {values}", draw, 3.4 + 0.2 * len(shown))


def bin_name(name: str) -> str:
    """What reports call one of `BINS`."""
    return {"Ahead": "before", "Hit": "in it", "Safe": "missed"}.get(name, name)


def _unit_square(figure: Figure, x: str, y: str, axes: Axes | None = None) -> Axes:
    axes = axes or figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    return axes


def _verdicts(axes: Axes, shown: Sequence[_Shown], x: _Axis, y: _Axis) -> None:
    """Where each guard stands by its own verdicts.

    Curves read labels strictly. Where some are Controversial, a loose reading is of other labels and has no place here.
    """
    for one in shown:
        controversial = sum(one.guard.confusion.get(str(Severity.CONTROVERSIAL), {}).values())
        for mode in MODES[:1] if controversial else MODES:
            figures = reading(one.guard.readings, mode)
            place = defined(figures, x), defined(figures, y)
            if place[0] and place[1]:
                axes.plot(place[0].value, place[1].value, _MARKS[mode], color=_colour(one.place), markersize=6)


def _legend(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", borderaxespad=0.2, handlelength=2.6)


def _height(shown: Sequence[_Shown], least: float = 3.3) -> float:
    return least + 0.2 * len(shown)


def _named(one: _Shown, figure: str, value: float) -> str:
    return f"{_short(one.guard.guard)}: {figure} {number(value)}"


def _short(name: str) -> str:
    """A name that fits, with both its ends: guards often differ in the last letters."""
    name = visible(name).replace("\n", " ")
    half = _NAME // 2
    return name if len(name) <= _NAME else f"{name[:half]}…{name[-half:]}"


def _values(shown: Sequence[_Shown], values: Sequence[float]) -> str:
    return ", ".join(f"{one.guard.guard} {number(value)}" for one, value in zip(shown, values, strict=True))


def _colour(place: int) -> str:
    return SERIES[place % len(SERIES)]


def _hatch(place: int) -> str:
    return _HATCHES[place % len(_HATCHES)]
