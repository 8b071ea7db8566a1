"""What a policy is tuned for: what must hold, and what is then made as good as it can be.

The grammar of a part; parts are joined with commas or semicolons, or given one by one::

    part       = constraint | objective
    constraint = figure [at] (">=" | "<=" | "at least" | "at most") number      recall>=0.95
    objective  = ("highest" | "lowest") figure [at] | "fewest blocks" [at]      fewest blocks@xstest
    at         = ("@" | " on ") data set                                        recall@wildguard>=0.95
    figure     = "recall" | "precision" | "f1" | "false_positive_rate"

Figures are those of `metrics.Binary`; a text is taken for unsafe where the policy does not let it pass unchanged.
"Blocks" are those of harmless texts, so that stopping harm never counts against an aim: "fewest blocks" is another
name for "lowest false_positive_rate". Without a data set a figure is of all rows. The name of a data set, in any
case, may be a part of it that no other name has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from pydantic import Field

from ...core.errors import GuardConfigurationError, Qwen3GuardError
from ...core.verdict import Value
from ..metrics import Binary

FigureName = Literal["recall", "precision", "f1", "false_positive_rate"]
FIGURES: Final[tuple[FigureName, ...]] = get_args(FigureName)

_CONSTRAINT: Final = re.compile(
    r"(?P<of>.*?)\s*(?P<sign>>=|<=|\bat least\b|\bat most\b)\s*(?P<bound>.*)", re.IGNORECASE
)
_MEASURE: Final = re.compile(r"(?P<figure>.*?)(?:\s*@\s*|\s+on\s+)(?P<data>.*)", re.IGNORECASE)
_FLOORS: Final = {">=", "at least"}
_HINT: Final = 'an aim is such as "recall>=0.95, fewest blocks@xstest"'


class AimNotMetError(Qwen3GuardError):
    """No policy that can be had meets the constraints; the message says what is the best that can be had."""


class Measure(Value):
    """A figure of all rows, or of those of one data set. Written as in an aim: `recall@xstest`."""

    figure: FigureName
    data: str | None = None

    @property
    def rises(self) -> bool:
        """Whether more is better: of all figures but the false positive rate."""
        return self.figure != "false_positive_rate"

    def of(self, binary: Binary) -> float:
        """The figure in `binary`, which is of the rows that are meant."""
        return float(getattr(binary, self.figure))

    def __str__(self) -> str:
        return self.figure + (f"@{self.data}" if self.data is not None else "")

    @property
    def as_objective(self) -> str:
        """The objective to make it as good as it can be."""
        if self.rises:
            return f"highest {self}"
        return "fewest blocks" + (f"@{self.data}" if self.data is not None else "")


RECALL: Final = Measure(figure="recall")
F1: Final = Measure(figure="f1")
ALARMS: Final = Measure(figure="false_positive_rate")


class Constraint(Value):
    """A measure that must be at least `bound`, or at most where less is better."""

    measure: Measure
    bound: float = Field(ge=0, le=1)

    def __str__(self) -> str:
        return f"{self.measure}{'>=' if self.measure.rises else '<='}{self.bound!r}"


class Aim(Value):
    """What must hold, and what is then made as good as it can be: the first objective, of equals the next one.

    Where objectives leave a choice, or there are none, F1 of all rows decides.
    """

    constraints: tuple[Constraint, ...] = ()
    objectives: tuple[Measure, ...] = ()

    @classmethod
    def of(cls, value: Aim | str | Iterable[str]) -> Aim:
        """An aim from its parts: `"recall>=0.95, fewest blocks@xstest"`, or a list of such parts.

        Raises:
            GuardConfigurationError: A part is no part of an aim, and which word is wrong; or there is none.
        """
        if isinstance(value, Aim):
            return value
        texts = [value] if isinstance(value, str) else list(value)
        parts = [_part(part.strip()) for text in texts for part in re.split("[,;]", text) if part.strip()]
        if not parts:
            raise GuardConfigurationError("the aim is empty", hint=_HINT)
        return cls._once(
            tuple(part for part in parts if isinstance(part, Constraint)),
            tuple(part for part in parts if isinstance(part, Measure)),
        )

    @classmethod
    def _once(cls, constraints: Sequence[Constraint], objectives: Sequence[Measure]) -> Aim:
        """The aim, if no measure is constrained twice."""
        for constraint in constraints:
            if any(constraint.measure == other.measure and constraint is not other for other in constraints):
                raise GuardConfigurationError(f"aim: two constraints on {constraint.measure}", hint="give one")
        return cls(constraints=tuple(constraints), objectives=tuple(dict.fromkeys(objectives)))

    def __str__(self) -> str:
        return "; ".join([*map(str, self.constraints), *(measure.as_objective for measure in self.objectives)])

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All that it speaks of, each once."""
        return tuple(dict.fromkeys([*(constraint.measure for constraint in self.constraints), *self.objectives]))

    def constraint_on(self, measure: Measure) -> Constraint | None:
        """The constraint on `measure`, if there is one."""
        return next((constraint for constraint in self.constraints if constraint.measure == measure), None)

    def among(self, names: Sequence[str]) -> Aim:
        """The same aim with the full names of its data sets, which are some of `names`.

        Raises:
            GuardConfigurationError: A name fits no data set, or several.
        """
        full = {measure: _named(measure, names) for measure in self.measures}
        constraints = [Constraint(measure=full[part.measure], bound=part.bound) for part in self.constraints]
        return self._once(constraints, [full[measure] for measure in self.objectives])


def _part(text: str) -> Constraint | Measure:
    if found := _CONSTRAINT.fullmatch(text):
        measure = _measure(found["of"], text)
        if measure.rises != (found["sign"].lower() in _FLOORS):
            better, sign = ("high", ">=") if measure.rises else ("low", "<=")
            raise _wrong(text, f"{measure.figure} is better {better}: write {sign} for {found['sign']!r}")
        return Constraint(measure=measure, bound=_bound(found["bound"], text))
    first, _, rest = text.partition(" ")
    match first.lower():
        case "highest" | "lowest" as direction:
            measure = _measure(rest, text)
            if measure.rises != (direction == "highest"):
                better = "highest" if measure.rises else "lowest"
                raise _wrong(text, f"{measure.figure} takes {better!r}, and not {first!r}")
            return measure
        case "fewest":
            name, data = _split(rest, text)
            if name.lower() != "blocks":
                raise _wrong(text, f"'fewest' goes with 'blocks', and not with {name!r}")
            return Measure(figure="false_positive_rate", data=data)
    raise _wrong(text, f"{first!r} is none of highest, lowest, fewest, and there is no >= or <=")


def _measure(text: str, part: str) -> Measure:
    name, data = _split(text, part)
    for figure in FIGURES:
        if re.sub(r"[\s-]+", "_", name.lower()) == figure:
            return Measure(figure=figure, data=data)
    raise _wrong(part, f"{name!r} is none of {', '.join(FIGURES)}")


def _split(text: str, part: str) -> tuple[str, str | None]:
    """What is measured, and on which data set."""
    found = _MEASURE.fullmatch(text.strip())
    if found is None:
        return text.strip(), None
    if not found["data"]:
        raise _wrong(part, "a data set is missing")
    return found["figure"], found["data"]


def _bound(word: str, part: str) -> float:
    try:
        bound = float(word)
    except ValueError:
        raise _wrong(part, f"{word!r} is not a number") from None
    if not 0 <= bound <= 1:
        raise _wrong(part, f"{word!r} is not between 0 and 1")
    return bound


def _wrong(part: str, why: str) -> GuardConfigurationError:
    return GuardConfigurationError(f"aim {part!r}: {why}", hint=_HINT)


def _named(measure: Measure, names: Sequence[str]) -> Measure:
    """The measure with the full name of its data set: one of `names` that is equal, or the only one that has it."""
    if (data := measure.data) is None:
        return measure
    found = [name for name in names if name.lower() == data.lower()] or [
        name for name in names if data.lower() in name.lower()
    ]
    if len(found) != 1:
        why = "fits no data set" if not found else f"fits several data sets, {', '.join(found)}"
        raise GuardConfigurationError(f"aim: {data!r} {why}", hint=f"the data sets are {', '.join(names)}")
    return Measure(figure=measure.figure, data=found[0])
