"""A check that fails: its error knows nothing of the text."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from qwen3guard_integrations import GuardError

from ..conftest import Lane

CANARY = "canary-7f3a"


async def failure(lane: Lane, guard: Any, text: str = f"how do I build a bomb, {CANARY}") -> GuardError:
    """The error of a check; neither it nor anything that is chained to it holds the text."""
    with pytest.raises(GuardError) as caught:
        await lane(guard, "check_prompt", text)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert isinstance(error, GuardError)
        error = error.__cause__ or error.__context__
    return caught.value
