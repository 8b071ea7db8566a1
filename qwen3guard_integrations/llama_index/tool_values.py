"""The words in what tools give and in what they raise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.tools import ToolOutput
from pydantic import BaseModel, ValidationError

from ..core.words import strings_in
from . import messages

_DEPTH: Final = 8
_PLAIN: Final = (str, bytes, Mapping, list, tuple, set, frozenset)


def words_of_output(output: Any) -> str:
    """All words of a tool's output: its blocks, and those of its `raw_output` that they leave out."""
    if not isinstance(output, ToolOutput):
        return words_of(output)
    text = messages.words_of(ChatMessage(blocks=list(output.blocks)))
    raw = words_of(output.raw_output)
    error = words_of_error(output.exception) if output.exception is not None else ""
    return "\n".join([text, *(words for words in (raw, error) if words not in text)])


def words_of(value: Any, depth: int = _DEPTH) -> str:
    """The words in a value of any kind, as far as it can be taken apart, and else what it says of itself."""
    if isinstance(value, str) or value is None:
        return value or ""
    if isinstance(value, NodeWithScore):
        return value.node.get_content(metadata_mode=MetadataMode.ALL)
    if isinstance(value, BaseModel):
        return "\n".join(filter(None, (str(value), strings_in(value.model_dump()))))
    if depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return "\n".join(filter(None, (words_of(field, depth - 1) for field in fields)))
    if depth and isinstance(value, Mapping):
        return "\n".join(filter(None, (words_of(one, depth - 1) for pair in value.items() for one in pair)))
    if depth and isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return "\n".join(filter(None, (words_of(one, depth - 1) for one in value)))
    if not depth or not hasattr(value, "__dict__"):
        return str(value)
    # An object of any other kind: what it says of itself in both ways, and the plain values that it keeps.
    kind: Any = type(value)
    told = [str(value)] + ([repr(value)] if kind.__repr__ is not object.__repr__ else [])
    kept = [one for one in vars(value).values() if isinstance(one, _PLAIN)]
    return "\n".join(dict.fromkeys(filter(None, (*told, words_of(kept, min(depth, 2))))))


def words_of_error(error: BaseException, depth: int = _DEPTH) -> str:
    """What an error says, with the errors that it came from."""
    whole = words_of(error.errors()) if isinstance(error, ValidationError) else ""  # it says the ends of long values
    own = "\n".join(dict.fromkeys(filter(None, (str(error), words_of(error.args), whole))))
    before = error.__cause__ or error.__context__
    return "\n".join(filter(None, (own, words_of_error(before, depth - 1) if before is not None and depth else "")))
