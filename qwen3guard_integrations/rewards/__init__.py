"""The rewards that Qwen3-4B-SafeRL was trained with, as reward functions for TRL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .hybrid import HybridReward
    from .world_pm import WorldPM

__all__ = ["HybridReward", "WorldPM"]

__getattr__, __dir__ = lazy(__name__, {"HybridReward": "hybrid", "WorldPM": "world_pm"})
