"""`guard_model`: a guarded copy of a chat model, on every way that LangChain can run it.

Streaming is guarded at the model because nowhere else is early enough: LangGraph's `messages` mode and the event
streams take tokens from the model's callbacks, before any later step or middleware sees them (langchain#35011). The
copy is of a class made on the fly from the model's own, so `isinstance`, `bind_tools`, structured output and profiles
stay what they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from contextvars import copy_context
from functools import lru_cache
from typing import Any, ClassVar, Final, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig

from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.policy import Policy
from ..core.screening import screening
from ..guards.load import load_guard
from ..guards.protocol import Guard
from ..guards.streaming import ascreened, from_threads, screened
from .answer import Answer, JudgedResult, atold, told
from .chunks import message_chunk_of
from .endings import heard
from .screens import INTERVENTION, OnBlock, PromptScreening, Screens

M = TypeVar("M", bound=BaseChatModel)


def guard_model(
    chat_model: M,
    guard: Guard | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    on_block: OnBlock = "refuse",
    prompt: PromptScreening = "before",
    fallback_model: BaseChatModel | None = None,
    retries: int = 5,
    buffer_tokens: int = 40,
    intervention: str = INTERVENTION,
) -> M:
    """A copy of `chat_model` that gives away nothing unjudged: not in `invoke`, `stream`, events, chains or agents.

    Text, reasoning and tool calls are judged while they are written, and each chunk leaves as soon as a judgement
    covers it; tool calls leave when they are complete. On a block the model is stopped upstream. Chunks of an answer
    that passes are the model's own, untouched. The guard judges token by token if it can (`StreamGuard`), otherwise
    window by window (`WindowedStreamGuard`). The caller's callbacks and traces see the guarded answer only.

    Args:
        chat_model: Any LangChain chat model. It is not changed; the copy shares its client.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts, and what may leave when (`Policy.hold`, `Policy.debounce`).
        on_block: "refuse": the answer ends with the policy's refusal, `finish_reason="content_filter"`, and the
            decision in `response_metadata["qwen3guard"]`. "raise": a `BlockedError`. "regenerate": the model goes on
            anew from the last clean place (detect, roll back, intervene: technical report, section 4.5), and the
            refusal comes only when all retries are blocked too.
        prompt: "before": the prompt is judged, then the model is asked. "parallel": the model is asked at once, and
            nothing leaves before the prompt has passed; the model provider sees the prompt unjudged. "off".
        fallback_model: Answers in place of a blocked answer, guarded in the same way; after the retries. With
            "regenerate" and `retries=0` it goes on from the last clean place in the model's stead.
        retries: For "regenerate": how often the model is asked again (5 in the report).
        buffer_tokens: For "regenerate": how many judged tokens are kept back, to be taken back (40 in the report).
        intervention: For "regenerate": what the model is told then.

    Raises:
        GuardConfigurationError: `chat_model` is no chat model, or a setting is out of range.

    While it is used: `BlockedError` as above; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise.
    """
    if not isinstance(chat_model, BaseChatModel):
        raise GuardConfigurationError(
            f"guard_model takes a chat model, not {type(chat_model).__name__}",
            hint="guard the model before bind_tools, with_config and the like; for other runnables "
            "see Qwen3GuardRunnable.wrap",
        )
    if on_block not in ("refuse", "raise", "regenerate") or prompt not in ("before", "parallel", "off"):
        raise GuardConfigurationError(f"on_block={on_block!r}, prompt={prompt!r}: no such setting")
    if retries < 0 or buffer_tokens < 0:
        raise GuardConfigurationError("retries and buffer_tokens must not be negative")
    screens = Screens(
        guard=load_guard(guard) if isinstance(guard, str) else guard,
        policy=Policy.of(policy),
        on_block=on_block,
        prompt=prompt,
        retries=retries,
        buffer_tokens=buffer_tokens,
        intervention=intervention,
        fallback=fallback_model,
    )
    return guarded(chat_model, screens)


def guarded(chat_model: M, screens: Screens) -> M:
    """The guarded copy of a chat model."""
    base = type(chat_model)
    copy = chat_model.model_copy()
    if all(vars(kind).get("_screens") != screens for kind in base.__mro__):  # one of another guard is guarded by both
        copy.__class__ = _guarded_class(base, screens)
    return copy


@lru_cache(maxsize=256)
def _guarded_class(base: type[BaseChatModel], screens: Screens) -> Any:
    """The class of guarded copies: `base`, with the four methods that everything else goes through replaced.

    The settings belong to the class, so that no way of copying or rebuilding a model can lose them.
    """
    streams = base._stream is not BaseChatModel._stream
    streams_async = base._astream is not BaseChatModel._astream
    methods: dict[str, Any] = {
        "_generate": _GuardedMethods._generate,
        "_agenerate": _GuardedMethods._agenerate,
        "_get_llm_string": _GuardedMethods._get_llm_string,
        # Ways around `_stream` that newer versions of langchain-core take where a model has them.
        "_stream_chat_model_events": None,
        "_astream_chat_model_events": None,
    }
    if screens.holds:
        methods |= {"_stream": BaseChatModel._stream, "_astream": BaseChatModel._astream}
    elif streams:
        methods["_stream"] = _GuardedMethods._stream
    if not screens.holds and (streams or streams_async):
        methods["_astream"] = _GuardedMethods._astream
    if screens.report is not None:
        methods |= heard(base, screens.report)
    namespace = {
        **methods,
        "__module__": base.__module__,
        "__qualname__": f"Guarded{base.__name__}",
        "__doc__": base.__doc__,
        "__annotations__": {"_guarded_base": ClassVar, "_screens": ClassVar, **dict.fromkeys(_EVENTS, ClassVar)},
        "_guarded_base": base,
        "_screens": screens,
    }
    metaclass: Any = type(base)
    return metaclass(f"Guarded{base.__name__}", (base,), namespace)


_EVENTS = ("_stream_chat_model_events", "_astream_chat_model_events")


class _GuardedMethods:
    """The methods of a guarded class. `self` is a model of it; the model beneath is not given the run's callbacks,
    since a model that reports its tokens by itself would report them unjudged."""

    def _generate(
        self: Any, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        answer = Answer(self._screens, messages, blocks=self.output_version == "v1")
        judge = self._screens.guard.check_many

        def write() -> JudgedResult:
            return run(answer.judged(_result(self, answer, stop=stop, **kwargs)), judge)

        with told(answer):
            run(answer.screen_prompt(), judge)
            judged = _beside_prompt(answer, write) if answer.parallel else None
            while answer.stopped is None:
                if (released := answer.released(judged or write())) is not None:
                    return released
                judged = None
            return answer.refusal()

    async def _agenerate(
        self: Any, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        answer = Answer(self._screens, messages, blocks=self.output_version == "v1")
        judge = self._screens.guard.acheck_many

        async def write() -> JudgedResult:
            return await arun(answer.judged(await _aresult(self, answer, stop=stop, **kwargs)), judge)

        async with atold(answer):
            await arun(answer.screen_prompt(), judge)
            judged = await _abeside_prompt(answer, write()) if answer.parallel else None
            while answer.stopped is None:
                if (released := answer.released(judged or await write())) is not None:
                    return released
                judged = None
            return answer.refusal()

    def _stream(
        self: Any, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        screens: Screens = self._screens
        answer = Answer(screens, messages, blocks=self.output_version == "v1")
        with told(answer):
            run(answer.screen_prompt(), screens.guard.check_many)
            while answer.stopped is None:
                source = _chunks(self, answer, stop=stop, **kwargs)
                stream = screened(source, answer.course(), answer.session, screens.guard, screens.policy)
                with closing(stream):
                    yield from map(answer.leaves, stream)
                if not answer.again():
                    break
            yield from answer.ending()

    async def _astream(
        self: Any, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        screens: Screens = self._screens
        answer = Answer(screens, messages, blocks=self.output_version == "v1")
        async with atold(answer):
            await arun(answer.screen_prompt(), screens.guard.acheck_many)
            while answer.stopped is None:
                source = _achunks(self, answer, stop=stop, **kwargs)
                stream = ascreened(source, answer.course(), answer.session, screens.guard, screens.policy)
                async with aclosing(stream):
                    async for chunk in stream:
                        yield answer.leaves(chunk)
                if not answer.again():
                    break
            for chunk in answer.ending():
                yield chunk

    def _get_llm_string(self: Any, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The key of LangChain's cache: guarded answers and those of the model itself are not each other's."""
        key: str = self._guarded_base._get_llm_string(self, stop=stop, **kwargs)
        return f"{key}---guarded {self._screens.cache_key}"


# --- the model beneath; the fallback model once it is its turn ---

_NO_CALLBACKS: Final[RunnableConfig] = {"callbacks": []}


def _beneath(guarded: Any) -> Any:
    """The model without the guard: another view of the same state.

    Some models call one of their methods from another (`_stream` from `_generate`, or the other way round): those must
    not come back to the guarded ones, which would judge an answer twice or hold it until it is whole.
    """
    model = object.__new__(guarded._guarded_base)
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(model, name, getattr(guarded, name))
    return model


def _result(guarded: Any, answer: Answer, *, stop: list[str] | None, **kwargs: Any) -> ChatResult:
    if answer.falls_back:
        message = answer.screens.fallback.invoke(answer.messages, _NO_CALLBACKS, stop=stop)
        return ChatResult(generations=[ChatGeneration(message=message)])
    return cast("ChatResult", _beneath(guarded)._generate(answer.messages, stop=stop, **kwargs))


async def _aresult(guarded: Any, answer: Answer, *, stop: list[str] | None, **kwargs: Any) -> ChatResult:
    if answer.falls_back:
        message = await answer.screens.fallback.ainvoke(answer.messages, _NO_CALLBACKS, stop=stop)
        return ChatResult(generations=[ChatGeneration(message=message)])
    return cast("ChatResult", await _beneath(guarded)._agenerate(answer.messages, stop=stop, **kwargs))


def _chunks(guarded: Any, answer: Answer, *, stop: list[str] | None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
    if answer.falls_back:
        return map(_as_chunk, answer.screens.fallback.stream(answer.messages, _NO_CALLBACKS, stop=stop))
    return cast("Iterator[ChatGenerationChunk]", _beneath(guarded)._stream(answer.messages, stop=stop, **kwargs))


def _achunks(
    guarded: Any, answer: Answer, *, stop: list[str] | None, **kwargs: Any
) -> AsyncIterator[ChatGenerationChunk]:
    if answer.falls_back:
        return _as_chunks(answer.screens.fallback.astream(answer.messages, _NO_CALLBACKS, stop=stop))
    if guarded._guarded_base._astream is BaseChatModel._astream:  # which does not close what it reads
        return from_threads(_chunks(guarded, answer, stop=stop, **kwargs))
    return cast("AsyncIterator[ChatGenerationChunk]", _beneath(guarded)._astream(answer.messages, stop=stop, **kwargs))


def _as_chunk(message: BaseMessage) -> ChatGenerationChunk:
    if not isinstance(message, AIMessageChunk):  # a model that does not stream
        message = message_chunk_of(message)
    return ChatGenerationChunk(message=message)


async def _as_chunks(messages: AsyncIterator[BaseMessage]) -> AsyncIterator[ChatGenerationChunk]:
    async for message in messages:
        yield _as_chunk(message)


# --- a whole answer, written and judged while the prompt is judged ---


def _beside_prompt(answer: Answer, write: Callable[[], JudgedResult]) -> JudgedResult | None:
    """What the model writes, judged; None as soon as the prompt is blocked, without waiting for the model to end."""
    threads = ThreadPoolExecutor(2, thread_name_prefix="qwen3guard-prompt")
    try:
        writing = threads.submit(copy_context().run, write)
        flow = screening(answer.prompt_items, answer.screens.policy)
        answer.prompt_decided(run(flow, answer.screens.guard.check_many))
        return None if answer.stopped is not None else writing.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


async def _abeside_prompt(answer: Answer, write: Coroutine[Any, Any, JudgedResult]) -> JudgedResult | None:
    """What the model writes, judged; None as soon as the prompt is blocked, and the model is cancelled."""
    writing = asyncio.create_task(write)
    try:
        flow = screening(answer.prompt_items, answer.screens.policy)
        answer.prompt_decided(await arun(flow, answer.screens.guard.acheck_many))
        return None if answer.stopped is not None else await writing
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
