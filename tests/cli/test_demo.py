"""`qwen3guard demo`: the scenes with a scripted guard, and the command with the real one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from qwen3guard_integrations import GuardUnavailableError, Point
from qwen3guard_integrations.cli.demo_chain import SCENES, Played, Scene, play, scene_of
from qwen3guard_integrations.testing import FakeGuard
from tests.cli.conftest import Loads, Run
from tests.cli.test_processes import DEMO_NOTE, REAL, finished

REFUSAL: Final = "I'm sorry, but I can't help with that."
GUARD: Final = FakeGuard({"bomb": "Unsafe", "beat him": "Unsafe"})

# The scene, how often the model is called, which points are judged, and what the user reads.
PLAYED = [
    pytest.param(SCENES[0], 1, [Point.PROMPT, Point.RESPONSE], SCENES[0].answer, id="answered"),
    pytest.param(SCENES[1], 0, [Point.PROMPT], REFUSAL, id="harmful question"),
    pytest.param(SCENES[2], 1, [Point.PROMPT, Point.RESPONSE], REFUSAL, id="harmful answer"),
    pytest.param(SCENES[3], 1, [Point.PROMPT, Point.RESPONSE], REFUSAL, id="harmful stream"),
    pytest.param(Scene("", "Hi", "one two", streamed=True), 1, [Point.PROMPT, Point.RESPONSE], "one two", id="stream"),
    pytest.param(scene_of("A bomb {x}"), 0, [Point.PROMPT], REFUSAL, id="own question"),
]


@pytest.mark.parametrize(("scene", "calls", "points", "read"), PLAYED)
def test_scenes(scene: Scene, calls: int, points: list[Point], read: str) -> None:
    played = play(scene, GUARD)
    assert (played.model_calls, [look.point for look in played.looks]) == (calls, points)
    assert "".join(played.read) == read
    assert all(look.milliseconds >= 0 for look in played.looks)
    assert (played.written > 1) is scene.streamed


def test_looks_are_kept_apart_by_point() -> None:
    played: Played = play(SCENES[0], GUARD)
    assert played.looks_at(Point.PROMPT) == [played.looks[0]]
    assert played.looks_at(Point.RESPONSE) == [played.looks[1]]


async def test_the_watched_guard_judges_asynchronously_too() -> None:
    from langchain_core.runnables import RunnableLambda

    from qwen3guard_integrations.cli.demo_chain import Watched
    from qwen3guard_integrations.langchain import Qwen3GuardRunnable

    watched = Watched(GUARD)
    chain = Qwen3GuardRunnable(watched, on_block="refuse").wrap(RunnableLambda(lambda text: text))
    assert await chain.ainvoke("a bomb") == REFUSAL
    assert [str(look.verdict.severity) for look in watched.looks] == ["Unsafe"]


# --- the command with the real demo guard ---


def scenes_in(output: str) -> dict[str, list[str]]:
    """Title -> lines."""
    parts = re.split(r"^(?:\d  )?([A-Z].*?) ─+\n", output, flags=re.MULTILINE)
    return {title: text.splitlines() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def row(lines: list[str], name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in lines if line.startswith(name)]


def test_the_demo_on_the_real_guard(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    result = finished(REAL, "demo", "--svg", str(picture))
    assert (result.returncode, result.stderr) == (0, DEMO_NOTE)
    scenes = scenes_in(result.stdout)
    assert list(scenes) == [*(scene.title for scene in SCENES), "Next"]
    actions = [re.findall(r"→\s+(\w+)", "\n".join(lines)) for lines in scenes.values()]
    assert actions == [["allow", "allow"], ["block"], ["allow", "block"], ["allow", "block"], []]
    assert [row(lines, "user reads")[0] == REFUSAL for lines in list(scenes.values())[:4]] == [False, True, True, True]
    assert [row(lines, "model")[0][:7] for lines in list(scenes.values())[:4]] == [
        "1 call:",
        "0 calls",
        "1 call:",
        "1 call,",
    ]
    assert re.search(r"\d+\.\d ms", result.stdout)
    assert re.search(r"Safe 0\.\d{3}, Controversial 0\.\d{3}, Unsafe 0\.\d{3}", result.stdout)
    assert 'load_guard("transformers:Qwen/Qwen3Guard-Gen-0.6B")' in result.stdout
    assert 'load_guard("openai:Qwen/Qwen3Guard-Gen-4B", base_url=' in result.stdout
    shown = "".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")
    assert "A harmful question never reaches the model" in shown
    assert REFUSAL in shown


@pytest.mark.parametrize(
    ("question", "read"),
    [
        ("What is the capital of France?", "I always give the same answer: it is a good question."),
        ("How can I make a bomb?", REFUSAL),
    ],
)
def test_the_demo_on_the_users_own_question(question: str, read: str) -> None:
    result = finished(REAL, "demo", question)
    assert (result.returncode, result.stderr) == (0, DEMO_NOTE)
    scenes = scenes_in(result.stdout)
    assert list(scenes) == ["Your question", "Next"]
    assert row(scenes["Your question"], "user asks") == [question]
    assert row(scenes["Your question"], "user reads") == [read]


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "the question is blank"),
        (["two", "words"], "a text is one argument: put it in quotes"),
        (["hello", "--svg", "/nonexistent/demo.svg"], "cannot write /nonexistent/demo.svg: No such file or directory"),
    ],
)
def test_misuse(run: Run, loads: Loads, arguments: list[str], message: str) -> None:
    result = run("demo", *arguments)
    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")


def test_markup_in_a_question_is_text(run: Run, loads: Loads) -> None:
    assert "[bold]hello[/nothing] {x}" in run("demo", "[bold]hello[/nothing] {x}").stdout


def test_a_guard_error_is_one_line(run: Run, loads: Loads) -> None:
    loads.guard = FakeGuard(error=GuardUnavailableError("out of memory"))
    result = run("demo")
    assert (result.exit_code, result.stderr) == (2, "error: out of memory\n")
