"""The only two functions that know whether the caller is sync or async.

A flow is a generator that holds the logic: it yields what it asks, is sent the reply, and returns its result.
A `GuardError` from whoever answers is thrown into the flow, which decides what it means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from functools import partial
from typing import TypeVar

from .errors import GuardError

Ask = TypeVar("Ask")
Reply = TypeVar("Reply")
Result = TypeVar("Result")


def run(flow: Generator[Ask, Reply, Result], answer: Callable[[Ask], Reply]) -> Result:
    """Drive `flow` to its result; each ask is answered by `answer`."""
    with closing(flow):
        step: Callable[[], Ask] = partial(next, flow)
        while True:
            try:
                ask = step()
            except StopIteration as stop:
                result: Result = stop.value
                return result
            try:
                step = partial(flow.send, answer(ask))
            except GuardError as error:
                step = partial(flow.throw, error)


async def arun(flow: Generator[Ask, Reply, Result], answer: Callable[[Ask], Awaitable[Reply]]) -> Result:
    """Drive `flow` to its result; each ask is answered by awaiting `answer`."""
    with closing(flow):
        step: Callable[[], Ask] = partial(next, flow)
        while True:
            try:
                ask = step()
            except StopIteration as stop:
                result: Result = stop.value
                return result
            try:
                step = partial(flow.send, await answer(ask))
            except GuardError as error:
                step = partial(flow.throw, error)
