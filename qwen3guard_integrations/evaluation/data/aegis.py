"""NVIDIA's Aegis content safety data, both versions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from ...core.verdict import Severity
from ..rows import Label
from . import categories
from .benchmark import Benchmark, Position
from .records import NO_LABEL, Draft, Drafts, Record, Skip, prompt_turns, response_turns
from .words import categories_by, letters

_REDACTED: Final = Skip("redacted by the data set")
_NOT_A_PROMPT: Final = Skip("not a user's message alone")
_CAUTION: Final = letters("Needs Caution")
_LABELS: Final[Mapping[str, Severity]] = MappingProxyType({"safe": Severity.SAFE, "unsafe": Severity.UNSAFE})


def _aegis(record: Record, *, caution: Severity) -> Drafts:
    """Users' messages with the votes of three people; not safe when at most one of them says "Safe".

    Schema: card of nvidia/Aegis-AI-Content-Safety-Dataset-1.0 (`text`, `text_type`, `labels_0` to `labels_4`, each
    "Safe" or names of categories between commas). Rows and the majority are those of allenai/safety-eval: text type
    "user_message", the first three votes. Where no two votes name a harm besides "Needs Caution", the row has the
    severity `caution`: Controversial, or Unsafe as in safety-eval. Aegis itself (arXiv 2404.05993) reads these both
    ways, and calls the strict reading defensive and the other one permissive.
    """
    if record.text("text_type") != "user_message":
        yield _NOT_A_PROMPT
        return
    votes = [_named(record.text(f"labels_{place}")) for place in range(3)]
    if not all(votes):
        yield NO_LABEL
        return
    against = [names for names in votes if names != ["safe"]]
    harmful = sum(any(name not in {"safe", _CAUTION} for name in names) for names in against)
    severity = Severity.SAFE if len(against) < 2 else Severity.UNSAFE if harmful > 1 else caution
    named = [name for names in against for name in names]
    label = Label(
        severity=severity,
        categories=() if severity is Severity.SAFE else categories_by(categories.AEGIS, named),
        language="en",
    )
    yield Draft(prompt_turns(record.text("text").strip()), label, record.key("id"))


def _named(vote: str) -> list[str]:
    return [name for name in map(letters, vote.split(",")) if name]


def _aegis2(record: Record, *, judged: Position) -> Drafts:
    """Prompts, or responses to them, with labels "safe" and "unsafe".

    Schema: card of nvidia/Aegis-AI-Content-Safety-Dataset-2.0 (`id`, `prompt`, `response`, `prompt_label`,
    `response_label`, `violated_categories` between commas). Prompts that the data set replaces by "REDACTED" are
    skipped, and so are rows without a response where responses are judged. The categories are those of the whole
    exchange.
    """
    prompt, response = record.text("prompt"), record.text("response")
    severity = record.choice(f"{judged}_label", _LABELS)
    if "REDACTED" in {prompt.strip(), response.strip()}:
        yield _REDACTED
        return
    if severity is None:
        yield NO_LABEL
        return
    violated = record.text("violated_categories").split(",") if severity is Severity.UNSAFE else ()
    label = Label(severity=severity, categories=categories_by(categories.AEGIS, violated), language="en")
    turns = prompt_turns(prompt) if judged == "prompt" else response_turns(prompt, response)
    yield Draft(turns, label, record.key("id"))


def _first(name: str, title: str, caution: Severity) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        hub="nvidia/Aegis-AI-Content-Safety-Dataset-1.0",
        split="test",
        judged="prompt",
        drafts=partial(_aegis, caution=caution),
        licence="CC BY 4.0",
        sample="aegis",
    )


def _second(name: str, title: str, judged: Position) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        hub="nvidia/Aegis-AI-Content-Safety-Dataset-2.0",
        split="test",
        judged=judged,
        drafts=partial(_aegis2, judged=judged),
        licence="CC BY 4.0",
        sample="aegis2",
    )


AEGIS: Final = (
    _first("aegis", "Aegis", Severity.CONTROVERSIAL),
    _first("aegis-defensive", "Aegis (defensive)", Severity.UNSAFE),
    _second("aegis2", "Aegis 2.0", "prompt"),
    _second("aegis2-response", "Aegis 2.0 responses", "response"),
)
