"""Reads the word lists and sentences that the project wrote (``lexicon/`` and ``sentences/``).

Every file is tab-separated text; a line that begins with ``#`` is a comment, ``\\n`` stands for a line break.
The texts name dangers; none of them holds an instruction.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .labels import CATEGORY_NAMES, SEVERITY_NAMES, Label

HERE = Path(__file__).parent
LANGUAGES = ("en", "de", "fr", "es", "zh")
"""The languages that have a list of actions; in German the object comes before the verb."""

DEV_SHARE = 0.08
RESPONSE_FILE = "responses.tsv"

_GERUNDS = {
    "abort": "aborting", "beat": "beating", "bet": "betting", "chop": "chopping", "commit": "committing",
    "con": "conning", "cut": "cutting", "debug": "debugging", "die": "dying", "dig": "digging",
    "dox": "doxxing", "drop": "dropping", "drug": "drugging", "fit": "fitting", "get": "getting",
    "grab": "grabbing", "guilt-trip": "guilt-tripping", "hit": "hitting", "lie": "lying", "plan": "planning",
    "put": "putting", "rig": "rigging", "rip": "ripping", "rob": "robbing", "run": "running",
    "scam": "scamming", "set": "setting", "ship": "shipping", "shop": "shopping", "shut": "shutting",
    "snoop": "snooping", "spot": "spotting", "spy": "spying", "stab": "stabbing", "stop": "stopping",
    "swim": "swimming", "tie": "tying", "traffic": "trafficking", "win": "winning",
}  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """One complete prompt with its label."""

    text: str
    label: Label


@dataclass(frozen=True)
class Exchange:
    """One prompt and the response to judge, with the response's label."""

    prompt: str
    response: str
    label: Label
    refusal: bool


@dataclass(frozen=True)
class Action:
    """A verb with its object, in one language."""

    text: str
    label: Label
    language: str
    verb: str

    def gerund(self) -> str:
        """The English -ing form of the action ("make a cake" gives "making a cake")."""
        words = self.text.split(" ")
        at = 1 if words[0].endswith("ly") and len(words) > 1 else 0
        word = words[at]
        stem = word[:-1] if word.endswith("e") and not word.endswith("ee") else word
        words[at] = _GERUNDS.get(word, stem + "ing")
        return " ".join(words)


@dataclass(frozen=True)
class ActionGroup:
    """Verbs and objects that combine freely under one label."""

    label: Label
    language: str
    verbs: tuple[str, ...]
    objects: tuple[str, ...]

    def combine(self, verb: str, obj: str) -> Action:
        """The action that one verb and one object make."""
        orders = {"de": f"{obj} {verb}", "zh": f"{verb}{obj}"}
        text = orders.get(self.language, f"{verb} {obj}")
        return Action(text, self.label, self.language, verb)


@dataclass
class Texts:
    """Everything that samples are made of."""

    sentences: list[Sentence] = field(default_factory=list)
    first_prompts: list[Sentence] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    tool_calls: list[Sentence] = field(default_factory=list)
    actions: list[ActionGroup] = field(default_factory=list)
    topics: dict[str, list[str]] = field(default_factory=dict)
    phrases: dict[str, list[str]] = field(default_factory=dict)


def is_dev(text: str) -> bool:
    """Whether a natural sentence belongs to the development split, by its hash."""
    return zlib.crc32(text.strip().lower().encode()) % 1000 < DEV_SHARE * 1000


def load(split: str = "all") -> Texts:
    """All training text ("all"), all but the development split ("train"), or only its natural sentences ("dev")."""
    texts = Texts()
    _load_sentences(texts, split)
    if split != "dev":
        _load_lexicon(texts)
    return texts


def _load_sentences(texts: Texts, split: str) -> None:
    def wanted(text: str) -> bool:
        return split == "all" or is_dev(text) == (split == "dev")

    for path in sorted((HERE / "sentences").glob("*.tsv")):
        for fields in _rows(path):
            if path.name == RESPONSE_FILE:
                exchange = _exchange(fields)
                if exchange and wanted(exchange.prompt):
                    texts.exchanges.append(exchange)
            else:
                sentence = _sentence(fields)
                if sentence and wanted(sentence.text):
                    texts.sentences.append(sentence)


def _load_lexicon(texts: Texts) -> None:
    lexicon = HERE / "lexicon"
    texts.sentences += _sentences(lexicon / "utterances.tsv")
    texts.first_prompts = _sentences(lexicon / "first_prompts.tsv")
    texts.tool_calls = _sentences(lexicon / "tool_calls.tsv")
    for language in LANGUAGES:
        for severity, category, verbs, objects in _rows(lexicon / f"actions_{language}.tsv"):
            group = ActionGroup(Label(severity, category), language, _split(verbs), _split(objects))
            texts.actions.append(group)
    topics: dict[str, list[str]] = defaultdict(list)
    for language, line in _rows(lexicon / "topics.tsv"):
        topics[language] += _split(line)
    texts.topics = dict(topics)
    phrases: dict[str, list[str]] = defaultdict(list)
    for kind, text in _rows(lexicon / "phrases.tsv"):
        phrases[kind].append(text)
    texts.phrases = dict(phrases)


def _rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield [part.replace("\\n", "\n") for part in line.split("\t")]


def _label(severity: str, category: str) -> Label | None:
    if severity not in SEVERITY_NAMES:
        return None
    if severity == "S":
        return Label("S")
    return Label(severity, category) if category in CATEGORY_NAMES else None


def _sentence(fields: list[str]) -> Sentence | None:
    if len(fields) != 3 or not fields[2].strip():
        return None
    label = _label(fields[0].strip(), fields[1].strip())
    return Sentence(fields[2].strip(), label) if label else None


def _sentences(path: Path) -> list[Sentence]:
    return [sentence for fields in _rows(path) if (sentence := _sentence(fields))]


def _exchange(fields: list[str]) -> Exchange | None:
    if len(fields) != 5 or not fields[4].strip():
        return None
    label = _label(fields[0].strip(), fields[1].strip())
    if label is None or label.category == "J":
        return None
    return Exchange(fields[3].strip(), fields[4].strip(), label, fields[2].strip().lower() == "yes")


def _split(field_text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in field_text.split("|") if part.strip())
