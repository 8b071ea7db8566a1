"""Benchmarks of prompts with responses: WildGuardTest, PolyGuard, BeaverTails, SafeRLHF."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from ...core.verdict import Category, Severity
from ..rows import Label
from . import categories
from .benchmark import Benchmark, Position
from .records import NO_LABEL, Draft, Drafts, Record, prompt_turns, response_turns
from .words import categories_by

_HARM: Final[Mapping[str, Severity]] = MappingProxyType({"harmful": Severity.UNSAFE, "unharmful": Severity.SAFE})
_REFUSAL: Final[Mapping[str, bool]] = MappingProxyType({"refusal": True, "compliance": False})


def _wildguard(record: Record, *, judged: Position) -> Drafts:
    """Prompts, or responses to them, with labels "harmful" and "unharmful"; rows without one are skipped.

    Schema: card of allenai/wildguardmix, configuration wildguardtest (`prompt`, `response`, `adversarial`,
    `prompt_harm_label`, `response_harm_label`, `response_refusal_label`, `subcategory`). Rows and labels as in
    allenai/safety-eval. The category is that of the prompt.
    """
    found = categories_by(categories.WILDGUARD, [record.key("subcategory") or ""])
    yield from _labelled(record, judged, kinds=found, language="en")


def _polyguard(record: Record, *, judged: Position) -> Drafts:
    """WildGuardTest's prompts and responses in 17 languages, with the labels of the English originals.

    Schema: card of ToxicityPrompts/PolyGuardPrompts: the columns of WildGuardTest, `id` (shared by the translations
    of one row), `language` (in words), and codes of MLCommons' categories in `prompt_categories` and
    `response_categories`.
    """
    codes = (record.key(f"{judged}_categories") or "").replace(",", " ").split()
    language, key = record.key("language"), record.key("id")
    yield from _labelled(
        record,
        judged,
        kinds=categories_by(categories.MLCOMMONS, codes),
        language=language,
        key=f"{key}-{language}" if key and language else None,
    )


def _labelled(
    record: Record, judged: Position, *, kinds: tuple[Category, ...], language: str | None, key: str | None = None
) -> Drafts:
    severity = record.choice(f"{judged}_harm_label", _HARM)
    if severity is None:
        yield NO_LABEL
        return
    label = Label(
        severity=severity,
        categories=kinds if severity is Severity.UNSAFE else (),
        refusal=record.choice("response_refusal_label", _REFUSAL) if judged == "response" else None,
        source="adversarial" if record.truth("adversarial") else "vanilla",
        language=language,
    )
    prompt = record.text("prompt")
    turns = prompt_turns(prompt) if judged == "prompt" else response_turns(prompt, record.text("response"))
    yield Draft(turns, label, key)


def _beavertails(record: Record) -> Drafts:
    """Responses; unsafe when `is_safe` is false.

    Schema: card of PKU-Alignment/BeaverTails (`prompt`, `response`, `category` with a truth value for each of 14
    kinds of harm, `is_safe`), split 30k_test as in allenai/safety-eval.
    """
    safe = record.truth("is_safe")
    if safe is None:
        yield NO_LABEL
        return
    found = () if safe else categories_by(categories.BEAVERTAILS, _true(record, "category"))
    label = Label(severity=Severity.SAFE if safe else Severity.UNSAFE, categories=found, language="en")
    yield Draft(response_turns(record.text("prompt"), record.text("response")), label)


def _safe_rlhf(record: Record) -> Drafts:
    """Two rows from each record, one for each response; unsafe when `is_response_*_safe` is false.

    Schema: card of PKU-Alignment/PKU-SafeRLHF (`prompt`, `response_0`, `response_1`, `is_response_0_safe`,
    `is_response_1_safe`, `response_*_harm_category` with a truth value for each of 19 kinds, which the older revision
    v0 does not have). allenai/safety-eval draws 2,000 responses from records of v0 whose two labels differ; here all
    responses are rows.
    """
    for place in (0, 1):
        safe = record.truth(f"is_response_{place}_safe")
        if safe is None:
            yield NO_LABEL
            continue
        found = () if safe else categories_by(categories.SAFE_RLHF, _true(record, f"response_{place}_harm_category"))
        label = Label(
            severity=Severity.SAFE if safe else Severity.UNSAFE,
            categories=found,
            source=record.key(f"response_{place}_source"),
            language="en",
        )
        turns = response_turns(record.text("prompt"), record.text(f"response_{place}"))
        yield Draft(turns, label, f"{record.number}-{place}")


def _true(record: Record, name: str) -> list[str]:
    """The names in an object of truth values that are true."""
    if not record.has(name):
        return []
    kinds = record.record(name)
    return [kind for kind in kinds.values if kinds.truth(kind)]


def _wildguard_test(name: str, title: str, judged: Position) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        hub="allenai/wildguardmix",
        config="wildguardtest",
        split="test",
        judged=judged,
        drafts=partial(_wildguard, judged=judged),
        licence="ODC-BY",
        gated=True,
        sample="wildguardtest",
    )


def _polyguard_prompts(name: str, title: str, judged: Position) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        hub="ToxicityPrompts/PolyGuardPrompts",
        split="test",
        judged=judged,
        drafts=partial(_polyguard, judged=judged),
        licence="CC BY 4.0",
        sample="polyguard",
    )


PAIRS: Final = (
    _wildguard_test("wildguardtest", "WildGuardTest", "prompt"),
    _wildguard_test("wildguardtest-response", "WildGuardTest responses", "response"),
    Benchmark(
        name="beavertails",
        title="BeaverTails",
        hub="PKU-Alignment/BeaverTails",
        split="30k_test",
        judged="response",
        drafts=_beavertails,
        licence="CC BY-NC 4.0",
        sample="beavertails",
    ),
    Benchmark(
        name="saferlhf",
        title="SafeRLHF",
        hub="PKU-Alignment/PKU-SafeRLHF",
        split="test",
        judged="response",
        drafts=_safe_rlhf,
        licence="CC BY-NC 4.0",
        sample="saferlhf",
    ),
    _polyguard_prompts("polyguard", "PolyGuard", "prompt"),
    _polyguard_prompts("polyguard-response", "PolyGuard responses", "response"),
)
