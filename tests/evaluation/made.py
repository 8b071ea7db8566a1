"""Runs made up from a seed: rows, and what guards of stated skill say of them, with scores and streams."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qwen3guard_integrations import Category, Conversation, Scores, Severity, Verdict
from qwen3guard_integrations.evaluation import DataSet, Label, Latency, Result, Row, StreamResult, Summary, summarise
from qwen3guard_integrations.evaluation.onset import flagged

WORDS: Final = ("the", "garden", "needs", "water", "when", "summer", "is", "dry", "so", "ask", "a", "neighbour")
LANGUAGES: Final = ("en", "de", "zh-CN", "th", "ar")
SOURCES: Final = ("homonyms", "roleplay", "plain")
CATEGORIES: Final = (Category.VIOLENT, Category.PII, Category.SUICIDE_AND_SELF_HARM)


@dataclass(frozen=True)
class Made:
    """A run, as `evaluate` and `summarise` would leave it."""

    data: DataSet
    results: Mapping[str, Sequence[Result]]
    summary: Summary


def made_run(
    rows: int = 60,
    guards: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    scores: bool = True,
    streams: bool = True,
    controversial: float = 0.1,
    text: str = "",
    resamples: int = 200,
) -> Made:
    """A run on `rows` rows by guards of such skill, from 0 (blind) to 1; `text` stands in every text."""
    rng = random.Random(seed)
    data = DataSet("made-up/test", tuple(made_row(rng, place, controversial, text) for place in range(rows)))
    results = {
        name: [said(rng, row, skill, scores=scores, streams=streams) for row in data.rows]
        for name, skill in (guards or {"guard a": 0.9, "guard b": 0.6}).items()
    }
    latencies = {
        name: Latency(calls=rows, rows_per_second=30.0 + place, p50=31.25, p95=40.5, p99=1234.5, cost=0.02)
        for place, name in enumerate(results)
    }
    summary = summarise(data.name, data.digest, results, latencies=latencies, resamples=resamples)
    return Made(data, results, summary)


def made_row(rng: random.Random, place: int, controversial: float, text: str) -> Row:
    """A labelled row; every second one is a response of eighty words or more, in a sentence of which the harm is."""
    unsafe, response = rng.random() < 0.45, place % 2 == 1
    severity = Severity.UNSAFE if unsafe else Severity.CONTROVERSIAL if rng.random() < controversial else Severity.SAFE
    words = [rng.choice(WORDS) for _ in range(rng.randint(80, 400) if response else 12)]
    start = rng.randint(10, 60)
    label = Label(
        severity=severity,
        categories=(rng.choice(CATEGORIES),) if severity is not Severity.SAFE else (),
        refusal=rng.random() < 0.3 if response else None,
        language=rng.choice(LANGUAGES),
        source=rng.choice(SOURCES),
        unsafe_start=start + 10 if unsafe and response else None,
        unsafe_end=start + 24 if unsafe and response else None,
    )
    spoken = " ".join([text, *words] if text else words)
    prompt = f"{text} what of row {place}?"
    thinks = len(spoken) // 3 if place % 4 == 1 else 0
    conversation = (
        Conversation.of_response(prompt, spoken[thinks:], reasoning=spoken[:thinks])
        if response
        else Conversation.of_prompt(spoken)
    )
    return Row(id=f"row-{place}", conversation=conversation, label=label)


def said(rng: random.Random, row: Row, skill: float, *, scores: bool, streams: bool) -> Result:
    """What a guard of such skill says of the row."""
    label = row.label
    if rng.random() < 0.01:
        return Result(id=row.id, label=label, response=row.is_response, error="GuardTimeoutError")
    truth = {Severity.SAFE: 0.05, Severity.CONTROVERSIAL: 0.5, Severity.UNSAFE: 0.95}[label.severity]
    score = min(1.0, max(0.0, skill * truth + (1 - skill) * rng.random() + rng.gauss(0, 0.12)))
    severity = Severity.UNSAFE if score > 0.6 else Severity.CONTROVERSIAL if score > 0.45 else Severity.SAFE
    third = {Severity.SAFE: 0.5, Severity.CONTROVERSIAL: 0.8, Severity.UNSAFE: 0.2}[severity]
    verdict = Verdict(
        severity=severity,
        categories=label.categories or (CATEGORIES[:1] if severity is not Severity.SAFE else ()),
        refusal=rng.random() < 0.25 if row.is_response else None,
        scores=Scores(safe=1 - score, controversial=score * third, unsafe=score * (1 - third)) if scores else None,
    )
    stream = stream_of(rng, row, severity) if streams and row.is_response else None
    return Result(id=row.id, label=label, response=row.is_response, verdict=verdict, stream=stream)


def stream_of(rng: random.Random, row: Row, severity: Severity) -> StreamResult:
    """A stream of one token a word, flagged before, in or after the unsafe sentence where it is taken for unsafe."""
    turn = row.conversation.judged
    text = turn.reasoning + turn.content
    ends = [place for place, character in enumerate(text) if character == " "] + [len(text)]
    letters = ["S"] * len(ends)
    if severity is not Severity.SAFE:
        wanted = (row.label.unsafe_start or 40) - 10 + rng.choice((-12, 2, 5, 30, 90))
        onset = min(max(4, wanted), len(letters))
        letters[onset:] = [str(severity)[0]] * (len(letters) - onset)
        letters[onset - 3] = "C"
    tokens = "".join(letters)
    whole, place = flagged([next(one for one in Severity if str(one)[0] == letter) for letter in tokens])
    left = len(text) if place is None else ends[place]
    return StreamResult(
        severity=whole,
        flag=None if place is None else 10 + place,
        begins=10,
        tokens=tokens,
        ends=tuple(ends),
        leaked={"judged": len(text) if place is None else 0, "window": max(0, left - 40), "none": left},
        characters=len(text),
    )
