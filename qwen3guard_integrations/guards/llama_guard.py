"""Llama Guard behind the same protocol, for comparisons: Meta's guard on an OpenAI-compatible server.

Sources: the model cards of Llama Guard 3-8B and Llama Guard 4 (PurpleLlama, `Llama-Guard3/8B/MODEL_CARD.md` and
`Llama-Guard4/12B/MODEL_CARD.md`) for the hazards and for the score, the probability of the first token; their chat
template ("First line must read 'safe' or 'unsafe'. If unsafe, a second line must include a comma-separated list of
violated categories.") for the form of the reply, and for roles that alternate; Qwen3Guard's README for what its nine
categories mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

from ..core.conversation import Conversation, Turn
from ..core.errors import GuardResponseError
from ..core.gen_prompt import GenMessage, quoted, turn_label
from ..core.verdict import Category, Scores, Severity, Verdict
from . import openai_requests as requests
from .background import run_in_background
from .openai_server import Post, Server, given, positive
from .protocol import CheckOne
from .served import Lengths, Offer, accepted, judged, words_of


class LlamaGuard(CheckOne):
    """Judges with a Llama Guard 3 or 4 on a server: vLLM, SGLang, Ollama, a host. Thread-safe, as `OpenAIGuard` is.

    The server applies the model's chat template, which judges the last message: a user's as a prompt, an assistant's
    as a response. Llama Guard knows two severities, so a verdict is Safe or Unsafe and never Controversial, and it
    does not tell refusals. Its hazards are named as the nine categories where they mean the same; the others (S6
    Specialized Advice, S14 Code Interpreter Abuse, codes of a custom policy) are in `Verdict.other_categories`.

    Requests, retries, deadlines, long texts and errors are those of `OpenAIGuard`. A reply of any other form is a
    `GuardResponseError`, and never Safe.

    Args:
        model: The name of the model on the server, such as "meta-llama/Llama-Guard-3-8B".
        base_url: The address of the API, such as "http://localhost:8000/v1". Text goes to this host only.
        api_key: Its key; servers without keys take any.
        timeout: Seconds that one conversation may take, with all its pieces and retries.
        max_concurrency: Requests that are under way at once, in each event loop.
        max_tokens: Longest reply in tokens. One that names all fourteen hazards has less than 64.
        scores: Ask for the probabilities of the first token. Servers that give none leave `Verdict.scores` None.
        context_characters: Longest text of one request, in characters, besides the policy text. A longer one is
            judged in overlapping pieces, of which the most severe counts; nothing is cut off.
        overlap_characters: What two neighbouring pieces have in common, in characters.
        extra_body: Fields that are added to each request.
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
        max_concurrency: int = 16,
        max_tokens: int = 64,
        scores: bool = True,
        context_characters: int = 16_000,
        overlap_characters: int = 1_000,
        extra_body: Mapping[str, Any] | None = None,
        default_headers: Mapping[str, str] | None = None,
    ) -> None:
        given("model", model, 'the name under which the server has it, such as "meta-llama/Llama-Guard-3-8B"')
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
        self._offer = Offer([requests.CHAT_LOGPROBS, {}] if scores else [{}])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={self._server.shown!r})"

    def check_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation; see `OpenAIGuard` for what is raised."""
        return run_in_background(self.acheck_many(conversations))

    async def acheck_many(self, conversations: Sequence[Conversation], /) -> list[Verdict]:
        """Judge the last turn of each conversation without blocking the event loop."""
        return await judged(self._server, self._lengths, conversations, self._judge_piece)

    async def _judge_piece(self, post: Post, piece: Conversation) -> Verdict:
        body = requests.chat_body(llama_guard_messages(piece), model=self.model, max_tokens=self._max_tokens)
        answer = await self._offer.ask(post, "/chat/completions", {**body, **self._extra})
        return llama_guard_verdict(requests.read_chat(accepted(answer)))


# --- what is asked ---

_SPEAKER: Final = turn_label("USER", "AGENT", "ASSISTANT", "SYSTEM")


def llama_guard_messages(conversation: Conversation) -> list[GenMessage]:
    """The messages that make Llama Guard's chat template judge the last turn of `conversation`.

    That template takes nothing but users and assistants in turn, a user first. So neighbours of one role are put
    together, except that the judged turn stays alone: an empty turn of the other role stands before it then. Tool
    turns go out as user messages; a system turn is left out unless it is itself judged. Texts are `quoted`, so that
    they cannot act on the prompt.
    """
    messages: list[GenMessage] = []
    for turn in conversation.context:
        if turn.role == "system":
            continue
        role, text = _role(turn), quoted(turn.content, _SPEAKER)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n\n{text}"
        else:
            messages.append({"role": role, "content": text})
    judged_role = _role(conversation.judged)
    if messages and messages[-1]["role"] == judged_role:
        messages.append({"role": "user" if judged_role == "assistant" else "assistant", "content": ""})
    messages.append({"role": judged_role, "content": quoted(words_of(conversation.judged), _SPEAKER)})
    if messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": ""})
    return messages


def _role(turn: Turn) -> Literal["user", "assistant"]:
    return "assistant" if turn.role == "assistant" else "user"


# --- what is answered ---

HAZARDS: Final[Mapping[str, Category | str]] = MappingProxyType(
    {
        "S1": Category.VIOLENT,  # Violent Crimes
        "S2": Category.NON_VIOLENT_ILLEGAL_ACTS,  # Non-Violent Crimes
        "S3": Category.SEXUAL_CONTENT,  # Sex-Related Crimes
        "S4": Category.SEXUAL_CONTENT,  # Child Sexual Exploitation
        "S5": Category.UNETHICAL_ACTS,  # Defamation
        "S6": "Specialized Advice",
        "S7": Category.PII,  # Privacy
        "S8": Category.COPYRIGHT_VIOLATION,  # Intellectual Property
        "S9": Category.VIOLENT,  # Indiscriminate Weapons
        "S10": Category.UNETHICAL_ACTS,  # Hate
        "S11": Category.SUICIDE_AND_SELF_HARM,  # Suicide & Self-Harm
        "S12": Category.SEXUAL_CONTENT,  # Sexual Content
        "S13": Category.POLITICALLY_SENSITIVE,  # Elections
        "S14": "Code Interpreter Abuse",
    }
)
"""The hazards of Llama Guard 3 and 4 as one of the nine categories where that covers them, otherwise by their names."""

_CODE: Final = re.compile(r"[A-Z]{1,3}\d{1,3}")  # "S14", and what custom policies number otherwise
_LABELS: Final[Mapping[str, Severity]] = MappingProxyType({"safe": Severity.SAFE, "unsafe": Severity.UNSAFE})


def llama_guard_verdict(answer: requests.Answer) -> Verdict:
    """The verdict that a chat answer of Llama Guard states, with scores if its first token came with logprobs.

    Raises:
        GuardResponseError: It states none.
    """
    return requests.stated(answer, parse_llama_guard, _scores, whose="Llama Guard's")


def parse_llama_guard(reply: str) -> Verdict:
    """The verdict that `reply` states: `safe`, or `unsafe` and on the next line codes such as `S1,S10`.

    The first word is the severity, whole: "unsafe" is no "safe". After `safe` nothing may follow; after `unsafe` what
    is no code is left out, since it may repeat the judged text.

    Raises:
        GuardResponseError: It is none of these. The message does not repeat the reply.
    """
    first, *rest = re.split(r"[\s,]+", reply.strip()) or [""]
    severity = _LABELS.get(first.lower())
    if severity is None or (severity is Severity.SAFE and rest):
        raise GuardResponseError(
            "the reply is not 'safe', nor 'unsafe' with hazard codes",
            hint="is the model a Llama Guard, and is its chat template the official one?",
        )
    hazards = [HAZARDS.get(code, code) for code in map(str.upper, rest) if _CODE.fullmatch(code)]
    return Verdict(
        severity=severity,
        categories=tuple(dict.fromkeys(hazard for hazard in hazards if isinstance(hazard, Category))),
        other_categories=tuple(dict.fromkeys(hazard for hazard in hazards if not isinstance(hazard, Category))),
    )


def _scores(tokens: Sequence[requests.Token], severity: Severity) -> Scores | None:
    """The two probabilities at the token that begins the label, the first one with anything in it."""
    token = next((token for token in tokens if token.token.strip()), None)
    if token is None or _label(token.token) is not severity:
        return None
    found = requests.label_shares(token, tuple(_LABELS.values()), _label)
    if found is None:
        return None
    return Scores(safe=found[Severity.SAFE], controversial=0.0, unsafe=found[Severity.UNSAFE])


def _label(text: str) -> Severity | None:
    """The severity that `text` begins to write: "un" is unsafe."""
    word = text.strip().lower()
    return next((severity for label, severity in _LABELS.items() if word and label.startswith(word)), None)
