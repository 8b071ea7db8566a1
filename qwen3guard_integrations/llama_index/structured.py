"""Structured prediction: there is no refusal in the form of a structure, so that one is raised.

LlamaIndex's own goes through `chat` or `complete`, where it is judged. Some providers' LLMs (Anthropic's and Google's
among them) ask their client instead, past the eight guarded methods: those are judged here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel

from ..core.decision import Action, Decision
from ..core.errors import BlockedError
from ..core.flow import arun, run
from ..core.points import Point
from ..core.screening import Item
from ..reporting import decision_in
from .answer import Answer, Prompt, Screens
from .forms import ChatForm
from .noticing import Inner, noticing
from .reporting import tagging
from .tool_values import words_of, words_of_error
from .undecorated import named, undecorated

_CHAT: Final = ChatForm()


class StructureBlockedError(BlockedError, ValueError):
    """A structured answer was stopped. There is no refusal in its form, so that it is an error, as for LlamaIndex a
    text is that cannot be read as the structure."""


class _OfStructures(Screens):
    """How answers are judged that shall be a structure."""

    def where_tools_run(self, decision: Decision) -> Decision:
        """`decision`; where a call would be left out, the answer is blocked, since the call is the structure."""
        return decision if decision.passes or decision.stops else decision.blocking()


def of_structures(screens: Screens) -> Screens:
    """`screens` where a structure is asked for: as a tool call, which no tool will answer for."""
    return _OfStructures(screens.screener, screens.on_block, within=screens.within)


def guard_structured(made: Any, base: type[LLM], screens: Screens) -> None:
    """Replace in the guarded class `made` the methods of `base` for structured prediction.

    Those that are its own judge what goes in and out; of LlamaIndex's, which do that inside, a refusal is raised.
    """
    span = get_dispatcher(base.__module__).span
    for name, (raising, answering) in _ANSWERING.items():
        function = undecorated(getattr(base, name))
        if function.__module__.startswith("llama_index.core."):
            setattr(made, name, named(raising(getattr(base, name)), name))
        else:
            # Not found by `self`, whose class may be guarded once more.
            setattr(made, name, _judging(name, span(named(answering(function, screens), name)), screens))


# --- LlamaIndex's own: a refusal inside is raised ---


@contextmanager
def _raising(screens: Screens, inner: Inner) -> Iterator[None]:
    """Raises a refusal, which LlamaIndex takes for a text that cannot be read as the structure.

    Raises:
        BlockedError: A prompt or an answer was refused inside.
    """
    try:
        with noticing(inner):
            yield
    except Exception:
        if inner.refused is None:
            raise
    if inner.refused is not None:
        raise _blocked(screens, inner.refused)


def _raising_whole(function: Any) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _raising(self._screens, Inner(vars(self))):
            return function(self, *args, **kwargs)

    return method


def _raising_awhole(function: Any) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _raising(self._screens, Inner(vars(self))):
            return await function(self, *args, **kwargs)

    return method


def _raising_streamed(function: Any) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = Inner(vars(self))
        with _raising(self._screens, inner):
            source = iter(function(self, *args, **kwargs))

        def items() -> Generator[Any, None, None]:
            while True:
                with _raising(self._screens, inner):
                    item = next(source, None)
                if item is None:
                    return
                yield item

        return items()

    return method


def _raising_astreamed(function: Any) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = Inner(vars(self))
        with _raising(self._screens, inner):
            source = aiter(await function(self, *args, **kwargs))

        async def items() -> AsyncGenerator[Any, None]:
            while True:
                with _raising(self._screens, inner):
                    item = await anext(source, None)
                if item is None:
                    return
                yield item

        return items()

    return method


# --- an LLM's own: judged here ---


def _judging(name: str, told: Any, screens: Screens) -> Any:
    """The guarded method: judges the prompt, and lets `told` do the rest."""

    def method(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        asked = Prompt(screens, _CHAT, prompt.format_messages(llm=self, **prompt_args))
        run(asked.screened(), screens.screener.decide)
        passing = _passing(asked, prompt)
        with tagging(asked.decisions):
            return told.__get__(self)(output_cls, passing, llm_kwargs)

    async def amethod(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        asked = Prompt(screens, _CHAT, prompt.format_messages(llm=self, **prompt_args))
        await arun(asked.screened(), screens.screener.adecide)
        passing = _passing(asked, prompt)
        with tagging(asked.decisions):
            return await told.__get__(self)(output_cls, passing, llm_kwargs)

    return named(amethod if name.startswith("a") else method, name)


def _passing(asked: Prompt, prompt: BasePromptTemplate) -> BasePromptTemplate:
    """What may pass of the prompt, as it was judged: filled in again, it might say something else.

    Raises:
        BlockedError: Nothing may.
    """
    if asked.stopped is not None:
        raise _blocked(asked.screens, asked.stopped)
    match asked.given:
        case [one] if one == ChatMessage(content=one.content) and not isinstance(prompt, ChatPromptTemplate):
            return PromptTemplate(one.content or "")  # a text stays one, for models that complete texts
        case messages:
            return ChatPromptTemplate(message_templates=messages)


# --- what the LLM answers, judged: of this event handlers and spans are told ---


@dataclass(slots=True)
class _Structure:
    """A structured answer under way.

    Attributes:
        given: What the LLM was asked.
        inner: What happened inside.
        held: What nobody has judged yet.
        error: What was raised.
    """

    screens: Screens
    given: Sequence[ChatMessage]
    inner: Inner
    held: list[Any] = field(default_factory=list)
    error: Exception | None = None

    @classmethod
    def of(cls, llm: Any, screens: Screens, prompt: BasePromptTemplate) -> _Structure:
        """What `llm` is about to answer."""
        return cls(screens, prompt.format_messages(llm=llm), Inner(vars(llm)))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Inside, the LLM is asked; an error is kept until it is judged."""
        try:
            with noticing(self.inner):
                yield
        except Exception as error:  # noqa: BLE001  # it is raised again, or another in its place
            self.error = error

    def holds(self, item: Any) -> bool:
        """Whether `item` is kept until it is judged: it was not inside, or others wait already."""
        if self.inner.judged and self.inner.refused is None and not self.held:
            return False
        self.held.append(item)
        return True

    def judged(self) -> Generator[Sequence[Item], list[Decision], None]:
        """Judge what was held, and the error.

        Raises:
            BlockedError: They may not pass, or the LLM refused inside.
        """
        if self.inner.refused is not None:
            raise _blocked(self.screens, self.inner.refused)
        words = [*_lines(self.held)]
        if self.error is not None and not self.inner.judged:
            words.append(words_of_error(self.error))
        if not words:
            return
        response = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="\n".join(words)))
        screened = yield from Answer(self.screens, _CHAT, self.given).screened(response)
        if screened is not response:
            decision = decision_in(screened.additional_kwargs.get("qwen3guard"))
            raise _blocked(self.screens, decision or Decision(point=Point.RESPONSE, action=Action.BLOCK))

    def end(self) -> None:
        """Raise the error, if there is one: here, where nothing that was raised before has a context with its words."""
        if self.error is not None:
            raise self.error


def _whole(function: Any, screens: Screens) -> Any:
    def answer(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None) -> Any:
        structure, result = _Structure.of(self, screens, prompt), None
        with structure.asking():
            result = function(self, output_cls, prompt, llm_kwargs)
            structure.holds(result)
        run(structure.judged(), screens.screener.decide)
        structure.end()
        return result

    return answer


def _awhole(function: Any, screens: Screens) -> Any:
    async def answer(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None) -> Any:
        structure, result = _Structure.of(self, screens, prompt), None
        with structure.asking():
            result = await function(self, output_cls, prompt, llm_kwargs)
            structure.holds(result)
        await arun(structure.judged(), screens.screener.adecide)
        structure.end()
        return result

    return answer


def _streamed(function: Any, screens: Screens) -> Any:
    """Of a stream that nobody has judged nothing leaves before its end."""

    def answers(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None) -> Any:
        structure, source = _Structure.of(self, screens, prompt), iter(())
        with structure.asking():
            source = iter(function(self, output_cls, prompt, llm_kwargs))
        while (item := _next(source, structure)) is not None:
            if not structure.holds(item):
                yield item
        run(structure.judged(), screens.screener.decide)
        yield from structure.held
        structure.end()

    return answers


def _astreamed(function: Any, screens: Screens) -> Any:
    """As `_streamed`."""

    async def answers(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None) -> Any:
        structure, source = _Structure.of(self, screens, prompt), None
        with structure.asking():
            source = aiter(await function(self, output_cls, prompt, llm_kwargs))
        if source is None:
            await arun(structure.judged(), screens.screener.adecide)
            structure.end()

        async def items() -> AsyncGenerator[Any, None]:
            while (item := await _anext(source, structure)) is not None:
                if not structure.holds(item):
                    yield item
            await arun(structure.judged(), screens.screener.adecide)
            for item in structure.held:
                yield item
            structure.end()

        return items()

    return answers


_ANSWERING: Final = {
    "structured_predict": (_raising_whole, _whole),
    "astructured_predict": (_raising_awhole, _awhole),
    "stream_structured_predict": (_raising_streamed, _streamed),
    "astream_structured_predict": (_raising_astreamed, _astreamed),
}


def _next(source: Any, structure: _Structure) -> Any:
    """The next item; None where there is no more, or an error."""
    with structure.asking():
        return next(source, None)


async def _anext(source: Any, structure: _Structure) -> Any:
    """As `_next`."""
    with structure.asking():
        return await anext(source, None)


def _lines(results: Sequence[Any]) -> Iterator[str]:
    """The words of structured answers, of which each is a beginning of the last one, or was meant to be."""
    *before, last = [_text_of(result) for result in results] or [""]
    yield from dict.fromkeys(text for text in before if text.rstrip('"]}') not in last)
    if last:
        yield last


def _blocked(screens: Screens, decision: Decision) -> BlockedError:
    return (BlockedError if screens.on_block == "raise" else StructureBlockedError)(decision)


def _text_of(result: Any) -> str:
    return result.model_dump_json(exclude_none=True) if isinstance(result, BaseModel) else words_of(result)
