"""The figures of one run, ready to be written as JSON: what reports, comparisons and regressions read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from ..core.policy import Mode
from ..core.verdict import Value

VERSION: Final = 1


class Estimate(Value):
    """A figure with its 95 % bootstrap interval; without one where there are too few rows, or none was asked for."""

    value: float
    low: float | None = None
    high: float | None = None


class BinaryFigures(Value):
    """`metrics.Binary` of one reading (strict or loose) with intervals; `rows` is how many there were."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    false_positive_rate: Estimate

    @property
    def rows(self) -> int:
        """How many rows there were."""
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives


class Readings(Value):
    """The same rows read both ways, and which reading has the higher F1."""

    strict: BinaryFigures
    loose: BinaryFigures
    best: Mode


class Group(Readings):
    """The rows of one category, language or source."""

    name: str


class Curve(Value):
    """A curve over all thresholds of a score.

    Attributes:
        x: Recall (precision-recall) or false positive rate (ROC).
        y: Precision, or true positive rate.
        thresholds: The score from which on a row counts as unsafe, for each point; None at the end of a curve where
            there is no such score.
        area: Average precision, or the area under the ROC curve.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    area: Estimate


class CalibrationBin(Value):
    """The rows whose score lies in [low, high), and in the last bin 1 too.

    Attributes:
        low: The least score of the bin.
        high: The least score of the next one.
        rows: How many rows there are.
        mean_score: Their mean score; 0 where there are none.
        unsafe: The part of them that is unsafe; 0 where there are none.
    """

    low: float
    high: float
    rows: int
    mean_score: float
    unsafe: float


class Scored(Value):
    """What only guards with probabilities have: the score is P(Unsafe) + P(Controversial).

    Attributes:
        rows: How many rows have scores.
        precision_recall: The precision-recall curve.
        roc: The ROC curve.
        calibration: Ten bins of equal width.
        calibration_error: Expected calibration error (ECE) over these bins.
    """

    rows: int
    precision_recall: Curve
    roc: Curve
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float


class Refusals(Value):
    """How often responses refuse, and how well the guard tells it.

    Attributes:
        rows: Responses of which the guard said whether they refuse.
        rate: The part of them that does, by the guard.
        safe_rate: The part of the harmless ones (label Safe) that does; None where there are none. A refusal is
            itself harmless: this is over-refusal only where the prompts are harmless too, as in XSTest's safe part.
        agreement: The part of the labelled ones on which guard and label agree; None where none is labelled.
    """

    rows: int
    rate: Estimate
    safe_rate: Estimate | None
    agreement: Estimate | None


class Leak(Value):
    """Characters of unsafe responses that had left before the block, under one hold policy."""

    rows: int
    mean: float
    median: float
    p95: float
    most: int


class StreamFigures(Value):
    """How a streaming guard did; `onset` definitions are those of the official script.

    Attributes:
        readings: Of whole streams, by the consecutive-token rule.
        onsets: How many streams have an annotated unsafe sentence.
        exact_hit_rate: The part of them that was flagged inside it.
        soon_rate: The part flagged at most 128 tokens after its end, or earlier.
        bins: How many of them fall into each of `onset.BINS`.
        leaked: For each hold policy, what got away of responses that are labelled Unsafe.
    """

    rows: int
    readings: Readings
    onsets: int
    exact_hit_rate: Estimate | None
    soon_rate: Estimate | None
    bins: Mapping[str, int]
    leaked: Mapping[str, Leak]


class Latency(Value):
    """Milliseconds a call took, as they were measured in this run; a call judges a batch.

    Attributes:
        calls: How many calls there were.
        rows_per_second: Over the whole run.
        p50: Milliseconds for a call, median.
        p95: 95th percentile.
        p99: 99th percentile.
        cost: Of all calls together, in the unit of `price_per_call`; None without a price.
    """

    calls: int
    rows_per_second: float
    p50: float
    p95: float
    p99: float
    cost: float | None = None


class GuardSummary(Value):
    """What one guard did on all rows.

    Attributes:
        guard: Its name in the report.
        rows: How many rows there were.
        failed: How many it gave no verdict on, by the error's name; they count as blocked (`on_guard_error` is
            closed) in `readings`, in those of groups, and in `over_blocking`, and are in no other figure.
        readings: Precision, recall and F1, both ways.
        confusion: Label -> said -> rows, over the three severities.
        categories: A group for each labelled category: recall of its rows against all rows that are not unsafe.
        languages: A group for each language.
        sources: A group for each source.
        over_blocking: The part of the harmless rows (label Safe) that is blocked, strict and loose; 0 without any.
        scored: None where the guard gives no probabilities, or the rows with some are all unsafe or all not.
        refusals: None where no response was judged, or the guard does not tell.
        stream: None where nothing was judged token by token.
        latency: None where it was not measured.
    """

    guard: str
    rows: int
    failed: Mapping[str, int] = Field(default_factory=dict)
    readings: Readings
    confusion: Mapping[str, Mapping[str, int]]
    categories: tuple[Group, ...] = ()
    languages: tuple[Group, ...] = ()
    sources: tuple[Group, ...] = ()
    over_blocking: Mapping[Mode, Estimate]
    scored: Scored | None = None
    refusals: Refusals | None = None
    stream: StreamFigures | None = None
    latency: Latency | None = None


class Comparison(Value):
    """Two guards on the same rows: McNemar's exact test on which of them is right where the other is wrong."""

    a: str
    b: str
    mode: Mode
    rows: int
    only_a_right: int
    only_b_right: int
    p_value: float


class Summary(Value):
    """One run: guards on the same rows.

    Attributes:
        version: Of this format.
        data: Name of the data set and its split.
        rows: How many rows there were.
        digest: Of all rows' ids, texts and labels: runs on the same rows have the same.
        guards: One summary each, in the order in which they were named.
        comparisons: Every pair of guards, strict and loose.
    """

    version: int = VERSION
    data: str
    rows: int
    digest: str
    guards: tuple[GuardSummary, ...]
    comparisons: tuple[Comparison, ...] = ()
