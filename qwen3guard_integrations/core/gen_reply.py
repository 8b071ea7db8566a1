"""Reading what Qwen3Guard-Gen wrote: reply -> verdict.

The expected form, from the model's README and prompt, is::

    Safety: Unsafe
    Categories: Violent, PII
    Refusal: No

Fine-tunes, quantised files and servers were seen to vary case, spacing, bold type, bullets, separators, quotes
and names, and to put an empty think block first. All of these are read. The severity is looked for in the first
line that says anything and nowhere else, so that a reply which repeats the judged text cannot be answered by it.
What cannot be read is a `GuardResponseError`, never Safe.
"""

from __future__ import annotations

import re
from typing import Final

from .errors import GuardResponseError
from .verdict import Category, Scores, Severity, Verdict

_THINK: Final = re.compile(r"\A\s*(?:<think>.*?</think>|</think>)", re.DOTALL)
_DECORATION: Final = "*_`#>\"'“”‘’[](){}- \t•."
_FIELD: Final = re.compile(r"[\s*_`#>\"'•-]*([A-Za-z]+)[\s*_`\"']*[:：=](.*)", re.DOTALL)
_NUMBERING: Final = re.compile(r"\A\s*\(?\d{1,2}[.)]\s*")
_SEPARATORS: Final = re.compile(r"[,，、/;；|\n]")
_NOT_APPLICABLE: Final = re.compile(r"\bn/a\b", re.IGNORECASE)  # not two names separated by "/"
_ITEM: Final = re.compile(r"\s*(?:[-*•]|\(?\d{1,2}[.)])\s")
_NONE: Final = frozenset({"none", "na", "null", "safe", ""})
_LONGEST_NAME: Final = 64  # characters; the longest official name has 28. Longer is no category but babble.
_FIELD_NAMES: Final = {"categories": "categories", "category": "categories", "refusal": "refusal"}
_REFUSAL: Final = {"yes": True, "true": True, "no": False, "false": False}


def parse_reply(reply: str, *, scores: Scores | None = None) -> Verdict:
    """The verdict that `reply` states.

    Args:
        reply: What the model wrote, possibly cut off after the severity.
        scores: Probabilities that came with it, passed on in the verdict.

    Raises:
        GuardResponseError: The first line with content names no severity. The message does not repeat the reply.
    """
    lines = _lines(reply)
    if not lines:
        raise GuardResponseError("the guard's reply is empty", hint="see the log of the model server")
    severity = _severity(lines[0])
    fields = _fields(lines[1:])
    known, other = _categories(fields.get("categories", ""))
    return Verdict(
        severity=severity,
        # A safe text has no category: seen only where a model contradicts itself, and the severity is what it
        # was trained on first.
        categories=() if severity is Severity.SAFE else known,
        other_categories=() if severity is Severity.SAFE else other,
        refusal=_REFUSAL.get(_bare(fields.get("refusal", "")).lower()),
        scores=scores,
    )


def _lines(reply: str) -> list[str]:
    text = reply.encode(errors="replace").decode()  # half a surrogate pair cannot stand in a verdict
    text = _THINK.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return [line for line in text.split("\n") if _bare(line)]


def _bare(text: str) -> str:
    return text.strip(_DECORATION)


def _severity(line: str) -> Severity:
    field = _FIELD.fullmatch(line)
    if field and field[1].lower() == "safety":
        word = _bare(field[2])
        try:
            return Severity(word)
        except ValueError:
            pass
    raise GuardResponseError(
        "the guard's reply does not begin with 'Safety: Safe', 'Safety: Controversial' or 'Safety: Unsafe'",
        hint="is the model a Qwen3Guard-Gen, is its chat template the official one, is max_tokens at least 64?",
    )


def _fields(lines: list[str]) -> dict[str, str]:
    """The named fields after the severity; items of a list, and names on lines of their own, are categories too.

    Nothing else is: what a model rambles on about is the judged text, which has no place in a verdict.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field:
            name = _FIELD_NAMES.get(field[1].lower(), "")
            if name in fields:  # said twice: the first one counts
                name = ""
            elif name:
                fields[name] = field[2]
        elif name == "categories" and (_ITEM.match(line) or _categories(line)[0]):
            fields[name] += "\n" + line
    return fields


def _categories(text: str) -> tuple[tuple[Category, ...], tuple[str, ...]]:
    """Known and other categories named in `text`, each once, in order."""
    known: dict[Category, None] = {}
    other: dict[str, None] = {}
    for part in _SEPARATORS.split(_NOT_APPLICABLE.sub("", text)):
        name = _bare(_NUMBERING.sub("", part))
        if name.lower() in _NONE:
            continue
        try:
            known[Category(name)] = None
        except ValueError:
            if len(name) <= _LONGEST_NAME:
                other[name] = None
    return tuple(known), tuple(other)
