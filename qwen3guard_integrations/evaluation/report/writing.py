"""The files of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core.errors import GuardConfigurationError
from ..data.dataset import DataSet
from ..results import Result
from ..summary import Summary
from ..summary_file import write_summary
from .contents import contents
from .markdown import markdown
from .page import page

PAGE, MARKDOWN = "report.html", "report.md"


def write_report(
    folder: str | Path,
    summary: Summary,
    data: DataSet,
    results: Mapping[str, Sequence[Result]],
    *,
    texts: bool = True,
) -> None:
    """Write what is in `summary` for people and for programs: the same bytes for the same run.

    ::

        report.html    one page that needs nothing else: no script, no font, no picture from elsewhere
        report.md      its tables
        summary.json   `summary`, which `qwen3guard eval diff` compares with that of another run

    The page is the only one of them with texts of the data set: those of the worst mistakes and of the most telling
    streams, hidden until a reader opens them.

    Args:
        folder: Where the files go; made if it is missing.
        summary: The figures (`summarise`).
        data: The rows that they are of.
        results: What each guard said of each row.
        texts: Whether the page may hold texts; without, it can be shown to everybody who may see the figures.

    Raises:
        GuardConfigurationError: The summary is of other rows than `data`, or of guards without results.
        OSError: A file cannot be written.
    """
    if summary.digest != data.digest:
        raise GuardConfigurationError(
            f"the summary of {summary.data} is not of these rows", hint="pass the data set of the run"
        )
    if missing := [guard.guard for guard in summary.guards if guard.guard not in results]:
        raise GuardConfigurationError(f"there are no results of {', '.join(missing)}", hint="pass those of every guard")
    report = contents(summary, data, results, texts=texts)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((PAGE, page(report)), (MARKDOWN, markdown(report))):
        (folder / name).write_bytes(content.encode())
    write_summary(folder, summary)
