"""The words in plain data of any form: what strangers could have written into it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

_WORDS_OF_MEDIA: Final = frozenset({"text", "title", "context", "transcript"})
_ENCODED: Final = frozenset({"base64", "data", "file_data"})
WORDLESS_KEYS: Final = frozenset({"type", "id", "index", "signature", "mime_type", "media_type", "source_type"})
_NAME: Final = re.compile(r"[\w.:/-]{1,64}", re.ASCII)


def is_name(text: object) -> bool:
    """Whether `text` can be no more than the name of a thing: short, without spaces, of ASCII letters and digits."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def strings_in(value: object, *, media: bool = False) -> str:
    """All words in a block whose form is not known: rather too much is judged than too little."""
    if isinstance(value, str):
        return _text_of_data_url(value) if value.startswith("data:") else value
    if isinstance(value, Mapping):
        words = (_entry_words(value, key, media) for key in value if key not in WORDLESS_KEYS)
        return "\n".join(filter(None, words))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "\n".join(filter(None, (strings_in(item, media=media) for item in value)))
    return ""


def _entry_words(block: Mapping[str, Any], key: str, media: bool) -> str:
    value = block[key]
    encoded = key == "base64" or (
        key in _ENCODED and (media or "base64" in {block.get("type"), block.get("source_type")})
    )
    if encoded and isinstance(value, str) and not value.startswith("data:"):
        kind = str(block.get("mime_type") or block.get("media_type") or block.get("type"))
        return _decoded(value) if kind.startswith("text") else ""
    if media and isinstance(value, str) and key not in _WORDS_OF_MEDIA and not value.startswith("data:text/"):
        return ""
    return strings_in(value, media=media and key not in _WORDS_OF_MEDIA)


def _text_of_data_url(url: str) -> str:
    head, comma, data = url.partition(",")
    if not comma:
        return url
    if not head.startswith("data:text/"):
        return "" if head.endswith(";base64") else url
    return _decoded(data) if head.endswith(";base64") else unquote(data)


def _decoded(data: str) -> str:
    """The text in base64; what cannot be decoded is judged as it stands."""
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return data


def tool_call_text(call: Mapping[str, Any]) -> str:
    """A tool call as text: `name({"argument": "value"})`."""
    arguments = parsed(call.get("args"))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False, default=str)
    number = "" if is_name(call.get("id")) else str(call.get("id") or "")
    return f"{call.get('name') or 'tool'}({arguments}){number}"


def parsed(arguments: object) -> object:
    """Arguments without JSON's escapes, which hide letters; those that are no JSON as they are."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments, object_pairs_hook=_all_pairs)
    except ValueError:
        return arguments


def _all_pairs(pairs: list[tuple[str, Any]]) -> object:
    """An object of JSON; with a key that is there twice, all its pairs, of which a parser keeps only the last."""
    return dict(pairs) if len({key for key, _ in pairs}) == len(pairs) else [list(pair) for pair in pairs]
