"""Methods of LlamaIndex without the decorators that tell event handlers, callbacks and spans what they return.

Those of the object under guard would be told before anything is judged; the guarded method tells them afterwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import wrapt
from llama_index.core.llms import callbacks


def undecorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` without `dispatcher.span`, `llm_chat_callback` and `llm_completion_callback`.

    Decorators of anybody else stay.
    """
    while (inner := _inner(function)) is not None:
        function = inner
    return function


def named(function: Any, name: str) -> Any:
    """`function`, which stands in the place of the method `name`."""
    function.__name__ = function.__qualname__ = name
    return function


def _inner(function: Any) -> Callable[..., Any] | None:
    if isinstance(function, wrapt.FunctionWrapper | wrapt.BoundFunctionWrapper):  # dispatcher.span
        wrapped: Callable[..., Any] = function.__wrapped__
        return wrapped
    if getattr(function, "__globals__", None) is vars(callbacks):
        return inspect.getclosurevars(function).nonlocals.get("f")
    return None
