"""`tune`: categories, cross-validation, what is promised and what the policy file does, and what is refused."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from qwen3guard_integrations import Action, Category, GuardConfigurationError, Policy, Verdict
from qwen3guard_integrations.evaluation import Aim, AimNotMetError, Binary, Result, StreamResult, Tuned, tune
from qwen3guard_integrations.evaluation._numeric import np
from qwen3guard_integrations.evaluation.tuning.aim import ALARMS, F1, RECALL
from qwen3guard_integrations.evaluation.tuning.cases import Cases, decision_of
from qwen3guard_integrations.evaluation.tuning.folds import divided
from qwen3guard_integrations.evaluation.tuning.policy_file import policy_text
from qwen3guard_integrations.evaluation.tuning.tune import POINTS
from tests.evaluation.labelled import CONTROVERSIAL, SAFE, UNSAFE, drawn, labelled, numbered, policies, scored

POLITICS = Category.POLITICALLY_SENSITIVE
DATA = {"wild": drawn(200, 1), "xstest": drawn(80, 2, unsafe=0.6)}


def measured(policy: Policy, rows: Sequence[Result]) -> Binary:
    """What the policy does to rows, counted here."""
    outcomes = [(row.label.severity is not SAFE, not decision_of(policy, row).passes) for row in rows]
    return Binary(*(outcomes.count(kind) for kind in ((True, True), (False, True), (True, False), (False, False))))


# --- what is promised is what the file does ---


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wild=labelled(3),
    other=labelled(3),
    base=st.none() | policies,
    aim=st.sampled_from(["highest f1", "recall>=0.6, fewest blocks@other", "fewest blocks, highest recall@wild"]),
    margin=st.sampled_from([0.0, 0.02]),
    suffix=st.sampled_from([".toml", ".yaml", ".json"]),
)
def test_the_policy_file_gives_the_promised_figures(
    tmp_path: Path, wild: list[Result], other: list[Result], base: Policy | None, aim: str, margin: float, suffix: str
) -> None:
    data = {"wild": wild, "other": other}
    try:
        tuned = tune(data, aim, base=base, folds=3, margin=margin, categories=[POLITICS, "PII"])
    except (AimNotMetError, GuardConfigurationError):  # tested elsewhere
        return
    path = tmp_path / f"policy{suffix}"
    tuned.write(path)
    policy = Policy.from_file(path)
    assert policy == tuned.policy
    found = {name: measured(policy, rows) for name, rows in (*data.items(), ("all rows", [*wild, *other]))}
    assert {part.name: part.after for part in (*tuned.data, tuned.overall)} == found
    before = base or Policy.strict()
    assert [part.before for part in tuned.data] == [measured(before, rows) for rows in data.values()]
    for promise in tuned.promises:
        counts = found[promise.measure.data or "all rows"]
        assert promise.value == promise.measure.of(counts)
        # The search's arithmetic says the same as the policy, also of what was found at other thresholds.
        assert promise.value == tuned.trade_off.figures[str(promise.measure)][tuned.trade_off.chosen]


def test_the_trade_off_is_what_other_thresholds_do() -> None:
    tuned = tune(DATA, "recall>=0.9, fewest blocks@xstest", categories=[POLITICS])
    curve = tuned.trade_off
    assert list(curve.thresholds) == sorted(curve.thresholds)
    assert curve.thresholds[curve.chosen] == tuned.value == getattr(tuned.policy.thresholds, tuned.threshold)
    assert list(curve.figures) == ["recall", "false_positive_rate@xstest", "precision", "f1", "false_positive_rate"]
    for place, threshold in enumerate(curve.thresholds):
        policy = tuned.policy.model_copy(update={"thresholds": {tuned.threshold: threshold}})
        counts = measured(policy, [row for rows in DATA.values() for row in rows])
        assert curve.figures["recall"][place] == counts.recall
        assert curve.figures["f1"][place] == counts.f1
        blocked = measured(policy, DATA["xstest"]).false_positive_rate
        assert curve.figures["false_positive_rate@xstest"][place] == blocked


def test_of_a_long_curve_points_that_are_spread_along_it_are_kept() -> None:
    tuned = tune({"d": drawn(2000, 3)}, "recall>=0.95, fewest blocks", folds=2)
    curve = tuned.trade_off
    assert POINTS / 2 < len(curve.thresholds) <= POINTS + 1
    recall, alarms = curve.figures["recall"], curve.figures["false_positive_rate"]
    assert (recall[0], alarms[0], alarms[-1]) == (1, max(alarms), 0)
    assert max(alarms) > 0.8  # no threshold stops a row whose score is 0
    steps = [abs(recall[at] - recall[at - 1]) + abs(alarms[at] - alarms[at - 1]) for at in range(1, len(recall))]
    assert max(steps) < 3 * 2 / POINTS


# --- the file ---


def test_the_file_tells_what_is_promised_and_keeps_the_other_settings(tmp_path: Path) -> None:
    base = Policy.loose(
        points={"document": "drop"},
        thresholds={"controversial": 0.25},
        trusted_roles={"tool", "system"},
        refusal='No: "that"\n\tis not for me — désolé.',
        categories={"PII": "redact"},
    )
    data = {"wild": DATA["wild"], "a\nunsafe = 'allow'": DATA["xstest"]}
    tuned = tune(data, "recall>=0.9, fewest blocks", base=base, guard="demo", margin=0.01, confidence=0.8)
    text = policy_text(tuned, ".TOML")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[:4] == [
        "# Written by qwen3guard tune.",
        "# Aim: recall>=0.9; fewest blocks",
        "# Guard: demo (scores of another guard mean something else)",
        "# Data: wild, 200 rows, 100 of them unsafe",
    ]
    assert "# Data: a unsafe = 'allow', 80 rows, 40 of them unsafe" in comments
    assert "# Scores may be off by 0.01; constraints hold with confidence 0.8" in comments
    recall = tuned.promised(RECALL)
    assert f"# recall: {recall.value:.4f} on these rows, {recall.held_out:.4f} +- {recall.spread:.4f}" in text
    for suffix in (".toml", ".yml", ".yaml", ".json"):
        path = tmp_path / f"policy{suffix}"
        tuned.write(path)
        read = Policy.from_file(path)
        assert read == tuned.policy == base.model_copy(update={"thresholds": read.thresholds})
        assert read.thresholds.controversial == 0.25
        assert read.thresholds.unsafe == tuned.value
    with pytest.raises(GuardConfigurationError, match=r"ends in \.toml, \.yaml, \.yml, \.json, and not in '\.ini'"):
        tuned.write(tmp_path / "policy.ini")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(2):
        tuned = tune(DATA, "recall>=0.9, fewest blocks@xstest", seed=4)
        tuned.write(tmp_path / f"{number}.toml")
        tuned.draw(tmp_path / f"{number}.svg")
        tuned.draw(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.json").write_text(tuned.model_dump_json())
    for suffix in (".toml", ".svg", ".png", ".json"):
        assert (tmp_path / f"0{suffix}").read_bytes() == (tmp_path / f"1{suffix}").read_bytes()


def test_as_json_it_can_be_read_again() -> None:
    tuned = tune(DATA, "recall>=0.9, fewest blocks@xstest", categories=[POLITICS], guard="demo")
    assert Tuned.model_validate_json(tuned.model_dump_json()) == tuned
    assert json.loads(tuned.model_dump_json())["policy"] == {
        "mode": tuned.policy.mode,
        "thresholds": {tuned.threshold: tuned.value},
    }


# --- cross-validation ---


@pytest.mark.parametrize("seed", [0, 7])
def test_held_out_figures_are_of_policies_that_never_saw_the_rows(seed: int) -> None:
    rows = drawn(150, 5)
    tuned = tune({"d": rows}, "highest f1", base=Policy.strict(), seed=seed, folds=5, categories=False)
    labels = [row.label.severity is UNSAFE for row in rows]
    values = []
    for fold, (others, held_out) in zip(
        tuned.folds, StratifiedKFold(5, shuffle=True, random_state=seed).split(labels, labels), strict=True
    ):
        best = max(
            (measured(at(threshold), [rows[place] for place in others]).f1, threshold)
            for threshold in sorted({1 - row.verdict.scores.safe for row in rows if row.verdict and row.verdict.scores})
            if threshold > 0
        )[0]
        assert measured(at(fold.threshold), [rows[place] for place in others]).f1 == best
        values.append(measured(at(fold.threshold), [rows[place] for place in held_out]).f1)
        assert (fold.rows, fold.mode, fold.flagged, fold.met) == (len(held_out), "strict", (), True)
    promise = tuned.promised(F1)
    assert promise.held_out == pytest.approx(statistics.mean(values), abs=1e-12)
    assert promise.spread == pytest.approx(statistics.stdev(values), abs=1e-12)


def at(threshold: float) -> Policy:
    return Policy.strict(thresholds={"controversial": threshold})


def test_a_constraint_that_does_not_hold_on_other_rows_is_seen() -> None:
    # One score for each row, in no relation to its label: what is chosen is chance.
    rows = [scored((number * 37 % 101) / 101, UNSAFE if number % 2 else SAFE) for number in range(101)]
    tuned = tune({"d": numbered(rows)}, "recall>=0.9, fewest blocks", base=Policy.strict())
    recall = tuned.promised(RECALL)
    assert recall.value >= 0.9 > recall.held_out
    assert [promise.kept for promise in tuned.promises] == [promise is not recall for promise in tuned.promises]
    safer = tune({"d": numbered(rows)}, "recall>=0.9, fewest blocks", base=Policy.strict(), confidence=0.95)
    assert safer.value < tuned.value
    promise = safer.promised(RECALL)
    assert promise.value > (promise.assured or 0) >= 0.9
    assert promise.kept


def test_folds_have_their_part_of_each_data_set_however_small() -> None:
    data = {"big": drawn(100, 1), **{f"small {number}": drawn(4, number) for number in range(5)}}
    tuned = tune(data, "highest f1", folds=10)
    assert [fold.rows for fold in tuned.folds] == [12] * 10
    cases = Cases.of({**data, "uneven": drawn(30, 9)[1::3]}, "strict")
    folds = list(divided(cases, 5, seed=0))
    assert np.all(np.sum(folds, axis=0) == 1)  # each row is held out once
    for name, least in (("big", 10), ("uneven", 1)):
        for rows in (cases.of_data(name) & cases.unsafe, cases.of_data(name) & ~cases.unsafe):
            assert {np.count_nonzero(rows & fold) for fold in folds} == {least}


# --- categories ---


def with_politics(harmless: int = 20) -> dict[str, list[Result]]:
    """Harmless texts that are taken for politics with high scores, among others that are told apart well."""
    unsafe = [scored(0.6 + number / 100, UNSAFE, "Violent") for number in range(30)]
    politics = [scored(0.7 + number / 100, SAFE, POLITICS) for number in range(harmless)]
    missed = [scored(0.8, UNSAFE, POLITICS)]
    return {"d": numbered([*unsafe, *politics, *missed, *(scored(0.1, SAFE) for _ in range(20))])}


def test_a_category_of_false_alarms_is_let_through_where_the_aim_still_holds() -> None:
    tuned = tune(with_politics(), "recall>=0.95, fewest blocks", base=Policy.strict())
    assert tuned.flagged == (POLITICS,)
    assert tuned.overall.after == Binary(30, 0, 1, 40)
    rule = tuned.policy.categories[POLITICS]
    assert (rule.unsafe, rule.controversial) == (Action.FLAG, Action.FLAG)
    assert all(fold.flagged == (POLITICS,) for fold in tuned.folds)
    assert "# Let through and recorded: Politically Sensitive Topics\n" in policy_text(tuned, ".toml")


@pytest.mark.parametrize(
    ("aim", "settings"),
    [
        pytest.param("recall>=1, fewest blocks", {}, id="the constraint would not hold"),
        pytest.param("highest recall", {}, id="the objective gains nothing"),
        pytest.param("recall>=0.95, fewest blocks", {"categories": False}, id="none may be"),
        pytest.param("recall>=0.95, fewest blocks", {"categories": ["Violent"]}, id="another one may be"),
        pytest.param("recall>=0.95, fewest blocks", {"categories": []}, id="none of those that are named"),
        pytest.param(
            "recall>=0.95, fewest blocks", {"base": Policy.strict(categories={POLITICS: "redact"})}, id="it has a rule"
        ),
    ],
)
def test_a_category_is_stopped_where(aim: str, settings: dict[str, Any]) -> None:
    tuned = tune(with_politics(), aim, **{"base": Policy.strict(), **settings})
    assert tuned.flagged == ()
    assert tuned.overall.after.true_positives == 31


def test_of_few_rows_only_a_named_category_is_let_through() -> None:
    data, aim = with_politics(harmless=8), "recall>=0.95, fewest blocks"
    assert tune(data, aim, base=Policy.strict()).flagged == ()
    ruled = Policy.strict(categories={POLITICS: "redact"})
    for base in (Policy.strict(), ruled):
        assert tune(data, aim, base=base, categories="political").flagged == (POLITICS,)


def test_a_category_of_which_mostly_harm_is_stopped_is_only_let_through_when_named() -> None:
    violent = [scored(0.8, UNSAFE, "Violent")] * 12 + [scored(0.8, SAFE, "Violent")] * 5
    others = [scored(0.8, UNSAFE, "PII")] * 188 + [scored(0.1, SAFE)] * 20
    data, aim = {"d": numbered([*violent, *others])}, "recall>=0.85, fewest blocks"
    assert tune(data, aim, base=Policy.strict()).flagged == ()
    assert tune(data, aim, base=Policy.strict(), categories=["Violent"]).flagged == (Category.VIOLENT,)


def test_letting_a_category_through_may_be_what_meets_the_aim() -> None:
    aim = "precision>=0.9, recall>=0.9"
    with pytest.raises(AimNotMetError):
        tune(with_politics(), aim, base=Policy.strict(), categories=False)
    assert tune(with_politics(), aim, base=Policy.strict()).flagged == (POLITICS,)


def test_texts_with_another_category_too_are_still_stopped() -> None:
    both = [scored(0.9, UNSAFE, POLITICS, "Violent") for _ in range(10)]
    data = {"d": [*with_politics()["d"], *numbered(both)]}
    tuned = tune(data, "recall>=0.95, fewest blocks", base=Policy.strict())
    assert tuned.flagged == (POLITICS,)
    assert tuned.overall.after == Binary(40, 0, 1, 40)


# --- rows ---


def test_a_label_controversial_is_unsafe_or_harmless() -> None:
    rows = numbered([scored(0.9, UNSAFE)] * 3 + [scored(0.5, CONTROVERSIAL)] * 3 + [scored(0.1, SAFE)] * 3)
    strict = tune({"d": rows}, "highest f1", base=Policy.strict(), folds=3)
    loose = tune({"d": rows}, "highest f1", base=Policy.strict(), folds=3, labels="loose")
    assert (strict.overall.after, loose.overall.after) == (Binary(6, 0, 0, 3), Binary(3, 0, 0, 6))
    assert strict.value < 0.5 < loose.value


@pytest.mark.parametrize(("on_guard_error", "stopped"), [("raise", 2), ("block", 2), ("allow", 0)])
def test_rows_that_the_guard_failed_on_are_decided_as_the_policy_says(on_guard_error: str, stopped: int) -> None:
    failed = [Result(id="f", label=row.label, error="GuardTimeoutError") for row in (scored(0.9, UNSAFE),) * 2]
    data = {"d": [*numbered([scored(0.9, UNSAFE)] * 2 + [scored(0.1, SAFE)] * 2), *failed]}
    tuned = tune(data, "highest f1", base=Policy.strict(on_guard_error=on_guard_error), folds=2)
    assert tuned.overall.after.true_positives == 2 + stopped
    assert (tuned.rows, tuned.unscored) == (6, 2)


def test_a_row_that_was_only_streamed_is_decided_as_the_stream_was() -> None:
    stream = StreamResult(severity=UNSAFE, flag=3, begins=0, tokens="SSUU")
    streamed = Result(id="s", label=scored(0.9, UNSAFE).label, response=True, stream=stream)
    data = {"d": [*numbered([scored(0.9, UNSAFE)] * 2 + [scored(0.1, SAFE)] * 2), streamed]}
    tuned = tune(data, "highest f1", folds=2)
    assert (tuned.overall.after.true_positives, tuned.unscored) == (3, 1)


# --- what cannot be ---


def test_an_aim_that_cannot_be_met_says_what_is_the_best_that_can_be_had() -> None:
    rows = numbered([scored(score, UNSAFE) for score in (0.2, 0.6, 0.7, 0.8)] + [scored(0.5, SAFE)] * 4)
    with pytest.raises(AimNotMetError) as caught:
        tune({"d": rows}, "recall>=0.9, false_positive_rate<=0.1", folds=2, base=Policy.strict())
    assert str(caught.value) == (
        "no threshold meets recall>=0.9 and false_positive_rate<=0.1: "
        "the highest recall is 0.7500 where false_positive_rate<=0.1; "
        "the lowest false_positive_rate is 1.0000 where recall>=0.9"
    )
    with pytest.raises(AimNotMetError, match=r"no threshold meets recall>=1.0 with confidence 0.9: the highest recall"):
        tune({"d": rows}, "recall>=1", folds=2, confidence=0.9)
    # A strict and a loose policy were tried: each is the better one for one of the two figures.
    both = [scored(0.6, UNSAFE, unsafe=0.1), scored(0.6, UNSAFE, unsafe=0.6)] * 2
    both += [scored(0.5, SAFE, unsafe=0.5), scored(0.9, SAFE, unsafe=0.4), scored(0.7, SAFE, unsafe=0.2)] * 2
    with pytest.raises(AimNotMetError) as caught:
        tune({"d": numbered(both)}, "recall>=0.9, false_positive_rate<=0.1", folds=2)
    assert str(caught.value).endswith(
        "the highest recall is 0.5000 where false_positive_rate<=0.1; "
        "the lowest false_positive_rate is 0.6667 where recall>=0.9"
    )
    with pytest.raises(AimNotMetError) as caught:
        tune({"d": rows}, "precision>=1, recall>=1, f1>=0.95", folds=2, base=Policy.strict(), margin=0.01)
    # No two of these go together: each by itself.
    assert str(caught.value) == (
        "no threshold meets precision>=1.0 and recall>=1.0 and f1>=0.95 with scores off by 0.01: "
        "the highest precision is 1.0000; the highest recall is 1.0000; the highest f1 is 0.8571"
    )


BARE = numbered([Result(id="", label=row.label, verdict=Verdict(severity="Safe")) for row in DATA["wild"][:20]])
REFUSED = [
    pytest.param({}, {"folds": 1}, "folds is 1", id="one fold"),
    pytest.param({"d": []}, {}, "there are no rows", id="no rows"),
    pytest.param({}, {"results": {}}, "there are no rows", id="no data sets"),
    pytest.param({"d": BARE}, {}, "the guard gives no scores", id="no scores"),
    pytest.param(
        {"d": [row for row in DATA["wild"] if row.label.severity is SAFE]}, {}, "0 unsafe rows, too few", id="s"
    ),
    pytest.param({"d": [row for row in DATA["wild"] if row.label.severity is UNSAFE]}, {}, "0 harmless rows", id="u"),
    pytest.param({"d": DATA["wild"][:8]}, {}, "4 unsafe rows, too few for 5 folds .lower folds", id="few rows"),
    pytest.param(
        {"d": DATA["wild"], "e": DATA["wild"][:8]},
        {"aim": "fewest blocks@e"},
        "4 harmless rows in e, too few for 5 folds",
        id="few rows of what the aim names",
    ),
    pytest.param({}, {"margin": -0.1}, "margin is -0.1", id="margin below 0"),
    pytest.param({}, {"margin": math.nan}, "margin is nan", id="margin that is no number"),
    pytest.param({}, {"confidence": 95}, "confidence is 95", id="confidence in percent"),
    pytest.param({}, {"confidence": 0.9, "aim": "f1>=0.5"}, "F1 has no exact bound", id="confidence of F1"),
    pytest.param({}, {"categories": ["Politics!"]}, "'Politics!' is no category .they are Violent", id="category"),
    pytest.param(
        {},
        {"base": Policy(unsafe="flag", points={"response": "block"})},
        "the policy lets everything pass at prompt, so there is nothing to choose",
        id="a policy that stops nothing",
    ),
    pytest.param({}, {"aim": "fewest blocks@toxic"}, "'toxic' fits no data set", id="data set"),
]


@pytest.mark.parametrize(("data", "settings", "why"), REFUSED)
def test_what_is_refused_is_named(data: dict[str, list[Result]], settings: dict[str, Any], why: str) -> None:
    arguments: dict[str, Any] = {"results": data or DATA, "aim": "highest f1", **settings}
    with pytest.raises(GuardConfigurationError, match=why) as caught:
        tune(**arguments)
    assert caught.value.hint


# --- the picture ---


def test_the_picture_shows_the_curves_and_loads_nothing(tmp_path: Path) -> None:
    data = {"wild": DATA["wild"], "<xstest> & $x$": DATA["xstest"]}
    tuned = tune(data, "recall>=0.9, fewest blocks@xstest, false_positive_rate<=0.9")
    for suffix in (".svg", ".png", ".html"):
        tuned.draw(tmp_path / f"picture{suffix}")
    svg = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "picture.html").read_text(encoding="utf-8")
    assert "fewest blocks@&lt;xstest&gt; &amp; $x$" in page
    assert page.count("<svg") == 1
    assert "default-src 'none'" in page
    with pytest.raises(GuardConfigurationError, match=r"ends in \.svg, \.png, \.html, and not in '\.gif'"):
        tuned.draw(tmp_path / "picture.gif")


def test_aim_given_ready_made_or_in_parts() -> None:
    by_text = tune(DATA, "recall>=0.9, fewest blocks@xstest")
    assert by_text == tune(DATA, ["recall>=0.9", "fewest blocks@xstest"])
    assert by_text == tune(DATA, Aim.of("recall>=0.9, fewest blocks@xstest"))
    assert by_text.promised(ALARMS).objective is False


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("numpy", "from qwen3guard_integrations.evaluation import tune"),
        ("sklearn", "from qwen3guard_integrations.evaluation import tune"),
        ("matplotlib", "import qwen3guard_integrations.evaluation.tuning.picture"),
        ("tomlkit", "from qwen3guard_integrations.evaluation.tuning import policy_file; policy_file._toml({})"),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(missing: str, code: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.modules[{missing!r}] = None; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    message = done.stderr.splitlines()[-1]
    assert missing in message
    assert 'pip install "qwen3guard-integrations[eval]"' in message
