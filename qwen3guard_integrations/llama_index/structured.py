"""Structured prediction of LLMs that ask their provider by themselves.

LlamaIndex's own goes through `chat` or `complete`, where it is judged. Some providers' LLMs (Anthropic's and Google's
among them) ask their client instead, past the eight guarded methods.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate
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
from .tool_values import words_of
from .undecorated import undecorated

_CHAT: Final = ChatForm()


class StructureBlockedError(BlockedError, ValueError):
    """A structured answer was stopped. There is no refusal in its form, so that it is an error, as for LlamaIndex a
    text is that cannot be read as the structure."""


def guard_structured(made: Any, base: type[LLM]) -> None:
    """Replace in the guarded class `made` the methods of `base` for structured prediction.

    Those that are its own judge what goes in and out; of LlamaIndex's, which do that inside, a refusal is raised.
    """
    span = get_dispatcher(base.__module__).span
    for name, (raising, answering) in _ANSWERING.items():
        function = undecorated(getattr(base, name))
        if function.__module__.startswith("llama_index.core."):
            setattr(made, name, _named(raising(getattr(base, name)), name))
        else:
            setattr(made, name, _judging(name))
            setattr(made, f"_told_{name}", span(_named(answering(function), name)))


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
        with _raising(self._screens, Inner()):
            return function(self, *args, **kwargs)

    return method


def _raising_awhole(function: Any) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _raising(self._screens, Inner()):
            return await function(self, *args, **kwargs)

    return method


def _raising_streamed(function: Any) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = Inner()
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
        inner = Inner()
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


def _judging(name: str) -> Any:
    """The guarded method: judges the prompt, and lets `_told_<name>` do the rest."""

    def method(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        asked = Prompt(self._screens, _CHAT, prompt.format_messages(llm=self, **prompt_args))
        run(asked.screened(), self._screens.screener.decide)
        prompt, prompt_args = _passing(asked, prompt, prompt_args)
        with tagging(asked.decisions):
            return getattr(self, f"_told_{name}")(output_cls, prompt, llm_kwargs, **prompt_args)

    async def amethod(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        asked = Prompt(self._screens, _CHAT, prompt.format_messages(llm=self, **prompt_args))
        await arun(asked.screened(), self._screens.screener.adecide)
        prompt, prompt_args = _passing(asked, prompt, prompt_args)
        with tagging(asked.decisions):
            return await getattr(self, f"_told_{name}")(output_cls, prompt, llm_kwargs, **prompt_args)

    return _named(amethod if name.startswith("a") else method, name)


def _passing(asked: Prompt, prompt: BasePromptTemplate, args: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The prompt without what may not pass.

    Raises:
        BlockedError: Nothing may.
    """
    if asked.stopped is not None:
        raise _blocked(asked.screens, asked.stopped)
    if asked.after is None:
        return prompt, dict(args)
    return ChatPromptTemplate(message_templates=list(asked.given)), {}


# --- what the LLM answers, judged: of this event handlers and spans are told ---


def _whole(function: Any) -> Any:
    def answer(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        given, inner = prompt.format_messages(llm=self, **prompt_args), Inner()
        with noticing(inner):
            result = function(self, output_cls, prompt, llm_kwargs, **prompt_args)
        if not inner.judged:
            run(_judged(self._screens, given, [result]), self._screens.screener.decide)
        return result

    return answer


def _awhole(function: Any) -> Any:
    async def answer(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        given, inner = prompt.format_messages(llm=self, **prompt_args), Inner()
        with noticing(inner):
            result = await function(self, output_cls, prompt, llm_kwargs, **prompt_args)
        if not inner.judged:
            await arun(_judged(self._screens, given, [result]), self._screens.screener.adecide)
        return result

    return answer


def _streamed(function: Any) -> Any:
    """Of a stream that nobody has judged nothing leaves before its end."""

    def answers(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        given, inner, held = prompt.format_messages(llm=self, **prompt_args), Inner(), []
        with noticing(inner):
            source = iter(function(self, output_cls, prompt, llm_kwargs, **prompt_args))
        while (item := _next(source, inner)) is not None:
            if inner.judged:
                yield item
            else:
                held.append(item)
        if held:
            run(_judged(self._screens, given, held), self._screens.screener.decide)
            yield from held

    return answers


def _astreamed(function: Any) -> Any:
    """As `_streamed`."""

    async def answers(self: Any, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        given, inner = prompt.format_messages(llm=self, **prompt_args), Inner()
        with noticing(inner):
            source = aiter(await function(self, output_cls, prompt, llm_kwargs, **prompt_args))

        async def items() -> AsyncGenerator[Any, None]:
            held = []
            while (item := await _anext(source, inner)) is not None:
                if inner.judged:
                    yield item
                else:
                    held.append(item)
            if held:
                await arun(_judged(self._screens, given, held), self._screens.screener.adecide)
            for item in held:
                yield item

        return items()

    return answers


_ANSWERING: Final = {
    "structured_predict": (_raising_whole, _whole),
    "astructured_predict": (_raising_awhole, _awhole),
    "stream_structured_predict": (_raising_streamed, _streamed),
    "astream_structured_predict": (_raising_astreamed, _astreamed),
}
STRUCTURED: Final = tuple(_ANSWERING)
"""The methods for structured prediction."""


def _next(source: Any, inner: Inner) -> Any:
    with noticing(inner):
        return next(source, None)


async def _anext(source: Any, inner: Inner) -> Any:
    with noticing(inner):
        return await anext(source, None)


def _judged(
    screens: Screens, given: Sequence[ChatMessage], results: Sequence[Any]
) -> Generator[Sequence[Item], list[Decision], None]:
    """Judge structured answers, of which each is a beginning of the last one, or was meant to be.

    Raises:
        BlockedError: They may not pass.
    """
    texts = [_text_of(result) for result in results]
    text = "\n".join([*dict.fromkeys(line for line in texts[:-1] if line.rstrip('"]}') not in texts[-1]), *texts[-1:]])
    response = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text))
    screened = yield from Answer(screens, _CHAT, given).screened(response)
    if screened is not response:
        decision = decision_in(screened.additional_kwargs.get("qwen3guard"))
        raise _blocked(screens, decision or Decision(point=Point.RESPONSE, action=Action.BLOCK))


def _blocked(screens: Screens, decision: Decision) -> BlockedError:
    return (BlockedError if screens.on_block == "raise" else StructureBlockedError)(decision)


def _text_of(result: Any) -> str:
    return result.model_dump_json(exclude_none=True) if isinstance(result, BaseModel) else words_of(result)


def _named(function: Any, name: str) -> Any:
    function.__name__ = function.__qualname__ = name
    return function
