"""Where the bytes that `qwen3guard check` judges come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from .terminal import CommandError


@contextmanager
def opened(text: str | None, file: str | None) -> Iterator[BinaryIO]:
    """The bytes of TEXT, of the file, or of standard input.

    Raises:
        CommandError: Two of them are named, or none; the file cannot be read; TEXT is no Unicode.
    """
    if text is not None and file is not None:
        raise CommandError("give TEXT or --file, not both")
    if text is not None and text != "-":
        yield BytesIO(encoded(text))
    elif file is not None and file != "-":
        with _file(file) as stream:
            yield stream
    elif sys.stdin is None or (text is file is None and sys.stdin.isatty()):
        raise CommandError("no text: give TEXT or --file PATH, or pipe it in")
    else:
        yield sys.stdin.buffer


def _file(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error


def encoded(text: str) -> bytes:
    """`text` from the command line as UTF-8.

    Raises:
        CommandError: It holds bytes that Python could not decode.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CommandError("the text is not UTF-8") from error


def decoded(content: bytes) -> str:
    """`content` as text, without a byte order mark and without the line end that `echo` and editors add.

    Raises:
        CommandError: It is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise CommandError("the input is not UTF-8 text") from error


def names_json_lines(file: str | None) -> bool:
    """Whether a file's name says that it holds JSON lines."""
    return file is not None and Path(file).suffix.lower() in {".jsonl", ".ndjson"}
