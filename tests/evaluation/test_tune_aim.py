"""The words of an aim: what they mean, and which one is wrong."""

from __future__ import annotations

import re

import pytest

from qwen3guard_integrations import GuardConfigurationError
from qwen3guard_integrations.evaluation import Aim, Binary
from qwen3guard_integrations.evaluation.tuning.aim import Constraint, Measure

FALSE_ALARMS = "false_positive_rate"
MEANINGS = [
    ("recall>=0.95", [("recall", None, 0.95)], []),
    ("recall >= 0.95", [("recall", None, 0.95)], []),
    ("recall@wildguard>=0.95", [("recall", "wildguard", 0.95)], []),
    ("Recall on WildGuard at least .5", [("recall", "WildGuard", 0.5)], []),
    ("precision>=1", [("precision", None, 1.0)], []),
    ("false_positive_rate<=0.05", [(FALSE_ALARMS, None, 0.05)], []),
    ("false positive rate at most 0", [(FALSE_ALARMS, None, 0.0)], []),
    ("recall>=0.5; fewest blocks", [("recall", None, 0.5)], [(FALSE_ALARMS, None)]),
    ("fewest blocks", [], [(FALSE_ALARMS, None)]),
    ("fewest blocks@xstest", [], [(FALSE_ALARMS, "xstest")]),
    ("lowest false_positive_rate@xstest", [], [(FALSE_ALARMS, "xstest")]),
    ("highest f1", [], [("f1", None)]),
    ("highest recall @ walledai/XSTest:test", [], [("recall", "walledai/XSTest:test")]),
    (
        "recall at least 0.95, fewest blocks on XSTest",
        [("recall", None, 0.95)],
        [(FALSE_ALARMS, "XSTest")],
    ),
    (
        "highest recall, f1>=0.5, highest precision, highest recall,",
        [("f1", None, 0.5)],
        [("recall", None), ("precision", None)],
    ),
]


@pytest.mark.parametrize(("text", "constraints", "objectives"), MEANINGS, ids=[text for text, *_ in MEANINGS])
def test_what_it_means(
    text: str, constraints: list[tuple[str, str | None, float]], objectives: list[tuple[str, str | None]]
) -> None:
    aim = Aim.of(text)
    assert [(of.measure.figure, of.measure.data, of.bound) for of in aim.constraints] == constraints
    assert [(of.figure, of.data) for of in aim.objectives] == objectives
    assert Aim.of(str(aim)) == aim
    assert Aim.of(re.split("[,;]", text)) == Aim.of(aim) == aim


WRONG = [
    ("recal>=0.95", "'recal' is none of recall, precision, f1, false_positive_rate"),
    ("blocks<=0.1", "'blocks' is none of"),
    ("recall>=1.5", "'1.5' is not between 0 and 1"),
    ("recall>=nan", "'nan' is not between 0 and 1"),
    ("recall>=high", "'high' is not a number"),
    ("recall>=", "'' is not a number"),
    ("recall>=0.9 please", "'0.9 please' is not a number"),
    ("recall<=0.9", "recall is better high: write >= for '<='"),
    ("false_positive_rate at least 0.1", "false_positive_rate is better low: write <= for 'at least'"),
    ("recall@>=0.9", "a data set is missing"),
    ("most blocks", "'most' is none of highest, lowest, fewest"),
    ("recall", "'recall' is none of highest, lowest, fewest, and there is no >= or <="),
    ("lowest recall", "recall takes 'highest', and not 'lowest'"),
    ("highest false_positive_rate", "false_positive_rate takes 'lowest', and not 'highest'"),
    ("fewest recall", "'fewest' goes with 'blocks', and not with 'recall'"),
    ("fewest", "'fewest' goes with 'blocks', and not with ''"),
    ("highest f2@xstest", "'f2' is none of"),
]


@pytest.mark.parametrize(("part", "why"), WRONG, ids=[part for part, _ in WRONG])
def test_the_wrong_word_is_named(part: str, why: str) -> None:
    with pytest.raises(GuardConfigurationError) as caught:
        Aim.of(["highest f1", part])
    assert str(caught.value).startswith(f"aim {part!r}: {why}")
    assert "fewest blocks@xstest" in caught.value.hint


@pytest.mark.parametrize("nothing", ["", " , ", []])
def test_an_empty_aim_is_an_error(nothing: str | list[str]) -> None:
    with pytest.raises(GuardConfigurationError, match="the aim is empty"):
        Aim.of(nothing)


def test_a_measure_has_one_bound() -> None:
    with pytest.raises(GuardConfigurationError, match="two constraints on recall@a"):
        Aim.of("recall@a>=0.5, recall@b>=0.5, recall@a>=0.6")
    with pytest.raises(GuardConfigurationError, match="two constraints on recall@xstest"):
        Aim.of("recall@xstest>=0.5, recall@XST>=0.6").among(["xstest"])


NAMES = ["sample:xstest", "wildguard", "WildGuard responses"]


@pytest.mark.parametrize(
    ("data", "full"),
    [
        ("xstest", "sample:xstest"),
        ("XSTEST", "sample:xstest"),
        ("wildguard", "wildguard"),  # equal before a part
        ("responses", "WildGuard responses"),
    ],
)
def test_part_of_a_name_will_do(data: str, full: str) -> None:
    aim = Aim.of(f"recall@{data}>=0.5, fewest blocks@{data}").among(NAMES)
    assert aim == Aim.of(f"recall@{full}>=0.5, fewest blocks@{full}")
    assert Aim.of("highest f1").among(NAMES) == Aim.of("highest f1")


@pytest.mark.parametrize(
    ("data", "why"),
    [("toxic", "fits no data set"), ("guard", "fits several data sets, wildguard, WildGuard responses")],
)
def test_which_data_set_must_be_clear(data: str, why: str) -> None:
    with pytest.raises(GuardConfigurationError, match=why) as caught:
        Aim.of(f"fewest blocks@{data}").among(NAMES)
    assert caught.value.hint == f"the data sets are {', '.join(NAMES)}"


def test_measures_are_read_from_counts() -> None:
    counts = Binary(true_positives=3, false_positives=1, false_negatives=1, true_negatives=3)
    figures = {name: Measure.model_validate({"figure": name}).of(counts) for name in ("recall", "precision", "f1")}
    assert figures == {"recall": 0.75, "precision": 0.75, "f1": 0.75}
    assert Measure(figure=FALSE_ALARMS).of(counts) == 0.25
    assert str(Constraint(measure=Measure(figure="recall", data="a"), bound=0.1)) == "recall@a>=0.1"
