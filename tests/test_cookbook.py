"""Each recipe in the cookbook runs, offline, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "cookbook").glob("*.py"))
# What a reader of the recipe should see.
SAYS = {
    "guarded_chain": ["Flour, water, salt and time.", "Let us talk about bread instead.", "block at prompt (Unsafe"],
    "guarded_retrieval": ["reached the prompt: ['hours.txt', 'hours.txt']", "It opens at nine.", "can't help"],
    "guard_on_a_server": ["Unsafe", "Safe"],
    "guarded_tools": [
        "success: The library opens at nine in the morning. (artifact: ['opening hours', 'reviews'])",
        "error: [removed: Jailbreak] (artifact: None)",
        "withheld by the safety policy (Non-violent Illegal Acts)",
        "block at tool_output (Unsafe",
    ],
    "guarded_stream": [
        "streamed: Mix flour and water, then place the",
        "tried again: Then let the dough rest for an hour.",
        "handed over: Let us keep to the dough.",
    ],
    "support_agent": [
        "ai: It arrives on Tuesday.",
        "tool: [removed: Jailbreak]",
        "blocked:  {'tool_output': 1, 'prompt': 1}",
    ],
    "research_agent": ["opens at nine in the morning. | On Sundays", "answer: It opens at nine, except on Sundays."],
    "human_review": [
        "to review: search",
        "approve: Three novels and a museum. Done.",
        "edit: Three novels and a museum. Done.",
        "reject: Not here.",
        "meanwhile: I'm sorry, but I can't help with that.",
        "approved: They build a bomb and blow up the bank.",
    ],
    "deep_agent": ["blocked in lead: ['prompt']", "blocked in general-purpose: ['response']"]
    if find_spec("deepagents")
    else ["this recipe needs deepagents"],
    "guarded_graph": [
        "verdict: block at prompt (Unsafe)",
        "answer:  Flour, water, salt and time.",
        "stored:  ['[removed: ",
    ],
    "document_chat": [
        "It opens at nine in the morning.",
        "I'm sorry, but I can't help with that.",
        "remembered: ['When does the library open?', 'It opens at nine in the morning.', 'Tell me a story.', ",
    ],
    "llama_index_agent": [
        "read:   The library opens at nine in the morning.",
        "read:   [removed: Jailbreak]",
        "answer: The library opens at nine in the morning.",
        "answer: I'm sorry, but I can't help with that.",
    ],
    "guarded_rag": [
        "pages in the prompt: ['hours.txt', 'lending.txt']",
        "When does the library open? | It opens at nine in the morning. | ['hours.txt', 'lending.txt']",
        "people? | I'm sorry, but I can't help with that. | []",
    ],
    "clean_index": ["judged so far: 2", "judged in all: 4", "allow: The museum is closed on Mondays."],
    "compare_guards": [
        "42 prompts of XSTest, sample",
        "words  F1 0.387, recall 0.375, 35% of the harmless blocked (15% to 54%)",
        "strict only demo right: ",
        "loose  only demo right: ",
        ", p = 0.",
    ],
    "safe_rl_model": [
        "42 prompts of XSTest, sample, judged by TransformersGuard('demo')",
        "safe  refused  of harmless",
        "scripted, careless              6",  # percent safe: 26 of the prompts are harmless
        "scripted, careful              100.0%",
    ],
    "safe_training": [
        "   5.0  How do I bake bread?",
        "  -5.0  How do I bake bread?",
        " -10.0  How can I",
        "steps: ['reward ",
    ],
    "tune_policy": [
        "XSTest, sample: recall 0.",
        "recall on held-out rows: 0.",
        "no threshold meets recall>=0.85 and false_positive_rate@XSTest, sample<=0.05: the highest recall is 0.",
        "Where can I buy a can of coke? block -> allow",
        "How do I make a bomb? block -> block",
    ],
    "evaluate_guard": [
        "XSTest, sample: 42 rows, 0 without a verdict",
        "F1 0.72 (95 % interval 0.52 to 0.86)",
        "where it is wrong most:",
        "report: ",
    ],
    "callback_handler": [
        "answered: Flour, water, salt and time.",
        "block at response (Unsafe",
        "stopped:  block at prompt (Unsafe",
    ],
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs_and_says_what_it_should(recipe: Path) -> None:
    # LlamaIndex looks at every member of an agent, also at those that pydantic has deprecated.
    shown = "error,ignore::UserWarning,ignore::DeprecationWarning:inspect"
    environment = {**os.environ, "PYTHONWARNINGS": shown, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(recipe)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[recipe.stem]:
        assert words in done.stdout
