"""Qwen3Guard-Gen in this process, on Hugging Face transformers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..core.conversation import Conversation
from ..core.errors import GuardConfigurationError, GuardError, GuardTimeoutError, GuardUnavailableError
from ..core.gen_prompt import gen_messages, quoted
from ..core.pieces import pieces
from ..core.verdict import Severity, Verdict
from .checkpoint import load_checkpoint, torch  # before gen_model: it says what to install when torch is missing
from .gen_model import GenModel
from .protocol import CheckOne
from .worker import BatchingWorker

Details = Literal["auto", "always", "never"]


class TransformersGuard(CheckOne):
    """Judges with a Qwen3Guard-Gen checkpoint in this process. Thread-safe; many callers share one model.

    The severity and its three probabilities come from one forward pass at the forced prefix "Safety:"
    (see `guards.gen_model`). All passes run in one worker thread, so that an event loop is never held up, and
    callers who wait at the same time are judged in one batch. A conversation that is longer than the context is
    judged in overlapping pieces, of which the most severe counts; nothing is cut off.

    Args:
        model: A hub id such as "Qwen/Qwen3Guard-Gen-0.6B", or a local folder (a ModelScope download too).
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: A torch dtype by name; None chooses what the device computes well in.
        details: When categories and refusal are generated: "auto" where the severity is not Safe, "always"
            (tells refusals of safe responses too; several times slower), or "never".
        one_pass: False generates the whole reply and reads it, as the model card does: for fine-tunes that
            write another form. It gives no scores.
        batch_size: Conversations in one forward pass at most.
        side_by_side: Forward passes at the same time at most, each with `threads` threads: for tiny models on a
            CPU, which keep no second core busy otherwise.
        context_tokens: Longest prompt in tokens; longer ones are judged in pieces. At most the model's own.
        timeout: Seconds that one call may take, waiting included; None waits as long as it takes.
        threads: CPU threads of the worker; None leaves torch's own setting. On a busy machine few are faster.
        revision: Of the hub repository.

    Raises:
        GuardConfigurationError: An option is out of range, or the checkpoint cannot be loaded.
        ImportError: The extra `transformers` is not installed.

    When the guard fails, every check raises a `GuardError`: `GuardUnavailableError` when memory runs out,
    `GuardTimeoutError` after `timeout`, `GuardResponseError` for an unreadable reply (only with
    `one_pass=False`).
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        details: Details = "auto",
        one_pass: bool = True,
        batch_size: int = 16,
        side_by_side: int = 1,
        context_tokens: int = 8192,
        timeout: float | None = None,
        threads: int | None = None,
        revision: str | None = None,
    ) -> None:
        if details not in _DETAILED:
            raise GuardConfigurationError(f"details must be 'auto', 'always' or 'never', not {details!r}")
        numbers = {"batch_size": batch_size, "side_by_side": side_by_side, "timeout": timeout, "threads": threads}
        for name, number in numbers.items():
            if number is not None and number <= 0:
                raise GuardConfigurationError(f"{name} must be positive, not {number}")
        loaded, tokenizer = load_checkpoint(model, device=device, dtype=dtype, revision=revision)
        gen = GenModel(loaded, tokenizer, batch_size=batch_size, side_by_side=side_by_side)
        judge = _Judge(gen, _room(gen, context_tokens, loaded.config), _DETAILED[details], one_pass, threads)
        self.model = model
        self._timeout = timeout
        self._worker = BatchingWorker[Conversation, Verdict](judge, most=4 * batch_size, name=f"qwen3guard {model}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation; see the class for what is raised."""
        future = self._worker.submit(conversations)
        try:
            return future.result(self._timeout)
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            future.cancel()

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation without blocking the event loop."""
        future = self._worker.submit(conversations)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._too_slow() from None

    def _too_slow(self) -> GuardTimeoutError:
        return GuardTimeoutError(
            f"no verdict within {self._timeout} seconds", hint="raise timeout, or use a smaller model or a GPU"
        )


_DETAILED: Final[Mapping[Details, frozenset[Severity]]] = {
    "auto": frozenset({Severity.CONTROVERSIAL, Severity.UNSAFE}),
    "always": frozenset(Severity),
    "never": frozenset(),
}


@dataclass(frozen=True, slots=True)
class _Judge:
    """The worker's task: conversations in, verdicts out. Everything heavy happens here, off every event loop."""

    gen: GenModel
    room: int  # tokens that a conversation may have
    detailed: frozenset[Severity]
    one_pass: bool
    threads: int | None

    def __call__(self, conversations: list[Conversation]) -> list[Verdict]:
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)  # of this thread: torch keeps the number for each thread
        try:
            return self._verdicts(conversations)
        except GuardError:
            raise
        except (MemoryError, torch.OutOfMemoryError):
            failure = GuardUnavailableError("out of memory", hint="lower batch_size or context_tokens")
        except Exception as error:  # noqa: BLE001
            failure = GuardUnavailableError(f"the model failed with {type(error).__name__}")
        # Raised out here, without the first error in its context: a tokenizer's or template's error can quote the text.
        raise failure

    def _verdicts(self, conversations: list[Conversation]) -> list[Verdict]:
        split = [self._pieces(conversation) for conversation in conversations]
        messages = [gen_messages(piece) for part in split for piece in part]
        if self.one_pass:
            verdicts = iter(self.gen.judge(messages, self.detailed.__contains__))
        else:
            verdicts = iter(self.gen.judge_by_generation(messages))
        return [Verdict.merge([next(verdicts) for _ in part]) for part in split]

    def _pieces(self, conversation: Conversation) -> list[Conversation]:
        """`conversation`, or overlapping pieces of it that fit into the context."""
        # A token is at least one byte, and quoting at most doubles them: what is short in bytes needs no counting.
        size = sum(len(turn.content.encode()) + len(turn.reasoning.encode()) + 8 for turn in conversation.turns)
        if 2 * size < self.room:
            return [conversation]
        return pieces(conversation, self._length, self.room, overlap=min(64, self.room // 8))

    def _length(self, text: str) -> int:
        return len(self.gen.tokens(quoted(text)))


def _room(gen: GenModel, context_tokens: int, config: Any) -> int:
    """Tokens that a conversation may have, so that policy text, labels of turns and the reply fit beside it."""
    context = min(context_tokens, getattr(config, "max_position_embeddings", context_tokens))
    (empty,) = gen.prompt_tokens([[{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]])
    room = context - len(empty) - 96  # the reply (64), and what joining the parts may add
    if room < 64:
        raise GuardConfigurationError(
            f"context_tokens={context_tokens} leaves no room for a text beside the policy text of {len(empty)} tokens"
        )
    return room
