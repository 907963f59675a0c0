"""A model folder of Llama-3.1-8B's shape, without weights: ``--load-format dummy`` makes them up.

The speed of an engine does not depend on their values. The tokenizer has a word for each id, so that every
token is text of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_VOCABULARY = 128_256
LLAMA_8B: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "bos_token_id": 128_000,
    "eos_token_id": 128_001,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14_336,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": _VOCABULARY,
}


def write_model(folder: Path, shape: Mapping[str, Any] = LLAMA_8B) -> Path:
    """Write configuration and tokenizer into ``folder``, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"w{number}" for number in range(shape["vocab_size"])]
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": words[0],
        },
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": words[shape["bos_token_id"]],
        "eos_token": words[shape["eos_token_id"]],
        "unk_token": words[0],
        "model_max_length": shape["max_position_embeddings"],
    }
    for name, content in {
        "config.json": shape,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": settings,
    }.items():
        (folder / name).write_text(json.dumps(dict(content)), encoding="utf-8")
    return folder
