"""`qwen3guard stream`: a text streamed through a guard, coloured as it is judged."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import ApiKey, BaseUrl, GuardName, GuardOptions, PolicyName
from .source import decoded, encoded, opened
from .terminal import PASSES, STOPPED, CommandError, one_argument, user_errors, write_file


class Hold(StrEnum):
    """What of a stream may leave; see `Policy.hold`."""

    JUDGED = "judged"
    WINDOW = "window"
    NONE = "none"


def stream(
    context: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(
            help='The answer to stream; "-", or nothing with a pipe, reads standard input.',
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    file: Annotated[str | None, typer.Option(help='Read this file; "-" is standard input.', metavar="PATH")] = None,
    prompt: Annotated[str | None, typer.Option(help="The question that TEXT answers: context, not judged.")] = None,
    guard: GuardName = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    policy: PolicyName = "strict",
    hold: Annotated[
        Hold | None,
        typer.Option(
            help="Release what is judged, what has waited long enough, or everything; else as the policy says."
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="Tokens that are written in a second; else as fast as they are judged.", metavar="NUMBER"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the same picture as a page.", metavar="PAGE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each judgement and the outcome.")] = (
        False
    ),
    option: GuardOptions = None,
) -> None:
    """Stream a text through a guard, as a model would write it, and see each token judged.

    Green is Safe, yellow and underlined Controversial, red and bold Unsafe; what is still held back is dim. When the
    stream is stopped, you see where, why, and what was never released. Text in `<think>` tags is judged as reasoning.
    A guard that does not judge token by token judges window by window.

    Exit status: 0 when everything passes, 1 when the stream is stopped, 2 on an error.

    Examples:

    `qwen3guard stream --guard demo-stream "First, whisk two eggs." --prompt "How do I make an omelette?"`

    `qwen3guard stream --guard demo-stream --file answer.txt --speed 20 --html picture.html`

    `cat answer.txt | qwen3guard stream --guard demo-stream --json`
    """
    with user_errors():
        one_argument(context)
        from ..core.policy import Policy
        from .loading import loaded_guard
        from .stream_run import screened_text
        from .stream_terminal import shown

        rules = Policy.of(policy)
        if hold is not None:
            rules = rules.model_copy(update={"hold": hold.value})
        answer = _text(text, file)
        _check(prompt, speed, html)
        judge = loaded_guard(guard, base_url=base_url, api_key=api_key, options=option or ())
        with shown(as_json=as_json) as screen:
            picture, outcome = screened_text(answer, prompt, judge, rules, speed, screen)
            screen.end(picture, outcome)
        if html is not None:
            from .stream_page import page

            write_file(html, page(picture, outcome, prompt))
    raise typer.Exit(STOPPED if outcome.stopped else PASSES)


def _text(text: str | None, file: str | None) -> str:
    """What is streamed."""
    with opened(text, file) as source:
        answer = decoded(source.read())
    if not answer.strip():
        raise CommandError("nothing to stream: the text is blank")
    return answer


def _check(prompt: str | None, speed: float | None, html: Path | None) -> None:
    """Say what is wrong with the other options, before a model is loaded."""
    if prompt is not None:
        encoded(prompt)
        if not prompt.strip():
            raise CommandError("the prompt is blank")
    if speed is not None and not speed > 0:
        raise CommandError("--speed must be above 0")
    if html is not None and not html.parent.is_dir():
        raise CommandError(f"cannot write {html}: there is no folder {html.parent}")
