"""A labelled data set: rows in order, with a digest that says whether two runs saw the same ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Final

from ...core.errors import Qwen3GuardError
from ..rows import Row

_DIGEST_BYTES: Final = 16  # chance alone never makes two data sets equal, and the hexadecimal form fits into a table


class DataError(Qwen3GuardError, ValueError):
    """Labelled data cannot be read. The message says where, which field, and what to change; never a text."""


@dataclass(frozen=True)
class DataSet:
    """Rows in the order of their source.

    Attributes:
        name: What reports call it: the data set, and its split where it has several.
        rows: The rows. Their ids are unique.
        skipped: Why rows of the source are not here ("no label", "nothing to judge"), and how many.

    Raises:
        DataError: Two rows have the same id.
    """

    name: str
    rows: tuple[Row, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({row.id for row in self.rows}) != len(self.rows):
            raise DataError(f"{self.name}: two rows have the same id")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @cached_property
    def digest(self) -> str:
        """The blake2b hash of all ids, texts, tokens and labels, in order: 32 hexadecimal digits.

        What a row leaves at its default is not hashed, so that a field which later versions add changes no digest.
        """
        state = blake2b(digest_size=_DIGEST_BYTES)
        for row in self.rows:
            plain = row.model_dump(mode="json", exclude_defaults=True)
            state.update(json.dumps(plain, sort_keys=True, ensure_ascii=True).encode())
            state.update(b"\n")
        return state.hexdigest()
