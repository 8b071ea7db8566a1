"""The file that a summary is kept in: what runs leave for later ones to be compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from ..core.errors import Qwen3GuardError
from .summary import VERSION, Summary

SUMMARY_FILE: Final = "summary.json"


class SummaryError(Qwen3GuardError, ValueError):
    """A summary cannot be read, or cannot be compared with another one. The message says why."""


def summary_path(path: str | Path) -> Path:
    """The file, if `path` is the folder of a run."""
    path = Path(path)
    return path / SUMMARY_FILE if path.is_dir() else path


def write_summary(folder: str | Path, summary: Summary) -> None:
    """Write `summary` to `summary.json` in the folder of its run: the same bytes for the same figures.

    Raises:
        OSError: It cannot be written.
    """
    Path(folder, SUMMARY_FILE).write_bytes(summary.model_dump_json(indent=2).encode() + b"\n")


def read_summary(path: str | Path) -> Summary:
    """The summary in a file, or in the folder of a run.

    Raises:
        SummaryError: There is none, or it cannot be read; the message names the file.
    """
    path = summary_path(path)
    try:
        summary = Summary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SummaryError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except ValidationError:
        raise SummaryError(f"{path} is no summary of a run: name its {SUMMARY_FILE} or its folder") from None
    if summary.version != VERSION:
        raise SummaryError(f"{path} is a summary of version {summary.version}, and this package reads {VERSION}")
    return summary
