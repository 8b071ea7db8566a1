"""The command line, `qwen3guard`: each command has a module of its name."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that `sys.argv` names, and exit with its status."""
    try:
        from .app import app

        app(prog_name="qwen3guard")
    except KeyboardInterrupt:  # while modules are still being imported; later the commands see to it
        sys.exit(130)
