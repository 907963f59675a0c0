"""A small Llama as a folder for ``--load-format dummy``: a shape and a tokenizer, no weights.

Every token is a word of its own, so that a generated token is a piece of text whatever the weights are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_llmperf.engines.words import WORDS

_SPECIAL = ("<|bos|>", "<|eos|>", "<|pad|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


def write_tiny_llama(folder: Path, vocabulary: int = 2048, hidden: int = 512, layers: int = 8) -> Path:
    """Write it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _files(vocabulary, hidden, layers).items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def _files(vocabulary: int, hidden: int, layers: int) -> dict[str, dict[str, Any]]:
    words = list(dict.fromkeys((*_SPECIAL, "user", "assistant", *WORDS)))
    words += [f"w{number}" for number in range(vocabulary - len(words))]
    special = [
        {
            "id": number,
            "content": word,
            "special": True,
            "normalized": False,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
        }
        for number, word in enumerate(_SPECIAL)
    ]
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": hidden // 4,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **ids,
        },
        "generation_config.json": ids,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": _SPECIAL[0],
            "eos_token": _SPECIAL[1],
            "pad_token": _SPECIAL[2],
            "model_max_length": 4096,
            "chat_template": _CHAT_TEMPLATE,
        },
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": None,
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
            "model": {
                "type": "WordLevel",
                "vocab": {word: number for number, word in enumerate(words)},
                "unk_token": words[-1],
            },
        },
    }
