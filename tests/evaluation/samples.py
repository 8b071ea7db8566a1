"""Results as guards give them: single ones, and random sets with everything that a results file may hold."""

from __future__ import annotations

import random
from typing import Final

from hypothesis import strategies as st

from qwen3guard_integrations import Category, Scores, Severity, Verdict
from qwen3guard_integrations.evaluation import Label, Result, StreamResult, flagged

SAFE, CONTROVERSIAL, UNSAFE = Severity
LETTERS: Final = {"S": SAFE, "C": CONTROVERSIAL, "U": UNSAFE}
HOLDS: Final = ("judged", "window", "none")


def result(said: Severity | None, label: Severity | Label, *, score: float | None = None, id_: str = "1") -> Result:
    """What a guard said of a row; None for a guard that failed. `score` is P(Unsafe)."""
    scores = None if score is None else Scores(safe=1 - score, controversial=0, unsafe=score)
    return Result(
        id=id_,
        label=label if isinstance(label, Label) else Label(severity=label),
        verdict=None if said is None else Verdict(severity=said, scores=scores),
        error="GuardTimeoutError" if said is None else None,
    )


def numbered(results: list[Result]) -> list[Result]:
    """The same with ids 0, 1, 2 and so on."""
    return [one.model_copy(update={"id": str(place)}) for place, one in enumerate(results)]


def stream_of(tokens: str, *, begins: int = 0, leaked: dict[str, int] | None = None) -> StreamResult:
    """What a streaming guard said, token by token, taken for what the official script takes it."""
    severity, place = flagged([LETTERS[token] for token in tokens])
    flag = None if place is None else begins + place
    return StreamResult(severity=severity, flag=flag, begins=begins, tokens=tokens, leaked=leaked or {})


def random_label(rng: random.Random) -> Label:
    severity = rng.choices(tuple(Severity), (5, 1, 4))[0]
    start = rng.randrange(300) if rng.random() < 0.7 else None
    return Label(
        severity=severity,
        categories=tuple(
            rng.sample(tuple(Category), 0 if severity is SAFE and rng.random() < 0.9 else rng.randrange(3))
        ),
        refusal=rng.choice((None, True, False)),
        language=rng.choice((None, "en", "de", "zh-CN")),
        source=rng.choice((None, "plain", "role play")),
        unsafe_start=start,
        unsafe_end=None if start is None else start + rng.randrange(40),
    )


def random_result(rng: random.Random, label: Label, *, id_: str, response: bool) -> Result:
    """Scores are twentieths, so that many are tied; one guard in ten fails, one row in five is only streamed."""
    unsafe = rng.randrange(21)
    controversial = rng.randrange(21 - unsafe)
    scores = Scores(safe=(20 - unsafe - controversial) / 20, controversial=controversial / 20, unsafe=unsafe / 20)
    kind = rng.choices(("judged", "failed", "streamed"), (7, 1, 2))[0]
    tokens = "S" * rng.randrange(400) + "".join(rng.choices("SCU", k=rng.randrange(6)))
    stream = stream_of(tokens, begins=rng.randrange(60), leaked={hold: rng.randrange(900) for hold in HOLDS})
    verdict = Verdict(
        severity=rng.choice(tuple(Severity)),
        refusal=rng.choice((None, True, False)) if response else None,
        scores=rng.choice((None, scores)),
    )
    return Result(
        id=id_,
        label=label,
        response=response,
        verdict=verdict if kind == "judged" else None,
        error=rng.choice(("GuardTimeoutError", "GuardResponseError")) if kind == "failed" else None,
        stream=stream if kind == "streamed" or (kind == "judged" and rng.random() < 0.5) else None,
    )


def random_results(seed: int, *, guards: int = 1, most: int = 60) -> dict[str, list[Result]]:
    """What some guards said of the same random rows."""
    rng = random.Random(seed)
    rows = [(str(place), random_label(rng), rng.random() < 0.7) for place in range(rng.randrange(most))]
    return {
        f"guard {number}": [random_result(rng, label, id_=id_, response=response) for id_, label, response in rows]
        for number in range(guards)
    }


result_sets: Final = st.builds(lambda seed: random_results(seed)["guard 0"], st.integers(0, 1 << 32))
