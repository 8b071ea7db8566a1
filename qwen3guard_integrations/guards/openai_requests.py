"""Requests to OpenAI-compatible servers and their answers, as plain data: no I/O, no model.

Two end points are spoken to. `/v1/chat/completions` gets messages, and the server applies the model's chat template.
`/v1/completions` gets a finished prompt that ends in "Safety:", so that the severity is the first token generated.
Servers differ: logprobs are missing, ignored or refused, and come in two shapes; with a reasoning parser the verdict
may be in `reasoning_content` (SGLang, old vLLM) or `reasoning` (vLLM); all of that is read here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..core.errors import GuardResponseError
from ..core.gen_prompt import FORCED_PREFIX, GenMessage
from ..core.gen_reply import parse_reply
from ..core.verdict import Scores, Severity, Verdict

Body = Mapping[str, Any]
Label = TypeVar("Label")

CHAT_LOGPROBS: Final[Body] = {"logprobs": True, "top_logprobs": 10}
"""Ten, since each label may come with and without space, and in lower case."""

COMPLETION_LOGPROBS: Final[Body] = {"logprobs": 20}
"""vLLM's greatest number. Without its `logprob_token_ids` the three labels have to be among these."""


def chat_body(messages: Sequence[GenMessage], *, model: str, max_tokens: int) -> dict[str, Any]:
    """The body of a chat request that has the model write a whole verdict."""
    return {"model": model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}


def completion_body(prompt: str, *, model: str, max_tokens: int) -> dict[str, Any]:
    """The body of a request that continues `prompt`."""
    return {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": max_tokens}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server wrote: text, whether it was cut off at `max_tokens`, and its tokens if they came with logprobs."""

    text: str
    truncated: bool = False
    tokens: tuple[Token, ...] = ()


class Part(BaseModel):
    """Part of an answer; errors do not repeat it, since a server may echo the prompt."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Alternative(Part):
    token: str
    logprob: float


class Token(_Alternative):
    """One generated token and what else could have stood there."""

    top_logprobs: Annotated[tuple[_Alternative, ...], BeforeValidator(lambda value: value or ())] = ()


class _ChatLogprobs(Part):
    content: tuple[Token, ...]


class _LegacyLogprobs(Part):
    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...] = ()


def _tokens(value: object) -> Sequence[Token]:
    """The tokens in a `logprobs` field of either shape; none where it has another one. Scores are an extra."""
    if not isinstance(value, Mapping):
        return ()
    try:
        if "content" in value:
            return _ChatLogprobs.model_validate(value).content
        legacy = _LegacyLogprobs.model_validate(value)
    except ValidationError:
        return ()
    alternatives = [
        tuple(_Alternative(token=token, logprob=logprob) for token, logprob in top.items())
        for top in legacy.top_logprobs or ({},) * len(legacy.tokens)
    ]
    return [
        Token(token=token, logprob=logprob, top_logprobs=top)
        for token, logprob, top in zip(legacy.tokens, legacy.token_logprobs, alternatives, strict=False)
    ]


class _Choice(Part):
    finish_reason: str | None = None
    logprobs: Annotated[tuple[Token, ...], BeforeValidator(_tokens)] = ()


class _Message(Part):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    @property
    def text(self) -> str:
        candidates = (self.content, self.reasoning_content, self.reasoning)
        return next((text for text in candidates if text and text.strip()), "")


class _ChatChoice(_Choice):
    message: _Message


class _CompletionChoice(_Choice):
    text: str


class _Chat(Part):
    choices: tuple[_ChatChoice, ...] = Field(min_length=1)


class _Completion(Part):
    choices: tuple[_CompletionChoice, ...] = Field(min_length=1)


def read_chat(body: str) -> Answer:
    """The answer in the body of a chat completion.

    Raises:
        GuardResponseError: It is none: no JSON, no choices, wrong types.
    """
    choice = _read(_Chat, body).choices[0]
    return Answer(choice.message.text, choice.finish_reason == "length", choice.logprobs)


def read_completion(body: str) -> Answer:
    """The answer in the body of a completion; raises as `read_chat` does."""
    choice = _read(_Completion, body).choices[0]
    return Answer(choice.text, choice.finish_reason == "length", choice.logprobs)


Model = TypeVar("Model", bound=BaseModel)


def _read(model: type[Model], body: str) -> Model:
    return read_as(model, body, "a completion")


def read_as(model: type[Model], body: str, name: str) -> Model:
    """The answer in `body`; `name` says what it should be.

    Raises:
        GuardResponseError: It is none. The error and its context do not know the answer.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError:
        pass  # raised below, without the error that knows the answer in its context
    raise GuardResponseError(
        f"the server's answer is not {name}", hint="is base_url that of an OpenAI-compatible API, with its /v1?"
    )


def chat_verdict(answer: Answer) -> Verdict:
    """The verdict that a chat answer of Qwen3Guard-Gen states, with scores if its tokens came with logprobs.

    Raises:
        GuardResponseError: It states none.
    """
    return stated(answer, parse_reply, _scores_in, whose="the guard's")


def stated(
    answer: Answer,
    parsed: Callable[[str], Verdict],
    scores_in: Callable[[Sequence[Token], Severity], Scores | None],
    *,
    whose: str,
) -> Verdict:
    """The verdict that `parsed` finds in an answer, with the scores that `scores_in` finds at its tokens.

    Raises:
        GuardResponseError: It states none, or was cut off (`whose` reply that is) before it did.
    """
    try:
        verdict = parsed(answer.text)
    except GuardResponseError as error:
        failure = error
    else:
        return verdict.model_copy(update={"scores": scores_in(answer.tokens, verdict.severity)})
    if answer.truncated:
        failure = GuardResponseError(f"{whose} reply was cut off before its verdict", hint="raise max_tokens")
    raise failure


def forced_verdict(answer: Answer) -> Verdict:
    """The severity and scores that the first token after "Safety:" states; without categories.

    Raises:
        GuardResponseError: That token is none of the labels: not a Qwen3Guard-Gen, or not its prompt.
    """
    first, *_ = answer.text.split(maxsplit=1) or [""]
    severity = _label(first)
    if severity is None:
        raise GuardResponseError(
            "the guard does not go on after 'Safety:' with Safe, Unsafe or Controversial",
            hint="is the model a Qwen3Guard-Gen, and tokenizer the one that belongs to it?",
        )
    scores = severity_scores(answer.tokens[0], severity) if answer.tokens else None
    if scores is not None:
        # The generated token is the most probable one, unless the server samples in spite of temperature=0.
        severity = max(Severity, key=lambda label: (scores[label], label))
    return Verdict(severity=severity, scores=scores)


def details_prompt(prompt: str, severity: Severity) -> str:
    """What has the model go on with the categories of `severity`; `prompt` ends with "Safety:"."""
    return f"{prompt} {severity}\nCategories:"


def with_details(verdict: Verdict, answer: Answer) -> Verdict:
    """`verdict` with the categories and the refusal that `answer` to `details_prompt` names."""
    reply = f"{FORCED_PREFIX} {verdict.severity}\nCategories:{answer.text}"
    return parse_reply(reply, scores=verdict.scores)


_SAFETY: Final = re.compile(r"safety[\s*_`\"']*[:：=][\s*_`\"'>\[(]*\Z", re.IGNORECASE)
_FIELD_WIDTH: Final = 40  # characters before the label that are looked at: "**Safety:** " and room to spare


def _scores_in(tokens: Sequence[Token], severity: Severity) -> Scores | None:
    """The scores at the first token after "Safety:"."""
    before = ""
    for token in tokens:
        if _SAFETY.search(before) and token.token.strip(" *_`\"'>[("):
            return severity_scores(token, severity)
        before = (before + token.token)[-_FIELD_WIDTH:]
    return None


def severity_scores(token: Token, severity: Severity) -> Scores | None:
    """The three probabilities at the token that begins the label of `severity`; None if it begins another."""
    if _label(token.token) is not severity:
        return None
    found = label_shares(token, tuple(Severity), _label)
    if found is None:
        return None
    return Scores(safe=found[Severity.SAFE], controversial=found[Severity.CONTROVERSIAL], unsafe=found[Severity.UNSAFE])


def label_shares(
    token: Token, labels: Sequence[Label], begins: Callable[[str], Label | None]
) -> dict[Label, float] | None:
    """The probability of each of `labels` at the token that begins one; `begins` tells which a token begins to write.

    They are the softmax over the labels' own tokens, as at the forced prefix in the model's process. A label that
    is not among the alternatives cannot have been more probable than the least of these, nor than all that is not
    listed: it gets the lesser of the two. None where the log-probabilities are none.
    """
    listed = {
        alternative.token: math.exp(min(alternative.logprob, 0.0)) for alternative in (*token.top_logprobs, token)
    }
    found: dict[Label, float] = {}
    for text, probability in listed.items():
        if (label := begins(text)) is not None:
            found[label] = max(found.get(label, 0.0), probability)
    missing = len(labels) - len(found)
    unlisted = max(1.0 - math.fsum(listed.values()), 0.0) / max(missing, 1)
    bound = min(unlisted, *listed.values())
    total = math.fsum(found.values()) + bound * missing
    if not total > 0.0:
        return None
    return {label: found.get(label, bound) / total for label in labels}


def _label(text: str) -> Severity | None:
    """The severity that `text` begins to write: " Cont" is Controversial, and "S" is enough for Safe."""
    word = text.strip().lower()
    return next((label for label in Severity if word and label.value.lower().startswith(word)), None)
