"""`Qwen3GuardQueryEngine`: the question, what is retrieved for it, and the answer, for any query engine."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Generator,
    Mapping,
    Sequence,
)
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
from llama_index.core.prompts.mixin import PromptDictType, PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType

from ..core.decision import Decision
from ..core.errors import GuardConfigurationError
from ..core.flow import arun, run
from ..core.policy import Policy
from ..core.words import is_name
from ..guards.protocol import Guard
from ..reporting import decision_in
from .answer import Answer, OnBlock, Prompt, Screens, refused
from .asked import Asked, asking
from .engine_stream import astreaming, streaming
from .forms import CompletionForm
from .inside import Inside, streams
from .nodes import Qwen3GuardNodePostprocessor, item_of, unspanned
from .screener import Screener
from .tool_values import words_of
from .turns import turn

_TEXT = CompletionForm()


class Qwen3GuardQueryEngine(BaseQueryEngine):
    """A query engine around another one: nothing passes unjudged, in either direction.

    The question, and strings that are embedded in its place, are judged before anything is retrieved; retrieved nodes
    before they reach a prompt, and again as the sources of the answer; what its LLMs answer before the engine goes on
    with it, streams token by token; and what the engine says beside that, in its answer and its metadata. What passes
    is what the engine answers without the guard.

    Engines inside of it (routers, sub-questions, graphs, retrieved tools, what `IndexNode`s lead to) are guarded in the
    same way, with the questions that they get. An LLM in a retriever has its prompts judged too: it may be asked about
    nodes that nobody has judged yet. Under a `QueryEngineTool` it works as every engine does.

    Args:
        engine: Any query engine. It is copied.
        guard: Who judges: a guard, or what `load_guard` takes.
        policy: What is done about verdicts: whatever `Policy.of` takes.
        on_block: For questions and answers. "refuse": the answer is the policy's refusal, and `metadata["qwen3guard"]`
            has the decision. "raise": a `BlockedError`. Blocked nodes and metadata are left out.

    Raises:
        GuardConfigurationError: `engine` is no query engine, or a setting is unknown.

    While it answers: `BlockedError` as above; `GuardError` when the guard gives no judgement, unless
    `Policy.on_guard_error` says otherwise.

    An LLM that the engine keeps where it cannot be found (in a question generator, a selector, a transformation of the
    query) is not guarded; what comes of it is, where it becomes a question or an answer. Event handlers are told of
    the question, before it is judged, and of what such LLMs say.
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
        inside = Inside(Screens(screener, on_block, prompt=False, within=True), engines=self._likewise)
        self._engine = inside.guarded(engine)
        super().__init__(engine.callback_manager)

    def _likewise(self, engine: BaseQueryEngine) -> BaseQueryEngine:
        """An engine inside of this one, guarded like this one."""
        if isinstance(engine, Qwen3GuardQueryEngine) and self._screens.answers_like(engine._screens):
            return engine
        return Qwen3GuardQueryEngine(engine, self._screens.screener, on_block=self._screens.on_block)

    # The prompts are those of the engine inside, by its own names.

    def _get_prompt_modules(self) -> PromptMixinType:
        return self._engine._get_prompt_modules()

    def _get_prompts(self) -> PromptDictType:
        return self._engine._get_prompts()

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self._engine._update_prompts(prompts)

    @unspanned  # `BaseQueryEngine.aquery` has a span
    async def aquery(self, str_or_query_bundle: QueryType) -> RESPONSE_TYPE:
        """An answer; of many questions at once a few begin in each turn of the event loop."""
        await turn()
        return await super().aquery(str_or_query_bundle)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt = Prompt(self._screens, _TEXT, _asked_in(query_bundle))
        run(prompt.screened(), self._screens.screener.decide)
        if prompt.stopped is not None:
            return self._refusal(prompt.stopped)
        query = _asking(query_bundle, prompt)
        with asking(query.query_str) as asked:
            try:
                response = self._engine.query(query)
            except ValueError:
                if asked.failed is None:
                    raise
            else:
                return run(self._released(response, query, asked), self._screens.screener.decide)
        return self._refusal(asked.failed)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        prompt = Prompt(self._screens, _TEXT, _asked_in(query_bundle))
        await arun(prompt.screened(), self._screens.screener.adecide)
        if prompt.stopped is not None:
            return self._refusal(prompt.stopped, is_async=True)
        query = _asking(query_bundle, prompt)
        with asking(query.query_str) as asked:
            try:
                response = await self._engine.aquery(query)
            except ValueError:  # LlamaIndex can make no structured answer of a refusal
                if asked.failed is None:
                    raise
            else:
                return await arun(self._released(response, query, asked), self._screens.screener.adecide)
        return self._refusal(asked.failed, is_async=True)

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
        with asking(query_bundle.query_str) as asked:
            response = self._engine.synthesize(query_bundle, nodes, additional_source_nodes)
            return run(self._released(response, query_bundle, asked), self._screens.screener.decide)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """An answer from those of `nodes` that may pass."""
        nodes = await self._nodes.apostprocess_nodes(nodes, query_bundle)
        with asking(query_bundle.query_str) as asked:
            response = await self._engine.asynthesize(query_bundle, nodes, additional_source_nodes)
            return await arun(self._released(response, query_bundle, asked), self._screens.screener.adecide)

    # --- the answer ---

    def _refusal(self, decision: Decision, *, is_async: bool = False) -> RESPONSE_TYPE:
        """The refusal in place of an answer, in the form of the engine's answers.

        Raises:
            BlockedError: `on_block` is "raise".
        """
        refusal = refused(self._screens, _TEXT, decision, streamed=False)
        assert isinstance(refusal, CompletionResponse)
        if not streams(self._engine):
            return Response(refusal.text, metadata=refusal.additional_kwargs)
        if is_async:
            return AsyncStreamingResponse(_atokens(refusal.text), metadata=refusal.additional_kwargs)
        return StreamingResponse(_tokens(refusal.text), metadata=refusal.additional_kwargs)

    def _released(
        self, response: RESPONSE_TYPE, query: QueryBundle, asked: Asked
    ) -> Generator[Any, Any, RESPONSE_TYPE]:
        """What may leave of an answer of the engine; yields what is to be decided."""
        response = _with_sources(response, (yield from self._nodes.passing(response.source_nodes, query)))
        if (item := item_of(words_of(_others_in(response)))) is not None:
            (decision,) = yield [item]
            response = response if decision.passes else _without_others(response)
        answer = Answer(self._screens, _TEXT, query.query_str)
        if isinstance(response, StreamingResponse):
            return streaming(response, answer, asked)
        if isinstance(response, AsyncStreamingResponse):
            return astreaming(response, answer, asked)
        text = CompletionResponse(text=_text_of(response))
        if asked.failed is not None:  # the engine has made something of the refusal, or nothing: "Empty Response"
            return _with_text(response, text, refused(self._screens, _TEXT, asked.failed, streamed=False))
        if asked.has_said(text.text):
            return response
        return _with_text(response, text, (yield from answer.screened(text)))


def _asked_in(query: QueryBundle) -> str:
    """The question, with what is embedded in its place."""
    return "\n\n".join(dict.fromkeys((query.query_str, *query.embedding_strs)))


def _asking(query: QueryBundle, prompt: Prompt) -> QueryBundle:
    """The question without what may not pass; then its embedding is made anew."""
    if prompt.given == _asked_in(query):
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


def _others_in(response: RESPONSE_TYPE) -> dict[str, Any]:
    """What engines put into the metadata of an answer beside that of its sources."""
    ids = {node.node_id for node in response.source_nodes}
    others = {key: value for key, value in (response.metadata or {}).items() if key not in ids}
    return {key: value for key, value in others.items() if not is_name(value) and decision_in(value) is None}


def _without_others(response: RESPONSE_TYPE) -> RESPONSE_TYPE:
    others = _others_in(response)
    return replace(response, metadata={k: v for k, v in (response.metadata or {}).items() if k not in others})


def _with_text(response: Any, answer: CompletionResponse, screened: Any) -> RESPONSE_TYPE:
    """`response` itself where its text may pass, else with the text that may."""
    if screened is answer:
        same: RESPONSE_TYPE = response
        return same
    metadata = {**(response.metadata or {}), **screened.additional_kwargs}
    return Response(screened.text, source_nodes=response.source_nodes, metadata=metadata)


def _tokens(text: str) -> Generator[str, None, None]:
    yield text


async def _atokens(text: str) -> AsyncGenerator[str, None]:
    yield text
