"""Qwen3Guard-Gen in this process: the verdict from one forward pass.

The model writes `Safety: X` first, so after the forced prefix "Safety:" the probabilities of the next token are
the severity and its score; nothing has to be generated. The label's first token decides: " Safe", " Unsafe", and
" Cont" (of " Controversial") in the Qwen3 vocabulary. Three things keep that pass cheap: only the last position
goes through three rows of the output head; keys and values of the fixed policy text before the conversation are
kept; and when categories are wanted, generation goes on from the same cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.functional import linear
from transformers import DynamicCache

from ..core.errors import GuardConfigurationError, GuardResponseError
from ..core.gen_prompt import FORCED_PREFIX, GenMessage, judges_response
from ..core.gen_reply import parse_reply
from ..core.verdict import Scores, Severity, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LABELS: Final = (Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE)
_REPLY_TOKENS: Final = 64  # all nine categories and the refusal take 53 (measured on the Qwen3 vocabulary)
_BATCH_TOKENS: Final = 8192  # rows x width of one forward pass: bounds memory, not quality

WantsDetails = Callable[[Severity], bool]


@dataclass(slots=True)
class _Rows:
    """Rows that go through the model together: their cache, which cached positions count, and true lengths."""

    cache: DynamicCache
    mask: torch.Tensor  # (rows, cached positions), 1 where a real token is
    lengths: torch.Tensor  # (rows,)

    def select(self, rows: list[int]) -> _Rows:
        """Only these rows; the cache is reduced in place."""
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(index)
        return _Rows(self.cache, self.mask[index], self.lengths[index])


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The policy text that all prompts of one kind begin with: its tokens, and keys and values of each layer."""

    tokens: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]


class GenModel:
    """Judges rendered conversations with a Gen checkpoint. Not thread-safe: one worker thread owns it.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer, with the chat template of Qwen3Guard-Gen.
        batch_size: Rows in one forward pass at most.

    Raises:
        GuardConfigurationError: The labels do not begin with three different tokens.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int) -> None:
        self._model: Any = model
        self._body: Any = self._model.base_model
        self._head: torch.Tensor = self._model.get_output_embeddings().weight
        self._tokenizer: Any = tokenizer
        self._batch_size = batch_size
        self._forced = self.tokens(FORCED_PREFIX)
        self._openings = {label: self._after_prefix(f"{FORCED_PREFIX} {label}\nCategories:") for label in _LABELS}
        self._label_tokens = [self._openings[label][0] for label in _LABELS]
        if len(set(self._label_tokens)) != len(_LABELS):
            raise GuardConfigurationError("the three severities share a first token: no Qwen3Guard-Gen tokenizer")
        self._end_tokens = _end_tokens(model, tokenizer)
        self._prefixes: dict[bool, _Prefix] = {}

    def tokens(self, text: str) -> list[int]:
        """The token ids of `text`."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def prompt_tokens(self, messages: Sequence[GenMessage]) -> list[int]:
        """The token ids of the whole prompt, up to where the model begins its reply."""
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return self.tokens(text)

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
        verdicts: dict[int, Verdict] = {}
        prompts = [self.prompt_tokens(messages) + self._forced for messages in conversations]
        for response in (False, True):
            places = [i for i, messages in enumerate(conversations) if judges_response(messages) is response]
            for batch in self._batches(places, prompts):
                prefix = self._prefix(response)
                found = self._judge_batch([prompts[i] for i in batch], prefix, wants_details)
                verdicts.update(zip(batch, found, strict=True))
        return [verdicts[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def judge_by_generation(self, conversations: Sequence[Sequence[GenMessage]]) -> list[Verdict]:
        """One verdict for each conversation as the model card does it: the whole reply is generated and read.

        Raises:
            GuardResponseError: A reply cannot be read.
        """
        verdicts: dict[int, Verdict] = {}
        prompts = [self.prompt_tokens(messages) for messages in conversations]
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

    def _prefix(self, response: bool) -> _Prefix:
        """The kept prefix of this kind of prompt: what two prompts have in common that differ from the first word."""
        if response not in self._prefixes:
            answer: list[GenMessage] = [{"role": "assistant", "content": "-"}] if response else []
            one, other = (self.prompt_tokens([{"role": "user", "content": text}, *answer]) for text in ("0", "?"))
            same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
            tokens = tuple(token for token, _ in same)
            cache: Any = self._new_cache()
            if tokens:
                self._body(input_ids=self._tensor([list(tokens)]), past_key_values=cache, use_cache=True)
            layers = tuple((layer.keys, layer.values) for layer in cache.layers) if tokens else ()
            self._prefixes[response] = _Prefix(tokens, layers)
        return self._prefixes[response]

    def _judge_batch(self, prompts: list[list[int]], prefix: _Prefix, wants_details: WantsDetails) -> list[Verdict]:
        shared = len(prefix.tokens)
        if any(tuple(prompt[:shared]) != prefix.tokens for prompt in prompts):
            prefix, shared = _Prefix((), ()), 0
        rows = self._begin(prefix, len(prompts))
        hidden = self._feed(rows, [prompt[shared:] for prompt in prompts])
        label_rows = self._head[self._label_tokens].float()
        probabilities = linear(hidden.float(), label_rows).softmax(-1).tolist()
        severities = [_LABELS[max(range(3), key=row.__getitem__)] for row in probabilities]
        detailed = [i for i, severity in enumerate(severities) if wants_details(severity)]
        replies = self._continue(rows.select(detailed), [severities[i] for i in detailed]) if detailed else []
        details = dict(zip(detailed, replies, strict=True))
        return [
            _verdict(severity, _scores(row), details.get(i))
            for i, (severity, row) in enumerate(zip(severities, probabilities, strict=True))
        ]

    def _begin(self, prefix: _Prefix, rows: int) -> _Rows:
        cache = self._new_cache()
        for number, (keys, values) in enumerate(prefix.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
        shape = (rows, len(prefix.tokens))
        mask = torch.ones(shape, dtype=torch.long, device=self._model.device)
        return _Rows(cache, mask, mask.sum(-1))

    def _feed(self, rows: _Rows, new: list[list[int]]) -> torch.Tensor:
        """Feed new tokens to each row, padded on the right; returns the hidden state of each row's last one."""
        counts = self._tensor([[len(tokens)] for tokens in new])[:, 0]
        width = max(map(len, new))
        ids = self._tensor([tokens + [0] * (width - len(tokens)) for tokens in new])
        steps = torch.arange(width, device=ids.device)
        rows.mask = torch.cat([rows.mask, (steps[None] < counts[:, None]).long()], dim=1)
        hidden: torch.Tensor = self._body(
            input_ids=ids,
            attention_mask=rows.mask,
            position_ids=rows.lengths[:, None] + steps[None],
            past_key_values=rows.cache,
            use_cache=True,
        ).last_hidden_state
        rows.lengths = rows.lengths + counts
        return hidden[torch.arange(len(new), device=ids.device), counts - 1]

    def _continue(self, rows: _Rows, severities: list[Severity]) -> list[str]:
        """What the model writes after `Safety: X\\nCategories:` for each row, greedily, from the same cache."""
        written: list[list[int]] = [[] for _ in severities]
        new = [self._openings[severity] for severity in severities]
        ended = [False] * len(severities)
        for _ in range(_REPLY_TOKENS):
            picked = linear(self._feed(rows, new), self._head).argmax(-1).tolist()
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

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self._model.config)

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._model.device)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    config: Any = getattr(model, "generation_config", None)
    stated: Any = getattr(config, "eos_token_id", None)
    stated = stated if isinstance(stated, list) else [stated]
    return frozenset(token for token in (*stated, tokenizer.eos_token_id) if isinstance(token, int))


def _scores(row: list[float]) -> Scores:
    by_label = dict(zip(_LABELS, row, strict=True))
    return Scores(
        safe=by_label[Severity.SAFE],
        controversial=by_label[Severity.CONTROVERSIAL],
        unsafe=by_label[Severity.UNSAFE],
    )


def _verdict(severity: Severity, scores: Scores, categories_and_rest: str | None) -> Verdict:
    if categories_and_rest is None:
        return Verdict(severity=severity, scores=scores)
    try:
        return parse_reply(f"{FORCED_PREFIX} {severity}\nCategories:{categories_and_rest}", scores=scores)
    except GuardResponseError:  # the severity was measured, not read: unreadable details do not undo it
        return Verdict(severity=severity, scores=scores)
