"""`Qwen3GuardQueryEngine`: the question, what is retrieved for it, and the answer, for any query engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType

from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.policy import Policy
from ..guards.protocol import Guard
from .answer import Answer, CompletionForm, OnBlock, Prompt, Screens
from .inside import Inside, streams
from .llm import astream_screened, stream_screened
from .nodes import Qwen3GuardNodePostprocessor, unspanned
from .screener import Screener
from .turns import turn

_TEXT = CompletionForm()


class Qwen3GuardQueryEngine(BaseQueryEngine):
    """A query engine around another one: nothing passes unjudged, in either direction.

    The question is judged before anything is retrieved; retrieved nodes before they reach a prompt, and again as the
    sources of the answer; the answer before the caller gets it, streamed ones token by token. What passes is what the
    engine answers without the guard. Under a `QueryEngineTool` it works as every engine does.

    Args:
        engine: Any query engine; engines inside of it (routers, sub-questions) are guarded too. It is copied.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        on_block: For questions and answers. "refuse": the answer is the policy's refusal, and `metadata["qwen3guard"]`
            has the decision. "raise": a `BlockedError`. Blocked nodes are left out.

    Raises:
        GuardConfigurationError: `engine` is no query engine, or a setting is unknown.

    While it answers: `BlockedError` as above; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise.

    The events of the engine inside (`QueryEndEvent`, LLM events) reach event handlers before the answer is judged:
    give the engine a `guard_llm` where traces must be clean too.
    """

    def __init__(
        self,
        engine: BaseQueryEngine,
        guard: Guard | Screener | str,
        policy: Policy | Mapping[str, Any] | str | None = None,
        *,
        on_block: OnBlock = "refuse",
    ) -> None:
        if not isinstance(engine, BaseQueryEngine):
            raise GuardConfigurationError(f"Qwen3GuardQueryEngine takes a query engine, not {type(engine).__name__}")
        if on_block not in ("refuse", "raise"):
            raise GuardConfigurationError(f"on_block={on_block!r}: it is 'refuse' or 'raise'")
        screener = Screener.of(guard, policy)
        self._screens = Screens(screener, on_block)
        self._nodes = Qwen3GuardNodePostprocessor(guard=screener)
        self._engine = Inside(screener, llms=False).guarded(engine)
        super().__init__(engine.callback_manager)

    def _get_prompt_modules(self) -> PromptMixinType:
        """The prompts are those of the engine inside."""
        return {"engine": self._engine}

    @unspanned  # `BaseQueryEngine.aquery` has a span
    async def aquery(self, str_or_query_bundle: QueryType) -> RESPONSE_TYPE:
        """An answer; of many questions at once a few begin in each turn of the event loop."""
        await turn()
        return await super().aquery(str_or_query_bundle)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt = Prompt(self._screens, _TEXT, query_bundle.query_str)
        run(prompt.screened(), self._screens.screener.decide)
        if prompt.stopped is not None:
            return self._refusal(prompt)
        query = _asking(query_bundle, prompt)
        return self._released(self._engine.query(query), query)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt = Prompt(self._screens, _TEXT, query_bundle.query_str)
        await arun(prompt.screened(), self._screens.screener.adecide)
        if prompt.stopped is not None:
            return self._refusal(prompt, is_async=True)
        query = _asking(query_bundle, prompt)
        return await self._areleased(await self._engine.aquery(query), query)

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """The nodes that may pass, for a question that is not judged here."""
        return self._nodes.postprocess_nodes(self._engine.retrieve(query_bundle), query_bundle)

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """The nodes that may pass, for a question that is not judged here."""
        engine: Any = self._engine
        nodes = await engine.aretrieve(query_bundle)
        return await self._nodes.apostprocess_nodes(nodes, query_bundle)

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """An answer from those of `nodes` that may pass."""
        nodes = self._nodes.postprocess_nodes(nodes, query_bundle)
        return self._released(self._engine.synthesize(query_bundle, nodes, additional_source_nodes), query_bundle)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """An answer from those of `nodes` that may pass."""
        nodes = await self._nodes.apostprocess_nodes(nodes, query_bundle)
        response = await self._engine.asynthesize(query_bundle, nodes, additional_source_nodes)
        return await self._areleased(response, query_bundle)

    # --- the answer ---

    def _refusal(self, prompt: Prompt, *, is_async: bool = False) -> RESPONSE_TYPE:
        """The refusal of the question, in the form of the engine's answers."""
        refusal: Any = prompt.refusal(streamed=False)
        if not streams(self._engine):
            return Response(refusal.text, metadata=refusal.additional_kwargs)
        if is_async:
            return AsyncStreamingResponse(_atokens(refusal.text), metadata=refusal.additional_kwargs)
        return StreamingResponse(_tokens(refusal.text), metadata=refusal.additional_kwargs)

    def _released(self, response: RESPONSE_TYPE, query: QueryBundle) -> RESPONSE_TYPE:
        sources = self._nodes.postprocess_nodes(response.source_nodes, query)
        response = _with_sources(response, sources)
        if isinstance(response, StreamingResponse):
            return _streaming(response, self._answer(query))
        if isinstance(response, AsyncStreamingResponse):
            return _astreaming(response, self._answer(query))
        answer = CompletionResponse(text=_text_of(response))
        return _with_text(response, answer, run(self._answer(query).screened(answer), self._screens.screener.decide))

    async def _areleased(self, response: RESPONSE_TYPE, query: QueryBundle) -> RESPONSE_TYPE:
        sources = await self._nodes.apostprocess_nodes(response.source_nodes, query)
        response = _with_sources(response, sources)
        if isinstance(response, StreamingResponse):
            return _streaming(response, self._answer(query))
        if isinstance(response, AsyncStreamingResponse):
            return _astreaming(response, self._answer(query))
        answer = CompletionResponse(text=_text_of(response))
        screened = await arun(self._answer(query).screened(answer), self._screens.screener.adecide)
        return _with_text(response, answer, screened)

    def _answer(self, query: QueryBundle) -> Answer:
        return Answer(self._screens, _TEXT, query.query_str)


def _asking(query: QueryBundle, prompt: Prompt) -> QueryBundle:
    """The question without what may not pass; then its embedding is made anew."""
    if prompt.given == query.query_str:
        return query
    return QueryBundle(query_str=prompt.given)


def _text_of(response: Response | PydanticResponse) -> str:
    return "" if response.response is None else str(response)


def _with_sources(response: RESPONSE_TYPE, sources: list[NodeWithScore]) -> RESPONSE_TYPE:
    """`response` with those of its sources that may pass, and nothing of the others in its metadata."""
    if [*map(id, sources)] == [*map(id, response.source_nodes)]:
        return response
    passing = set(map(id, sources))
    gone = {node.node_id for node in response.source_nodes if id(node) not in passing}
    metadata = {key: value for key, value in (response.metadata or {}).items() if key not in gone}
    return replace(response, source_nodes=sources, metadata=metadata)


def _with_text(response: Any, answer: CompletionResponse, screened: Any) -> RESPONSE_TYPE:
    """`response` itself where its text may pass, else with the text that may."""
    if screened is answer:
        same: RESPONSE_TYPE = response
        return same
    metadata = {**(response.metadata or {}), **screened.additional_kwargs}
    return Response(screened.text, source_nodes=response.source_nodes, metadata=metadata)


def _streaming(response: StreamingResponse, answer: Answer) -> StreamingResponse:
    def gen() -> Generator[str, None, None]:
        with closing(stream_screened(answer, _responses(response.response_gen))) as stream:
            for item in stream:
                yield item.delta or ""

    return replace(response, response_gen=gen())


def _astreaming(response: AsyncStreamingResponse, answer: Answer) -> AsyncStreamingResponse:
    async def gen() -> AsyncGenerator[str, None]:
        async with aclosing(astream_screened(answer, _aresponses(response.response_gen))) as stream:
            async for item in stream:
                yield item.delta or ""

    return replace(response, response_gen=gen())


def _responses(tokens: Any) -> Generator[CompletionResponse, None, None]:
    """Tokens as an LLM streams them; the engine's stream is closed with this one."""
    text = ""
    try:
        for token in tokens:
            text += token
            yield CompletionResponse(text=text, delta=token)
    finally:
        if callable(close := getattr(tokens, "close", None)):
            close()


async def _aresponses(tokens: Any) -> AsyncGenerator[CompletionResponse, None]:
    """Tokens as an LLM streams them; the engine's stream is closed with this one."""
    text = ""
    try:
        async for token in tokens:
            text += token
            yield CompletionResponse(text=text, delta=token)
    finally:
        if callable(close := getattr(tokens, "aclose", None)):
            await close()


def _tokens(text: str) -> Generator[str, None, None]:
    yield text


async def _atokens(text: str) -> AsyncGenerator[str, None]:
    yield text
