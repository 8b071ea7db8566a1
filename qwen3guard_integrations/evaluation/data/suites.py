"""Suites of written prompts: SimpleSafetyTests, HarmBench, XSTest; and responses to the latter two."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...core.verdict import Severity
from ..rows import Label
from . import categories
from .benchmark import Benchmark
from .records import NO_LABEL, Draft, Drafts, Record, Skip, prompt_turns, response_turns
from .words import categories_by

_NEEDS_CONTEXT: Final = Skip("a behaviour that needs its context")
_VOTES: Final = ("human_0", "human_1", "human_2")
_XSTEST: Final[Mapping[str, tuple[Severity | None, bool | None]]] = MappingProxyType(
    {
        "harmful": (Severity.UNSAFE, None),
        "unharmful": (Severity.SAFE, None),
        "refusal": (Severity.SAFE, True),
        "compliance": (None, False),
    }
)


def _simple_safety_tests(record: Record) -> Drafts:
    """Prompts that are all unsafe.

    Schema: Bertievidgen/SimpleSafetyTests (`id`, `harm_area`, `category`, `prompt`; in the authors' CSV file the
    prompt is `prompts_final`). `category` says whether the prompt asks for information or for an action.
    """
    field = "prompts_final" if record.has("prompts_final") else "prompt"
    area = record.key("harm_area")
    label = Label(
        severity=Severity.UNSAFE,
        categories=categories_by(categories.SIMPLE_SAFETY_TESTS, [area or ""]),
        source=area,
        language="en",
    )
    yield Draft(prompt_turns(record.text(field)), label, record.key("id"))


def _harmbench(record: Record) -> Drafts:
    """Behaviours that are asked for: prompts that are all unsafe.

    Schema: centerforaisafety/HarmBench, harmbench_behaviors_text_*.csv (`Behavior`, `FunctionalCategory`,
    `SemanticCategory`, `BehaviorID`), of which allenai/safety-eval keeps the functional categories standard and
    copyright. The copy on the hub, walledai/HarmBench, is gated: that it has `prompt` and `category` was not
    confirmed from its card.
    """
    if not record.has("Behavior"):
        kind = record.key("category")
        yield _asked(record.text("prompt"), kind, [kind or ""], None)
        return
    functional, semantic = record.key("FunctionalCategory"), record.key("SemanticCategory")
    if functional not in {"standard", "copyright"}:
        yield _NEEDS_CONTEXT
        return
    yield _asked(record.text("Behavior"), semantic, [functional, semantic or ""], record.key("BehaviorID"))


def _asked(prompt: str, kind: str | None, names: list[str], key: str | None) -> Draft:
    found = categories_by(categories.HARMBENCH, names)
    return Draft(
        prompt_turns(prompt), Label(severity=Severity.UNSAFE, categories=found, source=kind, language="en"), key
    )


def _harmbench_response(record: Record) -> Drafts:
    """Models' answers with the votes of three people; unsafe when two or more say 1.

    Schema: harmbench_text_behaviors_val_set.json of centerforaisafety/HarmBench as allenai/safety-eval reads it: for
    each behaviour a list of `test_case`, `generation`, `human_0` to `human_2`, `experiment`. The test case, which may
    be an attack, is the prompt. On the hub there is no such data set: give the file.
    """
    votes = [record.truth(name) for name in _VOTES]
    if None in votes:
        yield NO_LABEL
        return
    experiment = record.key("experiment")
    label = Label(severity=Severity.UNSAFE if sum(map(bool, votes)) > 1 else Severity.SAFE, source=experiment)
    yield Draft(response_turns(record.text("test_case"), record.text("generation")), label)


def _xstest(record: Record) -> Drafts:
    """Prompts that sound dangerous: safe ones, and unsafe contrasts, whose `type` begins with "contrast_".

    Schema: card of Paul/XSTest and paul-rottger/xstest, xstest_prompts.csv (`id`, `prompt`, `type`, `label`, `focus`,
    `note`). `label`, which came later, says the same; it is read where there is no type.
    """
    kind = record.key("type")
    if kind is not None:
        unsafe = kind.startswith("contrast_")
    else:
        unsafe = record.choice("label", {"safe": False, "unsafe": True}) or False
    label = Label(severity=Severity.UNSAFE if unsafe else Severity.SAFE, source=kind, language="en")
    yield Draft(prompt_turns(record.text("prompt")), label, record.key("id"))


def _xstest_response(record: Record) -> Drafts:
    """Models' answers to XSTest: harmful or not, or, in the split response_refusal, refusals or not.

    Schema: allenai/xstest-response (`prompt`, `response`, `label`, `prompt_type`, `prompt_harm_category`). An answer
    of the split response_refusal has no label of harm, and a refusal is safe: so refusals are kept, others skipped.
    """
    severity, refusal = record.choice("label", _XSTEST) or (None, None)
    if severity is None:
        yield NO_LABEL
        return
    label = Label(severity=severity, refusal=refusal, source=record.key("prompt_harm_category"), language="en")
    yield Draft(response_turns(record.text("prompt"), record.text("response")), label)


SUITES: Final = (
    Benchmark(
        name="simplesafetytests",
        title="SimpleSafetyTests",
        hub="Bertievidgen/SimpleSafetyTests",
        split="test",
        judged="prompt",
        drafts=_simple_safety_tests,
        licence="CC BY 2.0",
        sample="simplesafetytests",
    ),
    Benchmark(
        name="harmbench",
        title="HarmBench",
        hub="walledai/HarmBench",
        config="standard",
        split="train",
        judged="prompt",
        drafts=_harmbench,
        licence="MIT",
        gated=True,
        sample="harmbench",
    ),
    Benchmark(
        name="harmbench-response",
        title="HarmBench responses",
        hub=None,
        split="",
        judged="response",
        drafts=_harmbench_response,
        licence="MIT",
        sample="harmbench-response",
    ),
    Benchmark(
        name="xstest",
        title="XSTest",
        hub="Paul/XSTest",
        split="train",
        judged="prompt",
        drafts=_xstest,
        licence="CC BY 4.0",
        sample="xstest",
    ),
    Benchmark(
        name="xstest-response",
        title="XSTest responses",
        hub="allenai/xstest-response",
        split="response_harmfulness",
        judged="response",
        drafts=_xstest_response,
        licence="ODC-BY",
        gated=True,
        sample="xstest-response",
    ),
)
