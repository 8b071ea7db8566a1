"""The OpenAI moderation endpoint behind the same protocol, for comparisons.

Sources: OpenAI's API reference ("Moderations", also as docstrings of `openai.types.Moderation`) and moderation guide
for request, answer and the meaning of the categories; Qwen3Guard's README for what its nine categories mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, StrictBool

from ..core.conversation import Conversation
from ..core.errors import GuardConfigurationError, GuardResponseError
from ..core.gen_prompt import sendable
from ..core.verdict import Category, Scores, Severity, Verdict
from ..core.words import is_name
from .background import run_in_background
from .openai_requests import Part, read_as
from .openai_server import Server, given, positive
from .protocol import CheckOne
from .served import Lengths, accepted, together, within, words_of


class OpenAIModerationGuard(CheckOne):
    """Judges with OpenAI's moderation endpoint, or one of the same form. Thread-safe, as `OpenAIGuard` is.

    The endpoint takes texts, not conversations: it gets the judged turn alone, reasoning and answer, without what came
    before, so a response is judged without its prompt. A verdict is Unsafe where the endpoint flags the text,
    otherwise Safe; never Controversial, and it does not tell refusals. Its categories are named as the nine of
    Qwen3Guard that cover them; one that is not known here is in `Verdict.other_categories` under its own name.

    Requests, retries, long texts and errors are those of `OpenAIGuard`, except that many texts share a request. An
    answer of another form, or with another number of results than of texts, is a `GuardResponseError`.

    Args:
        model: The name of the model, such as "omni-moderation-latest".
        base_url: The address of the API, such as "https://api.openai.com/v1". There is no default: text goes to the
            host that is named here and to no other, and nothing is read from `OPENAI_*` variables.
        api_key: Its key.
        timeout: Seconds that one request may take, with its retry.
        max_concurrency: Requests that are under way at once, in each event loop.
        batch_size: Texts in one request.
        scores: None, or "max": the highest of the category scores stands as the probability of Unsafe in
            `Verdict.scores`, the rest as that of Safe. **Not calibrated**: the endpoint's scores are no probabilities
            of a severity, and it flags each category at a threshold of its own. They order texts, which is all that a
            precision-recall or ROC curve needs; calibration errors and `Policy.thresholds` of 0.5 mean nothing.
        context_characters: Longest text in characters; a longer one is judged in overlapping pieces, of which the most
            severe counts. The service itself is said to leave out what goes beyond 32,768 tokens.
        overlap_characters: What two neighbouring pieces have in common, in characters.
        default_headers: HTTP headers that are added to each request.

    Raises:
        GuardConfigurationError: An argument is missing or out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str = "EMPTY",
        timeout: float = 10.0,
        max_concurrency: int = 4,
        batch_size: int = 32,
        scores: Literal["max"] | None = None,
        context_characters: int = 16_000,
        overlap_characters: int = 1_000,
        default_headers: Mapping[str, str] | None = None,
    ) -> None:
        given("model", model, 'such as "omni-moderation-latest"')
        positive(batch_size=batch_size)
        if scores not in ("max", None):
            raise GuardConfigurationError(f"scores={scores!r}: it is None or 'max'")
        self._lengths = Lengths(context_characters, overlap_characters)
        self._server = Server(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_concurrency=max_concurrency,
            headers=default_headers,
            too_long="batch_size or context_characters",
        )
        self.model = model
        self._batch_size = batch_size
        self._scores = scores

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={self._server.shown!r})"

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation; see `OpenAIGuard` for what is raised."""
        return run_in_background(self.acheck_many(conversations))

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation without blocking the event loop."""
        parts = [self._texts(conversation) for conversation in conversations]
        texts = [text for part in parts for text in part]
        places = range(0, len(texts), self._batch_size)
        answers = await together([self._judge(texts[place : place + self._batch_size]) for place in places])
        verdicts = (verdict for answer in answers for verdict in answer)
        return [Verdict.merge([next(verdicts) for _ in part]) for part in parts]

    def _texts(self, conversation: Conversation) -> list[str]:
        alone = Conversation(turns=(conversation.judged,))
        return [sendable(words_of(piece.judged)) for piece in self._lengths.pieces(alone)]

    async def _judge(self, texts: Sequence[str]) -> list[Verdict]:
        async def ask(deadline: asyncio.Timeout) -> str:
            async with self._server.exchange(deadline) as post:
                return accepted(await post("/moderations", {"model": self.model, "input": texts}))

        return moderation_verdicts(await within(self._server, ask), len(texts), self._scores)


# --- what is answered ---

CATEGORIES: Final[Mapping[str, Category]] = MappingProxyType(
    {
        "harassment": Category.UNETHICAL_ACTS,  # Qwen3Guard's own definition names harassment, hate speech and threats
        "harassment/threatening": Category.UNETHICAL_ACTS,
        "hate": Category.UNETHICAL_ACTS,
        "hate/threatening": Category.UNETHICAL_ACTS,
        "illicit": Category.NON_VIOLENT_ILLEGAL_ACTS,
        "illicit/violent": Category.VIOLENT,
        "self-harm": Category.SUICIDE_AND_SELF_HARM,
        "self-harm/instructions": Category.SUICIDE_AND_SELF_HARM,
        "self-harm/intent": Category.SUICIDE_AND_SELF_HARM,
        "sexual": Category.SEXUAL_CONTENT,
        "sexual/minors": Category.SEXUAL_CONTENT,
        "violence": Category.VIOLENT,
        "violence/graphic": Category.VIOLENT,
    }
)
"""The categories of omni-moderation as those of the nine that cover them."""


def _usable(value: object) -> object:
    """Category scores, or none at all where there is one that is no number between 0 and 1: scores are an extra."""
    numbers = value.values() if isinstance(value, Mapping) else [None]
    usable = all(isinstance(number, int | float) and 0 <= number <= 1 for number in numbers)
    return value if usable else {}


class _Moderation(Part):
    flagged: StrictBool
    categories: dict[str, StrictBool | None]
    category_scores: Annotated[dict[str, float], BeforeValidator(_usable)] = Field(default_factory=dict)


class _Moderations(Part):
    results: tuple[_Moderation, ...]


def moderation_verdicts(body: str, texts: int, scores: Literal["max"] | None = None) -> list[Verdict]:
    """The verdicts in an answer of the endpoint about so many `texts`, in order.

    Raises:
        GuardResponseError: It is no such answer, or has another number of results.
    """
    results = read_as(_Moderations, body, "one of a moderation endpoint").results
    if len(results) != texts:
        raise GuardResponseError(
            f"the moderation endpoint gave {len(results)} results for {texts} texts",
            hint="a server that judges one text at a time needs batch_size=1",
        )
    return [_verdict(result, scores) for result in results]


def _verdict(result: _Moderation, scores: Literal["max"] | None) -> Verdict:
    """Unsafe where anything is flagged, even if the two fields that say so differ; the likeliest category first."""
    found = [name for name, flagged in result.categories.items() if flagged]
    found.sort(key=lambda name: -result.category_scores.get(name, 0.0))
    named = {name: _category(name) for name in found}
    return Verdict(
        severity=Severity.UNSAFE if result.flagged or found else Severity.SAFE,
        categories=tuple(dict.fromkeys(category for category in named.values() if category is not None)),
        # What is no name could be words of the judged text.
        other_categories=tuple(name for name, category in named.items() if category is None and is_name(name)),
        scores=_highest(result.category_scores) if scores == "max" else None,
    )


def _category(name: str) -> Category | None:
    """The one of the nine that covers `name`: OpenAI's, or one of the nine by its own name."""
    try:
        return CATEGORIES.get(name) or Category(name)
    except ValueError:
        return None


def _highest(scores: Mapping[str, float]) -> Scores | None:
    if not scores:
        return None
    highest = max(scores.values())
    return Scores(safe=1 - highest, controversial=0.0, unsafe=highest)
