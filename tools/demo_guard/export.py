"""Writes the trained weights as two ordinary checkpoints that transformers loads without remote code."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer

from .labels import CATEGORY_NAMES, HEAD_CATEGORIES, RESPONSE_CATEGORIES, SEVERITY_NAMES
from .lexicon import load
from .model import GUARD_INNER_SIZE, MAX_LENGTH, qwen3_config
from .samples import SampleMaker
from .templates import GEN_TEMPLATE, STREAM_TEMPLATE, as_messages, render_gen, render_stream
from .tokenizer import END, PAD, save_tokenizer

ROPE_THETA = 10_000.0
SIZE_LIMIT = 4_000_000
FILE_MODE = 0o644
MAX_NEW_TOKENS = 64
CHECKED_RENDERINGS = 200


def export(tokenizer_file: Path, gen_weights: Path, stream_weights: Path, target: Path) -> int:
    """Writes ``gen`` and ``stream`` below ``target`` and returns their total size in bytes."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    gen = torch.load(gen_weights, weights_only=True)
    stream = torch.load(stream_weights, weights_only=True)

    tensors = {name: value for name, value in gen["model"].items() if name != "lm_head.weight"}
    config = _config(tokenizer)
    _write(target / "gen", config | {"architectures": ["Qwen3ForCausalLM"]}, tensors)
    generation = {
        "do_sample": False,
        "max_new_tokens": MAX_NEW_TOKENS,
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
    }
    _write_json(target / "gen" / "generation_config.json", generation)
    save_tokenizer(tokenizer, target / "gen", GEN_TEMPLATE, MAX_LENGTH)

    tensors = {name: value for name, value in stream["model"].items() if name != "lm_head.weight"}
    _write(target / "stream", config | _guard_fields(), tensors | stream["heads"])
    save_tokenizer(tokenizer, target / "stream", STREAM_TEMPLATE, MAX_LENGTH)

    _check_templates(target)
    files = [path for path in target.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(FILE_MODE)
    size = sum(path.stat().st_size for path in files)
    if size >= SIZE_LIMIT:
        raise ValueError(f"{target} holds {size:,} bytes, more than {SIZE_LIMIT:,}")
    return size


def _config(tokenizer: Tokenizer) -> dict[str, object]:
    """The fields that both model types share, in the spelling that transformers 4 and 5 both read."""
    qwen3 = qwen3_config(tokenizer.get_vocab_size(), tokenizer.token_to_id(END), tokenizer.token_to_id(PAD))
    names = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps",
        "attention_bias", "attention_dropout", "tie_word_embeddings", "initializer_range", "bos_token_id",
        "eos_token_id", "pad_token_id",
    )  # fmt: skip
    fields = {name: getattr(qwen3, name) for name in names}
    return {
        "model_type": "qwen3",
        "torch_dtype": "float16",
        "rope_theta": ROPE_THETA,
        "use_cache": True,
        **fields,
    }


def _guard_fields() -> dict[str, object]:
    risks = {str(index): name for index, name in enumerate(SEVERITY_NAMES.values())}
    categories = {str(index): CATEGORY_NAMES[code] for index, code in enumerate(HEAD_CATEGORIES)}
    return {
        "architectures": ["Qwen3ForGuardModel"],
        "guard_inner_size": GUARD_INNER_SIZE,
        "num_risk_level": len(risks),
        "num_category": RESPONSE_CATEGORIES,
        "num_query_risk_level": len(risks),
        "num_query_category": len(categories),
        "response_risk_level_map": risks,
        "query_risk_level_map": risks,
        "response_category_map": {key: name for key, name in categories.items() if int(key) < RESPONSE_CATEGORIES},
        "query_category_map": categories,
    }


def _write(folder: Path, config: dict[str, object], tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config)
    half = {name: value.to(torch.float16).contiguous() for name, value in tensors.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, data: dict[str, object]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_templates(target: Path) -> None:
    """The jinja templates must render exactly what the models were trained on."""
    maker = SampleMaker(load(), seed=0)
    renderers = {"gen": render_gen, "stream": render_stream}
    tokenizers = {name: AutoTokenizer.from_pretrained(target / name) for name in renderers}
    for _ in range(CHECKED_RENDERINGS):
        turns = maker.conversation()
        for name, render in renderers.items():
            text = tokenizers[name].apply_chat_template(as_messages(turns), tokenize=False)
            thinking = name == "stream" and any("think" in turn.text for turn in turns)
            if not thinking and text != render(turns).text:
                raise ValueError(f"the {name} template renders {text!r}, trained was {render(turns).text!r}")
