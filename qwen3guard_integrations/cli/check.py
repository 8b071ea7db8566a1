"""`qwen3guard check`: verdict and action for a text, a response, or every row of a file."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.points import Point
from .options import ApiKey, BaseUrl, GuardName, GuardOptions, PolicyName
from .terminal import one_argument, user_errors


def check(
    context: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(
            help='The prompt to judge; "-", or nothing with a pipe, reads standard input.',
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    response: Annotated[str | None, typer.Option(help="Judge this response to TEXT.")] = None,
    reasoning: Annotated[str | None, typer.Option(help="Judge this reasoning too: what was thought first.")] = None,
    file: Annotated[str | None, typer.Option(help='Read this file; "-" is standard input.', metavar="PATH")] = None,
    guard: GuardName = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    policy: PolicyName = "strict",
    point: Annotated[
        Point | None, typer.Option(help="Where the text passes; by default that of what is judged.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="The input is JSON lines, as *.jsonl and *.ndjson files are.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that are judged, and printed, together.")] = 32,
    option: GuardOptions = None,
) -> None:
    """Judge a prompt, a response, or a file.

    Rows of JSON lines have "prompt" (and "response", "reasoning"), "text", or "messages", and may have "id" and
    "point". They are judged in order; the output has a verdict and an action for each, and never the text.

    Exit status: 0 when everything passes, 1 when something is stopped, 2 on an error or an unreadable row.
    """
    with user_errors():
        one_argument(context)
        from ..core.flow import run
        from ..core.policy import Policy
        from ..core.screening import screening
        from .judging import Wanted, prepared
        from .loading import loaded_guard

        rules = Policy.of(policy)
        wanted = Wanted(text, response, reasoning, file, point, as_json=as_json, jsonl=jsonl, batch_size=batch_size)
        with prepared(wanted) as work:  # what is wrong with the input is said before a model is loaded
            judge = loaded_guard(guard, base_url=base_url, api_key=api_key, options=option or ())
            status = work(lambda items: run(screening(items, rules), judge.check_many))
    raise typer.Exit(status)
