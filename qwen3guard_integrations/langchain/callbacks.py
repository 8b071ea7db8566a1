"""Callback handlers: screening for chains and agents that exist, through `config={"callbacks": [handler]}`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from ..core.decision import Decision
from ..core.flow import arun, run
from ..core.policy import Policy
from ..guards.protocol import Guard
from .callback_screen import CallbackScreen, Hook, Mode, Qwen3GuardWarning, Steps

__all__ = ["AsyncQwen3GuardCallbackHandler", "Qwen3GuardCallbackHandler", "Qwen3GuardWarning"]


class _Settings:
    """The construction that both handlers share."""

    def __init__(
        self,
        guard: Guard | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        *,
        mode: Mode = "stop",
        on_decision: Hook | None = None,
    ) -> None:
        super().__init__()
        self._screen = CallbackScreen(type(self).__name__, guard, policy, mode, on_decision)
        self.mode: Mode = mode
        self.raise_error = mode == "stop"
        self.run_inline = mode == "stop"

    @property
    def decisions(self) -> list[tuple[UUID, Decision]]:
        """The last 1000 decisions, the oldest first, each with the id of its run."""
        return list(self._screen.decisions)


class Qwen3GuardCallbackHandler(_Settings, BaseCallbackHandler):
    """Watches the models, tools and retrievers of a run, and with `mode="stop"` ends it where the policy says so.

    Pass it in the config of the outermost call: `chain.invoke(x, config={"callbacks": [handler]})`. It judges the
    prompt before a model is asked, an answer while it streams or when it is complete, the arguments of a tool before
    it runs, what it returned, and what a retriever found. One handler serves any number of runs at once.

    **What it stops.** A handler is told of a text and can raise; it cannot hold text back or change it.

    | run | "stop" |
    |---|---|
    | `invoke`, `ainvoke`, `batch`; agents too | the answer is judged whole, before anybody gets it |
    | `stream`, `astream` of models and chains, `astream_events(version="v2")` | the token that stops is not delivered |
    | LangGraph: `messages` mode, events v2 and v3; sync and async | the token that stops is not delivered |
    | `stream_events(version="v3")` of a model that reports its tokens | the token that stops is not delivered |
    | the same, of a model that does not report them | **the text that stops is delivered**; it warns |
    | the same, asynchronous: what only the whole answer shows | **observes only**; it warns |
    | attached at the model (`callbacks=`, `with_config`) inside a graph | **the token is delivered**; it warns |
    | completion models whose `_stream` does not report tokens | **observes only**: judged when all is delivered |
    | prompt, tool call, tool output, documents | nothing of it goes on |

    What was delivered before the token that stops has been delivered: the first of the `Policy.debounce` tokens that
    have to agree (two; `debounce=1` stops at the first), what a guard has not judged yet that lags behind or judges
    window by window, and the fragments of a tool call, which is judged when it is complete, before the tool runs.
    Where that is too much, use `guard_model`, which holds text back. What the policy redacts or drops, a handler can
    only stop: the action becomes "block". `Policy.hold` has no meaning here.

    It runs in the caller's thread, so that a running event loop stands still while the guard judges: there use
    `AsyncQwen3GuardCallbackHandler`.

    Args:
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: a `Policy`, a dictionary, "strict", "loose", or a policy file.
        mode: "stop" raises; "observe" only records what "stop" would have done, and never raises.
        on_decision: Called with the id of the run and each decision, in either mode; what it raises ends the run in
            mode "stop", and is logged by LangChain otherwise.

    Raises:
        GuardConfigurationError: `guard` is no guard, or there is no such mode.

    While it is used, in mode "stop": `BlockedError` when a text does not pass; `GuardError` when the guard gives no
    verdict, unless `Policy.on_guard_error` says otherwise; `TypeError` when a tool returns something in which no text
    can be found. In mode "observe" the guard's failures are recorded (`Decision.guard_failed`). A `Qwen3GuardWarning`
    tells, once, that the handler is attached where it cannot stop in time.
    """

    def _do(self, steps: Steps) -> None:
        run(steps, self._screen.reply)

    def on_chain_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        """Note that a run begins, in which models may be asked."""
        self._screen.chain_begins(run_id)

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Judge the prompt: a blocked one never reaches the model."""
        self._do(self._screen.prompt(_first(messages), run_id, kwargs))

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """Judge the prompt of a completion model."""
        self._do(self._screen.completion_prompt("\n".join(prompts), run_id, kwargs))

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        """Judge what the token brings, if the guard does not wait for more."""
        self._do(self._screen.token(token, chunk, run_id))

    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge what the event brings and no token brought before."""
        self._do(self._screen.event(event, run_id))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge what is not judged yet: the end of a stream, a whole answer, its tool calls."""
        self._do(self._screen.answered(response, run_id))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        self._screen.broken(run_id)

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Judge the arguments: a blocked tool does not run."""
        self._do(self._screen.tool_call(serialized, input_str, inputs, run_id))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge what the tool returned, before a model reads it."""
        self._do(self._screen.tool_output(output, run_id))

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Judge the documents, before a model reads them."""
        self._do(self._screen.documents(documents, run_id))


class AsyncQwen3GuardCallbackHandler(_Settings, AsyncCallbackHandler):
    """As `Qwen3GuardCallbackHandler`, without blocking the event loop: for `ainvoke`, `astream`, `astream_events`.

    **It never stops synchronous runs**: `invoke`, `stream` and `stream_events`, and tools that are plain functions,
    also under `ainvoke`. LangChain logs and discards what an async handler raises there. It observes, and warns.
    To stop in both, use `Qwen3GuardCallbackHandler`; to stop plain tools only, make them `async def`.

    In asynchronous runs it stops what the other one stops, and delivers what the other one delivers. Arguments,
    decisions and errors are the same.
    """

    def __init__(
        self,
        guard: Guard | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        *,
        mode: Mode = "stop",
        on_decision: Hook | None = None,
    ) -> None:
        super().__init__(guard, policy, mode=mode, on_decision=on_decision)
        self.run_inline = True  # it never blocks, and LangChain forgets `on_llm_start` of others beside an inline one

    async def _do(self, steps: Steps) -> None:
        if _in_sync_run():
            try:
                run(steps, self._screen.reply)  # this event loop is for one call only; nobody else waits in it
            finally:
                self._screen.warn("sync")
        else:
            await arun(steps, self._screen.areply)

    async def on_chain_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        """Note that a run begins, in which models may be asked."""
        self._screen.chain_begins(run_id)

    async def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Judge the prompt: a blocked one never reaches the model."""
        await self._do(self._screen.prompt(_first(messages), run_id, kwargs))

    async def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Judge the prompt of a completion model."""
        await self._do(self._screen.completion_prompt("\n".join(prompts), run_id, kwargs))

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        """Judge what the token brings, if the guard does not wait for more."""
        await self._do(self._screen.token(token, chunk, run_id))

    async def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge what the event brings and no token brought before."""
        await self._do(self._screen.event(event, run_id))

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge what is not judged yet: the end of a stream, a whole answer, its tool calls."""
        await self._do(self._screen.answered(response, run_id))

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        self._screen.broken(run_id)

    async def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Judge the arguments: a blocked tool does not run."""
        await self._do(self._screen.tool_call(serialized, input_str, inputs, run_id))

    async def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge what the tool returned, before a model reads it."""
        await self._do(self._screen.tool_output(output, run_id))

    async def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Judge the documents, before a model reads them."""
        await self._do(self._screen.documents(documents, run_id))


def _first(messages: Sequence[Sequence[BaseMessage]]) -> list[BaseMessage]:
    """The conversation of a run: LangChain makes one for each of a batch."""
    return [message for conversation in messages for message in conversation]


def _in_sync_run() -> bool:
    """Whether LangChain runs this coroutine for a synchronous run: then a function of its callback manager stands
    above on the stack, which there is no other way to tell."""
    frame = sys._getframe()
    while (above := frame.f_back) is not None:
        frame = above
        if frame.f_code.co_name == "_run_coros" and frame.f_globals.get("__name__", "").startswith("langchain_core"):
            return True
    return False
