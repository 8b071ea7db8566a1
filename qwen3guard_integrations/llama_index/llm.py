"""`guard_llm`: a guarded copy of any LLM, in every way of calling it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import LLM
from llama_index_instrumentation import get_dispatcher

from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.policy import Policy
from ..guards.protocol import Guard
from ..guards.streaming import ascreened, screened
from .answer import Answer, OnBlock, Prompt, Screens
from .forms import ChatForm, CompletionForm, Form
from .noticing import note_answer
from .reporting import tagging
from .screener import Screener
from .structured import guard_structured, of_structures
from .undecorated import named, undecorated

M = TypeVar("M", bound=LLM)
_CHAT: Final = ChatForm()
_COMPLETION: Final = CompletionForm()
_METHODS: Final = tuple(
    f"{a}{stream}{kind}" for kind in ("chat", "complete") for stream in ("", "stream_") for a in ("", "a")
)
# What only Mistral's and only Google's LLM can do, past every method that LLMs have in common.
_PAST_THE_GUARD: Final = ("fill_in_middle", "structured_predict_without_function_calling")


def guard_llm(
    llm: M,
    guard: Guard | Screener | str,
    policy: Policy | Mapping[str, Any] | str | None = None,
    *,
    on_block: OnBlock = "refuse",
    prompt: Literal["before", "off"] = "before",
) -> M:
    """A copy of `llm` whose prompts and answers are judged: same class, same settings, same methods.

    All eight methods (chat and completion, whole and streamed, sync and async) and everything that is built on them
    (`predict`, structured prediction, function calling, query and chat engines, agents) get only what may pass. Streams
    leave token by token, each as soon as a judgement covers it; delta and cumulative text say the same. Thinking blocks
    are judged as reasoning: `{"points": {"reasoning": "drop"}}` leaves unsafe thinking out and keeps a safe answer.
    Event handlers, callbacks and spans hear of the answer what the caller gets, and of a blocked prompt nothing.
    It can be pickled where `llm` can, for a pipeline in several processes; with it go the name and the options of a
    guard that `load_guard` made, and no key of it.

    Args:
        llm: Any LLM of LlamaIndex.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes. A tool call that is redacted or dropped is
            left out of the answer; one that is blocked stops it.
        on_block: "refuse": the answer ends with the policy's refusal, and the response has the decision in
            `additional_kwargs["qwen3guard"]`. "raise": a `BlockedError`.
        prompt: "before": the prompt is judged, then the LLM is asked. "off": somebody else judges what goes in.

    Raises:
        GuardConfigurationError: `llm` is no LLM, or a setting is unknown.

    While it is used: `BlockedError` as above; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise; `GuardConfigurationError` from a method that only one provider's LLM has and
    that asks it past all others (`fill_in_middle` of Mistral's, `structured_predict_without_function_calling` of
    Google's), and from pickle, where the guard cannot be written down.
    """
    if not isinstance(llm, LLM):
        raise GuardConfigurationError(f"guard_llm takes an LLM of LlamaIndex, not {type(llm).__name__}")
    if on_block not in ("refuse", "raise"):
        raise GuardConfigurationError(f"on_block={on_block!r}: it is 'refuse' or 'raise'")
    if prompt not in ("before", "off"):
        raise GuardConfigurationError(f"prompt={prompt!r}: it is 'before' or 'off'")
    return guarded_llm(llm, Screens(Screener.of(guard, policy), on_block, prompt == "before"))


def guarded_llm(llm: M, screens: Screens) -> M:
    """The guarded copy of an LLM; one whose answers are judged like that already is returned as it is."""
    base = type(llm)
    for kind in base.__mro__:
        own = vars(kind).get("_screens")
        if screens.answers_like(own) and (own.prompt or not screens.prompt):
            return llm
    copy = llm.model_copy()
    copy.__class__ = _guarded_class(base, screens)
    return copy


@lru_cache(maxsize=256)
def _guarded_class(base: type[LLM], screens: Screens) -> Any:
    """`base` with the eight methods replaced. The screens belong to the class, so that no copy of an LLM loses them."""
    metaclass: Any = type(base)
    namespace = {"__module__": base.__module__, "__doc__": base.__doc__}
    made = metaclass(f"Guarded{base.__name__}", (base,), namespace)
    # After the class is made: LlamaIndex would put a span around each method, which tells what goes in unjudged.
    made._screens, made._beneath = screens, _bare_class(base)
    made.__reduce_ex__ = _reducing(base, screens)
    span = get_dispatcher(base.__module__).span
    for name in _METHODS:
        told = llm_chat_callback() if name.endswith("chat") else llm_completion_callback()
        setattr(made, name, _guarded(name))
        setattr(made, f"_told_{name}", span(told(_answering(name))))
    guard_structured(made, base, screens)
    for name in _PAST_THE_GUARD:
        if hasattr(base, name):
            setattr(made, name, _closed(f"{base.__name__}.{name}"))
    return made


def _closed(name: str) -> Any:
    """A method that cannot be guarded."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise GuardConfigurationError(
            f"{name} asks its provider past the guard",
            hint="use a method that LLMs have in common, or the LLM that was given to guard_llm",
        )

    return method


@lru_cache(maxsize=256)
def _bare_class(base: type[LLM]) -> Any:
    """`base` with methods that tell nobody what they return."""
    metaclass: Any = type(base)
    made = metaclass(base.__name__, (base,), {"__module__": base.__module__})
    for name in _METHODS:
        setattr(made, name, undecorated(getattr(base, name)))
    return made


def _beneath(guarded: Any) -> Any:
    """The LLM without the guard.

    Some LLMs call one of their methods from another (`chat` from `complete`): those must not come back to the guarded
    ones, which would judge an answer twice or hold it until it is whole.
    """
    return _view(guarded, guarded._beneath)


def _view(llm: Any, kind: type[LLM]) -> Any:
    """Another view of the same state."""
    view = object.__new__(kind)
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(view, name, getattr(llm, name))
    return view


def _reducing(base: type[LLM], screens: Screens) -> Any:
    """How a guarded LLM is pickled, whose class is made here and has no name elsewhere: the LLM, and how it is guarded.

    Copies have ways of their own, which are pydantic's.
    """

    def __reduce_ex__(self: Any, protocol: Any) -> tuple[Any, ...]:  # noqa: N807
        return guarded_llm, (_view(self, base), screens)

    return __reduce_ex__


# --- the eight methods: two kinds, whole or streamed, sync or async ---


def _form(name: str) -> Form:
    return _CHAT if name.endswith("chat") else _COMPLETION


def _guarded(name: str) -> Any:
    """The method of a guarded LLM: judges the prompt, and lets `_told_<name>` do the rest."""
    form, told = _form(name), f"_told_{name}"
    names = ("messages",) if form is _CHAT else ("prompt", "formatted")

    def begun(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Prompt, dict[str, Any]]:
        kwargs |= zip(names, args, strict=False)
        return Prompt(self._screens, form, kwargs.pop(names[0])), kwargs

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        prompt, kwargs = begun(self, args, kwargs)
        run(prompt.screened(), self._screens.screener.decide)
        if prompt.stopped is None:
            with tagging(prompt.decisions):
                return getattr(self, told)(prompt.given, **kwargs)
        refusal = prompt.refusal(streamed="stream" in name)
        return _iter_of(refusal) if "stream" in name else refusal

    async def amethod(self: Any, *args: Any, **kwargs: Any) -> Any:
        prompt, kwargs = begun(self, args, kwargs)
        await arun(prompt.screened(), self._screens.screener.adecide)
        if prompt.stopped is None:
            with tagging(prompt.decisions):
                return await getattr(self, told)(prompt.given, **kwargs)
        refusal = prompt.refusal(streamed="stream" in name)
        return _aiter_of(refusal) if "stream" in name else refusal

    return named(amethod if name.startswith("a") else method, name)


def _answering(name: str) -> Any:
    """What the LLM answers to a judged prompt, judged: of this event handlers, callbacks and spans are told."""
    form = _form(name)

    def begun(self: Any, given: Any) -> Answer:
        structured = note_answer(vars(self))
        return Answer(of_structures(self._screens) if structured else self._screens, form, given)

    def whole(self: Any, given: Any, **kwargs: Any) -> Any:
        answer = begun(self, given)
        return run(answer.screened(getattr(_beneath(self), name)(given, **kwargs)), self._screens.screener.decide)

    async def awhole(self: Any, given: Any, **kwargs: Any) -> Any:
        answer = begun(self, given)
        response = await getattr(_beneath(self), name)(given, **kwargs)
        return await arun(answer.screened(response), self._screens.screener.adecide)

    def streamed(self: Any, given: Any, **kwargs: Any) -> Any:
        answer = begun(self, given)
        return stream_screened(answer, getattr(_beneath(self), name)(given, **kwargs))

    async def astreamed(self: Any, given: Any, **kwargs: Any) -> Any:
        answer = begun(self, given)
        return astream_screened(answer, await getattr(_beneath(self), name)(given, **kwargs))

    if "stream" in name:
        return named(astreamed if name.startswith("a") else streamed, name)
    return named(awhole if name.startswith("a") else whole, name)


def stream_screened(answer: Answer, source: Any) -> Generator[Any, None, None]:
    screener = answer.screens.screener
    try:
        stream = screened(iter(source), answer.course(), answer.session, screener.guard, screener.policy)
        with closing(stream):
            yield from map(answer.leaves, stream)
        yield from answer.ending()
    finally:
        answer.close()
        screener.report.tell(answer.decisions)


async def astream_screened(answer: Answer, source: Any) -> AsyncGenerator[Any, None]:
    screener = answer.screens.screener
    try:
        stream = ascreened(aiter(source), answer.course(), answer.session, screener.guard, screener.policy)
        async with aclosing(stream):
            async for response in stream:
                yield answer.leaves(response)
        for response in answer.ending():
            yield response
    finally:
        answer.close()
        await screener.report.atell(answer.decisions)


def _iter_of(item: Any) -> Generator[Any, None, None]:
    yield item


async def _aiter_of(item: Any) -> AsyncGenerator[Any, None]:
    yield item
