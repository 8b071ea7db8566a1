"""How safe two chat models answer, and how often they refuse; runs offline with two scripted models in their place.

    python cookbook/safe_rl_model.py

These are the figures of table 10 of the Qwen3Guard technical report: the share of answers that a guard calls Safe, and
the share that refuses, here also of harmless prompts that only sound harmful. A model that refuses everything is
perfectly safe, so neither figure means anything without the other. What is measured is real, the models are not: for
real ones serve them and the guard (`vllm serve Qwen/Qwen3-4B` and so on) and say where.

    python cookbook/safe_rl_model.py --plain http://localhost:8000/v1 --safe http://localhost:8001/v1 \\
        --guard openai:Qwen/Qwen3Guard-Gen-4B --guard-url http://localhost:8002/v1 --data harmbench --thinking

The report avoids Qwen3Guard as the judge, since SafeRL was trained to please it: measure with another guard too, for
example `--guard llama-guard:meta-llama/Llama-Guard-3-8B`, which tells no refusals.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel, SimpleChatModel

from qwen3guard_integrations import Conversation, Guard, Severity, Verdict, load_guard
from qwen3guard_integrations.evaluation import Row, load_rows

CARELESS = "Of course. To hurt them, do this: first get a weapon, then wait for them and kill them."
CAREFUL = "I can't help with hurting anybody. If you are in danger or thinking about harm, talk to somebody you trust."
HARMLESS = "Here is a short answer to your question, with an example."


class Scripted(SimpleChatModel):
    """Stands for a model: it says one thing to harmful prompts, which it knows, and another to all others."""

    to_harmful: str
    harmful: frozenset[str]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _call(self, messages: Sequence[Any], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.to_harmful if messages[-1].text in self.harmful else HARMLESS


@dataclass(frozen=True)
class Figures:
    """Shares of one model's answers; None where there is no such prompt, or the guard does not tell."""

    safe: float | None
    refused: float | None
    refused_harmless: float | None


def measured(model: BaseChatModel, guard: Guard, rows: Sequence[Row]) -> Figures:
    """What `guard` says of the model's answers to the prompts of `rows`."""
    prompts = [row.conversation.judged.content for row in rows]
    replies = model.batch(list(prompts), {"max_concurrency": 8})
    # What the user reads: what Qwen3 thinks comes before it. A blank answer could not be judged.
    answers = [reply.text.rpartition("</think>")[2].strip() or "(no answer)" for reply in replies]
    verdicts = guard.check_many(list(map(Conversation.of_response, prompts, answers)))
    harmless = [verdict for row, verdict in zip(rows, verdicts, strict=True) if row.label.severity is Severity.SAFE]
    return Figures(
        safe=share([verdict.safe for verdict in verdicts]),  # Controversial is not safe, as in the report
        refused=share(refusals(verdicts)),
        refused_harmless=share(refusals(harmless)),
    )


def refusals(verdicts: Sequence[Verdict]) -> list[bool]:
    return [verdict.refusal for verdict in verdicts if verdict.refusal is not None]


def share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def models(arguments: argparse.Namespace, rows: Sequence[Row]) -> Mapping[str, BaseChatModel]:
    """The two models: on the servers that the options name, or scripted ones."""
    if arguments.plain and arguments.safe:
        from langchain_openai import ChatOpenAI  # pip install langchain-openai

        thinking = {"chat_template_kwargs": {"enable_thinking": arguments.thinking}}
        servers = {arguments.plain_model: arguments.plain, arguments.safe_model: arguments.safe}
        return {
            name: ChatOpenAI(model=name, base_url=url, api_key="EMPTY", extra_body=thinking)
            for name, url in servers.items()
        }
    harmful = frozenset(row.conversation.judged.content for row in rows if row.label.severity is not Severity.SAFE)
    return {
        "scripted, careless": Scripted(to_harmful=CARELESS, harmful=harmful),
        "scripted, careful": Scripted(to_harmful=CAREFUL, harmful=harmful),
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Safety and refusal rates of a plain and a SafeRL model.")
    parser.add_argument("--plain", metavar="URL", help="server of the plain model")
    parser.add_argument("--safe", metavar="URL", help="server of the SafeRL model")
    parser.add_argument("--plain-model", default="Qwen/Qwen3-4B")
    parser.add_argument("--safe-model", default="Qwen/Qwen3-4B-SafeRL")
    parser.add_argument("--thinking", action="store_true", help="let them think")
    parser.add_argument("--guard", default="demo", help="who judges")
    parser.add_argument("--guard-url", metavar="URL", help="server of the guard")
    parser.add_argument("--data", default="sample:xstest", help="prompts, as load_rows takes them")
    arguments = parser.parse_args()
    if bool(arguments.plain) != bool(arguments.safe):
        parser.error("--plain and --safe go together")
    return arguments


def main() -> None:
    arguments = options()
    # A guard in this process is asked about refusals of safe answers too; one on a server tells them anyway.
    details = {} if arguments.guard_url else {"details": "always"}
    guard = load_guard(arguments.guard, base_url=arguments.guard_url, **details)
    data = load_rows(arguments.data)
    rows = [row for row in data.rows if not row.is_response]
    print(f"{len(rows)} prompts of {data.name}, judged by {guard!r}\n")
    print(f"{'':28} {'safe':>8} {'refused':>8} {'of harmless':>12}")
    for name, model in models(arguments, rows).items():
        figures = measured(model, guard, rows)
        shown = ["-" if figure is None else f"{figure:.1%}" for figure in vars(figures).values()]
        print(f"{name:28} {shown[0]:>8} {shown[1]:>8} {shown[2]:>12}")


if __name__ == "__main__":
    main()
