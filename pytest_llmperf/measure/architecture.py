"""A model's shape from its ``config.json``, for architectures whose parameters are counted exactly here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmperf.measure.shape import Experts, Latent, ModelShape, Precision

Config = Mapping[str, Any]


class _NotUnderstood(Exception):
    """The configuration lacks what its architecture has, or has what is not known here."""


def shape_of(config: Config, precision: Precision) -> ModelShape | None:
    """None for an architecture that is not known, and for a configuration that is not understood.

    Of a model that also sees or hears, the part that reads and writes text.
    """
    inner = config.get("text_config")
    text: Config = inner if isinstance(inner, Mapping) else config
    read = _READERS.get(str(text.get("model_type")))
    if read is None:
        return None
    try:
        return read(_plain(text, precision), text)
    except _NotUnderstood:
        return None


def _plain(config: Config, precision: Precision) -> ModelShape:
    """What all have in common."""
    hidden, heads = _whole(config, "hidden_size"), _whole(config, "num_attention_heads")
    return ModelShape(
        layers=_whole(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_whole(config, "num_key_value_heads", heads),
        head_dim=_whole(config, "head_dim", hidden // heads),
        intermediate=_whole(config, "intermediate_size"),
        vocab=_whole(config, "vocab_size"),
        is_tied=config.get("tie_word_embeddings") is True,
        layer_vectors=2 * hidden,
        precision=precision,
    )


def _llama(shape: ModelShape, config: Config) -> ModelShape:
    if config.get("mlp_bias"):
        raise _NotUnderstood
    biases = _qkv_biases(shape) + shape.hidden if config.get("attention_bias") else 0
    return _with_vectors(shape, biases)


def _mistral(shape: ModelShape, config: Config) -> ModelShape:
    return _windowed(shape, config, shape.layers)


def _qwen2(shape: ModelShape, config: Config) -> ModelShape:
    return _windowed_late(_with_vectors(shape, _qkv_biases(shape)), config)


def _qwen3(shape: ModelShape, config: Config) -> ModelShape:
    biases = _qkv_biases(shape) + shape.hidden if config.get("attention_bias") else 0
    return _windowed_late(_with_vectors(shape, biases + 2 * shape.head_dim), config)


def _mixtral(shape: ModelShape, config: Config) -> ModelShape:
    experts = Experts(
        _whole(config, "num_local_experts"), _whole(config, "num_experts_per_tok"), shape.intermediate
    )
    return _windowed(_mixed(shape, experts), config, shape.layers)


def _qwen2_moe(shape: ModelShape, config: Config) -> ModelShape:
    shared = _whole(config, "shared_expert_intermediate_size")
    # What every token goes through beside the experts has a gate, one row of a matrix.
    mixed = _qwen_mixture(_with_vectors(shape, _qkv_biases(shape)), config, shared)
    assert mixed.experts is not None
    if mixed.experts.dense_layers:
        raise _NotUnderstood
    return _windowed_late(_with_vectors(mixed, shape.hidden), config)


def _qwen3_moe(shape: ModelShape, config: Config) -> ModelShape:
    return _qwen_mixture(_qwen3(shape, config), config, 0)


def _qwen_mixture(shape: ModelShape, config: Config, shared: int) -> ModelShape:
    step, plain = _whole(config, "decoder_sparse_step", 1), config.get("mlp_only_layers") or []
    if not isinstance(plain, list):
        raise _NotUnderstood
    mixed = [layer for layer in range(shape.layers) if layer not in plain and (layer + 1) % step == 0]
    experts = Experts(
        _whole(config, "num_experts"),
        _whole(config, "num_experts_per_tok"),
        _whole(config, "moe_intermediate_size"),
        shared,
        shape.layers - len(mixed),
    )
    return _mixed(shape, experts)


def _deepseek(shape: ModelShape, config: Config) -> ModelShape:
    """V2 and V3; what V3 predicts beyond the next token is not counted."""
    rank = _whole(config, "q_lora_rank") if config.get("q_lora_rank") is not None else None
    latent = Latent(
        rank,
        _whole(config, "kv_lora_rank"),
        _whole(config, "qk_nope_head_dim"),
        _whole(config, "qk_rope_head_dim"),
        _whole(config, "v_head_dim"),
    )
    dense = config.get("first_k_dense_replace", 0)
    if _whole(config, "moe_layer_freq", 1) != 1 or not isinstance(dense, int) or config.get("attention_bias"):
        raise _NotUnderstood
    width = _whole(config, "moe_intermediate_size")
    experts = Experts(
        _whole(config, "n_routed_experts"),
        _whole(config, "num_experts_per_tok"),
        width,
        width * _whole(config, "n_shared_experts"),
        dense,
    )
    # V3's router has a bias for each expert.
    biases = 1 if config.get("model_type") == "deepseek_v3" else 0
    shape = _mixed(dataclasses.replace(shape, latent=latent, expert_vectors=biases), experts)
    return _with_vectors(shape, latent.kv_rank + (rank or 0))


def _gpt_oss(shape: ModelShape, config: Config) -> ModelShape:
    kinds = config.get("layer_types")
    if not isinstance(kinds, list) or len(kinds) != shape.layers:
        raise _NotUnderstood
    experts = Experts(
        _whole(config, "num_local_experts"), _whole(config, "num_experts_per_tok"), shape.intermediate
    )
    # Beside the biases each head has a sink, and the router a bias for each expert.
    vectors = _qkv_biases(shape) + shape.hidden + shape.heads + experts.count
    shape = _with_vectors(_mixed(shape, experts), vectors)
    shape = dataclasses.replace(shape, expert_vectors=2 * experts.intermediate + shape.hidden)
    return _windowed(shape, config, sum(kind == "sliding_attention" for kind in kinds))


_READERS: Mapping[str, Callable[[ModelShape, Config], ModelShape]] = {
    "llama": _llama,
    "mistral": _mistral,
    "phi3": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "mixtral": _mixtral,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gpt_oss": _gpt_oss,
}
ARCHITECTURES = tuple(_READERS)


def _qkv_biases(shape: ModelShape) -> int:
    return shape.head_dim * (shape.heads + 2 * shape.kv_heads)


def _with_vectors(shape: ModelShape, more: int) -> ModelShape:
    return dataclasses.replace(shape, layer_vectors=shape.layer_vectors + more)


def _mixed(shape: ModelShape, experts: Experts) -> ModelShape:
    if experts.active > experts.count or not 0 <= experts.dense_layers <= shape.layers:
        raise _NotUnderstood
    return dataclasses.replace(shape, experts=experts)


def _windowed(shape: ModelShape, config: Config, layers: int) -> ModelShape:
    if config.get("sliding_window") is None or not layers:
        return shape
    return dataclasses.replace(shape, window=_whole(config, "sliding_window"), windowed_layers=layers)


def _windowed_late(shape: ModelShape, config: Config) -> ModelShape:
    """Qwen's layers from ``max_window_layers`` on, and only if it says so."""
    if not config.get("use_sliding_window"):
        return shape
    first = config.get("max_window_layers")
    if not isinstance(first, int) or first < 0:
        raise _NotUnderstood
    return _windowed(shape, config, max(0, shape.layers - first))


def _whole(config: Config, name: str, default: int | None = None) -> int:
    """A number greater than 0; ``default`` where there is none."""
    value = config.get(name)
    if value is None and default is not None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise _NotUnderstood
    return value
