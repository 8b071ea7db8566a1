"""Reports: every figure is there and right, nothing but figures gets out, and nothing in a text becomes the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen3guard_integrations import Category, Conversation, GuardConfigurationError, Scores, Severity, Turn, Verdict
from qwen3guard_integrations.core.visible import visible
from qwen3guard_integrations.evaluation import DataSet, Label, Result, Row, StreamResult, Summary, summarise
from qwen3guard_integrations.evaluation.catalogue import READINGS, SCORES, SPEED, STREAMS, number
from qwen3guard_integrations.evaluation.report import write_report
from qwen3guard_integrations.evaluation.report.markdown import escaped
from qwen3guard_integrations.evaluation.report.mistakes import MOST, mistakes
from qwen3guard_integrations.evaluation.report.token_maps import TokenMap, stretches, token_maps
from tests.evaluation.made import Made, made_run
from tests.evaluation.pages import Element, read, tables

CANARY: Final = "kanarienvogel"
HOSTILE: Final = "</p></details><script>alert(1)</script><img src=//x onerror=a>&amp; \x1b[31m\x00 \u202e\ud83d $x$ `|"
FILES: Final = ["report.html", "report.md", "summary.json"]


def write(made: Made, folder: Path, *, texts: bool = True) -> dict[str, str]:
    write_report(folder, made.summary, made.data, made.results, texts=texts)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    return {name: (folder / name).read_text(encoding="utf-8") for name in FILES}


def page_of(made: Made, folder: Path, *, texts: bool = True) -> Element:
    return read(write(made, folder, texts=texts)["report.html"])


@pytest.fixture(scope="module")
def made() -> Made:
    """A run with everything in it: three guards, scores, refusals, streams, failures."""
    return made_run(160, {"guard a": 0.9, "guard b": 0.6, "demo-stream": 0.4}, text=CANARY)


@pytest.fixture(scope="module")
def files(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write(made, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(files: dict[str, str]) -> Element:
    return read(files["report.html"])


# --- what is in it ---


def test_every_main_figure_of_every_guard_is_in_the_table_with_its_interval(made: Made, page: Element) -> None:
    shown = tables(page)["Main figures"]
    for guard in made.summary.guards:
        for figure in (*READINGS, *SCORES):
            estimate = figure.of(guard)
            assert estimate is not None
            interval = "" if estimate.low is None else f" {estimate.low:.3f}–{estimate.high:.3f}"
            assert shown[figure.heading, figure.label, guard.guard] == f"{estimate.value:.3f}{interval}"


def test_the_best_of_a_line_is_bold(made: Made, page: Element) -> None:
    (table,) = [table for table in page.all("table") if table.all("caption")[0].text == "Main figures"]
    recall = next(line for line in table.all("tr") if line.all("th")[0].text == "False positive rate")
    rates = [guard.readings.strict.false_positive_rate.value for guard in made.summary.guards]
    assert [bool(cell.all("b")) for cell in recall.all("td")] == [rate == min(rates) for rate in rates]


def test_the_confusion_of_every_guard_is_a_heat_map(made: Made, page: Element) -> None:
    for guard in made.summary.guards:
        cells = tables(page)[guard.guard]
        for label, said in guard.confusion.items():
            whole = sum(said.values())
            for severity, rows in said.items():
                assert cells["", label, severity] == f"{rows} {rows / whole:.0%}"
    (first, *_) = page.all("table", class_="heat")
    shades = [float((cell.attributes["style"] or "").removeprefix("--heat: ")) for cell in first.all("td")]
    assert shades[:3] == [round(rows / sum(said), 3) for said in [counts(made, "Safe")] for rows in said]


def counts(made: Made, label: str) -> list[int]:
    return list(made.summary.guards[0].confusion[label].values())


@pytest.mark.parametrize("kind", ["categories", "languages", "sources"])
def test_every_group_has_a_line_for_each_guard(made: Made, page: Element, kind: str) -> None:
    cells = tables(page)[{"categories": "By category", "languages": "By language", "sources": "By source"}[kind]]
    for guard in made.summary.guards:
        for group in getattr(guard, kind):
            assert cells[group.name, guard.guard, "Rows"] == str(group.strict.rows)
            assert cells[group.name, guard.guard, "Recall, loose"].startswith(number(group.loose.recall.value))


def test_streams_speed_and_comparisons_are_there(made: Made, page: Element) -> None:
    shown = tables(page)
    for guard in made.summary.guards:
        assert guard.stream is not None
        for figure in STREAMS:
            estimate = figure.of(guard)
            assert estimate is not None
            assert shown["Streams"]["", figure.label, guard.guard].startswith(number(estimate.value))
        for name, leak in guard.stream.leaked.items():
            leaked = shown["Characters of unsafe responses that had left before the block"]
            assert leaked[f"hold “{name}”", guard.guard, "Most"] == f"{leak.most:,}"
        for figure in SPEED:
            estimate = figure.of(guard)
            assert estimate is not None
            assert shown["Speed and cost"]["", figure.label, guard.guard] == number(estimate.value, figure.unit)
        assert shown["Speed and cost"]["", "Cost of the run", guard.guard] == "0.02"
        assert sum(guard.failed.values()) == int(
            shown["Rows without a verdict, by error"].get(("", "GuardTimeoutError", guard.guard), "0")
        )
    worst = next(one for one in made.summary.comparisons if (one.b, one.mode) == ("demo-stream", "strict"))
    pairs = shown["Guards against each other"]
    assert pairs["", f"{worst.a} against {worst.b}", "More often right"] == "guard a"
    assert worst.p_value < 0.001
    assert pairs["", f"{worst.a} against {worst.b}", "p"] == "< 0.001"


def test_the_markdown_has_the_tables_of_the_page(files: dict[str, str], page: Element) -> None:
    lines = files["report.md"].splitlines()
    for caption, cells in tables(page).items():
        assert f"**{escaped(caption)}**" in lines
        for (_, name, _), cell in cells.items():
            start = f"| {escaped(name)} |"
            shown = [re.sub(r"\*\*|[()]", "", line) for line in lines if line.startswith(start)]
            assert any(f"| {escaped(re.sub('[()]', '', cell))} |" in line for line in shown), (caption, name, cell)
    widths = [line.replace("\\|", "").count("|") for line in lines if line.startswith("|")]
    assert min(widths) >= 3


def test_the_json_is_the_summary(made: Made, files: dict[str, str]) -> None:
    assert Summary.model_validate_json(files["summary.json"]) == made.summary
    assert list(json.loads(files["summary.json"]))[:4] == ["version", "data", "rows", "digest"]


# --- a page that needs nothing else, for everybody ---


def test_nothing_is_loaded_and_nothing_can_run(page: Element) -> None:
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not [element.tag for element in page.everything() if element.tag in {"script", "link", "img", "iframe"}]
    (style,) = page.all("style")
    assert not re.search(r"url\(|@import|http", style.text)
    identifiers = [element.attributes["id"] for element in page.everything() if "id" in element.attributes]
    assert len(set(identifiers)) == len(identifiers)
    for element in page.everything():
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "xlink:href"}
            for target in [value] if name == "href" else re.findall(r"url\((.*?)\)", value or ""):
                assert (target or "").removeprefix("#") in identifiers
                assert (target or "").startswith("#")


def test_both_colour_schemes_and_no_colour_of_its_own_in_a_picture(page: Element) -> None:
    (style,) = page.all("style")
    light, dark = (set(re.findall(r"--[\w-]+(?=:)", part.split("}")[0])) for part in style.text.split(":root {")[1:])
    assert light - {"--font"} == dark
    used = set(re.findall(r"var\((--[\w-]+)\)", style.text + "".join(str(e.attributes) for e in page.everything())))
    assert used <= light | {"--heat"}
    for picture in page.all("svg"):
        assert not [
            element for element in picture.everything() if re.search(r"#[0-9a-f]{6}\b", str(element.attributes))
        ]


def test_pictures_and_tables_can_be_heard(made: Made, page: Element) -> None:
    pictures = page.all("svg")
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        assert all(guard.guard in (picture.attributes["aria-label"] or "") for guard in made.summary.guards)
    for table in page.all("table"):
        assert len(table.all("caption")) == 1
        assert {head.attributes.get("scope") for head in table.all("th")} <= {"col", "row", "rowgroup"}
    for box in page.all("div", class_="scroll"):
        assert (box.attributes["tabindex"], box.attributes["role"]) == ("0", "region")
        assert box.attributes["aria-label"]
    assert [head.tag for head in page.everything() if re.fullmatch(r"h[1-4]", head.tag)][:1] == ["h1"]
    targets = {link.attributes["href"] for link in page.all("nav")[0].all("a")}
    assert targets == {f"#{section.attributes['id']}" for section in page.all("section")}


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = (int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_colours_can_be_told_from_what_they_stand_on(page: Element, scheme: int) -> None:
    style = page.all("style")[0].text
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", style.split(":root {")[scheme + 1].split("}")[0]))
    for name in ("page", "band", "safe", "controversial", "unsafe", "warm"):
        assert contrast(colours["ink"], colours[name]) >= 4.5, name
    for name in ("quiet", "link"):
        assert contrast(colours[name], colours["page"]) >= 4.5, name
    assert contrast(colours["quiet"], colours["band"]) >= 4.5
    assert contrast(colours["page"], colours["stop"]) >= 4.5
    for place in range(6):
        assert contrast(colours[f"series-{place}"], colours["page"]) >= 3, place


# --- texts ---


def test_texts_are_only_in_the_page_and_only_in_details(files: dict[str, str], page: Element) -> None:
    assert CANARY not in files["report.md"]
    assert CANARY not in files["summary.json"]
    hidden = sum(details.text.count(CANARY) for details in page.all("details"))
    assert hidden == files["report.html"].count(CANARY) > 10
    assert not [details for details in page.all("details") if "open" in details.attributes]
    assert not [summary for summary in page.all("summary") if CANARY in summary.text]


def test_without_texts_there_are_none(made: Made, tmp_path: Path) -> None:
    written = write(made, tmp_path, texts=False)
    assert not [name for name, content in written.items() if CANARY in content or "neighbour" in content]
    page = read(written["report.html"])
    letters = page.all("p", class_="letters")
    assert letters
    assert all(re.fullmatch(r"[SCU⟦⟧]*", re.sub(r"…[^…]*…|⚑ flagged here| ", "", one.text)) for one in letters)


def test_nothing_in_a_text_becomes_part_of_the_page(tmp_path: Path) -> None:
    def rows(text: str) -> Made:
        return made_run(40, {"a": 0.5}, text=text, resamples=0)

    plain, hostile = (page_of(rows(text), tmp_path / str(len(text))) for text in ("plain", HOSTILE))
    assert {element.tag for element in hostile.everything()} == {element.tag for element in plain.everything()}
    texts = [one.text for one in hostile.all("p", class_="text")]
    assert any(visible(HOSTILE) in text for text in texts)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", hostile.text)


def test_nothing_in_a_name_becomes_part_of_a_file(tmp_path: Path) -> None:
    name = HOSTILE.replace("\ud83d", "")
    label = Label(severity=Severity.SAFE, language=name, source=name)
    row = Row(id=name, conversation=Conversation.of_prompt("Hello."), label=label)
    verdict = Verdict(
        severity=Severity.UNSAFE,
        categories=("Violent",),
        other_categories=(CANARY,),  # from a guard that babbles: it may be the text
        scores=Scores(safe=0.1, controversial=0.2, unsafe=0.7),
    )
    safe = row.model_copy(update={"id": "2", "label": Label(severity=Severity.UNSAFE)})
    data = DataSet(name, (row, safe))
    results = {name: [Result(id=one.id, label=one.label, verdict=verdict) for one in data.rows]}
    made = Made(data, results, summarise(name, data.digest, results, resamples=0))
    written = write(made, tmp_path)
    page = read(written["report.html"])
    assert {element.tag for element in page.everything()}.isdisjoint({"script", "img"})
    assert visible(name) in page.all("h1")[0].text
    assert len(page.all("svg")) == 3
    assert "\x1b" not in written["report.html"] + written["report.md"]
    assert CANARY not in written["report.html"] + written["report.md"]
    widths = {line.replace("\\|", "").count("|") for line in written["report.md"].splitlines() if "guard" not in line}
    assert widths <= {0, 3, 4, 5, 6, 10}
    assert not re.search(r"(?<!\\)[<`$]", written["report.md"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_markdown_reads_any_name_as_characters(name: str) -> None:
    line = escaped(name)
    assert "\n" not in line
    assert re.sub(r"\\([\\`*_\[\]<>|~$&])", r"\1", line) == " ".join(visible(name).split())
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|~$&]", line)


# --- the same for the same, and for little and much ---


def test_the_same_run_gives_the_same_bytes(made: Made, files: dict[str, str], tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        assert write(made, tmp_path) == files
        assert dict(mpl.rcParams) == before


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.evaluation.made import made_run\n"
        "from qwen3guard_integrations.evaluation.report import write_report\n"
        "made = made_run(30); write_report(sys.argv[1], made.summary, made.data, made.results)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "there")]
    environment = {"PYTHONHASHSEED": "1", "PATH": ""}
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2], timeout=120)
    write(made_run(30), tmp_path / "here")
    for name in FILES:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_a_big_run_has_a_small_page(tmp_path: Path) -> None:
    guards = {f"provider:some/quite-long-name-{n}": 0.3 for n in range(3)}
    made = made_run(300, guards, text="漢字" * 2000, resamples=0)
    page = page_of(made, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    assert [len(part.all("li")) for part in page.all("ol", class_="cases")] == [MOST] * 6


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("scores", [True, False])
def test_one_row_makes_a_report_in_which_no_number_is_none(tmp_path: Path, severity: Severity, scores: bool) -> None:
    row = Row(id="1", conversation=Conversation.of_prompt("Hello."), label=Label(severity=severity))
    known = Scores(safe=1.0, controversial=0.0, unsafe=0.0) if scores else None
    results = {"a": [Result(id="1", label=row.label, verdict=Verdict(severity=Severity.SAFE, scores=known))]}
    data = DataSet("one row", (row,))
    made = Made(data, results, summarise(data.name, data.digest, results))
    written = write(made, tmp_path)
    page = read(written["report.html"])
    assert not page.all("svg")
    words = re.findall(r"\w+", page.all("main")[0].text + written["report.md"])
    assert not {"nan", "NaN", "None", "null", "inf"} & set(words)
    figures = {line for _, line, _ in tables(page)["Main figures"]}
    assert ("Recall" in figures) == (severity is not Severity.SAFE)
    assert ("False positive rate" in figures) == (severity is not Severity.UNSAFE)


def test_a_guard_without_a_verdict_on_any_row_makes_a_report(tmp_path: Path) -> None:
    made = made_run(30, {"a": 0.9})
    results = {
        **made.results,
        "down": [Result(id=row.id, label=row.label, response=row.is_response, error="GuardError") for row in made.data],
    }
    page = page_of(Made(made.data, results, summarise("x", made.data.digest, results)), tmp_path)
    assert tables(page)["Main figures"]["Failures", "Rows without a verdict", "down"] == "1.000"
    assert {"nan", "None"}.isdisjoint(re.findall(r"\w+", page.all("main")[0].text))


def test_a_summary_of_other_rows_is_refused(made: Made, tmp_path: Path) -> None:
    other = made_run(10, seed=7)
    with pytest.raises(GuardConfigurationError, match="is not of these rows"):
        write_report(tmp_path, made.summary, other.data, made.results)
    with pytest.raises(GuardConfigurationError, match="no results of guard b, demo-stream"):
        write_report(tmp_path, made.summary, made.data, {"guard a": made.results["guard a"]})
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_with_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import qwen3guard_integrations.evaluation.report"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "qwen3guard-integrations[eval]"' in run.stderr


# --- the worst mistakes ---


def result(id_: str, label: Severity, said: Severity | None, score: float | None = None) -> Result:
    scores = None if score is None else Scores(safe=1 - score, controversial=0, unsafe=score)
    verdict = None if said is None else Verdict(severity=said, scores=scores)
    return Result(id=id_, label=Label(severity=label), verdict=verdict, error=None if verdict else "GuardError")


SAFE, CONTROVERSIAL, UNSAFE = Severity


def test_the_surest_mistakes_come_first() -> None:
    results = [
        result("right", UNSAFE, UNSAFE, 0.99),
        result("mild", SAFE, CONTROVERSIAL, 0.6),
        result("failed", SAFE, None),
        result("sure", SAFE, UNSAFE, 0.97),
        result("as sure", SAFE, UNSAFE, 0.97),
        result("more", CONTROVERSIAL, UNSAFE, 0.9),
        result("missed", UNSAFE, SAFE, 0.02),
        result("nearly", UNSAFE, CONTROVERSIAL, 0.55),
        result("less", CONTROVERSIAL, SAFE, 0.3),
    ]
    more, less = mistakes("a", results, {})
    assert [one.id for one in more.worst] == ["sure", "as sure", "more", "mild"]
    assert [one.id for one in less.worst] == ["missed", "less", "nearly"]
    assert more.caption == "a, false positives: 4"


def test_without_scores_the_severity_counts() -> None:
    results = [result("mild", SAFE, CONTROVERSIAL), *(result(f"u{n}", SAFE, UNSAFE) for n in range(12))]
    more, less = mistakes("a", results, {})
    assert [one.id for one in more.worst] == [f"u{n}" for n in range(MOST)]
    assert (more.all, less.worst) == (13, ())
    assert more.caption == "a, false positives: the worst 10 of 13"


def test_long_texts_and_long_histories_are_cut(tmp_path: Path) -> None:
    turns = [Turn(role="user", content=f"turn {number} " + "x" * 90) for number in range(20)]
    last = Turn(role="assistant", content="y" * 5000, reasoning="I think.")
    row = Row(id="1", conversation=Conversation(turns=(*turns, last)), label=Label(severity=SAFE))
    (worst,) = mistakes("a", [result("1", SAFE, UNSAFE)], {"1": row})[0].worst
    speakers = [(one.speaker, one.judged, len(one.text), one.left_out) for one in worst.passages]
    left = sum(len(turn.content) for turn in turns[:18])
    assert speakers == [
        ("earlier turns", False, 0, left),
        ("user", False, 98, 0),
        ("user", False, 98, 0),
        ("reasoning", True, 8, 0),
        ("assistant", True, 1500, 3500),
    ]


# --- token heat maps ---


def stream(tokens: str, flag: int | None, ends: Sequence[int] = ()) -> StreamResult:
    severity = UNSAFE if flag is not None else SAFE
    return StreamResult(severity=severity, flag=flag, begins=10, tokens=tokens, ends=tuple(ends))


def streamed(
    id_: str, tokens: str, flag: int | None, sentence: tuple[int, int] | None, label: Severity = UNSAFE
) -> Result:
    start, end = sentence or (None, None)
    return Result(
        id=id_,
        label=Label(severity=label, unsafe_start=start, unsafe_end=end),
        response=True,
        stream=stream(tokens, flag),
    )


def test_the_most_telling_stream_of_each_outcome_is_shown() -> None:
    results = [
        streamed("a little early", "S" * 40, 19, (20, 25)),
        streamed("early", "S" * 40, 12, (20, 25)),
        streamed("a late hit", "S" * 40, 25, (20, 25)),
        streamed("hit", "S" * 40, 21, (20, 25)),
        streamed("late", "S" * 40, 45, (20, 25)),
        streamed("less late", "S" * 40, 30, (20, 25)),
        streamed("missed", "S" * 40, None, (20, 25)),
        streamed("long missed", "S" * 80, None, (20, 25)),
        streamed("caught", "S" * 40, 15, None),
        streamed("false alarm", "SU" * 20, 15, None, SAFE),
        streamed("worse alarm", "U" * 40, 15, None, SAFE),
        streamed("in between", "U" * 40, 15, None, CONTROVERSIAL),
        streamed("quiet", "S" * 40, None, None, SAFE),
        Result(id="no stream", label=Label(severity=UNSAFE)),
    ]
    shown = {one.outcome: (one.id, one.remark) for one in token_maps(results, {})}
    assert shown == {
        "early": ("early", "flagged at token 3 of 40, 8 before the unsafe sentence begins"),
        "exact hit": ("hit", "flagged at token 12 of 40, inside the unsafe sentence"),
        "late": ("late", "flagged at token 36 of 40, 20 after the unsafe sentence has ended"),
        "missed": ("long missed", "none of 80 tokens was flagged"),
        "caught": ("caught", "flagged at token 6 of 40"),
        "false alarm": ("worse alarm", "flagged at token 6 of 40"),
    }


def test_a_token_map_has_the_text_its_severities_and_its_marks() -> None:
    turn = Turn(role="assistant", content="One two three four five")
    label = Label(severity=UNSAFE, unsafe_start=12, unsafe_end=13)
    found = list(stretches(stream("SCUUS", 13, (4, 8, 14, 19, 21)), label, turn))
    assert [(one.text, one.severity, one.sentence, one.flag) for one in found] == [
        ("One ", SAFE, False, False),
        ("two ", CONTROVERSIAL, False, False),
        ("three ", UNSAFE, True, False),
        ("four ", UNSAFE, True, True),
        ("fi", SAFE, False, False),
        ("ve", None, False, False),  # no token covers it
    ]


def test_a_token_map_says_where_the_response_begins() -> None:
    turn = Turn(role="assistant", content="Answer.", reasoning="Think. ")
    for ends in [(5, 7, 14), (5, 9, 14)]:  # a token ends there, or not
        found = list(stretches(stream("SSS", None, ends), Label(severity=SAFE), turn))
        assert [one.heading or one.text for one in found] == ["Think. ", "response", "Answer."]


def test_a_sentence_goes_on_over_the_beginning_of_the_response() -> None:
    turn = Turn(role="assistant", content="Answer.", reasoning="Think. ")
    label = Label(severity=UNSAFE, unsafe_start=11, unsafe_end=11)
    found = list(stretches(stream("SUS", 11, (5, 9, 14)), label, turn))
    assert [(one.text, one.sentence, one.flag) for one in found] == [
        ("Think", False, False),
        (". ", True, False),
        ("", True, False),
        ("An", True, True),
        ("swer.", False, False),
    ]


@pytest.mark.parametrize("ends", [(), (1, 2)])
def test_a_token_map_has_letters_where_it_has_no_text(ends: tuple[int, ...]) -> None:
    turn = None if ends else Turn(role="assistant", content="Nobody knows where its tokens end.")
    found = list(stretches(stream("SSCUU", 14, ends), Label(severity=UNSAFE), turn))
    assert [(one.text, one.flag) for one in found] == [("SS", False), ("C", False), ("U", False), ("U", True)]


@given(st.data())
def test_token_maps_show_the_text_around_the_marks_and_count_the_rest(data: st.DataObject) -> None:
    tokens = data.draw(st.text("SCU", min_size=1, max_size=400))
    sizes = data.draw(st.lists(st.integers(0, 30), min_size=len(tokens), max_size=len(tokens)))
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    text = "".join(chr(0x4E00 + place % 5000) for place in range(ends[-1] + data.draw(st.integers(1, 50))))
    flag = data.draw(st.none() | st.integers(10, 10 + len(tokens) - 1))
    start = data.draw(st.integers(10, 10 + len(tokens) - 1))
    label = Label(severity=UNSAFE, unsafe_start=start, unsafe_end=start)
    turn = Turn(role="assistant", content=text)
    place = 0
    for one in stretches(stream(tokens, flag, ends), label, turn):
        if one.left_out:
            assert min(abs(place - ends[start - 10]), abs(place + one.left_out - ends[start - 10])) > 0
            place += one.left_out
        else:
            assert text[place : place + len(one.text)] == one.text
            place += len(one.text)
    assert place == len(text)


def test_the_page_shows_sentence_and_flag_in_a_stream(page: Element, made: Made) -> None:
    maps = page.all("p", class_="tokens")
    assert maps
    for one in maps:
        brackets = [part.text for part in one.all("span", class_="bracket")]
        assert brackets in (["⟦", "⟧"], [])
        assert len(one.all("b", class_="flag")) <= 1
        assert {part.attributes["title"] for part in one.all("span") if "title" in part.attributes} <= {
            *map(str, Severity),
            "not judged",
        }
    late = next(one for one in page.all("details") if one.all("summary")[0].text.startswith("late"))
    assert late.all("b", class_="flag")


def test_categories_are_told_of_mistakes(page: Element) -> None:
    assert any(str(Category.PII) in item.text for item in page.all("ol", class_="cases"))


def test_a_map_is_of_its_row(made: Made) -> None:
    rows = {row.id: row for row in made.data.rows}
    for one in token_maps(made.results["guard a"], rows):
        assert isinstance(one, TokenMap)
        turn = rows[one.id].conversation.judged
        shown = "".join(part.text for part in one.stretches)
        assert shown
        if not any(part.left_out for part in one.stretches):
            assert shown == turn.reasoning + turn.content
