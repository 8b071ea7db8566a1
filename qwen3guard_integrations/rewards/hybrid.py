"""`HybridReward`: safe, helpful and not all refusals, as Qwen3-4B-SafeRL was trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..core.conversation import Conversation, Role, Turn
from ..core.errors import GuardConfigurationError, GuardError, GuardResponseError
from ..core.thinking import thought_and_said
from ..core.verdict import Severity, Verdict
from ..guards.load import load_guard
from ..guards.protocol import Guard

Message = Mapping[str, Any]
Prompt = str | Sequence[Message]
Helpfulness = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]

UNSAFE_AT_MOST: Final = -10.0
REFUSAL_AT_MOST: Final = -5.0
_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion, as the reward sees it.

    Attributes:
        context: The turns of the prompt.
        thinking: What stands between `<think>` tags, or in `reasoning_content` of the message.
        response: What follows it. Empty where the model never stopped thinking.
    """

    context: tuple[Turn, ...]
    thinking: str
    response: str

    @classmethod
    def of(cls, prompt: Prompt, completion: Prompt) -> Sample:
        """From a pair as TRL gives it: texts, or lists of messages."""
        turns = (Turn(role="user", content=prompt),) if isinstance(prompt, str) else tuple(map(_turn, prompt))
        context = tuple(turn for turn in turns if not turn.blank)
        if isinstance(completion, str):
            return cls(context, *_split(completion))
        *before, last = completion
        thinking, response = _split(_text(last.get("content")))
        thoughts = (str(last.get("reasoning_content") or ""), thinking)
        context += tuple(turn for turn in map(_turn, before) if not turn.blank)
        return cls(context, "\n".join(filter(None, thoughts)), response)

    def conversations(self) -> list[Conversation]:
        """What the guard is asked: (prompt, thinking) and (prompt, response), those of them that say something."""
        texts = (text for text in (self.thinking, self.response) if text.strip())
        return [Conversation(turns=(*self.context, Turn(role="assistant", content=text))) for text in texts]


def _turn(message: Message) -> Turn:
    return Turn(role=_ROLES.get(str(message.get("role")), "user"), content=_text(message.get("content")))


def _text(content: Any) -> str:
    """The text of a message; of content blocks those that are text."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(str(block.get("text") or "") for block in content)


def _split(completion: str) -> tuple[str, str]:
    """The thinking and the response of a completion; a prompt can have opened the thinking already."""
    before, closed, after = completion.partition("</think>")
    if closed and "<think>" not in before:
        return before.strip(), after.strip()
    thinking, response = thought_and_said(completion)
    return thinking.strip(), response.strip()


class HybridReward:
    """A reward function for TRL's `GRPOTrainer` and its relatives: `reward_funcs=HybridReward(guard, helpfulness)`.

    With x the prompt, t the thinking and y the response (technical report, arXiv 2510.14276, equation 2):

    - at most -10 if (x, t) or (x, y) is unsafe, else
    - at most -5 if y is a refusal, else
    - the helpfulness of y.

    All conversations of a batch are judged with one question to the guard.

    Args:
        guard: Who judges: a Qwen3Guard-Gen that tells refusals of safe answers too (`load_guard(..., details="always")`
            in this process), or what `load_guard` takes: then it is loaded so.
        helpfulness: Scores responses, higher is better: called with the prompts, as TRL gives them, and the responses
            without their thinking; returns as many numbers. The report takes WorldPM (`WorldPM()`).
        kind: "hybrid" (equation 2), or "guard-only" (equation 1: 1.0 if both are safe, else 0.0). With the latter alone
            the report's model learned to refuse almost everything (table 10: 96.6 % of harmless prompts).
        controversial: Whether Controversial counts as "unsafe" or "safe". The report says so for equation 1 only: safe
            is nothing but Safe.
        on_guard_error: What becomes of a batch that the guard did not judge: "raise", or "skip": each of its samples
            is None, which TRL leaves out.

    Raises:
        GuardConfigurationError: `kind` is "hybrid" and there is no `helpfulness`, or a setting is unknown.

    When it is called: `GuardError` when the guard fails; `GuardConfigurationError` when it does not tell refusals;
    `GuardResponseError` when `helpfulness` gives another number of scores, or one that is no number.

    TRL is told the mean of three figures per step: `qwen3guard/unsafe`, `qwen3guard/refusal`, `qwen3guard/helpfulness`.
    """

    def __init__(
        self,
        guard: Guard | str,
        helpfulness: Helpfulness | None = None,
        *,
        kind: Literal["hybrid", "guard-only"] = "hybrid",
        controversial: Literal["unsafe", "safe"] = "unsafe",
        on_guard_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        if kind not in ("hybrid", "guard-only") or controversial not in ("unsafe", "safe"):
            raise GuardConfigurationError(f"kind={kind!r}, controversial={controversial!r}: no such setting")
        if on_guard_error not in ("raise", "skip"):
            raise GuardConfigurationError(f"on_guard_error={on_guard_error!r}: it is 'raise' or 'skip'")
        if kind == "hybrid" and helpfulness is None:
            raise GuardConfigurationError(
                "the hybrid reward needs to know how helpful an answer is",
                hint='pass helpfulness=, such as WorldPM(); kind="guard-only" goes without and teaches to refuse',
            )
        self.guard: Guard = _loaded(guard) if isinstance(guard, str) else guard
        self.helpfulness = helpfulness
        self.kind = kind
        self.on_guard_error = on_guard_error
        self._unsafe = {Severity.UNSAFE} | ({Severity.CONTROVERSIAL} if controversial == "unsafe" else set())
        self.__name__ = f"qwen3guard_{kind.replace('-', '_')}"  # what TRL calls the reward in its logs

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Prompt],
        *,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The reward of each completion."""
        samples = [Sample.of(*pair) for pair in zip(prompts, completions, strict=True)]
        try:
            judged = self._judged(samples)
        except GuardError:
            if self.on_guard_error == "raise":
                raise
            return [None] * len(samples)
        unsafe = [any(verdict.severity in self._unsafe for verdict in verdicts) for verdicts in judged]
        refusals = [self._refuses(*pair) for pair in zip(samples, judged, strict=True)]
        figures: dict[str, Sequence[float]] = {"unsafe": unsafe, "refusal": refusals}
        if self.kind == "guard-only":
            rewards: list[float | None] = [float(not bad) for bad in unsafe]
        else:
            scores = self._scores(prompts, samples)
            rewards = [hybrid(*one) for one in zip(scores, unsafe, refusals, strict=True)]
            figures["helpfulness"] = scores
        if log_metric is not None and samples:
            for name, values in figures.items():
                log_metric(f"qwen3guard/{name}", math.fsum(values) / len(values))
        return rewards

    def _judged(self, samples: Sequence[Sample]) -> list[list[Verdict]]:
        """The verdicts on each sample: on its thinking and its response, as far as there are any."""
        asked = [sample.conversations() for sample in samples]
        distinct = [*dict.fromkeys(one for conversations in asked for one in conversations)]
        verdicts = self.guard.check_many(distinct) if distinct else []
        if len(verdicts) != len(distinct):
            raise GuardResponseError(f"the guard gave {len(verdicts)} verdicts on {len(distinct)} conversations")
        known = dict(zip(distinct, verdicts, strict=True))
        return [[known[one] for one in conversations] for conversations in asked]

    def _refuses(self, sample: Sample, verdicts: Sequence[Verdict]) -> bool:
        if self.kind == "guard-only" or not sample.response:
            return False
        refusal = verdicts[-1].refusal
        if refusal is None:
            raise GuardConfigurationError(
                "the guard does not say whether a safe answer is a refusal",
                hint='load a Qwen3Guard-Gen with details="always" (in this process), without tokenizer= (a server)',
            )
        return refusal

    def _scores(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> list[float]:
        assert self.helpfulness is not None
        scores = [float(score) for score in self.helpfulness(prompts, [sample.response for sample in samples])]
        if len(scores) != len(samples) or not all(map(math.isfinite, scores)):
            raise GuardResponseError(f"helpfulness gave {len(scores)} scores for {len(samples)} answers, or no numbers")
        return scores


def _loaded(name: str) -> Guard:
    """The guard called `name`, telling refusals of safe answers too. On a server it does so unasked."""
    return load_guard(name) if name.startswith("openai:") else load_guard(name, details="always")


def hybrid(helpfulness: float, unsafe: bool, refusal: bool) -> float:
    """The reward of one answer (technical report, equation 2); what is unsafe is no matter of refusal any more."""
    if unsafe:
        return min(UNSAFE_AT_MOST, helpfulness)
    return min(REFUSAL_AT_MOST, helpfulness) if refusal else helpfulness
