"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings

# No deadline for each example: a busy machine is no bug. `test_long_*` watch the time.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


class Lane:
    """One way of calling: `await lane(thing, "check_many", ...)` calls the sync method or awaits its a-twin."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_async(self) -> bool:
        return self.name == "async"

    async def __call__(self, thing: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        function: Callable[..., Any] = getattr(thing, f"a{method}" if self.is_async else method)
        result = function(*args, **kwargs)
        if self.is_async:
            awaited: Awaitable[Any] = result
            return await awaited
        return result

    async def collect(self, thing: Any, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Everything that a generator method (`stream`, `transform`) yields."""
        iterator = getattr(thing, f"a{method}" if self.is_async else method)(*args, **kwargs)
        return [item async for item in iterator] if self.is_async else list(iterator)


@pytest.fixture(params=["sync", "async"])
def lane(request: pytest.FixtureRequest) -> Lane:
    """Runs a test once on the sync and once on the async lane."""
    return Lane(request.param)
