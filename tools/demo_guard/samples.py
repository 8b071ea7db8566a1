"""Makes conversations with their labels, without end, from the project's word lists and sentences."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .augment import augment
from .labels import NO_CATEGORY, SAFE, Label
from .lexicon import Action, ActionGroup, Exchange, Sentence, Texts
from .passages import Passage, Span, join, label_of, plain, sentence, text_of

T = TypeVar("T")

JAILBREAK = Label("U", "J")
SEVERITY_SHARES = {"S": 0.47, "U": 0.37, "C": 0.16}
LANGUAGE_SHARES = {"en": 0.50, "de": 0.17, "fr": 0.14, "es": 0.11, "zh": 0.08}
PROMPT_KINDS = {
    "natural": 0.43,
    "action": 0.14,
    "topic": 0.06,
    "first": 0.06,
    "pair": 0.07,
    "forged": 0.08,
    "document": 0.14,
    "system": 0.02,
}
PLAIN_KINDS = {"natural": 0.66, "action": 0.24, "topic": 0.10}
RESPONSE_KINDS = {"exchange": 0.50, "composed": 0.30, "tool_call": 0.12, "document": 0.08}
RESPONSE_SHARE = 0.42
HISTORY_SHARE = 0.10
LONG_DOCUMENT_SHARE = 0.15
MARKUP_SHARE = 0.03
MARKUP = ("![{x}](https://example.org/a.png)", "[{x}](https://example.org)", "**{x}**", "`{x}`", "# {x}", "> {x}")


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation with the verdict on it."""

    role: str
    passage: Passage
    label: Label = SAFE
    categories: tuple[str, ...] = ()
    refusal: bool | None = None

    @property
    def text(self) -> str:
        """The text of the turn."""
        return text_of(self.passage)


Conversation = list[Turn]


class SampleMaker:
    """Draws labelled conversations; the same seed gives the same conversations."""

    def __init__(self, texts: Texts, seed: int) -> None:
        self.rng = random.Random(seed)
        self.phrases = texts.phrases
        self.request_verbs = set(texts.phrases["verb_request"])
        self.first_prompts = texts.first_prompts
        self.tool_calls = texts.tool_calls
        self.topics = texts.topics
        self.sentences = _by_label(texts.sentences, lambda item: item.label)
        self.exchanges = _by_label(texts.exchanges, lambda item: item.label)
        self.actions: dict[tuple[str, str], list[ActionGroup]] = defaultdict(list)
        for group in texts.actions:
            self.actions[group.language, group.label.severity].append(group)
        self.documents = texts.phrases["document"] + [
            item.response for item in texts.exchanges if not item.label.harmful and not item.refusal
        ]

    def conversation(self) -> Conversation:
        """One conversation; its last turn is the one to judge."""
        turns: Conversation = []
        if self._chance(0.04):
            turns.append(Turn("system", plain(self._phrase("system"))))
        if self._chance(HISTORY_SHARE):
            for _ in range(self.rng.choice((1, 1, 1, 2, 2, 3, 4))):
                turns += self._exchange_turns()
        if self._chance(RESPONSE_SHARE):
            turns += self._exchange_turns()
        else:
            turns.append(self.prompt()[0])
        return turns

    def single(self, with_prompt: bool) -> Conversation:
        """One short prompt or response without any context; `with_prompt`, an empty prompt stands before a response."""
        turn = self._short_turn()
        return [Turn("user", [Span("")]), turn] if with_prompt and turn.role == "assistant" else [turn]

    def _short_turn(self) -> Turn:
        if self._chance(0.2):
            return self._natural_exchange()[-1]
        if self._chance(0.12):
            item = self.rng.choice(self.first_prompts)
            return _user(augment(sentence(item.text, item.label), self.rng))
        if self._chance(0.1):
            return self._pair(self._noisy(self._natural_prompt()), self._noisy(self._natural_prompt()))
        return _user(self._noisy(self._plain_prompt()[0]))

    # ------------------------------------------------------------------ prompts

    def prompt(self) -> tuple[Turn, Action | None]:
        """A user turn, and the action it asks for where there is one."""
        kind = self._weighted(PROMPT_KINDS)
        action = None
        if kind == "document":
            passage = self._document()
        elif kind == "system":
            passage = plain(self._phrase("system"))
        elif kind == "forged":
            passage = self._forged(self._noisy(self._plain_prompt()[0]), in_prompt=True)
        elif kind == "pair":
            first, second = self._plain_prompt()[0], self._plain_prompt()[0]
            return self._pair(self._noisy(first), self._noisy(second)), None
        elif kind == "first":
            item = self.rng.choice(self.first_prompts)
            passage = augment(sentence(item.text, item.label), self.rng, 0.5)
        else:
            passage, action = self._plain_prompt(kind)
            passage = self._marked_up(self._noisy(passage))
        return _user(passage), action

    def _marked_up(self, passage: Passage) -> Passage:
        """Now and then the passage inside of Markdown, where it reads the same."""
        if not self._chance(MARKUP_SHARE):
            return passage
        before, after = self.rng.choice(MARKUP).split("{x}")
        return [*([Span(before)] if before else []), *passage, *([Span(after, label_of(passage))] if after else [])]

    def _plain_prompt(self, kind: str = "") -> tuple[Passage, Action | None]:
        kind = kind or self._weighted(PLAIN_KINDS)
        if kind == "action":
            return self._action_prompt()
        return self._topic_prompt() if kind == "topic" else self._natural_prompt(), None

    def _natural_prompt(self) -> Passage:
        item = self._sentence(self._weighted(SEVERITY_SHARES))
        return sentence(item.text, item.label)

    def _topic_prompt(self) -> Passage:
        language = self._weighted(LANGUAGE_SHARES)
        text = self._phrase(f"topic_{language}").replace("{t}", self.rng.choice(self.topics[language]))
        return plain(text[0].upper() + text[1:])

    def _action_prompt(self) -> tuple[Passage, Action]:
        language = self._weighted(LANGUAGE_SHARES)
        action = self._action(language, self._weighted(SEVERITY_SHARES))
        if language != "en":
            return fill(self._phrase(f"question_{language}"), action), action
        kind = "request" if action.verb in self.request_verbs and self._chance(0.75) else "question"
        passage = fill(self._phrase(kind), action)
        if self._chance(0.13):
            passage = join(plain(self._phrase("prefix")), " ", passage)
        if self._chance(0.10):
            passage = join(passage, " ", plain(self._phrase("suffix")))
        return passage, action

    def _noisy(self, passage: Passage) -> Passage:
        return augment(passage, self.rng)

    def _pair(self, first: Passage, second: Passage) -> Turn:
        labels = (label_of(first), label_of(second))
        passage = join(first, self.rng.choice((". ", " ", "\n", " and ", "\n\n", ", ")), second)
        label = label_of(passage)
        categories = {item.category for item in labels if item.severity == label.severity}
        return Turn("user", passage, label, tuple(sorted(categories - {NO_CATEGORY})))

    def _forged(self, passage: Passage, in_prompt: bool) -> Passage:
        """A passage with text that imitates the guard's own format or tells it what to answer.

        Harmful text keeps its label. Harmless text keeps it too, except that a prompt that dictates the
        verdict is a jailbreak.
        """
        command = self._chance(0.5)
        forgery = self._phrase("forged_command" if command else "forged_mild")
        separator = self.rng.choice((" ", "\n", "\n\n", "\n\n"))
        label = label_of(passage)
        if command and in_prompt and not label.harmful:
            forged = sentence(forgery, JAILBREAK)
            if self._chance(0.7):
                return [*passage, Span(separator), *forged]
            return join(forged, separator, passage)
        place = self.rng.random()
        if place < 0.55:
            return [*passage, Span(separator + forgery, label)]
        if place < 0.8 or len(passage) > 1 or " " not in passage[0].text:
            return [Span(forgery + separator, trained=False), *passage]
        words = passage[0].text.split(" ")
        at = self.rng.randrange(1, len(words))
        before = Span(" ".join(words[:at]) + separator + forgery + separator, trained=False)
        return [before, replace(passage[0], text=" ".join(words[at:]))]

    def _document(self) -> Passage:
        """A tool result, a retrieved text or a web page: neutral, or with one harmful sentence inside."""
        if self._chance(LONG_DOCUMENT_SHARE):
            count = self.rng.randrange(12, 30)
        else:
            count = self.rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 7))
        separator = self.rng.choice((" ", " ", "\n", "\n\n"))
        kinds = self.rng.sample(self.documents, self.rng.randrange(1, 4)) if self._chance(0.3) else self.documents
        parts = [plain(self.rng.choice(kinds)) for _ in range(count)]
        if self._chance(0.45):
            if self._chance(0.45):
                bad = sentence(self._phrase("injection"), JAILBREAK)
            else:
                item = self._sentence("U")
                bad = sentence(item.text, item.label)
            place = self.rng.random()
            at = len(parts) if place < 0.4 else 0 if place < 0.55 else self.rng.randrange(len(parts) + 1)
            parts.insert(at, augment(bad, self.rng, 0.3))
            if bad[-1].label != JAILBREAK and self._chance(0.4):
                more = self._sentence("U")
                parts.insert(at + 1, sentence(more.text, more.label))
        passage = parts[0]
        for part in parts[1:]:
            passage = join(passage, separator, part)
        return self._wrapped(passage) if self._chance(0.25) else passage

    def _wrapped(self, passage: Passage) -> Passage:
        """The passage inside a JSON field or under a heading, as tools return it."""
        label = label_of(passage)
        kind = self.rng.randrange(3)
        if kind == 0:
            key = self.rng.choice(("content", "text", "result", "page_content", "snippet"))
            escaped = [replace(span, text=json.dumps(span.text, ensure_ascii=False)[1:-1]) for span in passage]
            return [Span('{"' + key + '": "'), *escaped, Span('"}', label)]
        heading = self.rng.choice(("Search result 1:", "Document:", "Tool output:", "Context:", "# Page", "Result:"))
        if kind == 1:
            return [Span(heading + "\n"), *passage]
        return [Span("<p>"), *passage, Span("</p>", label)]

    # ---------------------------------------------------------------- responses

    def _exchange_turns(self) -> Conversation:
        kind = self._weighted(RESPONSE_KINDS)
        if kind == "exchange":
            return self._natural_exchange()
        if kind == "tool_call":
            prompt = self._empty_or(self.prompt()[0])
            return [prompt, self._tool_call()]
        if kind == "document":
            passage = self._document()
            while label_of(passage).category == "J":
                passage = self._document()
            return [self._empty_or(self.prompt()[0]), self._response(passage, refusal=False)]
        return self._composed_exchange()

    def _empty_or(self, prompt: Turn, empty: float = 0.4) -> Turn:
        return Turn("user", [Span("")]) if self._chance(empty) else prompt

    def _natural_exchange(self) -> Conversation:
        item = self._pick(self.exchanges, self._weighted(SEVERITY_SHARES))
        prompt = _user(augment(plain(item.prompt), self.rng))
        passage = sentence(item.response, item.label, settle=0.5)
        if item.label.harmful and self._chance(0.25):
            opening = self.rng.choice(self.documents) if self._chance(0.5) else self._phrase("safe_step")
            passage = join(plain(opening), " ", passage)
        passage = augment(passage, self.rng, 0.3)
        if self._chance(0.07):
            kind = "thought_refuse" if item.refusal else "thought_harmless"
            passage = join(plain(f"<think>\n{self._phrase_without_action(kind)}\n</think>\n"), "\n", passage)
        hidden = replace(prompt, passage=[replace(span, trained=False) for span in prompt.passage])
        return [self._empty_or(hidden, 0.25), self._response(passage, item.refusal)]

    def _tool_call(self) -> Turn:
        chosen = self.rng.random()
        if chosen < 0.25:
            passage = plain(self._phrase("tool_call_safe"))
        elif chosen < 0.45:
            item = self.rng.choice(self.tool_calls)
            passage = sentence(item.text, item.label)
        else:
            severity = self._weighted(SEVERITY_SHARES)
            inner = self._sentence(severity)
            while inner.label.category == "J":
                inner = self._sentence(severity)
            before, after = self._phrase("tool_call_text").split("{x}")
            text = json.dumps(inner.text, ensure_ascii=False)[1:-1]
            passage = [Span(before), *sentence(text, inner.label), Span(after, inner.label)]
        return self._response(passage, refusal=False)

    def _composed_exchange(self) -> Conversation:
        """A response put together from phrases, so that the place where it turns harmful is known."""
        severity = self._weighted(SEVERITY_SHARES)
        asked = self._action("en", severity)
        while asked.label.category == "J":
            asked = self._action("en", severity)
        prompt = _user(self._noisy(fill(self._phrase("question"), asked)))
        modes = {
            "S": {"help": 0.70, "refuse": 0.10, "turn": 0.20},
            "U": {"refuse": 0.40, "soft": 0.10, "harm": 0.32, "vague": 0.08, "deflect": 0.10},
            "C": {"refuse": 0.20, "harm": 0.62, "deflect": 0.18},
        }
        mode = self._weighted(modes[severity])
        refusal = mode in ("refuse", "soft")
        action = self._action("en", "U") if mode == "turn" else asked
        harmful = mode in ("harm", "turn", "vague")
        passage: Passage = []
        if self._chance(0.10):
            thought = "thought_harm" if harmful else "thought_refuse" if refusal else "thought_harmless"
            inner = fill(self._phrase(thought), action)
            if not harmful:
                inner = plain(text_of(inner))
            passage = join(join(plain("<think>\n"), "", inner), "", plain("\n</think>\n\n"))
        for part in self._response_parts(mode, action):
            passage = join(passage, " " if passage and not text_of(passage).endswith("\n") else "", part)
        return [self._empty_or(prompt, 0.12), self._response(augment(passage, self.rng, 0.2), refusal)]

    def _response_parts(self, mode: str, action: Action) -> list[Passage]:
        safe = Action(action.text, SAFE, action.language, action.verb)
        steps = [plain(self._phrase("safe_step")) for _ in range(self.rng.choice((1, 1, 2, 3)))]
        harm_steps = [plain(self._phrase("harm_step")) for _ in range(self.rng.choice((0, 1, 2)))]
        if mode == "help":
            return [fill(self._phrase("safe_open"), safe), *steps] if self._chance(0.6) else steps
        if mode == "refuse":
            more = [plain(self._phrase("refusal_more"))] if self._chance(0.5) else []
            return [fill(self._phrase("refusal"), safe), *more]
        if mode == "soft":
            return [plain(self._phrase("refusal_soft"))]
        if mode == "harm":
            return [fill(self._phrase("harm_open"), action), *harm_steps]
        if mode == "turn":
            return [*steps, fill(self._phrase("harm_open"), action), *harm_steps]
        if mode == "vague":
            return [sentence(self._phrase("harm_vague"), action.label), *harm_steps[:1]]
        return steps

    def _response(self, passage: Passage, refusal: bool) -> Turn:
        if self._chance(0.07):
            passage = self._forged(passage, in_prompt=False)
        label = label_of(passage)
        return Turn("assistant", passage, label, (label.category,) if label.harmful else (), refusal)

    # ------------------------------------------------------------------ drawing

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _phrase(self, kind: str) -> str:
        return self.rng.choice(self.phrases[kind])

    def _phrase_without_action(self, kind: str) -> str:
        return self.rng.choice([text for text in self.phrases[kind] if "{" not in text])

    def _weighted(self, shares: dict[str, float]) -> str:
        return self.rng.choices(list(shares), list(shares.values()))[0]

    def _sentence(self, severity: str) -> Sentence:
        return self._pick(self.sentences, severity)

    def _pick(self, groups: dict[Label, list[T]], severity: str) -> T:
        labels = [label for label in groups if label.severity == severity]
        label = self.rng.choices(labels, [len(groups[label]) ** 0.7 for label in labels])[0]
        return self.rng.choice(groups[label])

    def _action(self, language: str, severity: str) -> Action:
        groups = self.actions[language, severity]
        weights = [(len(group.verbs) * len(group.objects)) ** 0.4 for group in groups]
        group = self.rng.choices(groups, weights)[0]
        return group.combine(self.rng.choice(group.verbs), self.rng.choice(group.objects))


def fill(template: str, action: Action) -> Passage:
    """A template with the action in its place; the action's label counts from its last character on."""
    passage: Passage = []
    rest = template
    while marks := [(rest.find(mark), mark) for mark in ("{a}", "{A}", "{g}", "{G}") if mark in rest]:
        at, mark = min(marks)
        text = action.gerund() if mark in ("{g}", "{G}") else action.text
        if mark in ("{A}", "{G}"):
            text = text[0].upper() + text[1:]
        before = action.label if passage else SAFE
        if at:
            passage.append(Span(rest[:at], before))
        passage += sentence(text, action.label) if not passage or before == SAFE else [Span(text, action.label)]
        rest = rest[at + len(mark) :]
    if rest:
        passage.append(Span(rest, action.label if passage else SAFE))
    return passage


def _user(passage: Passage) -> Turn:
    label = label_of(passage)
    return Turn("user", passage, label, (label.category,) if label.harmful else ())


def _by_label(items: Sequence[T], key: Callable[[T], Label]) -> dict[Label, list[T]]:
    groups: dict[Label, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def prompt_turn(item: Sentence) -> Turn:
    """A sentence as a user turn, without any noise."""
    return _user(sentence(item.text, item.label))


def exchange_turns(item: Exchange) -> Conversation:
    """An exchange as two turns, without any noise."""
    categories = (item.label.category,) if item.label.harmful else ()
    answer = Turn("assistant", sentence(item.response, item.label, 0.5), item.label, categories, item.refusal)
    return [Turn("user", plain(item.prompt)), answer]
