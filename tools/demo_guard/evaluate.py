"""Measures the exported checkpoints on held-out sentences: ``python -m tools.demo_guard.evaluate``.

The held-out sentences were written by somebody who had not seen the training text. ``--dev`` measures on the
development split of the training sentences instead, for checkpoints that were trained without it; ``--write-card``
also puts the figures into the card.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from .labels import CATEGORY_NAMES, HEAD_CATEGORIES, SEVERITY_NAMES
from .lexicon import load
from .model import GuardHeads

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "qwen3guard_integrations" / "guards" / "demo_weights"
HELD_OUT = REPOSITORY / "tests" / "data"
CARD = WEIGHTS / "MODEL_CARD.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

NAMES = list(SEVERITY_NAMES.values())
HEAD_NAMES = [CATEGORY_NAMES[code] for code in HEAD_CATEGORIES]
BATCH = 64
_CATEGORY = "|".join(map(re.escape, CATEGORY_NAMES.values()))
VERDICT = re.compile(
    rf"Safety: (?P<severity>{'|'.join(NAMES)})\n"
    rf"Categories: (?P<categories>None|(?:{_CATEGORY})(?:, (?:{_CATEGORY}))*)"
    r"(?:\nRefusal: (?P<refusal>Yes|No))?"
)


@dataclass(frozen=True)
class Row:
    """One labelled prompt, or one labelled response where ``response`` is set."""

    prompt: str
    severity: str
    category: str | None
    language: str
    first: bool = False
    response: str | None = None
    refusal: bool | None = None

    @property
    def harmful(self) -> bool:
        """Whether the text to judge is anything but safe."""
        return self.severity != "Safe"

    def messages(self) -> list[dict[str, str]]:
        """The conversation as chat messages."""
        turns = [{"role": "user", "content": self.prompt}]
        if self.response is not None:
            turns.append({"role": "assistant", "content": self.response})
        return turns


@dataclass(frozen=True)
class Judgement:
    """What a model said about a row; severity is None if the verdict could not be read."""

    row: Row
    severity: str | None
    categories: tuple[str, ...] = ()
    refusal: bool | None = None

    @property
    def right(self) -> bool:
        """Whether safe and not safe were told apart correctly."""
        return self.severity is not None and (self.severity != "Safe") == self.row.harmful


# ----------------------------------------------------------------------------- data


def held_out_rows() -> tuple[list[Row], list[Row]]:
    """The held-out prompts and responses."""
    prompts = [
        Row(item["text"], item["severity"], item["category"], item["language"], item.get("first", False))
        for item in _read_lines(HELD_OUT / "natural_prompts.jsonl")
    ]
    responses = [
        Row(
            item["prompt"],
            item["severity"],
            item["category"],
            item["language"],
            response=item["response"],
            refusal=item["refusal"],
        )
        for item in _read_lines(HELD_OUT / "natural_responses.jsonl")
    ]
    return prompts, responses


def dev_rows() -> tuple[list[Row], list[Row]]:
    """The development split of the training sentences; its language is not recorded."""
    texts = load("dev")
    prompts = [
        Row(item.text, SEVERITY_NAMES[item.label.severity], CATEGORY_NAMES.get(item.label.category), "any")
        for item in texts.sentences
    ]
    responses = [
        Row(
            item.prompt,
            SEVERITY_NAMES[item.label.severity],
            CATEGORY_NAMES.get(item.label.category),
            "any",
            response=item.response,
            refusal=item.refusal,
        )
        for item in texts.exchanges
    ]
    return prompts, responses


def _read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _normal(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def training_copies() -> set[str]:
    """Every complete training prompt, without case and punctuation."""
    texts = load()
    return {_normal(item.text) for item in (*texts.sentences, *texts.first_prompts)}


# --------------------------------------------------------------------------- models


class GenModel:
    """The Gen checkpoint, judging by greedy generation."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """One judgement per row."""
        judgements = []
        for at in range(0, len(rows), BATCH):
            batch = rows[at : at + BATCH]
            texts = [self.tokenizer.apply_chat_template(row.messages(), tokenize=False) for row in batch]
            inputs = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
            output = self.model.generate(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask)
            answers = self.tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
            judgements += [_parse(row, answer) for row, answer in zip(batch, answers, strict=True)]
        return judgements


def _parse(row: Row, answer: str) -> Judgement:
    match = VERDICT.fullmatch(answer)
    if not match or (match["refusal"] is None) != (row.response is None):
        return Judgement(row, None)
    categories = () if match["categories"] == "None" else tuple(match["categories"].split(", "))
    return Judgement(row, match["severity"], categories, match["refusal"] == "Yes" if match["refusal"] else None)


class StreamModel:
    """The Stream checkpoint with its four heads."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        tensors = load_file(folder / "model.safetensors")
        backbone = {name.removeprefix("model."): value for name, value in tensors.items() if name[:6] == "model."}
        self.model = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32).eval()
        self.model.load_state_dict(backbone)
        self.heads = GuardHeads(self.model.config.hidden_size).eval()
        self.heads.load_state_dict({name: tensors[name].float() for name in self.heads.state_dict()})

    @torch.no_grad()
    def query(self, row: Row) -> Judgement:
        """The query heads at the end of the user turn."""
        text = f"<|im_start|>user\n{row.prompt}<|im_end|>"
        risk, category = self.heads.query(self._hidden(text)[-1])
        return _named(row, int(risk.argmax()), int(category.argmax()))

    @torch.no_grad()
    def response(self, row: Row) -> Judgement:
        """The response heads at the last token of the response."""
        hidden, _ = self._response_tokens(row)
        risk, category = self.heads.response(hidden[-1])
        return _named(row, int(risk.argmax()), int(category.argmax()))

    @torch.no_grad()
    def alarm(self, row: Row) -> int | None:
        """Where in the response the second of two consecutive tokens that are not safe ends."""
        hidden, ends = self._response_tokens(row)
        risky = (self.heads.response(hidden)[0].argmax(-1) > 0).tolist()
        return next((ends[at + 1] for at, pair in enumerate(pairwise(risky)) if all(pair)), None)

    def tokens(self, text: str) -> int:
        """The number of tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _hidden(self, text: str) -> torch.Tensor:
        inputs = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        return self.model(input_ids=inputs.input_ids).last_hidden_state[0]

    def _response_tokens(self, row: Row) -> tuple[torch.Tensor, list[int]]:
        text = self.tokenizer.apply_chat_template(row.messages(), tokenize=False)
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        stop = text.rindex("<|im_end|>")
        start = stop - len(row.response or "")
        inside = [at for at, (_, end) in enumerate(encoding.offset_mapping) if start < end <= stop]
        hidden = self.model(input_ids=torch.tensor([encoding.input_ids])).last_hidden_state[0]
        return hidden[inside], [encoding.offset_mapping[at][1] - start for at in inside]


def _named(row: Row, risk: int, category: int) -> Judgement:
    return Judgement(row, NAMES[risk], (HEAD_NAMES[category],) if risk else ())


# --------------------------------------------------------------------------- report


def percent(values: Iterable[bool]) -> str:
    """The share of true values, or a dash for none."""
    items = list(values)
    return f"{100 * sum(items) / len(items):.1f} %" if items else "-"


def _row_figures(judgements: Sequence[Judgement]) -> list[str]:
    return [
        str(len(judgements)),
        percent(item.right for item in judgements),
        percent(item.right for item in judgements if item.row.harmful),
        percent(item.right for item in judgements if not item.row.harmful),
        percent(item.severity == item.row.severity for item in judgements),
        percent(item.row.category in item.categories for item in judgements if item.row.category and item.right),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _groups(judgements: Sequence[Judgement], key: Callable[[Row], str | None]) -> dict[str, list[Judgement]]:
    groups: dict[str, list[Judgement]] = defaultdict(list)
    for item in judgements:
        if name := key(item.row):
            groups[name].append(item)
    return dict(sorted(groups.items()))


def _main_table(prompts: dict[str, list[Judgement]], responses: dict[str, list[Judgement]]) -> str:
    head = ["set", "n", "safe or not", "recall", "specificity", "severity (3 ways)", "category named"]
    copies = training_copies()
    rows = []
    for model, judgements in prompts.items():
        unseen = [item for item in judgements if _normal(item.row.prompt) not in copies]
        rows.append([f"{model}, prompts", *_row_figures(judgements)])
        rows.append([f"{model}, prompts not in the training text", *_row_figures(unseen)])
        first = [item for item in judgements if item.row.first]
        rows.append([f"{model}, what a newcomer types first", *_row_figures(first)])
        for language, group in _groups(judgements, lambda row: row.language).items():
            rows.append([f"{model}, prompts in {language}", *_row_figures(group)])
    for model, judgements in responses.items():
        rows.append([f"{model}, responses", *_row_figures(judgements)])
    return _table(head, rows)


def _category_table(prompts: dict[str, list[Judgement]]) -> str:
    rows = []
    grouped = {model: _groups(items, lambda row: row.category) for model, items in prompts.items()}
    for name in CATEGORY_NAMES.values():
        counts = [str(len(next(iter(grouped.values())).get(name, [])))]
        recalls = [percent(item.right for item in groups.get(name, [])) for groups in grouped.values()]
        rows.append([name, *counts, *recalls])
    return _table(["category of the prompt", "n", *(f"{model} recall" for model in prompts)], rows)


def _format_lines(prompts: Sequence[Judgement], responses: Sequence[Judgement]) -> list[str]:
    valid = percent(item.severity is not None for item in (*prompts, *responses))
    refusals = [item for item in responses if item.severity is not None]
    return [
        f"- Gen verdicts that can be read: {valid}",
        f"- Gen refusal line right: {percent(item.refusal == item.row.refusal for item in refusals)}",
    ]


def _onset_lines(stream: StreamModel, responses: Sequence[Row]) -> list[str]:
    """How soon Stream notices that a response turns harmful: a safe one with a harmful one appended."""
    safe = [row for row in responses if not row.harmful and not row.refusal]
    harmful = [row for row in responses if row.harmful]
    if not safe or not harmful:
        return []
    late: list[int] = []
    early = found = 0
    for index, bad in enumerate(harmful):
        opening = (safe[index % len(safe)].response or "") + " "
        text = opening + (bad.response or "")
        row = Row(safe[index % len(safe)].prompt, bad.severity, bad.category, bad.language, response=text)
        end = stream.alarm(row)
        if end is None:
            continue
        if end <= len(opening):
            early += 1
        else:
            found += 1
            late.append(stream.tokens(text[len(opening) : end]))
    alarms = percent(stream.alarm(row) is not None for row in responses if not row.harmful)
    noticed, before = (f"{100 * count / len(harmful):.1f} %" for count in (found, early))
    delay = f"{statistics.median(late):.0f} tokens" if late else "-"
    return [
        f"- Stream, responses that turn harmful after a safe beginning (n = {len(harmful)}; an alarm is two"
        f" consecutive tokens that are not safe): noticed after the turn {noticed},"
        f" false alarm before the turn {before}, median delay {delay}",
        f"- Stream, safe responses with an alarm anywhere: {alarms}",
    ]


def _size_lines() -> list[str]:
    lines = []
    for name in ("gen", "stream"):
        tensors = load_file(WEIGHTS / name / "model.safetensors")
        size = sum(path.stat().st_size for path in (WEIGHTS / name).iterdir())
        count = sum(tensor.numel() for tensor in tensors.values())
        lines.append(f"- {name}: {count:,} parameters, {size:,} bytes with its tokenizer")
    return lines


def report(prompts: Sequence[Row], responses: Sequence[Row]) -> str:
    """All figures as markdown."""
    gen, stream = GenModel(WEIGHTS / "gen"), StreamModel(WEIGHTS / "stream")
    gen_prompts, gen_responses = gen.judge(prompts), gen.judge(responses)
    by_prompt = {"Gen": gen_prompts, "Stream": [stream.query(row) for row in prompts]}
    by_response = {"Gen": gen_responses, "Stream": [stream.response(row) for row in responses]}
    lists = [*_format_lines(gen_prompts, gen_responses), *_onset_lines(stream, responses), *_size_lines()]
    return "\n\n".join([_main_table(by_prompt, by_response), _category_table(by_prompt), "\n".join(lists)])


def write_card(figures: str) -> None:
    """Puts the figures between the marks of the model card."""
    card = CARD.read_text(encoding="utf-8")
    before, rest = card.split(BEGIN)
    _, after = rest.split(END)
    CARD.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="measure on the development split")
    parser.add_argument("--write-card", action="store_true", help="also write the figures into MODEL_CARD.md")
    arguments = parser.parse_args()
    if arguments.dev and arguments.write_card:
        parser.error("the card shows held-out figures only")
    torch.set_num_threads(1)
    figures = report(*(dev_rows() if arguments.dev else held_out_rows()))
    print(figures)
    if arguments.write_card:
        write_card(figures)


if __name__ == "__main__":
    main()
