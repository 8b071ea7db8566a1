"""What `tune` gives: the policy, what it promises and how that holds on other rows, and the trade-off."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import field_serializer

from ...core.policy import Mode, Policy
from ...core.verdict import Category, Value
from ..metrics import Binary
from .aim import Aim, Measure

ThresholdName = Literal["unsafe", "controversial"]
POLICY_FILES: Final = (".toml", ".yaml", ".yml", ".json")
PICTURES: Final = (".svg", ".png", ".html")


class Promise(Value):
    """One figure of the policy.

    Attributes:
        measure: Which figure.
        value: On all rows.
        held_out: Mean over the folds: of the policy chosen without a fold, on the rows of that fold.
        spread: Standard deviation over the folds.
        bound: What it must be at least, or at most where less is better; None where it is no constraint.
        assured: For a constraint, what is left of `value` after margin and confidence.
        objective: Whether it was made as good as it could be.
    """

    measure: Measure
    value: float
    held_out: float
    spread: float
    bound: float | None = None
    assured: float | None = None
    objective: bool = False

    @property
    def kept(self) -> bool:
        """Whether the constraint also holds on rows that the policy was not chosen by, in the mean."""
        if self.bound is None:
            return True
        return self.held_out >= self.bound if self.measure.rises else self.held_out <= self.bound


class DataFigures(Value):
    """One data set, or all rows, under the policy that was there before and under the tuned one."""

    name: str
    before: Binary
    after: Binary


class Fold(Value):
    """What was chosen without the rows of one fold.

    Attributes:
        rows: How many rows the fold has.
        threshold: What was chosen without them.
        mode: The mode of that policy.
        flagged: The categories that it lets through.
        met: Whether the constraints held on the rows that it was chosen by.
    """

    rows: int
    threshold: float
    mode: Mode
    flagged: tuple[Category, ...]
    met: bool


class TradeOff(Value):
    """What other thresholds would do, the lowest first, with the same actions.

    Attributes:
        thresholds: At most `tune.POINTS` of them, about equally far apart along the curve of recall and false alarms,
            and the chosen one.
        figures: For each measure, as it is written in an aim, its value at each of them.
        chosen: The number of the one that was chosen.
    """

    thresholds: tuple[float, ...]
    figures: dict[str, tuple[float, ...]]
    chosen: int


class Tuned(Value):
    """A tuned policy and what is known about it.

    Attributes:
        policy: The policy.
        aim: What it was tuned for.
        guard: Whose scores it is for; of another guard they mean something else.
        threshold: The name of the threshold that was tuned, which `policy.thresholds` has.
        flagged: The categories that are let through and recorded, in the order in which they were found.
        promises: The measures of the aim and the figures of all rows.
        overall: All rows, before and after.
        data: Each data set, before and after.
        folds: Each fold.
        trade_off: The curve.
        rows: How many rows there were.
        unscored: How many of them have no scores: no threshold moves them.
        labels: Whether a row labelled Controversial counted as unsafe ("strict") or as harmless ("loose").
        margin: By how much a score may be off.
        confidence: Of the bounds that the constraints were held against; None for the figures themselves.
    """

    policy: Policy
    aim: Aim
    guard: str | None = None
    threshold: ThresholdName
    flagged: tuple[Category, ...]
    promises: tuple[Promise, ...]
    overall: DataFigures
    data: tuple[DataFigures, ...]
    folds: tuple[Fold, ...]
    trade_off: TradeOff
    rows: int
    unscored: int
    labels: Mode
    margin: float
    confidence: float | None

    @property
    def value(self) -> float:
        """The threshold."""
        return self.trade_off.thresholds[self.trade_off.chosen]

    @property
    def rule(self) -> str:
        """What the threshold says."""
        score = "P(Unsafe)" if self.threshold == "unsafe" else "P(Unsafe) + P(Controversial)"
        return f"stopped from {score} = {self.value!r} on"

    def promised(self, measure: Measure) -> Promise:
        """The promise about a measure of the aim, or a figure of all rows."""
        return next(promise for promise in self.promises if promise.measure == measure)

    @field_serializer("policy")
    def _settings(self, policy: Policy) -> dict[str, Any]:
        from .policy_file import settings_of

        return settings_of(policy)

    def write(self, path: str | Path) -> None:
        """Write the policy file: TOML, YAML or JSON by its name; the first two tell in comments what is promised.

        Raises:
            GuardConfigurationError: The name ends in none of these.
            OSError: It cannot be written.
        """
        from .policy_file import policy_text

        path = Path(path)
        path.write_text(policy_text(self, path.suffix), encoding="utf-8")

    def draw(self, path: str | Path) -> None:
        """Draw the trade-off: SVG, PNG, or a page of HTML that loads nothing, by the name of the file.

        Raises:
            GuardConfigurationError: The name ends in none of these.
            OSError: It cannot be written.
        """
        from .picture import write_picture

        write_picture(self, Path(path))
