"""`CachedGuard`: what is known is not asked again, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from qwen3guard_integrations import (
    Conversation,
    GuardConfigurationError,
    GuardResponseError,
    GuardUnavailableError,
    Policy,
    Severity,
    Turn,
    Verdict,
)
from qwen3guard_integrations.guards import CachedGuard, StreamGuard
from qwen3guard_integrations.guards.cached import digest
from qwen3guard_integrations.testing import FakeGuard, FakeStreamGuard

from ..conftest import Lane

ONE, TWO, THREE = map(Conversation.of_prompt, ("one", "two bomb", "three"))


def guard(**settings: Any) -> FakeGuard:
    return FakeGuard({"bomb": "Unsafe"}, **settings)


async def test_only_what_is_not_known_is_asked_in_order(lane: Lane) -> None:
    inner = guard()
    cached = CachedGuard(inner)
    await lane(cached, "check_many", [TWO])
    verdicts = await lane(cached, "check_many", [ONE, TWO, THREE, ONE])
    assert [str(verdict.severity) for verdict in verdicts] == ["Safe", "Unsafe", "Safe", "Safe"]
    assert inner.calls == [(TWO,), (ONE, THREE)]
    await lane(cached, "check_many", [THREE, TWO, ONE])
    assert len(inner.calls) == 2


async def test_the_same_words_in_another_context_are_asked(lane: Lane) -> None:
    inner = guard()
    cached = CachedGuard(inner)
    await lane(cached, "check_response", "a", "yes")
    await lane(cached, "check_response", "b", "yes")
    assert len(inner.calls) == 2


async def test_an_error_is_not_kept(lane: Lane) -> None:
    inner = guard(error=GuardUnavailableError("down"))
    cached = CachedGuard(inner)
    with pytest.raises(GuardUnavailableError):
        await lane(cached, "check_many", [ONE])
    inner._error = None
    assert (await lane(cached, "check", ONE)).safe


async def test_the_one_asked_for_longest_ago_goes_first(lane: Lane) -> None:
    inner = guard()
    cached = CachedGuard(inner, size=2)
    for conversation in (ONE, TWO, ONE, THREE, ONE):
        await lane(cached, "check", conversation)
    assert inner.calls == [(ONE,), (TWO,), (THREE,)]
    await lane(cached, "check", TWO)
    assert inner.calls[-1] == (TWO,)


class Babbling:
    """Gives one verdict, whatever it is asked."""

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return [Verdict(severity=Severity.SAFE)]

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        return self.check_many(conversations)


async def test_a_guard_that_babbles_is_not_believed(lane: Lane) -> None:
    with pytest.raises(GuardResponseError):
        await lane(CachedGuard(Babbling()), "check_many", [ONE, TWO])


def test_it_judges_token_by_token_if_the_guard_does() -> None:
    assert not isinstance(CachedGuard(guard()), StreamGuard)
    inner = FakeStreamGuard()
    cached = CachedGuard(inner)
    assert isinstance(cached, StreamGuard)
    cached.open_stream((), Policy()).close()
    assert inner.open_sessions == 0


def test_it_keeps_no_text() -> None:
    cached = CachedGuard(guard())
    cached.check_prompt("canary7f3a")
    assert "canary7f3a" not in repr(vars(cached))


def test_copies_share_the_guard() -> None:
    cached = CachedGuard(guard())
    assert copy.deepcopy(cached) is cached


def test_digests_differ_where_words_move_between_turns() -> None:
    turns = [
        (Turn(role="user", content="ab"), Turn(role="user", content="c")),
        (Turn(role="user", content="a"), Turn(role="user", content="bc")),
        (Turn(role="user", content="ab", reasoning="c"),),
        (Turn(role="assistant", content="ab"), Turn(role="user", content="c")),
    ]
    assert len(set(map(digest, turns))) == len(turns)


def test_a_cache_without_room_is_refused() -> None:
    with pytest.raises(GuardConfigurationError, match="size=0"):
        CachedGuard(guard(), size=0)
