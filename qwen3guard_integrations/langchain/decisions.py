"""`Qwen3GuardDecisionModel`: Qwen3Guard where LangChain takes a decision model (langchain-core 1.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, Field

from ..core.decision import Decision
from ..core.errors import GuardConfigurationError
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..core.verdict import Severity
from ..guards.protocol import Guard
from .screener import Screener
from .tool_values import read_call
from .values import read

try:
    from langchain_core.decisions import (  # type: ignore[import-not-found, unused-ignore]
        BaseDecisionModel,
        ClassifierResponse,
        Noul,
    )
except ImportError as error:
    raise ImportError(
        'Qwen3GuardDecisionModel needs langchain-core 1.8: pip install "langchain>=1.5" "langchain-core>=1.8"'
    ) from error


class Qwen3GuardDecisionModel(BaseDecisionModel):  # type: ignore[misc, unused-ignore]
    """Answers yes/no questions about a tool call, or any text, by Qwen3Guard's verdict on it.

    For `AutoModeMiddleware(tools=[...], classifier=Qwen3GuardDecisionModel(guard))`, which blocks a call when the
    answer is at least one half. Whatever is asked, the answer is how probable it is that the policy does not let the
    text pass: the guard reads the text and not the question. Of a state with a `tool_call` that call alone is judged.
    The answer is at least one half exactly where the text does not pass; without scores of the guard it is 0 or 1.

    The run of the model in a trace has the answers, and nothing of what was judged.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What counts as not passing, at the point `tool_call` for tool calls and `prompt` for all else.

    When it is asked:

    Raises:
        GuardConfigurationError: A question is no yes/no question (`Noul`).
        GuardError: The guard gave no verdict: the tool does not run (unless `Policy.on_guard_error` says otherwise).
        TypeError: The state holds a value in which texts cannot be found.

    Attributes:
        screener: The guard and the policy at work; `screener.report.counts` has what was decided so far.
    """

    model: str = "Qwen3Guard"
    screener: Any = Field(repr=False, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    def __init__(
        self,
        guard: Guard | Screener | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(screener=Screener.of(guard, policy), **settings)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> ClassifierResponse:  # noqa: A002
        """The answers about `input["state"]`, one to each of `input["questions"]`."""
        return self._call_with_config(
            lambda _: self._classify(input["state"], input["questions"]), "", config, run_type="llm"
        )

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> ClassifierResponse:  # noqa: A002
        """As `invoke`, without blocking the event loop."""

        async def answered(_: str) -> ClassifierResponse:
            return await self._aclassify(input["state"], input["questions"])

        return await self._acall_with_config(answered, "", config, run_type="llm")

    @property
    def _provider(self) -> str:
        return "qwen3guard"

    def _classify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        items = self._items(state, questions)
        return self._answers(questions, self.screener.decide(items))

    async def _aclassify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        items = self._items(state, questions)
        return self._answers(questions, await self.screener.adecide(items))

    def _items(self, state: Any, questions: Mapping[str, Any]) -> list[Item]:
        kinds = {type(question).__name__ for question in questions.values() if not isinstance(question, Noul)}
        if kinds:
            raise GuardConfigurationError(
                f"a guard cannot answer questions of the kind {', '.join(sorted(kinds))}",
                hint="ask yes/no questions: Noul(instructions=...)",
            )
        call = state.get("tool_call") if isinstance(state, Mapping) else None
        if isinstance(call, Mapping):
            reading = read_call(str(call.get("name")), call.get("args") or {}, self.screener.scope(Point.TOOL_CALL))
        else:
            reading = read(state, self.screener.scope(Point.PROMPT))
        return list(reading.items)

    def _answers(self, questions: Mapping[str, Any], decisions: list[Decision]) -> ClassifierResponse:
        risk = max(map(self._risk, decisions), default=0.0)
        answers = {key: {"type": "noul", "noul": risk} for key in questions}
        return ClassifierResponse.model_validate({"model": self.model, "answers": answers})

    def _risk(self, decision: Decision) -> float:
        """How probable it is that the text may not pass; on the side of one half that the decision is on."""
        if decision.verdict is None or decision.verdict.scores is None:
            return 0.0 if decision.passes else 1.0
        risk = 0.0
        for severity in (Severity.CONTROVERSIAL, Severity.UNSAFE):
            imagined = decision.verdict.model_copy(update={"severity": severity, "scores": None})
            if not self.screener.policy.decide(decision.point, imagined).passes:
                risk += decision.verdict.scores[severity]
        return min(risk, 0.49) if decision.passes else min(max(risk, 0.51), 1.0)
