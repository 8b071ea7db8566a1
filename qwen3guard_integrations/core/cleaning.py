"""A cleaned copy of a text, for a second look: the letters without what hides them.

Invisible characters, look-alike forms and things put between letters are known to lower a guard's score: emoji
or spaces between the letters took P(Unsafe) from .82 to .39 in a public test of Qwen3Guard-Gen. The copy is
judged beside the text, never in its place, so cleaning may be bold; a text that hides nothing has no copy and
costs nothing.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Soft hyphen, combining grapheme joiner, Mongolian separators, zero-width and bidi controls, word joiner and
# invisible operators, variation selectors, interlinear annotations, byte order mark.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0100-\U000e01ef]"
)
_TAG: Final = re.compile("[\U000e0000-\U000e007f]")
_STACKED_MARKS: Final = re.compile(r"(?<=[A-Za-z])[\u0300-\u036f\u0489\u20d0-\u20f0]{2,}|[\u0334-\u0338\u20d0-\u20f0]")
_PICTURE: Final = "[\u2190-\u2bff\u3030\u303d\U0001f000-\U0001faff]"
_SIGN: Final = r"(?:[ \n.\-_*~|/\\+·•'`]| {2,3})"
# One letter, the same sign, one letter, ...; or letters with any pictures between them.
_SPELLED_OUT: Final = re.compile(
    rf"(?<![^\W_])[^\W_](?:(?:({_SIGN})[^\W_](?:\1[^\W_])+)|(?:[ ]?{_PICTURE}+[ ]?[^\W_]){{2,}})(?![^\W_])"
)
# What a text without two single letters beside each other cannot hold; much faster to find out.
_SHAPE: Final = {code: "a" if chr(code).isalnum() else " " for code in range(128)}
_TWO_ALONE: Final = re.compile(" a {1,3}a ")
_GLUE: Final = re.compile(rf"{_SIGN}|{_PICTURE}")
_PICTURES: Final = re.compile(rf"{_PICTURE}+")
_BROKEN_UP: Final = re.compile(rf"(?<![^\W_])[^\W_]++(?:{_PICTURE}++[^\W_]++)+")


def cleaned(text: str) -> str | None:
    """`text` without what hides its letters; None when nothing was hidden, so that no second look is needed.

    Compatibility forms (full-width, circled, mathematical letters) become plain ones; zero-width, bidi and
    variation characters go; tag characters become the ASCII they stand for; letters that are spelled out with
    spaces, signs or emoji between them are joined, and emoji that stand inside or in place of the spaces between
    words are taken out.
    """
    if text.isascii():
        if not _TWO_ALONE.search(f" {text.translate(_SHAPE)} "):
            return None
        clean = _SPELLED_OUT.sub(_without_glue, text)
    else:
        clean = _INVISIBLE.sub("", _TAG.sub(_ascii_of_tag, text))
        clean = "".join(map(_plain_form, clean))
        clean = _joined(_STACKED_MARKS.sub("", clean))
    return clean if clean != text and clean.strip() else None


def _ascii_of_tag(match: re.Match[str]) -> str:
    character = chr(ord(match[0]) - 0xE0000)
    return character if character.isprintable() else ""


def _plain_form(character: str) -> str:
    """The compatibility form of a letter or digit; everything else (quotation marks, "½", "…") stays as it is."""
    if character.isascii():
        return character
    if "\U0001f130" <= character <= "\U0001f189":  # squared and negative circled letters have no decomposition
        return chr(ord("A") + (ord(character) - 0x1F130) % 32) if (ord(character) - 0x1F130) % 32 < 26 else character
    plain = unicodedata.normalize("NFKC", character)
    return plain if plain.isalnum() else character


def _joined(text: str) -> str:
    return _BROKEN_UP.sub(_without_pictures, _SPELLED_OUT.sub(_without_glue, text))


def _without_glue(match: re.Match[str]) -> str:
    return _GLUE.sub("", match[0])


def _without_pictures(match: re.Match[str]) -> str:
    """Short pieces are parts of one word ("bo*mb"), longer ones are words ("make*a*bomb")."""
    pieces = _PICTURES.split(match[0])
    letters_per_piece = 3 if len(pieces) == 2 else 2
    return ("" if sum(map(len, pieces)) <= letters_per_piece * len(pieces) else " ").join(pieces)
