"""Qwen3Guard-Gen in this process: the verdict from one forward pass.

The model writes `Safety: X` first, so after the forced prefix "Safety:" the probabilities of the next token are
the severity and its score; nothing has to be generated. The label's first token decides: " Safe", " Unsafe", and
" Cont" (of " Controversial") in the Qwen3 vocabulary. Four things keep that pass cheap: only the last position
goes through the last layer (see `guards.last_layer`) and through three rows of the output head; keys and values of
the fixed policy text before the conversation are kept; rows of similar length go together; and when categories are
wanted, generation goes on from the same cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap, takewhile
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.functional import linear

from ..core.errors import GuardConfigurationError, GuardResponseError
from ..core.gen_prompt import FORCED_PREFIX, GenMessage, judges_response
from ..core.gen_reply import parse_reply
from ..core.verdict import Scores, Severity, Verdict
from .gen_forward import Forward, Prefix, Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LABELS: Final = (Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE)
_SCORES: Final = ("safe", "controversial", "unsafe")  # of the labels, in their order
_REPLY_TOKENS: Final = 64  # all nine categories and the refusal take 53 (measured on the Qwen3 vocabulary)
_BATCH_TOKENS: Final = 8192  # rows x width of one forward pass: bounds memory, not quality

WantsDetails = Callable[[Severity], bool]


@dataclass(slots=True)
class _Read:
    """Prompts that have gone through the model.

    Attributes:
        places: Of their conversations.
        probabilities: Of the three labels, for each of them.
        rows: Those for which details are wanted; None if there are none.
        detailed: The places of these.
    """

    places: list[int]
    probabilities: list[list[float]]
    rows: Rows | None = None
    detailed: list[int] = field(default_factory=list)


class GenModel:
    """Judges rendered conversations with a Gen checkpoint. Not thread-safe: one worker thread owns it.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer, with the chat template of Qwen3Guard-Gen.
        batch_size: Rows in one forward pass at most.
        side_by_side: Forward passes at the same time at most.

    Raises:
        GuardConfigurationError: The labels do not begin with three different tokens.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, side_by_side: int = 1
    ) -> None:
        self._model: Any = model
        self._forward = Forward(model)
        self._head: torch.Tensor = self._model.get_output_embeddings().weight
        self._tokenizer: Any = tokenizer
        self._batch_size = batch_size
        self._side_by_side = side_by_side
        self._forced = self.tokens(FORCED_PREFIX)
        self._openings = {label: self._after_prefix(f"{FORCED_PREFIX} {label}\nCategories:") for label in _LABELS}
        self._label_tokens = [self._openings[label][0] for label in _LABELS]
        if len(set(self._label_tokens)) != len(_LABELS):
            raise GuardConfigurationError("the three severities share a first token: no Qwen3Guard-Gen tokenizer")
        self._end_tokens = _end_tokens(model, tokenizer)
        self._prefixes: dict[bool, Prefix] = {}

    def tokens(self, text: str) -> list[int]:
        """The token ids of `text`."""
        return self._tokens_of([text])[0]

    def prompt_tokens(self, conversations: Sequence[Sequence[GenMessage]]) -> list[list[int]]:
        """The token ids of the whole prompt for each conversation, up to where the model begins its reply."""
        render = self._tokenizer.apply_chat_template
        return self._tokens_of(
            [render(list(messages), tokenize=False, add_generation_prompt=True) for messages in conversations]
        )

    def _tokens_of(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded = self._tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _after_prefix(self, text: str) -> list[int]:
        tokens = self.tokens(text)
        if tokens[: len(self._forced)] != self._forced:
            raise GuardConfigurationError(f"the tokenizer splits {FORCED_PREFIX!r} differently before a label")
        return tokens[len(self._forced) :]

    @torch.inference_mode()
    def judge(self, conversations: Sequence[Sequence[GenMessage]], wants_details: WantsDetails) -> list[Verdict]:
        """One verdict for each conversation, in order, from one forward pass each.

        Args:
            conversations: Messages as `core.gen_prompt.gen_messages` makes them.
            wants_details: For which severities categories and refusal are generated too.
        """
        prompts = [tokens + self._forced for tokens in self.prompt_tokens(conversations)]
        batches: list[tuple[list[int], Prefix]] = []
        for response in (False, True):
            places = [i for i, messages in enumerate(conversations) if judges_response(messages) is response]
            batches += [(batch, self._prefix(response)) for batch in self._batches(places, prompts)]
        probabilities: dict[int, list[float]] = {}
        details: dict[int, str] = {}
        waiting: list[_Read] = []
        for read in self._read_each(prompts, batches, wants_details):
            probabilities.update(zip(read.places, read.probabilities, strict=True))
            waiting += [read] if read.detailed else []
            if sum(len(one.detailed) for one in waiting) >= self._batch_size:
                details |= self._written(waiting, probabilities)
                waiting = []
        details |= self._written(waiting, probabilities)
        return [_verdict(probabilities[i], details.get(i)) for i in range(len(prompts))]

    @torch.inference_mode()
    def judge_by_generation(self, conversations: Sequence[Sequence[GenMessage]]) -> list[Verdict]:
        """One verdict for each conversation as the model card does it: the whole reply is generated and read.

        Raises:
            GuardResponseError: A reply cannot be read.
        """
        verdicts: dict[int, Verdict] = {}
        prompts = self.prompt_tokens(conversations)
        for batch in self._batches(range(len(prompts)), prompts):
            replies = self._generate([prompts[i] for i in batch])
            verdicts.update(zip(batch, map(parse_reply, replies), strict=True))
        return [verdicts[i] for i in range(len(prompts))]

    def _batches(self, places: Sequence[int], prompts: Sequence[list[int]]) -> Iterator[list[int]]:
        """`places` in batches of rows of similar length, so that little is padded."""
        batch: list[int] = []
        for place in sorted(places, key=lambda i: len(prompts[i])):
            width = len(prompts[place])
            if batch and (len(batch) == self._batch_size or width * (len(batch) + 1) > _BATCH_TOKENS):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _prefix(self, response: bool) -> Prefix:
        """The kept prefix of this kind of prompt: what two prompts have in common that differ from the first word."""
        if response not in self._prefixes:
            answer: list[GenMessage] = [{"role": "assistant", "content": "-"}] if response else []
            one, other = self.prompt_tokens([[{"role": "user", "content": text}, *answer] for text in ("0", "?")])
            same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
            self._prefixes[response] = self._forward.prefix([token for token, _ in same])
        return self._prefixes[response]

    def _read_each(
        self, prompts: Sequence[list[int]], batches: Sequence[tuple[list[int], Prefix]], wants_details: WantsDetails
    ) -> Iterable[_Read]:
        """What comes of each of `batches`, in order; several at the same time where that is wanted."""
        read = partial(self._read, prompts, wants_details)
        if self._side_by_side == 1 or len(batches) < 2:
            return starmap(read, batches)
        # Threads of this call: none outlives a fork or the guard, and starting them takes a tenth of a millisecond.
        each = partial(torch.set_num_threads, torch.get_num_threads())  # torch keeps the number for each thread
        with ThreadPoolExecutor(min(self._side_by_side, len(batches)), initializer=each) as pool:
            return list(pool.map(read, *zip(*batches, strict=True)))

    @torch.inference_mode()
    def _read(
        self, prompts: Sequence[list[int]], wants_details: WantsDetails, places: list[int], prefix: Prefix
    ) -> _Read:
        shared = len(prefix.tokens)
        if any(tuple(prompts[i][:shared]) != prefix.tokens for i in places):
            prefix, shared = Prefix(), 0
        rows = self._forward.begin(prefix, len(places))
        hidden = self._forward.feed(rows, [prompts[i][shared:] for i in places])
        label_rows = self._head[self._label_tokens].float()
        read = _Read(places, linear(hidden.float(), label_rows).softmax(-1).tolist())
        wanted = [i for i, row in enumerate(read.probabilities) if wants_details(_severity(row))]
        if wanted:
            read.rows, read.detailed = rows.select(wanted), [places[i] for i in wanted]
        return read

    def _written(self, reads: Sequence[_Read], probabilities: Mapping[int, list[float]]) -> dict[int, str]:
        """What the model writes after `Safety: X\nCategories:` where details are wanted, by place."""
        if not reads:
            return {}
        places = [place for read in reads for place in read.detailed]
        rows = self._forward.together([read.rows for read in reads if read.rows is not None])
        new = [self._openings[_severity(probabilities[place])] for place in places]
        return dict(zip(places, self._continue(rows, new), strict=True))

    def _continue(self, rows: Rows, new: list[list[int]]) -> list[str]:
        """What the model writes after `new` for each row, greedily, from the same cache."""
        written: list[list[int]] = [[] for _ in new]
        ended = [False] * len(new)
        for _ in range(_REPLY_TOKENS):
            picked = linear(self._forward.feed(rows, new), self._head).argmax(-1).tolist()
            for i, token in enumerate(picked):
                ended[i] = ended[i] or token in self._end_tokens
                if not ended[i]:
                    written[i].append(token)
            if all(ended):
                break
            new = [[token] for token in picked]
        return [str(self._tokenizer.decode(tokens)) for tokens in written]

    def _generate(self, prompts: list[list[int]]) -> list[str]:
        """The whole reply to each prompt by the model's own `generate`, padded on the left as it wants."""
        width = max(map(len, prompts))
        pad = self._tokenizer.pad_token_id or 0
        ids = self._tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = self._tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        output = self._model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=_REPLY_TOKENS, do_sample=False, pad_token_id=pad
        )
        return [str(text) for text in self._tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)]

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._model.device)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    config: Any = getattr(model, "generation_config", None)
    stated: Any = getattr(config, "eos_token_id", None)
    stated = stated if isinstance(stated, list) else [stated]
    return frozenset(token for token in (*stated, tokenizer.eos_token_id) if isinstance(token, int))


def _severity(probabilities: list[float]) -> Severity:
    return _LABELS[max(range(len(_LABELS)), key=probabilities.__getitem__)]


def _verdict(probabilities: list[float], categories_and_rest: str | None) -> Verdict:
    severity = _severity(probabilities)
    scores = Scores(**{name: probabilities[place] for place, name in enumerate(_SCORES)})
    if categories_and_rest is None:
        return Verdict(severity=severity, scores=scores)
    try:
        return parse_reply(f"{FORCED_PREFIX} {severity}\nCategories:{categories_and_rest}", scores=scores)
    except GuardResponseError:  # the severity was measured, not read: unreadable details do not undo it
        return Verdict(severity=severity, scores=scores)
