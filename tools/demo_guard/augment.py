"""Ways in which people really type: case, typos, leetspeak, missing punctuation, shouting, dropped words."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from .passages import Passage

_LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
_ACCENTS = str.maketrans("äöüéèêàáíóúñçôîâ", "aoueeeaaiouncoia")


def augment(passage: Passage, rng: random.Random, strength: float = 1.0) -> Passage:
    """A noisy copy of a passage; ``strength`` scales how likely each kind of noise is."""
    passage = _recase(passage, rng, strength)
    ending = rng.random()
    if ending < 0.25 * strength:
        passage = _strip_end(passage)
    elif ending < 0.30 * strength:
        more = rng.choice(("?", "!", "...", "??", "!!!"))
        passage = [*passage[:-1], replace(passage[-1], text=passage[-1].text + more)]
    for probability, noise in _NOISES:
        if rng.random() < probability * strength:
            passage = _map(passage, lambda text, noise=noise: noise(text, rng))
    return passage


def _recase(passage: Passage, rng: random.Random, strength: float) -> Passage:
    case = rng.random()
    for below, change in ((0.30, str.lower), (0.36, str.upper), (0.38, str.title)):
        if case < below * strength:
            return _map(passage, change)
    return passage


def _map(passage: Passage, change: Callable[[str], str]) -> Passage:
    return [replace(span, text=change(span.text)) for span in passage]


def _strip_end(passage: Passage) -> Passage:
    last = passage[-1].text
    stripped = last.rstrip("?.!。\uff1f\uff01 ")
    return [*passage[:-1], replace(passage[-1], text=stripped)] if stripped else passage


def _drop_words(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    kept = [word for word in words if rng.random() > 0.12]
    return " ".join(kept) if len(words) > 4 and kept else text


def _typos(text: str, rng: random.Random) -> str:
    for _ in range(rng.choice((1, 1, 2)) if len(text) > 4 else 0):
        at = rng.randrange(1, len(text) - 1)
        if not text[at].isascii() or not text[at].isalpha():
            continue
        kind = rng.random()
        if kind < 0.35:
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        elif kind < 0.65:
            text = text[:at] + text[at + 1 :]
        else:
            text = text[:at] + text[at] + text[at:]
        if len(text) < 4:
            break
    return text


def _leet(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.3, 0.9)
    return "".join(_LEET[c.lower()] if c.lower() in _LEET and rng.random() < share else c for c in text)


def _no_accents(text: str, _rng: random.Random) -> str:
    return text.translate(_ACCENTS)


def _no_commas(text: str, _rng: random.Random) -> str:
    return "".join(c for c in text if c not in "',\u2019")


_NOISES = ((0.06, _drop_words), (0.13, _typos), (0.05, _leet), (0.04, _no_accents), (0.02, _no_commas))
