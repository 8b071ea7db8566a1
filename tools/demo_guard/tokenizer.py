"""The byte-level BPE tokenizer of both checkpoints, with Qwen's special tokens and split pattern."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from .labels import CATEGORY_NAMES, SEVERITY_NAMES
from .lexicon import Texts
from .samples import SampleMaker
from .templates import gen_verdict, render_gen

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK = ("<think>", "</think>")
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TRAINING_CONVERSATIONS = 16_000
NATURAL_REPEATS = 4


def train_tokenizer(texts: Texts, vocab_size: int, seed: int) -> Tokenizer:
    """A tokenizer trained on the same kind of text that the models see."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len((PAD, START, END, *THINK)),
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(texts, seed), trainer)
    tokenizer.add_special_tokens([PAD, START, END])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in THINK])
    for name in SEVERITY_NAMES.values():
        if len(tokenizer.encode(f" {name}").ids) != 1:
            raise ValueError(f"{name!r} is not a single token")
    return tokenizer


def _corpus(texts: Texts, seed: int) -> Iterator[str]:
    maker = SampleMaker(texts, seed)
    natural = [item.text for item in (*texts.sentences, *texts.first_prompts)]
    natural += [text for item in texts.exchanges for text in (item.prompt, item.response)]
    for _ in range(NATURAL_REPEATS):
        yield from natural
    for index in range(TRAINING_CONVERSATIONS):
        turns = maker.conversation()
        yield from (turn.text for turn in turns)
        if index % 10 == 0:
            text = render_gen(turns).text
            for special in (START, END, *THINK):
                text = text.replace(special, "")
            yield text
            yield gen_verdict(turns)
    for name, severity in itertools.product(CATEGORY_NAMES.values(), SEVERITY_NAMES.values()):
        yield f"Safety: {severity}\nCategories: {name}, {name}\nRefusal: Yes"


def save_tokenizer(tokenizer: Tokenizer, folder: Path, chat_template: str, max_length: int) -> None:
    """Writes the files that ``AutoTokenizer.from_pretrained`` reads."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
