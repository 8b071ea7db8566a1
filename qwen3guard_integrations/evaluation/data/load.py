"""Labelled rows from a file: `load_rows`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from ...core.conversation import Conversation
from ..rows import Row
from .dataset import DataError, DataSet
from .mapping import Mapped
from .records import Draft, Record


def load_rows(
    dataset: str,
    *,
    split: str | None = None,
    fields: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> DataSet:
    """The labelled rows of `dataset`."""
    path = Path(dataset)
    if not path.is_file():
        raise DataError(f"no file {dataset!r}")
    counts: Counter[str] = Counter()
    rows = _rows(_json_lines(path), Mapped(fields or {}).drafts, counts)
    kept = tuple(islice(rows, limit))
    if not kept:
        raise DataError(f"{dataset}: no rows ({dict(counts)} skipped)")
    return DataSet(path.stem, kept, dict(counts))


def _json_lines(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if content.strip():
                place = f"line {number} of {path.name}"
                try:
                    values = json.loads(content)
                except ValueError:
                    raise DataError(f"{place}: no JSON (one object a line)") from None
                if not isinstance(values, dict):
                    raise DataError(f"{place}: no JSON object (one object a line)")
                yield Record(place, number, values, "fields=...")


def _rows(
    records: Iterable[Record], drafts: Callable[[Record], Iterable[Draft]], skipped: Counter[str]
) -> Iterator[Row]:
    """Rows of all records; what is skipped is counted."""
    taken: set[str] = set()
    for record in records:
        for draft in drafts(record):
            if draft.label is None:
                skipped["no label"] += 1
            elif draft.turns[-1].blank:
                skipped["nothing to judge"] += 1
            else:
                own = draft.id or str(record.number)
                key = own if own not in taken else f"{own}#{record.number}"
                taken.add(key)
                conversation = Conversation(turns=draft.turns)
                yield Row(id=key, conversation=conversation, label=draft.label, input_ids=draft.input_ids)
