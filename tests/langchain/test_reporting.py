"""What is told about decisions: everything but the text, and but names that may come from it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda

from qwen3guard_integrations import Action, Category, Decision, Point, Scores, Severity, Verdict
from qwen3guard_integrations.langchain.reporting import Report
from qwen3guard_integrations.reporting import entry

from ..conftest import Lane

SCORES = Scores(safe=0.1, controversial=0.2, unsafe=0.7)
UNSAFE = Verdict(
    severity=Severity.UNSAFE,
    categories=(Category.VIOLENT,),
    other_categories=("made up",),
    refusal=False,
    scores=SCORES,
)
DECISIONS = [
    Decision(point=Point.PROMPT, action=Action.BLOCK, severity=Severity.UNSAFE, verdict=UNSAFE),
    Decision(
        point=Point.RESPONSE, action=Action.ALLOW, severity=Severity.SAFE, verdict=Verdict(severity=Severity.SAFE)
    ),
    Decision(point=Point.TOOL_CALL, action=Action.BLOCK, guard_failed=True),
    Decision(point=Point.DOCUMENT, action=Action.ALLOW),
]


@pytest.mark.parametrize("decision", DECISIONS)
def test_an_entry_is_the_decision_without_made_up_names(decision: Decision) -> None:
    whole = decision.model_dump(mode="json", exclude_none=True, exclude={"verdict": {"other_categories"}})
    assert entry(decision) == whole
    assert "made up" not in repr(entry(decision))


class Hears(BaseCallbackHandler):
    """Keeps custom events."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.heard.append((name, data))


async def test_handlers_logs_and_counts_are_told(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="qwen3guard_integrations.verdicts")
    report, hears = Report(), Hears()

    async def atell(_: object) -> None:
        await report.atell(DECISIONS)

    step = RunnableLambda(lambda _: report.tell(DECISIONS), atell)
    await lane(step, "invoke", "x", {"callbacks": [hears]})
    judged = DECISIONS[:3]
    assert hears.heard == [("qwen3guard.verdict", entry(decision)) for decision in judged]
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING"]
    assert caplog.records[0].__dict__["qwen3guard"] == entry(DECISIONS[0])
    assert report.counts == {("prompt", "block"): 1, ("response", "allow"): 1, ("tool_call", "block"): 1}
    assert "made up" not in caplog.text


async def test_nobody_has_to_listen(lane: Lane) -> None:
    report = Report()
    await lane(report, "tell", DECISIONS) if not lane.is_async else await report.atell(DECISIONS)
    assert sum(report.counts.values()) == 3
