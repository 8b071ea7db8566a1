"""`qwen3guard stream`: the picture, the terminal, the pipe, the page and JSON."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from qwen3guard_integrations import GuardUnavailableError, Point, Policy
from qwen3guard_integrations.cli.stream_outcome import Outcome
from qwen3guard_integrations.cli.stream_page import page
from qwen3guard_integrations.cli.stream_picture import Picture
from qwen3guard_integrations.cli.stream_run import deltas, screened_text
from qwen3guard_integrations.cli.stream_terminal import Glyph, wrapped
from qwen3guard_integrations.core.thinking import ThinkingSplitter
from qwen3guard_integrations.core.visible import visible
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard
from tests.cli.conftest import Loads, Run
from tests.cli.scripted import verdict_on
from tests.cli.test_docs import PAGE, steps
from tests.cli.test_processes import REAL, finished, with_modules

CANARY: Final = "kanarienvogel"
BOMB: Final = "Hello there, a bomb goes off now."
THINKING: Final = "<think>\nA heist?\nNo.\n</think>\n\nWatch a film."
BLOCK: Final = "block at response (Unsafe: Violent)"


@pytest.fixture
def loads(loads: Loads) -> Loads:
    """Here the scripted guard judges token by token."""
    loads.guard = FakeStreamGuard(verdict_on)
    return loads


def without_times(output: str) -> list[str]:
    return re.sub(r"\d+(\.\d)? ms", "x ms", output).splitlines()


def json_rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# --- the text as a model writes it ---


@given(st.text(max_size=200))
def test_deltas_are_the_text(text: str) -> None:
    pieces = list(deltas(text))
    assert "".join(pieces) == text
    assert all(pieces)


def test_deltas_are_word_pieces() -> None:
    assert list(deltas("Two eggs, 12 internationalizations: ระเบิด")) == [
        *("Two", " eggs", ",", " ", "1", "2", " inte", "rnati", "onali", "zatio", "ns", ":"),
        *(" ร", "ะเ", "บ", "ิ", "ด"),
    ]


# --- the picture ---


class Silent:
    """A screen that shows nothing, and looks at everything."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def update(self, picture: Picture, new: object) -> None:
        for span in picture.spans():
            if span.released and self.policy.hold == "judged":
                assert span.judged is not None


def played(text: str, guard: FakeGuard, policy: Policy, prompt: str | None = None) -> tuple[Picture, Outcome]:
    return screened_text(text, prompt, guard, policy, None, Silent(policy))


WORDS: Final = st.lists(
    st.sampled_from(["hello ", "bomb ", "heist\n", "<think>", "</think>", "<th", "\n", "ะ", "a b ", "x" * 30]),
    min_size=1,
    max_size=20,
).map("".join)


@settings(deadline=None)
@given(WORDS, st.sampled_from(["judged", "none"]), st.integers(0, 12), st.booleans(), st.integers(1, 3))
def test_the_picture_shows_what_the_gate_did(text: str, hold: Any, lag: int, windowed: bool, debounce: int) -> None:
    guard = FakeGuard(verdict_on) if windowed else FakeStreamGuard(verdict_on, lag=lag)
    policy = Policy(hold=hold, debounce=debounce)
    picture, outcome = played(text, guard, policy)
    spans = list(picture.spans())
    splitter = ThinkingSplitter()
    pieces = [*splitter.push(text[: picture.came]), *splitter.flush()]
    tracks = {point: "".join(piece for at, piece in pieces if at is point) for point, _ in pieces if point}
    said = "".join(piece for point, piece in pieces if point)
    assert "".join(span.text for span in spans).replace("\n", "") == said.replace("\n", "")
    assert [span.released for span in spans] == sorted((span.released for span in spans), reverse=True)
    assert text[: picture.came] + picture.unread == text
    for point, track in tracks.items():
        stretches = [judged for judged in picture.judgements if judged.decision.point is point]
        assert track.startswith("".join(judged.text for judged in stretches))
        assert [judged.begin for judged in stretches[1:]] == [judged.end for judged in stretches[:-1]]
    if not outcome.stopped:
        assert all(span.released and span.judged for span in spans)
        assert picture.left == len(text)


def test_sections_begin_without_the_empty_lines_of_chat_templates() -> None:
    picture, _ = played(THINKING, FakeStreamGuard(), Policy())
    sections = {span.section: span.point for span in picture.spans()}
    texts = ["".join(span.text for span in picture.spans() if span.section == number) for number in sections]
    assert list(sections.values()) == [Point.REASONING, Point.RESPONSE]
    assert texts == ["A heist?\nNo.\n", "Watch a film."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc\r\n", "a\tb\nc\n"),
        ("\x1b[31m\x00\x07", "␛[31m␀␇"),
        ("\x7f\x9b\u202e\u2066", "⟨U+007F⟩⟨U+009B⟩⟨U+202E⟩⟨U+2066⟩"),
        ("\ud83d", "⟨U+D83D⟩"),
        ("ระเบิด 💣 الله", "ระเบิด 💣 الله"),
    ],
)
def test_nothing_in_a_text_commands_the_terminal(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(st.text("ab \n漢", max_size=80), st.integers(2, 12))
def test_lines_are_stable_and_fit(text: str, width: int) -> None:
    glyphs = [Glyph(character, "", place, 0, True) for place, character in enumerate(text)]
    lines = wrapped(glyphs, width)
    assert [glyph for line in lines for glyph in line] == glyphs
    for line in lines:
        written = "".join(glyph.text for glyph in line).removesuffix("\n").removesuffix(" ")
        assert sum(2 if character == "漢" else 1 for character in written) <= width
    for cut in range(len(glyphs)):
        before = wrapped(glyphs[:cut], width)
        assert before[:-1] == lines[: len(before) - 1]


# --- in a pipe ---

STOPPED: Final = [
    "Hello there, a",
    f"■ stopped here: {BLOCK}, after 14 characters",
    "never released: bomb goes off now.",
    "tokens written: 6; tokens judged: 6 in 6 calls (4 Safe, 2 Unsafe); first text released: after x ms; took: x ms; "
    f"decision: {BLOCK}",
]


def test_a_stream_that_is_stopped(run: Run, loads: Loads) -> None:
    result = run("stream", BOMB)
    assert (result.exit_code, result.stderr) == (1, "")
    assert without_times(result.stdout) == STOPPED


def test_a_stream_that_passes(run: Run, loads: Loads) -> None:
    result = run("stream", "Two eggs.\n\nWhisk them.\n", "--prompt", "How?")
    assert result.exit_code == 0
    *text, figures = without_times(result.stdout)
    assert text == ["Two eggs.", "", "Whisk them."]
    assert figures.endswith("decision: allow at response (Safe)")


def test_thinking_has_its_label(run: Run, loads: Loads) -> None:
    result = run("stream", THINKING, "--policy", "loose")
    assert without_times(result.stdout)[:3] == ["reasoning: A heist?", "No.", "response: Watch a film."]
    assert result.exit_code == 0
    stopped = without_times(run("stream", THINKING).stdout)
    assert stopped[:2] == [
        "reasoning: A",
        "■ stopped here: block at reasoning (Controversial: other), after 9 characters",
    ]


SOURCES = [
    pytest.param([], BOMB + "\n", id="a pipe"),
    pytest.param(["-"], BOMB, id="a dash"),
    pytest.param(["--file", "-"], BOMB, id="a dash as the file"),
    pytest.param(["--file", "{file}"], None, id="a file"),
]


@pytest.mark.parametrize(("arguments", "content"), SOURCES)
def test_where_the_text_comes_from(
    run: Run, loads: Loads, tmp_path: Path, arguments: list[str], content: str | None
) -> None:
    path = tmp_path / "answer.txt"
    path.write_text(BOMB + "\n", encoding="utf-8")
    result = run("stream", *(part.format(file=path) for part in arguments), input=content)
    assert without_times(result.stdout) == STOPPED


def test_the_prompt_is_context(run: Run, loads: Loads) -> None:
    loads.guard = FakeGuard(verdict_on)
    assert run("stream", "Two eggs.", "--prompt", "a bomb").exit_code == 0
    [conversation] = {conversation for call in loads.guard.calls for conversation in call}
    assert [(turn.role, turn.content) for turn in conversation.turns] == [
        ("user", "a bomb"),
        ("assistant", "Two eggs."),
    ]


def test_a_guard_of_whole_texts_judges_windows(run: Run, loads: Loads) -> None:
    loads.guard = FakeGuard(verdict_on)
    lines = without_times(run("stream", f"One sentence stands here. {BOMB}").stdout)
    assert any(line.startswith("never released: ") and "bomb" in line for line in lines)
    assert "windows judged: " in lines[-1]


HELD = [
    pytest.param(["--hold", "judged"], "Hello there, a", "never released: bomb goes off now.", id="judged"),
    pytest.param(["--hold", "none"], "Hello there, a bomb goes", "never released: off now.", id="none"),
]


@pytest.mark.parametrize(("options", "released", "never"), HELD)
def test_hold(run: Run, loads: Loads, options: list[str], released: str, never: str) -> None:
    lines = without_times(run("stream", BOMB, *options).stdout)
    assert (lines[0], lines[2]) == (released, never)


def test_a_stop_that_comes_too_late_says_so(run: Run, loads: Loads) -> None:
    loads.guard = FakeStreamGuard(verdict_on, lag=1000)
    result = run("stream", BOMB, "--hold", "none")
    assert (result.exit_code, without_times(result.stdout)[2]) == (1, "all of it had been released before")


def test_much_that_was_never_released_is_cut(run: Run, loads: Loads) -> None:
    never = without_times(run("stream", BOMB + " and so on" * 100).stdout)[2]
    assert never.endswith("… and 419 characters more")


def test_speed(run: Run, loads: Loads) -> None:
    outcome = json_rows(run("stream", "one two three four five", "--speed", "100", "--json").stdout)[-1]
    assert outcome["milliseconds"] >= 40


def test_colours_and_other_marks(run: Run, loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    plain = run("stream", "a heist, a bomb goes", "--policy", "loose").stdout
    assert "\x1b[4m heist" in plain  # NO_COLOR leaves the marks that are no colour
    assert "\x1b[1;9m bomb" in plain
    monkeypatch.delenv("NO_COLOR")
    coloured = run("stream", "a heist, a bomb goes", "--policy", "loose").stdout
    assert "\x1b[32ma" in coloured
    assert "\x1b[4;33m heist" in coloured
    assert "\x1b[1;9;31m bomb" in coloured


# --- on a terminal ---


class Terminal(StringIO):
    """A terminal of 30 columns and 8 rows, and what stands on it in the end."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        lines, row = [""], 0
        for part in re.findall(r"\x1b\[\??[\d;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", self.getvalue()):
            if part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif part == "\x1b[1A":
                row -= 1
            elif part == "\x1b[2K":
                lines[row] = ""
            elif not part.startswith(("\x1b", "\r")):
                lines[row] += part
        return [line.rstrip() for line in lines]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard output is a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=30, height=8, highlight=False)
    monkeypatch.setattr("qwen3guard_integrations.cli.stream_terminal.output", lambda: console)
    return file


def test_the_terminal_keeps_what_was_released(run: Run, loads: Loads, terminal: Terminal) -> None:
    text = "<think>\nShort.\n</think>\n\n" + "Beat the eggs well, and season them.\n\n" * 10 + BOMB
    assert run("stream", text).exit_code == 1
    lines = terminal.lines
    assert lines[:5] == [
        "reasoning: Short.",
        "response: Beat the eggs well,",
        "and season them.",
        "",
        "Beat the eggs well, and season",
    ]
    stop = lines.index("■ stopped here: block at")
    assert lines[stop - 2 :][:6] == [
        "",
        "Hello there, a",
        "■ stopped here: block at",
        "response (Unsafe: Violent),",
        f"after {text.index(' bomb')} characters",
        "never released: bomb goes off",
    ]
    assert sum("Beat" in line for line in lines) == 10


def test_what_is_held_is_dim_until_it_is_judged(run: Run, loads: Loads, terminal: Terminal) -> None:
    loads.guard = FakeStreamGuard(verdict_on, lag=8, delay=0.06)
    assert run("stream", "Two eggs, salt.", "--speed", "30").exit_code == 0
    assert "\x1b[2m" in terminal.getvalue()
    assert terminal.lines[0] == "Two eggs, salt."


def test_the_terminal_is_put_right_after_an_error(run: Run, loads: Loads, terminal: Terminal) -> None:
    loads.guard = FakeStreamGuard(error=GuardUnavailableError("down"), fail_after=3)
    result = run("stream", f"one two three {CANARY}", "--hold", "judged")
    assert (result.exit_code, result.stderr) == (2, "error: down\n")
    assert terminal.lines == ["one two three", ""]
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


# --- as JSON ---


def test_json(run: Run, loads: Loads) -> None:
    *tokens, outcome = json_rows(run("stream", BOMB, "--json").stdout)
    assert [row["text"] for row in tokens] == ["Hello", " there", ",", " a", " bomb", " goes"]
    assert [row["severity"] for row in tokens] == ["Safe"] * 4 + ["Unsafe"] * 2
    assert [(row["begin"], row["end"]) for row in tokens][-1] == (19, 24)
    verdict = {
        "severity": "Unsafe",
        "categories": ["Violent"],
        "refusal": False,
        "scores": {"safe": 0.05, "controversial": 0.15, "unsafe": 0.8},
        "action": "block",
        "point": "response",
    }
    assert verdict.items() <= tokens[-1].items()
    assert {"stopped": True, **verdict, "released": 14, "held": 10, "unread": 9}.items() <= outcome.items()
    assert {"tokens": 6, "judgements": 6, "calls": 6}.items() <= outcome.items()
    assert 0 < outcome["first_release_ms"] <= outcome["milliseconds"]


def test_json_when_nothing_is_released(run: Run, loads: Loads) -> None:
    outcome = json_rows(run("stream", "bomb bomb bomb", "--json").stdout)[-1]
    assert (outcome["released"], outcome["first_release_ms"]) == (0, None)


# --- as a page ---


TAGS: Final = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "p"),
    *("dl", "dt", "dd", "ul", "li", "span", "s", "small"),
}


class Read(HTMLParser):
    """The visible text of a page: released, struck out, and the titles of its tokens; and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.released = self.held = ""
        self._within: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag != "meta":
            self._within.append((tag, dict(attributes).get("title")))

    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, title = self._within[-1] if self._within else ("", None)
        if title is not None:
            self.released += data if tag == "span" else ""
            self.held += data if tag == "s" else ""

    @property
    def titles(self) -> list[str]:
        return [title for _, attributes in self.elements if (title := attributes.get("title"))]


def test_the_page(run: Run, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    result = run("stream", BOMB, "--prompt", "<b>What?</b>", "--html", str(path))
    assert (result.exit_code, without_times(result.stdout)) == (1, STOPPED)
    content = path.read_text(encoding="utf-8")
    read = Read(content)
    assert (read.released, read.held) == ("Hello there, a", " bomb goes off now.")
    assert re.fullmatch(r"Safe 0\.900: allow, after \d+ ms", read.titles[0])
    assert re.fullmatch(r"Unsafe 0\.800, Violent: block, after \d+ ms", read.titles[-2])
    assert "&lt;b&gt;What?&lt;/b&gt;" in content
    assert content.count(f"Stopped here: {BLOCK}") == 1
    assert "prefers-color-scheme: dark" in content
    assert "<dt>tokens written</dt><dd>6</dd>" in content


def test_a_page_of_a_stream_that_passed_has_no_stop(run: Run, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert run("stream", THINKING, "--policy", "loose", "--html", str(path), "--json").exit_code == 0
    content = path.read_text(encoding="utf-8")
    assert "Stopped" not in content
    assert ("<h2>reasoning</h2>" in content, "<h2>response</h2>" in content) == (True, True)
    assert Read(content).released == "A heist?\nNo.\nWatch a film."


def test_the_page_marks_where_windows_end() -> None:
    text = "One sentence stands here. Two."
    assert 'class="safe window"' in page(*played(text, FakeGuard(), Policy()), None)


@given(st.text(max_size=60), st.booleans())
def test_nothing_in_a_text_becomes_part_of_the_page(text: str, unsafe: bool) -> None:
    hostile = f"a \"' onmouseover=x <script src=//x>{text}</script><img src=x>&amp;"
    guard = FakeStreamGuard({"script": "Unsafe"} if unsafe else None)
    content = page(*played(hostile, guard, Policy()), hostile)
    read = Read(content)
    tags = {tag for tag, _ in read.elements}
    assert tags <= TAGS
    assert {name for _, attributes in read.elements for name in attributes}.isdisjoint({"src", "href", "onmouseover"})
    assert read.released + read.held == visible(hostile)


# --- guards and policies ---


@pytest.mark.parametrize(("rule", "status"), [("block", 1), ("allow", 0)])
def test_the_policy_decides_when_the_guard_fails(
    run: Run, loads: Loads, tmp_path: Path, rule: str, status: int
) -> None:
    loads.guard = FakeStreamGuard(error=GuardUnavailableError("down"), fail_after=1)
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"on_guard_error: {rule}")
    result = run("stream", "one two three", "--policy", str(policy))
    assert result.exit_code == status
    assert f"decision: {rule} at response (the guard gave no verdict)" in result.stdout


def test_a_guard_that_fails_is_an_error_after_what_was_released(run: Run, loads: Loads) -> None:
    loads.guard = FakeStreamGuard(error=GuardUnavailableError("down"), fail_after=2)
    result = run("stream", f"one two {CANARY}")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "one two\n", "error: down\n")


def test_what_the_policy_does_not_judge_is_released(run: Run, loads: Loads, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("points: {response: {unsafe: allow, controversial: allow}}")
    result = run("stream", BOMB, "--policy", str(policy))
    assert (result.exit_code, loads.guard.calls) == (0, [])
    assert "0 in 0 calls (none)" in result.stdout
    assert result.stdout.startswith(f"{BOMB}\n")


def test_sessions_are_closed(run: Run, loads: Loads) -> None:
    run("stream", BOMB)
    assert isinstance(loads.guard, FakeStreamGuard)
    assert loads.guard.open_sessions == 0


def test_options_reach_load_guard(run: Run, loads: Loads) -> None:
    run("stream", "x", "--guard", "openai:m", "--base-url", "http://h/v1", "--api-key", "k", "--option", "threads=2")
    assert loads.calls == [{"guard": "openai:m", "base_url": "http://h/v1", "api_key": "k", "threads": 2}]


# --- errors ---

MISUSE = [
    pytest.param([""], None, "blank", id="empty text"),
    pytest.param([], " \n", "blank", id="blank pipe"),
    pytest.param([], b"caf\xe9", "not UTF-8", id="Latin 1"),
    pytest.param([CANARY, "another"], None, "quotes", id="no quotes"),
    pytest.param([CANARY, "--file", "x"], None, "not both", id="text and file"),
    pytest.param(["--file", "/nonexistent/x"], None, "cannot read /nonexistent/x: No such file", id="no file"),
    pytest.param([CANARY, "--prompt", " "], None, "the prompt is blank", id="blank prompt"),
    pytest.param([CANARY, "--prompt", "caf\udce9"], None, "not UTF-8", id="undecodable prompt"),
    pytest.param([CANARY, "--speed", "0"], None, "--speed must be above 0", id="no speed"),
    pytest.param([CANARY, "--speed", "nan"], None, "--speed must be above 0", id="speed that is no number"),
    pytest.param([CANARY, "--hold", "some"], None, "--hold", id="unknown hold"),
    pytest.param([CANARY, "--policy", "medium"], None, "medium", id="unknown policy"),
    pytest.param([CANARY, "--html", "/nonexistent/x.html"], None, "there is no folder /nonexistent", id="no folder"),
    pytest.param([CANARY, "--option", "device"], None, "key=value", id="option without a value"),
]


@pytest.mark.parametrize(("arguments", "content", "message"), MISUSE)
def test_misuse_is_said_before_a_guard_is_asked(
    run: Run, loads: Loads, arguments: list[str], content: str | bytes | None, message: str
) -> None:
    result = run("stream", *arguments, input=content)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert CANARY not in result.stderr
    assert not loads.guard.calls


def test_a_page_that_cannot_be_written_is_an_error(run: Run, loads: Loads, tmp_path: Path) -> None:
    result = run("stream", "hello", "--html", str(tmp_path))
    assert (result.exit_code, result.stderr) == (2, f"error: cannot write {tmp_path}: Is a directory\n")


def test_a_defect_shows_neither_text_nor_traceback(run: Run, loads: Loads) -> None:
    loads.guard = FakeStreamGuard(error=ValueError(f"cannot tokenize {CANARY}"))
    result = run("stream", CANARY)
    assert (result.exit_code, result.stderr) == (2, "error: unexpected ValueError; please report it\n")


def test_no_guard_is_the_same_error_as_in_check() -> None:
    stream, check = finished(REAL, "stream", CANARY), finished(REAL, "check", CANARY)
    assert (stream.returncode, stream.stdout, stream.stderr) == (check.returncode, check.stdout, check.stderr)
    assert "QWEN3GUARD_GUARD" in stream.stderr


def test_help_has_examples_and_loads_nothing_heavy() -> None:
    code = (
        "from qwen3guard_integrations.cli.app import app; from typer.testing import CliRunner;"
        "result = CliRunner().invoke(app, ['stream', '--help']); print(result.stdout);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    *shown, modules = with_modules(code).stdout.splitlines()
    assert sum("qwen3guard stream --guard" in line for line in shown) >= 2
    assert not {"torch", "transformers", "langchain_core", "openai", "numpy"} & set(modules.split())


# --- the page of the command line ---

SESSIONS: Final = [
    session
    for session in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if "qwen3guard stream" in session and "--file" not in session
]


@pytest.mark.parametrize("session", SESSIONS, ids=["for people", "JSON"])
def test_the_page_shows_what_happens(run: Run, monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    monkeypatch.setenv("QWEN3GUARD_GUARD", "demo")
    text = None
    for command, expected in steps(session):
        *before, line = command.split(" | ")
        if line.startswith("qwen3guard"):
            text = shlex.split(before[0])[1] if before else None
            assert without_numbers(run(*shlex.split(line)[1:], input=text).stdout) == without_numbers(expected)


def without_numbers(output: str) -> str:
    """Times and scores differ from one machine to the next, and so does how much is read ahead of a judgement."""
    return re.sub(r"\d+\.\d+|tokens written: \d+|took: \d+", "x", output)
