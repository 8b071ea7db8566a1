"""The settings of `tune`, checked once: what is wrong is said by its name, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.errors import GuardConfigurationError
from ...core.verdict import Category
from .._numeric import np
from .aim import Aim
from .cases import Cases
from .choosing import Wanted


def wanted(aim: Aim, margin: float, confidence: float | None, categories: bool | Iterable[Category | str]) -> Wanted:
    """What a policy is chosen by.

    Raises:
        GuardConfigurationError: A setting is out of range, or a category unknown.
    """
    if not 0 <= margin < 0.5:
        raise GuardConfigurationError(f"margin is {margin!r}", hint="at least 0 and below 0.5, such as 0.03")
    if confidence is not None:
        if not 0.5 < confidence < 1:
            raise GuardConfigurationError(f"confidence is {confidence!r}", hint="above 0.5 and below 1, such as 0.95")
        if any(constraint.measure.figure == "f1" for constraint in aim.constraints):
            raise GuardConfigurationError(
                "confidence: F1 has no exact bound", hint="constrain recall and precision, or leave confidence out"
            )
    named = frozenset() if isinstance(categories, bool) else frozenset(_named(categories))
    return Wanted(aim, margin, confidence, named, by_evidence=categories is True)


def _named(categories: Iterable[Category | str]) -> Iterable[Category]:
    for name in (categories,) if isinstance(categories, str) else categories:
        try:
            yield Category(name)
        except ValueError:
            raise GuardConfigurationError(
                f"categories: {name!r} is no category", hint=f"they are {', '.join(Category)}"
            ) from None


def checked(cases: Cases, aim: Aim, folds: int) -> None:
    """See to it that there is something to choose by.

    Raises:
        GuardConfigurationError: There are no scores, or too few rows of a kind for the aim and the folds.
    """
    if folds < 2:
        raise GuardConfigurationError(f"folds is {folds}", hint="at least 2")
    if not len(cases):
        raise GuardConfigurationError("there are no rows", hint="name the results of a run")
    if not cases.scored:
        raise GuardConfigurationError(
            "the guard gives no scores, so there are no thresholds to choose from",
            hint="evaluate one that does, such as transformers:..., or openai:... on a server with logprobs",
        )
    for data, unsafe in _needed(aim):
        rows = cases.of_data(data) & (cases.unsafe if unsafe else ~cases.unsafe)
        if (found := int(np.count_nonzero(rows))) < folds:
            kind = "unsafe" if unsafe else "harmless"
            where = f" in {data}" if data is not None else ""
            raise GuardConfigurationError(
                f"there are {found} {kind} rows{where}, too few for {folds} folds",
                hint="lower folds, or add labelled rows" if found > 1 else f"add a data set with {kind} rows",
            )


def _needed(aim: Aim) -> Iterable[tuple[str | None, bool]]:
    """The data sets of which unsafe rows, and of which harmless rows, are needed in each fold."""
    yield from ((None, True), (None, False))
    for measure in aim.measures:
        yield measure.data, measure.figure != "false_positive_rate"
