"""`python -m qwen3guard_integrations.cli`, the same as `qwen3guard`."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
