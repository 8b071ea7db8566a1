"""A text as people can look at it, on a terminal or a page, whatever it holds."""

from __future__ import annotations

from typing import Final


def visible(text: str) -> str:
    """`text` without anything that moves a cursor, turns writing round, or is no character of a page."""
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or (code >= 0x20 and code not in _UNSEEN):
        return character
    if character == "\r":
        return ""
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


# Delete and the C1 controls; the marks that override or embed a direction of writing; halves of surrogate pairs, which
# no file can hold and JSON may; non-characters.
_UNSEEN: Final = frozenset(
    (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
)
