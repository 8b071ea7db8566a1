"""What `qwen3guard demo` shows: scene by scene, what is asked, judged, answered and read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from ..core.points import Point
from ..core.policy import Policy
from ..guards.protocol import Guard
from .demo_chain import SCENES, Look, Played, Scene, play, scene_of
from .rendering import action_text, scores_text, severity_text

_NEXT_STEPS: Final = """\
# real weights, in this process
guard = load_guard("transformers:Qwen/Qwen3Guard-Gen-0.6B")
# or on a server: vLLM, SGLang, llama.cpp, Ollama, ...
guard = load_guard("openai:Qwen/Qwen3Guard-Gen-4B", base_url="http://localhost:8000/v1")
# around your chain
chain = Qwen3GuardRunnable(guard, on_block="refuse").wrap(chain)"""


def transcript(guard: Guard, question: str | None = None) -> Iterator[RenderableType]:
    """The scenes, each as soon as it has happened, or one scene with the user's `question`; then the next steps."""
    scenes = SCENES if question is None else (scene_of(question),)
    play(SCENES[0], guard)  # the first passes prepare the model: later ones show what a call costs
    for number, scene in enumerate(scenes, start=1):
        yield _scene(number, scene, play(scene, guard))
    yield Rule("Next", style="dim", align="left")
    yield Syntax(_NEXT_STEPS, "python", theme="ansi_dark", background_color="default", word_wrap=True)


def _scene(number: int, scene: Scene, played: Played) -> RenderableType:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    table.add_row("user asks", Text(scene.question))
    for look in played.looks_at(Point.PROMPT):
        table.add_row("guard", _look(look))
    table.add_row("model", _model(scene, played))
    for look in played.looks_at(Point.RESPONSE):
        table.add_row("guard", _look(look))
    table.add_row("user reads", Text("".join(played.read), style="bold"))
    return Group(Rule(f"{number}  {scene.title}", style="dim", align="left"), table, Text())


def _look(look: Look) -> Text:
    """The verdict, what the strict policy makes of it, the time, and the scores: 80 columns are enough."""
    decision = Policy.strict().decide(look.point, look.verdict)
    categories = f" ({decision.category_names})" if decision.category_names else ""
    scores = Text.assemble("\n", scores_text(look.verdict.scores)) if look.verdict.scores else ""
    return Text.assemble(
        severity_text(look.verdict.severity),
        categories,
        (" → ", "dim"),
        action_text(decision.action),
        (f"   {look.milliseconds:.1f} ms", "dim"),
        scores,
    )


def _model(scene: Scene, played: Played) -> Text:
    """How often the model was called, and what it wrote: struck through when the user does not get it."""
    if not played.model_calls:
        return Text("0 calls: it never saw the question")
    calls = "1 call" if played.model_calls == 1 else f"{played.model_calls} calls"
    pieces = f", {played.written} pieces" if scene.streamed else ""
    released = "".join(played.read) == scene.answer
    return Text.assemble(f"{calls}{pieces}: ", (scene.answer, "" if released else "strike dim"))
