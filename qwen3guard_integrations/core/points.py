"""The screening points: where text passes and is judged."""

from __future__ import annotations

from enum import StrEnum


class Point(StrEnum):
    """Where a text was about to pass."""

    PROMPT = "prompt"
    """What the user asks, and every earlier turn that was not screened."""
    RESPONSE = "response"
    """What the model answers."""
    REASONING = "reasoning"
    """The model's thinking."""
    TOOL_CALL = "tool_call"
    """The arguments of a tool call, before the tool runs."""
    TOOL_OUTPUT = "tool_output"
    """What a tool returned, before the model reads it."""
    DOCUMENT = "document"
    """A retrieved document, before the model reads it."""
