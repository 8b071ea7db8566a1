"""Qwen3Guard-Stream in this process: judges every token while a model writes, and whole texts too."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ..core.conversation import Conversation, Turn
from ..core.errors import GuardConfigurationError, GuardError, GuardTimeoutError, GuardUnavailableError
from ..core.gate import Piece
from ..core.pieces import pieces
from ..core.points import Point
from ..core.policy import Policy
from ..core.token_row import TokenRow
from ..core.verdict import Verdict
from .checkpoint import load_stream_checkpoint, torch
from .protocol import CheckOne
from .stream_batch import Feed, Row, Score, StreamBatch
from .stream_model import debounced
from .stream_rows import given, rendered
from .stream_session import TokenSession
from .stream_tokens import AnswerTokens, ChatTokens
from .worker import BatchingWorker


class TransformersStreamGuard(CheckOne):
    """Judges with a Qwen3Guard-Stream checkpoint in this process. Thread-safe; many streams share one model.

    In a stream (`open_stream`) each token of the answer gets a verdict: the prompt is read once, then only new tokens,
    with keys and values kept; streams that are active at once go through the model together. When the context is
    full, the prompt and the last half of the answer are read anew, and the stream goes on.

    A whole text (`check_many`) is judged as the model was trained: a user's turn at its `<|im_end|>` by the query
    heads, a response at every token by the response heads. It is Unsafe where two consecutive tokens are Unsafe,
    otherwise Controversial where two consecutive tokens are not Safe (technical report, section 4.4). Tool output and
    system turns are judged as something that came in, as a user's turn. What is longer than the context is judged in
    overlapping pieces, of which the most severe counts. The Stream models do not tell refusals.

    Args:
        model: A hub id such as "Qwen/Qwen3Guard-Stream-0.6B", or a local folder.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: A torch dtype by name; None chooses what the device computes well in.
        batch_size: Streams or texts in one forward pass at most.
        context_tokens: The most tokens that a conversation may have at once. At most the model's own.
        timeout: Seconds that one judgement may take, waiting included; None waits as long as it takes.
        threads: CPU threads of the worker; None leaves torch's own setting.
        revision: Of the hub repository.

    Raises:
        GuardConfigurationError: An option is out of range, or the checkpoint cannot be loaded.
        ImportError: The extra `transformers` is not installed.

    When the guard fails, every judgement raises a `GuardError`: `GuardUnavailableError` when memory runs out,
    `GuardTimeoutError` after `timeout`.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 16,
        context_tokens: int = 8192,
        timeout: float | None = None,
        threads: int | None = None,
        revision: str | None = None,
    ) -> None:
        for name, number in {"batch_size": batch_size, "timeout": timeout, "threads": threads}.items():
            if number is not None and number <= 0:
                raise GuardConfigurationError(f"{name} must be positive, not {number}")
        loaded, tokenizer = load_stream_checkpoint(model, device=device, dtype=dtype, revision=revision)
        context = min(context_tokens, loaded.config.max_position_embeddings)
        if context < 64:
            raise GuardConfigurationError(f"context_tokens={context_tokens} leaves no room for a conversation")
        self.model = model
        self._chat = ChatTokens(tokenizer)
        self._context = context
        self._batch_size = batch_size
        self._vocabulary = loaded.config.vocab_size
        self._timeout = timeout
        judge = _Judge(StreamBatch(loaded, context=context, batch_size=batch_size), self._chat, context, threads)
        self._worker = BatchingWorker[Feed | Conversation, Any](judge, most=4 * batch_size, name=f"qwen3guard {model}")
        self._sessions: weakref.WeakSet[TokenSession] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def open_sessions(self) -> int:
        """How many streams are open."""
        return len(self._sessions)

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation; see the class for how, and for what is raised."""
        return self._replies(conversations)

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation without blocking the event loop."""
        future = self._worker.submit(conversations)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._too_slow() from None

    def _replies(self, asks: Sequence[Feed | Conversation]) -> list[Any]:
        future = self._worker.submit(asks)
        try:
            return future.result(self._timeout)
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            future.cancel()

    def _too_slow(self) -> GuardTimeoutError:
        return GuardTimeoutError(
            f"no verdict within {self._timeout} seconds", hint="raise timeout, or use a smaller model or a GPU"
        )

    def open_stream(self, context: Sequence[Turn], policy: Policy, /) -> TokenSession:
        """A session for one answer after the turns of `context`; of a long context its end."""
        prompt = self._chat.turns(context)[-self._context // 2 :]
        session = TokenSession(self._chat, Row(prompt), self._submit, self._timeout, self._sessions.discard)
        self._sessions.add(session)
        return session

    def token_row(self, conversation: Conversation, ids: Sequence[int] | None = None, /) -> TokenRow:
        """A conversation with a complete answer in tokens, for `judge_tokens`.

        Args:
            conversation: Its last turn is an assistant's.
            ids: Its tokens in Qwen3's chat template, where they are known already; None has it rendered.

        Raises:
            GuardConfigurationError: The ids are not those of the conversation, or not of this model's vocabulary.
        """
        if ids is None:
            return rendered(self._chat, conversation)
        if not all(0 <= token < self._vocabulary for token in ids):
            raise GuardConfigurationError(
                f"input_ids are not of the vocabulary of {self.model}, which has {self._vocabulary} tokens",
                hint="use a Qwen3Guard-Stream model, or leave input_ids out of the row, and the text is tokenised",
            )
        return given(self._chat, conversation, ids)

    def judge_tokens(self, rows: Sequence[TokenRow], /) -> list[list[Verdict]]:
        """A verdict on each token of each row from where its answer begins, control tokens among them.

        What is before is context. Rows go through the model together, of which memory holds no more at once than
        `batch_size`, nor more tokens than four full contexts. A row that is longer than the context is read as a
        stream of that length is (see the class), any other exactly as in one pass over all of it.
        """
        verdicts: dict[int, list[Verdict]] = {}
        for places in self._groups([len(row.ids) for row in rows]):
            feeds = [self._feed(rows[place]) for place in places]
            verdicts.update(zip(places, self._replies(feeds), strict=True))
        return [verdicts[place] for place in range(len(rows))]

    def _feed(self, row: TokenRow) -> Feed:
        prompt, answer = list(row.ids[: row.begins]), list(row.ids[row.begins :])
        if len(row.ids) > self._context:
            prompt = prompt[-self._context // 2 :]
        return Feed(Row(prompt), answer, 0, [True] * len(answer))

    def _groups(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Places of rows of similar length, as many as go together."""
        group: list[int] = []
        held = 0
        for place in sorted(range(len(lengths)), key=lengths.__getitem__):
            cached = min(lengths[place], self._context)
            if group and (len(group) == self._batch_size or held + cached > 4 * self._context):
                yield group
                group, held = [], 0
            group.append(place)
            held += cached
        if group:
            yield group

    def _submit(self, feed: Feed) -> Future[list[Verdict]]:
        verdicts: Future[list[Verdict]] = Future()

        def take(done: Future[list[Any]]) -> None:
            if done.cancelled() or not verdicts.set_running_or_notify_cancel():
                verdicts.cancel()
            elif error := done.exception():
                verdicts.set_exception(error)
            else:
                verdicts.set_result(done.result()[0])

        asked = self._worker.submit([feed])
        asked.add_done_callback(take)
        verdicts.add_done_callback(lambda done: asked.cancel() if done.cancelled() else None)
        return verdicts


@dataclass(frozen=True, slots=True)
class _Judge:
    """The worker's task: feeds and conversations in; verdicts on tokens, and on whole turns, out."""

    batch: StreamBatch
    chat: ChatTokens
    context: int
    threads: int | None

    def __call__(self, asks: list[Feed | Conversation]) -> list[Any]:
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        try:
            feeds = [ask for ask in asks if isinstance(ask, Feed)]
            conversations = [ask for ask in asks if isinstance(ask, Conversation)]
            fed, judged = iter(self.batch.feed(feeds)), iter(self._judged(conversations))
            return [next(fed) if isinstance(ask, Feed) else next(judged) for ask in asks]
        except torch.OutOfMemoryError as error:
            raise GuardUnavailableError("out of memory", hint="lower batch_size or context_tokens") from error
        except GuardError:
            raise
        except RuntimeError as error:
            raise GuardUnavailableError(f"the model failed: {type(error).__name__}") from error

    def _judged(self, conversations: list[Conversation]) -> list[Verdict]:
        parts = [self._pieces(conversation) for conversation in conversations]
        scores = iter(self.batch.score([self._score(part) for own in parts for part in own]))
        return [Verdict.merge(debounced(next(scores)) for _ in own) for own in parts]

    def _pieces(self, conversation: Conversation) -> list[Conversation]:
        room = self.context - 8 * (2 + len(conversation.turns))
        return pieces(conversation, self._length, max(room, self.context // 2), overlap=min(64, self.context // 8))

    def _length(self, text: str) -> int:
        return len(self.chat.plain(text))

    def _score(self, conversation: Conversation) -> Score:
        context, judged = self.chat.turns(conversation.context), conversation.judged
        if judged.role != "assistant":
            ids = context + self.chat.turn(judged)
            return Score(ids, [len(ids) - 1], query=True)
        answer = AnswerTokens(self.chat)
        answer.push([Piece(Point.REASONING, judged.reasoning), Piece(Point.RESPONSE, judged.content)])
        read = [len(context) + place for place, mark in enumerate(answer.marks) if mark is not None]
        return Score(context + answer.ids, read, query=False)
