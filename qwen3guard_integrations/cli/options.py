"""The options that several commands have: who judges, and by which policy."""

from __future__ import annotations

from typing import Annotated

import typer

GuardName = Annotated[
    str | None,
    typer.Option(help='Who judges, as "provider:model" or "demo"; else QWEN3GUARD_GUARD from the environment.'),
]
BaseUrl = Annotated[
    str | None, typer.Option(help="Address of the guard's server; else QWEN3GUARD_BASE_URL.", metavar="URL")
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        help="Its key. QWEN3GUARD_API_KEY in the environment is safer: others can see a command line.",
        metavar="KEY",
    ),
]
PolicyName = Annotated[str, typer.Option(help='"strict", "loose", or a TOML, YAML or JSON file.')]
GuardOptions = Annotated[
    list[str] | None,
    typer.Option(help="Passed on to the guard, such as device=cpu; may be repeated.", metavar="KEY=VALUE"),
]
