"""Rows, guards and comparisons for the tests of runs; as a program, a run that can be killed.

python -m tests.evaluation.runs FOLDER DELAY
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qwen3guard_integrations import Conversation, GuardResponseError, Scores, Severity, Verdict
from qwen3guard_integrations.evaluation.data.dataset import DataSet
from qwen3guard_integrations.evaluation.rows import Label, Row
from qwen3guard_integrations.evaluation.runner import evaluate
from qwen3guard_integrations.testing import FakeGuard

CANARY: Final = "kanarienvogel"
SICK: Final = "row 77 "  # the guard of `sick` has no verdict on it
BATCH: Final = 8


def data_of(count: int, name: str = "made up") -> DataSet:
    """Rows whose every second one is a response, and whose every third one is unsafe."""
    return DataSet(name, tuple(row(number) for number in range(count)))


def row(number: int) -> Row:
    text = f"row {number} {CANARY}"
    response = number % 2 == 1
    conversation = Conversation.of_response("Well?", text) if response else Conversation.of_prompt(text)
    label = Label(severity="Safe" if number % 3 else "Unsafe", language="en", source=f"part {number % 2}")
    return Row(id=f"r{number}", conversation=conversation, label=label)


def verdict_on(conversation: Conversation) -> Verdict:
    """Something else for each text, and always the same for the same text; with more digits than are written."""
    chance = random.Random(conversation.judged.content).random()
    scores = Scores(safe=1 - chance, controversial=chance / 3, unsafe=chance - chance / 3)
    if chance < 0.5:
        return Verdict(severity=Severity.SAFE, scores=scores)
    return Verdict(severity=Severity.UNSAFE, categories=("Violent",), scores=scores, other_categories=(CANARY,))


def sick(conversation: Conversation) -> Verdict:
    """As `verdict_on`, but for one row."""
    if SICK in conversation.judged.content:
        raise GuardResponseError("no verdict")
    return verdict_on(conversation)


class UnevenGuard(FakeGuard):
    """Answers later batches sooner, and counts how many calls are under way at once."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__(verdict_on)
        self.seconds = seconds
        self.running = self.most = self.cancelled = self.batches = 0
        self.threads: set[int] = set()

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        self.running += 1
        self.batches += 1
        self.most = max(self.most, self.running)
        self.threads.add(threading.get_ident())
        try:
            await asyncio.sleep(self.seconds * (1 + -self.batches % 3))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return self._answers(conversations)


def contents(folder: Path) -> dict[str, bytes]:
    """The results files, which have to be the same bytes after every run."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.results.jsonl"))}


if __name__ == "__main__":
    folder, delay = Path(sys.argv[1]), float(sys.argv[2])
    guards = {"one": FakeGuard(sick, delay=delay), "two": FakeGuard(verdict_on, delay=delay)}
    evaluate(data_of(200), guards, folder, batch_size=BATCH, concurrency=3)
