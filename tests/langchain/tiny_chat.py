"""A tiny Qwen3 chat model that writes what it is told to: a real checkpoint, so that real servers can serve it.

Nothing is trained. Attention and MLP add nothing, so the model sees the last token only; the embedding gives each token
a direction of its own, and the head maps it to the token that follows. So the answer is a chain of tokens, each of
which may stand in it once, and which begins at what the chat template ends with: "\\n" where the model may think, and
"\\n\\n" behind the empty thinking that Qwen3's template writes for `enable_thinking=False`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

_START, _END = "<|im_start|>", "<|im_end|>"
_NEWLINE = "Ċ"  # the byte "\n" in the alphabet of byte-level tokenizers
_HIDDEN = 512

# As Qwen3's own, of which this is the part without tools.
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def write_chat_model(folder: Path, answer: Sequence[str], thinking: Sequence[str] = ()) -> Path:
    """A checkpoint that writes the pieces of `answer`, after those of `thinking` where it may think."""
    tokenizer = _tokenizer([*thinking, *answer])
    chain = ["\n\n", *answer, _END]
    thought = ["<think>", *thinking, "</think>", "\n\n"] if thinking else [answer[0]]
    follows = dict([*pairwise(chain), *pairwise([_NEWLINE, *thought])])
    _model(tokenizer, follows).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={byte: place for place, byte in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_tokens([AddedToken(text, normalized=False) for text in ("<think>", "</think>", "\n\n", *pieces)])
    raw.add_special_tokens([_START, _END])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=_END, pad_token=_END)
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _model(tokenizer: PreTrainedTokenizerFast, follows: Mapping[str, str]) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), _HIDDEN))
        for token, place in tokenizer.get_vocab().items():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(follows.get(token, _END)), place] = 1.0
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model
