"""`qwen3guard check`, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qwen3guard_integrations import (
    Action,
    Conversation,
    GuardConfigurationError,
    GuardUnavailableError,
    Turn,
    Verdict,
    __version__,
)
from qwen3guard_integrations.testing import FakeGuard
from tests.cli.conftest import Loads, Run

CANARY = "kanarienvogel"
SAFE: dict[str, Any] = {
    "severity": "Safe",
    "categories": [],
    "refusal": None,
    "scores": {"safe": 0.9, "controversial": 0.06, "unsafe": 0.04},
    "action": "allow",
    "point": "prompt",
}
UNSAFE = {
    **SAFE,
    "severity": "Unsafe",
    "categories": ["Violent"],
    "scores": {"safe": 0.05, "controversial": 0.15, "unsafe": 0.8},
    "action": "block",
}
CONTROVERSIAL = {
    **UNSAFE,
    "severity": "Controversial",
    "categories": ["Theft"],
    "scores": {"safe": 0.2, "controversial": 0.5, "unsafe": 0.3},
}


def asked(guard: FakeGuard) -> list[Conversation]:
    """Every conversation that the guard was asked about."""
    return [conversation for call in guard.calls for conversation in call]


def json_rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def lines_of(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- one text ---

ONE_TEXT = [
    pytest.param(["hello"], Conversation.of_prompt("hello"), "prompt", id="prompt"),
    pytest.param(["p", "--response", "r"], Conversation.of_response("p", "r"), "response", id="response"),
    pytest.param(
        ["p", "--response", "r", "--reasoning", "t"],
        Conversation.of_response("p", "r", reasoning="t"),
        "response",
        id="response with reasoning",
    ),
    pytest.param(
        ["p", "--reasoning", "t"], Conversation.of_response("p", "", reasoning="t"), "reasoning", id="reasoning alone"
    ),
    pytest.param(["--", "--force"], Conversation.of_prompt("--force"), "prompt", id="after two dashes"),
    pytest.param(["ระเบิด 💣 là gì"], Conversation.of_prompt("ระเบิด 💣 là gì"), "prompt", id="Thai and emoji"),
    *(
        pytest.param(["x", "--point", point], Conversation(turns=(turn,)), point, id=f"point {point}")
        for point, turn in {
            "prompt": Turn(role="user", content="x"),
            "response": Turn(role="assistant", content="x"),
            "reasoning": Turn(role="assistant", reasoning="x"),
            "tool_call": Turn(role="assistant", content="x"),
            "tool_output": Turn(role="tool", content="x"),
            "document": Turn(role="user", content="x"),
        }.items()
    ),
]


@pytest.mark.parametrize(("arguments", "conversation", "point"), ONE_TEXT)
def test_what_is_judged_and_where(
    run: Run, loads: Loads, arguments: list[str], conversation: Conversation, point: str
) -> None:
    result = run("check", "--policy", "strict", "--json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert next(turns.model_dump() for turns in asked(loads.guard)) == conversation.model_dump()
    assert json.loads(result.stdout)["point"] == point


SOURCES = [
    pytest.param([], "a bomb", "a bomb", id="a pipe"),
    pytest.param(["-"], "a bomb", "a bomb", id="a dash"),
    pytest.param(["--file", "-"], "a bomb", "a bomb", id="a dash as the file"),
    pytest.param([], "a bomb\n", "a bomb", id="the line end of echo"),
    pytest.param([], "a bomb\r\n", "a bomb", id="the line end of Windows"),
    pytest.param([], "one\n\na bomb\n\n", "one\n\na bomb\n", id="other line ends stay"),
    pytest.param([], b"\xef\xbb\xbfa bomb", "a bomb", id="a byte order mark"),
    pytest.param([], '{"prompt": "a bomb"}', '{"prompt": "a bomb"}', id="JSON is a text unless said"),
]


@pytest.mark.parametrize(("arguments", "content", "text"), SOURCES)
def test_standard_input_is_one_text(
    run: Run, loads: Loads, arguments: list[str], content: str | bytes, text: str
) -> None:
    assert run("check", *arguments, input=content).exit_code == 1
    assert asked(loads.guard) == [Conversation.of_prompt(text)]


def test_a_file_is_one_text(run: Run, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Erste Zeile\n{}\nระเบิด 💣\n", encoding="utf-8")
    result = run("check", "--file", str(path), "--response", "no bomb")
    assert result.exit_code == 1
    assert asked(loads.guard)[0] == Conversation.of_response("Erste Zeile\n{}\nระเบิด 💣", "no bomb")


def test_text_wins_over_a_pipe(run: Run, loads: Loads) -> None:
    assert run("check", "hello", input="a bomb").exit_code == 0


PEOPLE = [
    pytest.param(
        ["hello"],
        [
            "severity    Safe",
            "scores      Safe 0.900, Controversial 0.060, Unsafe 0.040",
            "action      allow at prompt",
        ],
        id="safe",
    ),
    pytest.param(
        ["p", "--response", "no bomb, sorry"],
        [
            "severity    Unsafe",
            "categories  Violent",
            "refusal     yes",
            "scores      Safe 0.050, Controversial 0.150, Unsafe 0.800",
            "action      block at response",
        ],
        id="everything",
    ),
    pytest.param(
        ["a bomb", "--policy", "{thresholds: {unsafe: 0.85, controversial: 0.99}}"],
        [
            "severity    Safe",
            "            by the policy's thresholds; the guard said Unsafe",
            "categories  Violent",
            "scores      Safe 0.050, Controversial 0.150, Unsafe 0.800",
            "action      allow at prompt",
        ],
        id="thresholds",
    ),
    pytest.param(
        ["a bomb", "--policy", "{points: {prompt: {mode: loose, unsafe: allow}}}"],
        ["severity    not judged: the policy lets everything pass here", "action      allow at prompt"],
        id="not judged",
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), PEOPLE)
def test_output_for_people(run: Run, loads: Loads, tmp_path: Path, arguments: list[str], expected: list[str]) -> None:
    result = run("check", *(policy_file(tmp_path, part) if part[0] == "{" else part for part in arguments))
    assert result.stdout.splitlines() == expected


def policy_file(folder: Path, content: str) -> str:
    path = folder / "policy.yaml"
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_severity_is_coloured_on_a_terminal(run: Run, loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mSafe\x1b[0m" in run("check", "hello").stdout
    assert "\x1b[1;31mUnsafe\x1b[0m" in run("check", "a bomb").stdout


JSON = [("hello", SAFE), ("a bomb", UNSAFE), ("a heist", CONTROVERSIAL)]


@pytest.mark.parametrize(("text", "expected"), JSON, ids=[text for text, _ in JSON])
def test_json_of_one_text(run: Run, loads: Loads, text: str, expected: dict[str, Any]) -> None:
    assert json_rows(run("check", text, "--json").stdout) == [expected]


# --- policies and exit status ---


@pytest.mark.parametrize(("action", "status"), [(a, 0 if a in {Action.ALLOW, Action.FLAG} else 1) for a in Action])
def test_exit_status_says_whether_something_was_stopped(
    run: Run, loads: Loads, tmp_path: Path, action: Action, status: int
) -> None:
    policy = policy_file(tmp_path, f"{{unsafe: {action}, controversial: flag}}")
    result = run("check", "a bomb", "--json", "--policy", policy)
    assert (result.exit_code, json.loads(result.stdout)["action"]) == (status, str(action))
    rows = lines_of({"prompt": "hello"}, {"prompt": "a bomb"}, {"prompt": "hello"})
    assert run("check", "--jsonl", "--policy", policy, input=rows).exit_code == status


@pytest.mark.parametrize(("policy", "status"), [("strict", 1), ("loose", 0)])
def test_strict_and_loose(run: Run, loads: Loads, policy: str, status: int) -> None:
    assert run("check", "a heist", "--policy", policy).exit_code == status


def test_strict_is_the_default(run: Run, loads: Loads) -> None:
    assert run("check", "a heist").exit_code == 1


def test_hidden_letters_get_a_second_look(run: Run, loads: Loads) -> None:
    assert run("check", "a b\u200bomb").exit_code == 1
    assert asked(loads.guard) == [Conversation.of_prompt("a b\u200bomb"), Conversation.of_prompt("a bomb")]


@pytest.mark.parametrize(("rule", "status", "action"), [("block", 1, "block"), ("allow", 0, "allow")])
def test_the_policy_decides_when_the_guard_fails(
    run: Run, loads: Loads, tmp_path: Path, rule: str, status: int, action: str
) -> None:
    loads.guard = FakeGuard(error=GuardUnavailableError("down"))
    policy = policy_file(tmp_path, f"{{on_guard_error: {rule}}}")
    result = run("check", "hello", "--json", "--policy", policy)
    unjudged = {**SAFE, "severity": None, "scores": None, "action": action, "guard_failed": True}
    assert (result.exit_code, json.loads(result.stdout)) == (status, unjudged)
    assert "not judged: the guard gave no verdict" in run("check", "hello", "--policy", policy).stdout


# --- JSON lines ---

ROWS = [
    pytest.param({"prompt": "hello"}, {"line": 1, **SAFE}, id="prompt"),
    pytest.param({"text": "a bomb"}, {"line": 1, **UNSAFE}, id="text"),
    pytest.param({"prompt": "a bomb", "id": "q7"}, {"id": "q7", **UNSAFE}, id="text id"),
    pytest.param({"prompt": "a bomb", "id": 0}, {"id": 0, **UNSAFE}, id="id 0"),
    pytest.param({"prompt": "a bomb", "id": "ขอ"}, {"id": "ขอ", **UNSAFE}, id="Thai id"),
    pytest.param(
        {"prompt": "a bomb", "response": "no, sorry"},
        {"line": 1, **SAFE, "refusal": True, "point": "response"},
        id="response",
    ),
    pytest.param(
        {"prompt": "a", "response": "b", "reasoning": "a bomb"},
        {"line": 1, **UNSAFE, "refusal": False, "point": "response"},
        id="reasoning",
    ),
    pytest.param(
        {"prompt": "", "response": "a bomb"},
        {"line": 1, **UNSAFE, "refusal": False, "point": "response"},
        id="response to an empty prompt",
    ),
    pytest.param({"prompt": "hello", "response": None, "label": 3}, {"line": 1, **SAFE}, id="null and other columns"),
    pytest.param(
        {"messages": [{"role": "user", "content": "a bomb"}, {"role": "assistant", "content": "no"}]},
        {"line": 1, **SAFE, "refusal": False, "point": "response"},
        id="only the last message is judged",
    ),
    pytest.param(
        {"messages": [{"role": "tool", "content": "a bomb", "name": "web"}]},
        {"line": 1, **UNSAFE, "point": "tool_output"},
        id="tool message",
    ),
    pytest.param(
        {"messages": [{"role": "assistant", "content": None, "reasoning_content": "a bomb"}]},
        {"line": 1, **UNSAFE, "refusal": False, "point": "reasoning"},
        id="reasoning message",
    ),
    pytest.param({"text": "a bomb", "point": "document"}, {"line": 1, **UNSAFE, "point": "document"}, id="own point"),
]


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_rows(run: Run, loads: Loads, row: dict[str, Any], expected: dict[str, Any]) -> None:
    result = run("check", "--jsonl", input=lines_of(row))
    assert json_rows(result.stdout) == [expected]
    assert (result.exit_code, result.stderr) == (int(expected["action"] == "block"), "")


BAD_ROWS = [
    pytest.param(f'{{"prompt": "{CANARY}"', "Invalid JSON", id="cut off"),
    pytest.param(f"{CANARY}", "Invalid JSON", id="no JSON"),
    pytest.param(f'"{CANARY}"', "object", id="a string"),
    pytest.param(f'["{CANARY}"]', "object", id="a list"),
    pytest.param(f'{{"{CANARY}": "{CANARY}"}}', "exactly one of prompt, text and messages", id="nothing known"),
    pytest.param(f'{{"prompt": "{CANARY}", "text": "x"}}', "exactly one of prompt, text and messages", id="two"),
    pytest.param(f'{{"text": "{CANARY}", "response": "x"}}', "go with prompt", id="response to a text"),
    pytest.param(f'{{"response": "{CANARY}"}}', "exactly one", id="response to nothing"),
    pytest.param(f'{{"prompt": ["{CANARY}"]}}', "prompt: ", id="a list as the prompt"),
    pytest.param('{"prompt": 5}', "prompt: ", id="a number as the prompt"),
    pytest.param('{"prompt": " \\n"}', "blank", id="blank prompt"),
    pytest.param(f'{{"prompt": "{CANARY}", "response": ""}}', "blank", id="blank response"),
    pytest.param('{"messages": []}', "turns", id="no message"),
    pytest.param(f'{{"messages": [{{"role": "{CANARY}"}}]}}', "messages.0.role: ", id="unknown role"),
    pytest.param(f'{{"messages": [{{"content": "{CANARY}"}}]}}', "messages.0.role: ", id="no role"),
    pytest.param(
        f'{{"messages": [{{"role": "user", "content": [{{"text": "{CANARY}"}}]}}]}}', "messages.0.content", id="parts"
    ),
    pytest.param(f'{{"prompt": "x", "point": "{CANARY}"}}', "point: ", id="unknown point"),
    pytest.param(f'{{"prompt": "x", "id": ["{CANARY}"]}}', "id: must be a string or a whole number", id="list id"),
    pytest.param('{"prompt": "x", "id": true}', "id: must be a string or a whole number", id="true id"),
    pytest.param('{"prompt": "\\ud800"}', "Invalid JSON", id="half a character"),
    pytest.param(b'{"prompt": "caf\xe9"}', "not UTF-8", id="Latin 1"),
]


@pytest.mark.parametrize(("line", "error"), BAD_ROWS)
def test_an_unreadable_row_does_not_stop_the_others(run: Run, loads: Loads, line: str | bytes, error: str) -> None:
    bad = line if isinstance(line, bytes) else line.encode()
    result = run("check", "--jsonl", input=b'{"prompt": "a bomb"}\n' + bad + b'\n{"prompt": "hello"}')
    first, second, third = json_rows(result.stdout)
    assert (first, third) == ({"line": 1, **UNSAFE}, {"line": 3, **SAFE})
    assert second.keys() == {"line", "error"}
    assert second["line"] == 2
    assert error in second["error"]
    assert result.exit_code == 2
    assert CANARY not in result.output


def test_lines_are_counted_as_editors_count_them(run: Run, loads: Loads) -> None:
    content = b'\xef\xbb\xbf{"prompt": "hello"}\r\n\r\n  \n{"prompt": "one\xe2\x80\xa8line: a bomb"}\n\n'
    result = run("check", "--jsonl", input=content)
    assert json_rows(result.stdout) == [{"line": 1, **SAFE}, {"line": 4, **UNSAFE}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "ROWS.JSONL"])
def test_json_lines_files_are_known_by_name(run: Run, loads: Loads, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(lines_of({"prompt": "hello"}, {"prompt": "a bomb"}), encoding="utf-8")
    result = run("check", "--file", str(path))
    assert json_rows(result.stdout) == [{"line": 1, **SAFE}, {"line": 2, **UNSAFE}]


def test_the_point_option_is_for_rows_that_name_none(run: Run, loads: Loads) -> None:
    rows = lines_of({"text": "x"}, {"text": "x", "point": "prompt"}, {"prompt": "p", "response": "r"})
    result = run("check", "--jsonl", "--point", "tool_output", input=rows)
    assert [row["point"] for row in json_rows(result.stdout)] == ["tool_output", "prompt", "tool_output"]
    assert [conversation.judged.role for conversation in asked(loads.guard)] == ["tool", "user", "assistant"]


@pytest.mark.parametrize(
    ("options", "sizes"), [([], [32, 32, 6]), (["--batch-size", "50"], [50, 20]), (["--batch-size", "1"], [1] * 70)]
)
def test_rows_are_judged_in_batches_and_printed_in_order(
    run: Run, loads: Loads, options: list[str], sizes: list[int]
) -> None:
    rows = lines_of(*({"prompt": f"question {i}", "id": i} for i in range(70)))
    result = run("check", "--jsonl", *options, input=rows)
    assert [row["id"] for row in json_rows(result.stdout)] == list(range(70))
    assert [len(call) for call in loads.guard.calls] == sizes


def test_a_guard_error_stops_and_keeps_what_was_judged(run: Run, loads: Loads) -> None:
    answered = iter([True, True, False])

    def script(conversation: Conversation) -> Verdict:
        if not next(answered):
            raise GuardUnavailableError("no connection", hint="check base_url")
        return Verdict(severity="Safe")

    loads.guard = FakeGuard(script)
    rows = lines_of(*({"prompt": f"{CANARY} {i}"} for i in range(6)))
    result = run("check", "--jsonl", "--batch-size", "2", input=rows)
    assert [row["line"] for row in json_rows(result.stdout)] == [1, 2]
    assert result.exit_code == 2
    assert result.stderr == "error: no connection (check base_url); stopped before line 3\n"


def test_a_batch_without_readable_rows_asks_nobody(run: Run, loads: Loads) -> None:
    result = run("check", "--jsonl", input="x\ny\n")
    assert [row["line"] for row in json_rows(result.stdout)] == [1, 2]
    assert (result.exit_code, loads.guard.calls) == (2, [])


# --- what is passed on to load_guard ---

LOADED = [
    pytest.param([], {"guard": None}, id="nothing"),
    pytest.param(["--guard", "demo"], {"guard": "demo"}, id="guard"),
    pytest.param(
        ["--guard", "openai:m", "--base-url", "http://h/v1", "--api-key", "k"],
        {"guard": "openai:m", "base_url": "http://h/v1", "api_key": "k"},
        id="server",
    ),
    pytest.param(
        ["--option", "device=cpu", "--option", "threads=2", "--option", "one_pass=false", "--option", "timeout=null"],
        {"guard": None, "device": "cpu", "threads": 2, "one_pass": False, "timeout": None},
        id="JSON values",
    ),
    pytest.param(
        ["--option", 'revision="12"', "--option", 'extra={"a": 1}', "--option", "name=a=b"],
        {"guard": None, "revision": "12", "extra": {"a": 1}, "name": "a=b"},
        id="quoted, nested, with equal signs",
    ),
]


@pytest.mark.parametrize(("options", "arguments"), LOADED)
def test_options_reach_load_guard(run: Run, loads: Loads, options: list[str], arguments: dict[str, Any]) -> None:
    assert run("check", "hello", *options).exit_code == 0
    assert loads.calls == [{"base_url": None, "api_key": None, **arguments}]


LOAD_ERRORS = [
    (GuardConfigurationError("no guard named", hint="set QWEN3GUARD_GUARD"), "no guard named (set QWEN3GUARD_GUARD)"),
    (ImportError('pip install "qwen3guard-integrations[transformers]"'), 'pip install "qwen3guard-integrations'),
    (TypeError("unexpected keyword argument 'foo'"), "unexpected keyword argument 'foo' (check --guard and --option)"),
    (RuntimeError("bad device\nstack"), "cannot load the guard: bad device (check"),
    (RuntimeError(), "cannot load the guard: RuntimeError (check"),
]


@pytest.mark.parametrize(("error", "message"), LOAD_ERRORS, ids=[type(e).__name__ + str(e)[:3] for e, _ in LOAD_ERRORS])
def test_a_guard_that_cannot_be_loaded_is_one_line(run: Run, loads: Loads, error: Exception, message: str) -> None:
    loads.error = error
    result = run("check", "hello")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr


# --- errors ---

MISUSE = [
    pytest.param([], "", "blank", id="nothing at all"),
    pytest.param([""], None, "blank", id="empty text"),
    pytest.param([" \t\n"], None, "blank", id="blank text"),
    pytest.param(["hello", "--response", " "], None, "blank", id="blank response"),
    pytest.param([], b"caf\xe9", "not UTF-8", id="Latin 1"),
    pytest.param([], "hello".encode("utf-16"), "not UTF-8", id="UTF-16"),
    pytest.param(["caf\udce9"], None, "not UTF-8", id="undecodable argument"),
    pytest.param(["hello", "--response", "caf\udce9"], None, "not UTF-8", id="undecodable response"),
    pytest.param([CANARY, "another"], None, "quotes", id="no quotes"),
    pytest.param([CANARY, "--file", "x"], None, "not both", id="text and file"),
    pytest.param(["--file", "/nonexistent/x"], None, "cannot read /nonexistent/x: No such file", id="no file"),
    pytest.param(["--file", "/"], None, "cannot read /: Is a directory", id="a folder"),
    pytest.param([CANARY, "--jsonl"], None, "--jsonl goes with", id="text as JSON lines"),
    pytest.param(["--jsonl", "--response", CANARY], "{}", "one text", id="response to rows"),
    pytest.param(["--jsonl", "--reasoning", CANARY], "{}", "one text", id="reasoning to rows"),
    pytest.param([CANARY, "--policy", "medium"], None, "medium", id="unknown policy"),
    pytest.param([CANARY, "--policy", "nowhere.toml"], None, "nowhere.toml: No such file", id="no policy file"),
    pytest.param([CANARY, "--point", "nowhere"], None, "--point", id="unknown point"),
    pytest.param([CANARY, "--batch-size", "0"], None, "--batch-size", id="batches of nothing"),
    pytest.param([CANARY, "--option", "device"], None, "key=value", id="option without a value"),
    pytest.param([CANARY, "--option", "=cpu"], None, "key=value", id="option without a name"),
    pytest.param([CANARY, "--option", "api_key=x"], None, "--api-key", id="option that has its own"),
]


@pytest.mark.parametrize(("arguments", "content", "message"), MISUSE)
def test_misuse_is_said_before_a_guard_is_asked(
    run: Run, loads: Loads, arguments: Sequence[str], content: str | bytes | None, message: str
) -> None:
    result = run("check", *arguments, input=content)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert CANARY not in result.stderr
    assert not loads.guard.calls


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_no_rows_are_no_pass(run: Run, loads: Loads, content: str) -> None:
    result = run("check", "--jsonl", input=content)
    assert (result.exit_code, result.stderr) == (2, "error: the input has no rows\n")


def test_a_defect_shows_neither_text_nor_traceback(run: Run, loads: Loads) -> None:
    loads.guard = FakeGuard(error=ValueError(f"cannot tokenize {CANARY}"))
    result = run("check", CANARY)
    assert (result.exit_code, result.stderr) == (2, "error: unexpected ValueError; please report it\n")


def test_the_text_is_never_in_the_output(run: Run, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    turn = {"role": "user", "content": f"{CANARY} bomb", "reasoning": CANARY, "name": CANARY}
    path.write_text(
        lines_of(
            {"prompt": CANARY, "response": f"{CANARY} bomb", "reasoning": CANARY, CANARY: CANARY},
            {"text": f"{CANARY} heist"},
            {"messages": [turn, turn]},
        ),
        encoding="utf-8",
    )
    results = [
        run("check", "--file", str(path)),
        run("check", f"{CANARY} bomb"),
        run("check", CANARY, "--response", f"{CANARY} heist", "--reasoning", CANARY, "--json"),
    ]
    assert [result.exit_code for result in results] == [1, 1, 1]
    assert not any(CANARY in result.output for result in results)


# --- the application ---


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"qwen3guard-integrations {__version__}\n")


def test_the_help_of_the_key_names_the_safer_way(run: Run) -> None:
    words = " ".join(run("check", "--help").stdout.replace("│", " ").split())
    assert "QWEN3GUARD_API_KEY in the environment is safer" in words
