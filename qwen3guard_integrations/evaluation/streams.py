"""How a guard judges answers while they are written: token by token, and what would have left before a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..core.errors import GuardConfigurationError
from ..core.flow import run
from ..core.gate import Judgement
from ..core.policy import Policy
from ..core.token_row import TokenRow
from ..core.verdict import Verdict
from ..guards.cached import CachedGuard
from ..guards.protocol import Guard, StreamGuard, TokenGuard
from .listening import judged_in_sessions
from .onset import flagged
from .replay import Pace, Screening, TokenAnswers, at_once, side_by_side
from .results import StreamResult
from .rows import Row
from .written import Written

_PART: Final = 32
"""Rows at a time: enough to fill the batches of a guard, and so few that memory need not hold all their verdicts."""


def judge_stream(guard: Guard, row: Row, policy: Policy, *, pace: Pace | None = None) -> StreamResult:
    """How `guard` judges the response of `row` while it is written. See `judge_streams`."""
    return judge_streams(guard, [row], policy, pace=pace)[0]


def judge_streams(guard: Guard, rows: Sequence[Row], policy: Policy, *, pace: Pace | None = None) -> list[StreamResult]:
    """How `guard` judges the responses of `rows` while they are written, many at once.

    What a token is, and what a position counts, depends on the guard:

    - A Qwen3Guard-Stream in this process (`TokenGuard`) judges every token of the response, control tokens among them,
      by its response head, as eval/eval_stream.py in QwenLM/Qwen3Guard does. The `input_ids` of a row are fed as they
      are, and positions count them; a row without is rendered in the guard's chat template, and positions count that.
    - Any other guard that judges token by token (`StreamGuard`) has an entry in `tokens` for each of its judgements,
      and positions count these, from where the response begins.
    - Any other guard judges window by window (`WindowedStreamGuard`) and says nothing of single tokens: each has the
      severity of the window that covers it. A window decides by itself: `severity` is the most severe one, and `flag`
      the last token of the first such window, where the guard knew it. Where tokens end is reckoned: four Latin
      characters or one other are a token, or in proportion, so that there are as many as in `input_ids`.

    `leaked` is what the gate lets go when the response is written at `pace` and screened by `policy` under each hold.
    `severity` and `flag` are the guard's own and know no policy; but a session is not asked about what `policy` does
    not have judged, which counts as Safe.

    Args:
        guard: Who judges.
        rows: Their last turn is an assistant's.
        policy: What stops a stream; its `hold` does not count.
        pace: How fast responses are written and judged; None for `Pace()`.

    Raises:
        GuardError: One of the rows was not judged: the guard failed, whatever `on_guard_error` says; or the row is a
            prompt, or its `input_ids` are not its own (`GuardConfigurationError`). Asked one by one, the others are.
    """
    if prompts := [row.id for row in rows if not row.is_response]:
        raise GuardConfigurationError(
            f"row {prompts[0]!r} is a prompt, and only responses are judged while they are written",
            hint="leave out rows that are not is_response",
        )
    while isinstance(guard, CachedGuard) and isinstance(guard, StreamGuard):
        guard = guard.guard  # of streams it keeps nothing
    screening = Screening.of(policy, pace or Pace())
    results: list[StreamResult] = []
    for at in range(0, len(rows), _PART):
        part = rows[at : at + _PART]
        if isinstance(guard, TokenGuard):
            results += _by_tokens(guard, part, screening)
        else:
            results += judged_in_sessions(guard, part, screening)
    return results


def _by_tokens(guard: TokenGuard, rows: Sequence[Row], screening: Screening) -> list[StreamResult]:
    tokens = [guard.token_row(row.conversation, row.input_ids) for row in rows]
    verdicts = guard.judge_tokens(tokens)
    return [_of_tokens(*judged, screening) for judged in zip(rows, tokens, verdicts, strict=True)]


def _of_tokens(row: Row, tokens: TokenRow, verdicts: Sequence[Verdict], screening: Screening) -> StreamResult:
    written = Written(row.conversation.judged)
    severity, flag = flagged([verdict.severity for verdict in verdicts])
    ends = written.places(tokens.marks)
    judgements = [
        Judgement(*mark, verdict) for mark, verdict in zip(tokens.marks, verdicts, strict=True) if mark is not None
    ]
    return StreamResult(
        severity=severity,
        flag=None if flag is None else tokens.begins + flag,
        begins=tokens.begins,
        tokens="".join(verdict.severity.value[0] for verdict in verdicts),
        ends=ends,
        leaked=_leaked(written, ends, judgements, screening),
        characters=len(written.text),
    )


def _leaked(
    written: Written, ends: Sequence[int], judgements: Sequence[Judgement], screening: Screening
) -> dict[str, int]:
    """What leaves under each hold. Where everything passes nothing is stopped, and there is no need to try."""
    asked = [judgement for judgement in judgements if screening.policy.judges(judgement.point)]
    if all(screening.policy.decide(judgement.point, judgement.verdict).passes for judgement in asked):
        return dict.fromkeys(screening.by_hold, len(written.text))
    writings = screening.writings(written.items(ends), at_once)
    run(side_by_side(list(writings.values())), TokenAnswers(asked))
    return {hold: writing.left for hold, writing in writings.items()}
