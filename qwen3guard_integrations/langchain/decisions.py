"""`Qwen3GuardDecisionModel`: Qwen3Guard where LangChain takes a decision model (langchain-core 1.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from ..core.decision import Decision
from ..core.errors import GuardConfigurationError
from ..core.points import Point
from ..core.policy import Policy
from ..core.screening import Item
from ..guards.protocol import Guard
from .screener import Screener
from .tool_values import read_call
from .values import read

try:
    from langchain_core.decisions import (  # type: ignore[import-not-found, unused-ignore]
        BaseDecisionModel,
        ClassifierResponse,
    )
except ImportError as error:
    raise ImportError(
        'Qwen3GuardDecisionModel needs langchain-core 1.8: pip install "langchain>=1.5" "langchain-core>=1.8"'
    ) from error


class Qwen3GuardDecisionModel(BaseDecisionModel):  # type: ignore[misc, unused-ignore]
    """Answers yes/no questions about a tool call, or any text, by Qwen3Guard's verdict on it.

    For `AutoModeMiddleware(tools=[...], classifier=Qwen3GuardDecisionModel(guard))`, which blocks a call when the
    answer is at least one half. Whatever is asked, the answer is how probable it is that the policy does not let the
    text pass: the guard reads the text and not the question. Where the guard gives no scores it is 0 or 1.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What counts as not passing, at the point `tool_call` for tool calls and `prompt` for all else.

    Raises:
        GuardConfigurationError: A question is no yes/no question ("noul").
        GuardError: The guard gave no verdict: the tool does not run (unless `Policy.on_guard_error` says otherwise).
    """

    model: str = "Qwen3Guard"
    guard: Any = Field(repr=False, exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    def __init__(
        self,
        guard: Guard | Screener | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(guard=Screener.of(guard, policy), **settings)

    @property
    def _provider(self) -> str:
        return "qwen3guard"

    def _classify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        items = self._items(state, questions)
        return self._answers(questions, self.guard.decide(items))

    async def _aclassify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        items = self._items(state, questions)
        return self._answers(questions, await self.guard.adecide(items))

    def _items(self, state: Any, questions: Mapping[str, Any]) -> list[Item]:
        kinds = {getattr(question, "type", "noul") for question in questions.values()}
        if kinds - {"noul"}:
            raise GuardConfigurationError(
                f"a guard cannot answer questions of the kind {', '.join(sorted(kinds - {'noul'}))}",
                hint='ask yes/no questions ("noul")',
            )
        call = state.get("tool_call") if isinstance(state, Mapping) else None
        if isinstance(call, Mapping):
            reading = read_call(str(call.get("name")), call.get("args") or {}, self.guard.scope(Point.TOOL_CALL))
        else:
            reading = read(state, self.guard.scope(Point.PROMPT))
        return list(reading.items)

    def _answers(self, questions: Mapping[str, Any], decisions: list[Decision]) -> ClassifierResponse:
        risk = max(map(self._risk, decisions), default=0.0)
        answers = {key: {"type": "noul", "noul": risk} for key in questions}
        return ClassifierResponse.model_validate({"model": self.model, "answers": answers})

    @staticmethod
    def _risk(decision: Decision) -> float:
        """How probable it is that the text may not pass; on the side of one half that the decision is on."""
        scores = decision.verdict.scores if decision.verdict is not None else None
        if decision.passes:
            return min(1 - scores.safe, 0.49) if scores is not None else 0.0
        return max(1 - scores.safe, 0.51) if scores is not None else 1.0
