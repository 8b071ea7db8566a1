"""The work of `qwen3guard check`: input -> items -> decisions -> output and exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, BinaryIO

from pydantic import ValidationError

from ..core.decision import Decision
from ..core.errors import GuardError
from ..core.points import Point
from ..core.screening import Item
from .progress import progress
from .rendering import decision_fields, decision_text, json_lines
from .rows import BadRow, Fields, Row, read_rows, reason
from .source import decoded, encoded, names_json_lines, opened
from .terminal import ERROR, PASSES, STOPPED, CommandError, output

Decide = Callable[[Sequence[Item]], list[Decision]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says about input and output; see the options of `check`."""

    text: str | None
    response: str | None
    reasoning: str | None
    file: str | None
    point: Point | None
    as_json: bool
    jsonl: bool
    batch_size: int


@contextmanager
def prepared(wanted: Wanted) -> Iterator[Callable[[Decide], int]]:
    """What is left to do once somebody can decide: a function of the decider that prints, and gives the exit status.

    Raises:
        CommandError: The input cannot be read, is blank, or does not fit the options.
    """
    rows = wanted.jsonl or names_json_lines(wanted.file)
    if rows and (wanted.response is not None or wanted.reasoning is not None):
        raise CommandError("--response and --reasoning go with one text, not with JSON lines")
    if rows and wanted.text not in {None, "-"}:
        raise CommandError("--jsonl goes with --file or standard input, not with TEXT")
    with opened(wanted.text, wanted.file) as stream:
        if rows:
            yield partial(_check_rows, stream, wanted.point, wanted.batch_size)
        else:
            yield partial(_check_one, _item(stream.read(), wanted), wanted.as_json)


def _item(content: bytes, wanted: Wanted) -> Item:
    """The one text that is judged: `content`, or a response and reasoning of which it is the prompt."""
    text, response, reasoning = decoded(content), wanted.response, wanted.reasoning
    for given in (response, reasoning):
        encoded(given or "")
    alone = response is None and reasoning is None
    try:
        fields = Fields(text=text) if alone else Fields(prompt=text, response=response, reasoning=reasoning)
        return fields.item(wanted.point)
    except ValidationError as error:
        raise CommandError(reason(error)) from error


def _check_one(item: Item, as_json: bool, decide: Decide) -> int:
    [decision] = decide([item])
    if as_json:
        _print_json([decision_fields(decision)])
    else:
        output().print(decision_text(decision), soft_wrap=True)
    return _status(decision)


def _check_rows(stream: BinaryIO, point: Point | None, batch_size: int, decide: Decide) -> int:
    """Judge and print batch by batch; the worst status of all rows."""
    rows, done, status = read_rows(stream, point), 0, PASSES
    with progress(stream) as show_progress:
        while batch := list(islice(rows, batch_size)):
            try:
                decisions = iter(decide([row.item for row in batch if isinstance(row, Row)]))
            except GuardError as error:
                raise CommandError(f"{error}; stopped before line {batch[0].line}") from error
            lines: list[Mapping[str, Any]] = []
            for row in batch:
                if isinstance(row, BadRow):
                    status = ERROR
                    lines.append({"line": row.line, "error": row.error})
                else:
                    decision = next(decisions)
                    status = max(status, _status(decision))
                    lines.append({**row.label, **decision_fields(decision)})
            _print_json(lines)
            done += len(batch)
            show_progress(done)
    if not done:  # most likely what should have written them has failed: no reason to say that all is well
        raise CommandError("the input has no rows")
    return status


def _status(decision: Decision) -> int:
    return PASSES if decision.passes else STOPPED


def _print_json(lines: Sequence[Mapping[str, Any]]) -> None:
    """Write and flush, so that a reader sees each batch when it is done."""
    sys.stdout.buffer.write(json_lines(lines))
    sys.stdout.buffer.flush()
