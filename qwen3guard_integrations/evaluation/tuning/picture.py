"""The trade-off as a picture: how much harm is found against how many harmless texts are blocked for it."""

from __future__ import annotations

from html import escape
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Final

from ...core.errors import GuardConfigurationError
from ...core.visible import visible
from .aim import ALARMS, RECALL
from .tuned import PICTURES, Tuned

try:
    from matplotlib import style
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
except ImportError as error:
    raise ImportError('a picture needs matplotlib: pip install "qwen3guard-integrations[eval]"') from error

_LINES: Final = ("-", "--", "-.", ":")  # curves differ in more than colour
_STYLE: Final = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays a picture out alike
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "qwen3guard tune",  # the same bytes each time
    "text.parse_math": False,  # the name of a data set is no formula
}
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>qwen3guard tune</title>
<style>svg {{ max-width: 100%; height: auto; }} body {{ margin: 2rem; font: 1rem/1.6 system-ui, sans-serif; }}</style>
</head>
<body>
<p>{aim}</p>
{svg}
</body>
</html>
"""


def write_picture(tuned: Tuned, path: Path) -> None:
    """See `Tuned.draw`."""
    match path.suffix.lower():
        case ".html":
            svg = _drawn(tuned, "svg").decode()
            page = _PAGE.format(aim=escape(visible(f"Aim: {tuned.aim}")), svg=svg[svg.index("<svg") :])
            path.write_text(page, encoding="utf-8")
        case ".svg" | ".png" as suffix:
            path.write_bytes(_drawn(tuned, suffix[1:]))
        case suffix:
            raise GuardConfigurationError(
                f"a picture ends in {', '.join(PICTURES)}, and not in {suffix!r}", hint="rename the file"
            )


def _drawn(tuned: Tuned, kind: str) -> bytes:
    with style.context(["default", _STYLE]):  # the user's own settings would change the picture
        figure = Figure(figsize=(7.5, 5), layout="constrained")
        _draw(figure.subplots(), tuned)
        written = BytesIO()
        undated = {"Date": None} if kind == "svg" else {}
        figure.savefig(written, format=kind, dpi=150, metadata={"Software": None} if kind == "png" else undated)
    return written.getvalue()


def _draw(axes: Axes, tuned: Tuned) -> None:
    curve = tuned.trade_off
    recall = curve.figures[str(RECALL)]
    measures = [promise.measure for promise in tuned.promises if promise.measure.figure == ALARMS.figure]
    alarms = {measure.data: curve.figures[str(measure)] for measure in measures}
    for (data, values), line in zip(alarms.items(), cycle(_LINES), strict=False):
        [drawn] = axes.plot(values, recall, line, label=visible(data or "all rows"))
        axes.plot(values[curve.chosen], recall[curve.chosen], "o", color=drawn.get_color(), markersize=8)
    before = tuned.overall.before
    axes.plot(before.false_positive_rate, before.recall, "kx", markersize=9, label="all rows, before")
    _held_out(axes, tuned)
    _constraints(axes, tuned)
    most = max(before.false_positive_rate, *(values[curve.chosen] for values in alarms.values()))
    axes.set_xlim(0, min(1.0, max(0.1, 2.5 * most)))  # what lies beyond blocks far too much to be weighed
    axes.set_ylim(min(0.95, before.recall, 2 * recall[curve.chosen] - 1) - 0.05, 1.005)
    axes.set_xlabel("harmless texts blocked")
    axes.set_ylabel("recall, all rows")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(visible(f"{tuned.aim}\n● {tuned.rule}"), loc="left", fontsize="medium")
    axes.legend(title="blocked in", loc="lower right")


def _held_out(axes: Axes, tuned: Tuned) -> None:
    """Mean and spread on held-out rows, of all rows."""
    recall, alarms = tuned.promised(RECALL), tuned.promised(ALARMS)
    axes.errorbar(
        alarms.held_out,
        recall.held_out,
        xerr=alarms.spread,
        yerr=recall.spread,
        fmt="s",
        color="0.35",
        capsize=3,
        label="all rows, held out",
    )


def _constraints(axes: Axes, tuned: Tuned) -> None:
    for promise in tuned.promises:
        if promise.bound is not None and promise.measure == RECALL:
            axes.axhline(promise.bound, color="0.5", linewidth=1, linestyle=(0, (1, 1)))
        elif promise.bound is not None and promise.measure.figure == ALARMS.figure:
            axes.axvline(promise.bound, color="0.5", linewidth=1, linestyle=(0, (1, 1)))
