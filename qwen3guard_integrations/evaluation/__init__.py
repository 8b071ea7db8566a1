"""How good a guard is: labelled rows, and the figures of the official scripts of Qwen3Guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .data.dataset import DataError, DataSet
    from .data.load import load_rows
    from .figures import summarise
    from .latency import latency_of
    from .metrics import Binary, best_of, measured
    from .onset import Onset, OnsetFigures, flagged, measured_onsets
    from .regressions import Change, Diff, Judging, diff
    from .replay import Pace
    from .report import write_report
    from .results import Result, StreamResult
    from .rows import Label, Row
    from .runner import Progress, evaluate
    from .store import Run, RunError, load_run, read_results
    from .streams import judge_stream, judge_streams
    from .summary import Latency, Summary
    from .summary_file import SummaryError, read_summary, write_summary
    from .tuning.aim import Aim, AimNotMetError
    from .tuning.tune import tune
    from .tuning.tuned import Tuned

__all__ = [
    "Aim",
    "AimNotMetError",
    "Binary",
    "Change",
    "DataError",
    "DataSet",
    "Diff",
    "Judging",
    "Label",
    "Latency",
    "Onset",
    "OnsetFigures",
    "Pace",
    "Progress",
    "Result",
    "Row",
    "Run",
    "RunError",
    "StreamResult",
    "Summary",
    "SummaryError",
    "Tuned",
    "best_of",
    "diff",
    "evaluate",
    "flagged",
    "judge_stream",
    "judge_streams",
    "latency_of",
    "load_rows",
    "load_run",
    "measured",
    "measured_onsets",
    "read_results",
    "read_summary",
    "summarise",
    "tune",
    "write_report",
    "write_summary",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(("DataError", "DataSet"), "data.dataset"),
        "load_rows": "data.load",
        "latency_of": "latency",
        **dict.fromkeys(("Binary", "best_of", "measured"), "metrics"),
        **dict.fromkeys(("Onset", "OnsetFigures", "flagged", "measured_onsets"), "onset"),
        **dict.fromkeys(("Change", "Diff", "Judging", "diff"), "regressions"),
        "Pace": "replay",
        "write_report": "report",
        **dict.fromkeys(("Result", "StreamResult"), "results"),
        **dict.fromkeys(("Label", "Row"), "rows"),
        **dict.fromkeys(("Progress", "evaluate"), "runner"),
        **dict.fromkeys(("Run", "RunError", "load_run", "read_results"), "store"),
        "summarise": "figures",
        **dict.fromkeys(("judge_stream", "judge_streams"), "streams"),
        **dict.fromkeys(("Latency", "Summary"), "summary"),
        **dict.fromkeys(("SummaryError", "read_summary", "write_summary"), "summary_file"),
        **dict.fromkeys(("Aim", "AimNotMetError"), "tuning.aim"),
        "tune": "tuning.tune",
        "Tuned": "tuning.tuned",
    },
)
