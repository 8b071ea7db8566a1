"""Qwen3Guard-Gen on an OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, `transformers serve`, a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..core.conversation import Conversation
from ..core.gen_prompt import gen_messages
from ..core.verdict import Verdict
from . import openai_requests as requests
from .background import run_in_background
from .openai_server import Post, Refusal, Server, given, positive
from .protocol import CheckOne
from .served import Lengths, Offer, accepted, judged

if TYPE_CHECKING:
    from .openai_prompt import LocalPrompt


class OpenAIGuard(CheckOne):
    """Judges with a Qwen3Guard-Gen on a server. Thread-safe, and usable from any number of event loops.

    Each conversation is a request of its own to `/chat/completions`; the server applies the chat template of the
    model. With `tokenizer` the template is applied here, and `/completions` is asked for one token after the forced
    prefix "Safety:", which is the severity; only if that is not Safe does a second request ask for categories and
    refusal. That is several times faster where the model is slow, and as good. A server without `/completions` is
    asked the other way.

    Text goes to the host in `base_url` and nowhere else: redirects are not followed, and nothing is read from
    `OPENAI_*` variables. (HTTP proxies that the environment names are used, as by every HTTP client.)

    Args:
        model: The name of the model on the server.
        base_url: The address of the API, such as "http://localhost:8000/v1".
        api_key: Its key; servers without keys take any.
        timeout: Seconds that one conversation may take, from its first byte sent, with all its pieces and retries.
            Waiting for one of the `max_concurrency` places is not counted.
        max_concurrency: Requests that are under way at once, in each event loop; all synchronous calls share one.
            16 keeps a small GPU busy.
        max_tokens: Longest reply in tokens. The longest one with all nine categories and a refusal has 53.
        scores: Ask for the probabilities of the severities. Servers that give none leave `Verdict.scores` None.
        tokenizer: A local folder or hub id with the model's tokenizer and chat template. Needs the extra
            `transformers`; code from the hub is never run.
        context_characters: Longest text of one request, in characters, besides the policy text. A longer one is
            judged in overlapping pieces, of which the most severe counts; nothing is cut off. 16,000 are about
            4,000 tokens of English and at most about 16,000 of any language, half of the model's context.
        overlap_characters: What two neighbouring pieces have in common, in characters.
        extra_body: Fields that are added to each request.
        default_headers: HTTP headers that are added to each request.

    Raises:
        GuardConfigurationError: An argument is missing or out of range, or the tokenizer cannot be loaded.
        ImportError: `tokenizer` is given, and the extra is not installed.

    When the guard fails, there is no verdict. Every check raises a `GuardError` that holds none of the text:

    * `GuardUnavailableError`: no connection, status 429 or 5xx, twice with a short pause (that of `Retry-After`
      if the deadline allows it);
    * `GuardTimeoutError`: no verdict within `timeout`;
    * `GuardResponseError`: an answer that is no completion, or states no verdict;
    * `GuardConfigurationError`: the server refuses the key, the model or the request.

    The first failure of one conversation cancels the others of the same call. A server that refuses logprobs
    (status 400 or 422) is asked without them from then on.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str = "EMPTY",
        timeout: float = 10.0,
        max_concurrency: int = 16,
        max_tokens: int = 128,
        scores: bool = True,
        tokenizer: str | None = None,
        context_characters: int = 16_000,
        overlap_characters: int = 1_000,
        extra_body: Mapping[str, Any] | None = None,
        default_headers: Mapping[str, str] | None = None,
    ) -> None:
        given("model", model, 'the name under which the server has it, such as "Qwen/Qwen3Guard-Gen-4B"')
        positive(max_tokens=max_tokens)
        self._lengths = Lengths(context_characters, overlap_characters)
        self._server = Server(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_concurrency=max_concurrency,
            headers=default_headers,
        )
        self.model = model
        self._max_tokens = max_tokens
        self._extra = dict(extra_body or {})
        self._prompt = _local_prompt(tokenizer) if tokenizer is not None else None
        # From the most that a server can be asked for to what every server knows.
        completion: list[requests.Body] = [requests.COMPLETION_LOGPROBS, {}]
        if self._prompt is not None:
            completion.insert(0, {**requests.COMPLETION_LOGPROBS, "logprob_token_ids": self._prompt.label_ids})  # vLLM
        self._completion_offer = Offer(completion if scores else [{}])
        self._chat_offer = Offer([requests.CHAT_LOGPROBS, {}] if scores else [{}])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={self._server.shown!r})"

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation; see the class for what is raised.

        Inside a running event loop it works too, and holds that loop up: await `acheck_many` there.
        """
        return run_in_background(self.acheck_many(conversations))

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation without blocking the event loop; see the class for what is raised.

        Cancelling it closes the connections of the requests that are under way.
        """
        return await judged(self._server, self._lengths, conversations, self._judge_piece)

    async def _judge_piece(self, post: Post, piece: Conversation) -> Verdict:
        prompt = self._prompt
        if prompt is None:
            return await self._by_chat(post, piece)
        verdict = await self._by_completion(post, prompt, piece)
        if verdict is None:
            verdict = await self._by_chat(post, piece)
            self._prompt = None  # not before the chat has worked: without the model there is no path at all
        return verdict

    async def _by_chat(self, post: Post, piece: Conversation) -> Verdict:
        body = requests.chat_body(gen_messages(piece), model=self.model, max_tokens=self._max_tokens)
        answer = await self._chat_offer.ask(post, _CHAT, {**body, **self._extra})
        return requests.chat_verdict(requests.read_chat(accepted(answer)))

    async def _by_completion(self, post: Post, prompt: LocalPrompt, piece: Conversation) -> Verdict | None:
        """The verdict by the forced prefix; None where the server does not continue a text."""
        text = prompt.text(gen_messages(piece))
        body = requests.completion_body(text, model=self.model, max_tokens=1)
        answer = await self._completion_offer.ask(post, _COMPLETIONS, {**body, **self._extra})
        if isinstance(answer, Refusal) and answer.status in _NO_SUCH_PATH:
            return None
        verdict = requests.forced_verdict(requests.read_completion(accepted(answer)))
        if verdict.safe:
            return verdict
        text = requests.details_prompt(text, verdict.severity)
        body = requests.completion_body(text, model=self.model, max_tokens=self._max_tokens)
        answer = await post(_COMPLETIONS, {**body, **self._extra})
        return requests.with_details(verdict, requests.read_completion(accepted(answer)))


_CHAT: Final = "/chat/completions"
_COMPLETIONS: Final = "/completions"
_NO_SUCH_PATH: Final = frozenset({404, 405, 501})


def _local_prompt(tokenizer: str) -> LocalPrompt:
    from .openai_prompt import LocalPrompt  # only here: it needs transformers

    return LocalPrompt(tokenizer)
