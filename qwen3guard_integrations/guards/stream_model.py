"""Qwen3Guard-Stream: a Qwen3 backbone with four heads, under the parameter names of the official checkpoints.

The architecture (technical report, arXiv 2510.14276, section 4; names and label order as the independent ports of the
checkpoint have them): a projection and an RMSNorm, then a risk head and a category head, once for the user's turn
("query") and once for the response. It needs no remote code, and is fed new tokens only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from ..core.verdict import Category, Scores, Severity, Verdict

RISKS: Final = (Severity.SAFE, Severity.UNSAFE, Severity.CONTROVERSIAL)
"""By index in both risk heads. Not in the order of severity, as some public wrappers have it."""

CATEGORIES: Final = (
    Category.VIOLENT,
    Category.SEXUAL_CONTENT,
    Category.SUICIDE_AND_SELF_HARM,
    Category.POLITICALLY_SENSITIVE,
    Category.PII,
    Category.COPYRIGHT_VIOLATION,
    Category.NON_VIOLENT_ILLEGAL_ACTS,
    Category.UNETHICAL_ACTS,
    Category.JAILBREAK,
)
"""By index in the category heads; the response head has no Jailbreak. The order differs from Gen's."""


class Qwen3ForGuardModel(PreTrainedModel):
    """The Stream model. `forward` gives hidden states; `verdicts` reads the heads where they were trained."""

    config_class = Qwen3Config
    base_model_prefix = "model"
    _supports_sdpa = True  # without it transformers falls back to a slower attention in silence

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen3Model(config)
        hidden, inner = config.hidden_size, config.guard_inner_size
        for prefix, categories in (("", len(CATEGORIES) - 1), ("query_", len(CATEGORIES))):
            setattr(self, f"{prefix}risk_level_category_pre", nn.Linear(hidden, inner, bias=False))
            setattr(self, f"{prefix}risk_level_category_layernorm", Qwen3RMSNorm(inner, config.rms_norm_eps))
            setattr(self, f"{prefix}risk_level_head", nn.Linear(inner, len(RISKS), bias=False))
            setattr(self, f"{prefix}category_head", nn.Linear(inner, categories, bias=False))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, **options: Any) -> Any:
        """The backbone's output for new tokens; options as of `Qwen3Model`."""
        return self.model(input_ids=input_ids, **options)

    def logits(self, hidden: Tensor, *, query: bool) -> tuple[Tensor, Tensor]:
        """Risk and category logits.

        Args:
            hidden: Last hidden states, (positions, hidden size). The query heads were trained only at the
                `<|im_end|>` that ends a user's turn, the response heads at every token of a response.
            query: Which pair of heads.
        """
        prefix = "query_" if query else ""
        inner = getattr(self, f"{prefix}risk_level_category_pre")(hidden)
        inner = getattr(self, f"{prefix}risk_level_category_layernorm")(inner)
        return getattr(self, f"{prefix}risk_level_head")(inner), getattr(self, f"{prefix}category_head")(inner)

    def verdicts(self, hidden: Tensor, *, query: bool) -> list[Verdict]:
        """One verdict for each position: severity, its scores, and, where it is not Safe, the category."""
        risk, category = self.logits(hidden, query=query)
        probabilities = risk.float().softmax(-1).tolist()
        named = category.argmax(-1).tolist()
        return [_verdict(row, CATEGORIES[name]) for row, name in zip(probabilities, named, strict=True)]


def _verdict(row: list[float], category: Category) -> Verdict:
    by_severity = dict(zip(RISKS, row, strict=True))
    severity = max(RISKS, key=by_severity.__getitem__)
    return Verdict(
        severity=severity,
        categories=() if severity is Severity.SAFE else (category,),
        scores=Scores(
            safe=by_severity[Severity.SAFE],
            controversial=by_severity[Severity.CONTROVERSIAL],
            unsafe=by_severity[Severity.UNSAFE],
        ),
    )


def debounced(verdicts: list[Verdict]) -> Verdict:
    """The verdict on a whole response from those on its tokens, as the official evaluation reads them.

    Unsafe where two consecutive tokens are Unsafe; otherwise Controversial where two consecutive tokens are not Safe
    (of both, the later token of the first such pair says why); otherwise Safe. A single token counts by itself.

    Args:
        verdicts: At least one, in the order of the tokens.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    pairs = list(pairwise(verdicts))
    for before, token in pairs:
        if before.severity is token.severity is Severity.UNSAFE:
            return token
    for before, token in pairs:
        if not (before.safe or token.safe):
            return token if token.severity is Severity.CONTROVERSIAL else before
    safe = [verdict for verdict in verdicts if verdict.safe]
    return safe[-1] if safe else verdicts[-1]
