"""The number formats that a model is served in: from its ``config.json`` and what the engine made of it.

Of a quantised model the matrices of the layers are taken for quantised, all of them: a layer that was left
out has more bytes, and is not found out here. The scales of a format that fixes them (MXFP4, NVFP4) count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.measure.shape import Precision

_HALVES = {"float16": "float16", "half": "float16", "bfloat16": "bfloat16"}
_KV_BYTES = {"fp8": 1.0, "int8": 1.0, "fp4": 0.5, "nvfp4": 0.5}
_MXFP4_BYTES, _NVFP4_BYTES = 4.25 / 8, 4.5 / 8


def precision_of(
    config: Mapping[str, Any], dtype: str, quantization: str | None, kv_dtype: str
) -> Precision | None:
    """None where one of them is not understood; ``auto`` is what the model says, as in the engines.

    ``quantization`` is what the engine was told; how a checkpoint is quantised it says itself.
    """
    rest = _half(config, dtype)
    quantised = config.get("quantization_config")
    said: Mapping[str, Any] = quantised if isinstance(quantised, Mapping) else {}
    kv = _kv_bytes(said, kv_dtype)
    if rest is None or kv is None:
        return None
    found = _by_checkpoint(said, rest) if said else _by_flag(quantization, rest)
    if found is None:
        return None
    weight_bytes, weights = found
    return Precision(
        weight_bytes=weight_bytes,
        kv_bytes=kv,
        weights=weights,
        rest=rest,
        attention=rest if kv == 2 else "fp8",
        is_of_experts=said.get("quant_method") == "mxfp4",
        is_of_head=said.get("lm_head") is True,
    )


def _half(config: Mapping[str, Any], dtype: str) -> str | None:
    """The format of 16 bits that is computed in; wider ones are for those who do not look for speed."""
    name = dtype.removeprefix("torch.")
    if name != "auto":
        return _HALVES.get(name)
    text = config.get("text_config")
    told = [
        one.get(key) for one in (config, text) if isinstance(one, Mapping) for key in ("torch_dtype", "dtype")
    ]
    said = next((str(name) for name in told if name), "").removeprefix("torch.")
    return "float16" if said == "float32" else _HALVES.get(said)


def _by_flag(quantization: str | None, rest: str) -> tuple[float, str] | None:
    """Bytes and format of a checkpoint of 16 bits that the engine quantises, or does not."""
    if quantization is None:
        return 2.0, rest
    return (1.0, "fp8") if quantization == "fp8" else None


def _by_checkpoint(said: Mapping[str, Any], rest: str) -> tuple[float, str] | None:
    method = said.get("quant_method")
    if method == "fp8":
        return 1.0, "fp8"
    if method == "mxfp4":
        return _MXFP4_BYTES, "fp8"
    if method in ("gptq", "awq"):
        bits = said.get("bits")
        return (bits / 8, rest) if bits in (2, 3, 4, 8) else None
    if method == "modelopt":
        return {"FP8": (1.0, "fp8"), "NVFP4": (_NVFP4_BYTES, "fp4")}.get(str(said.get("quant_algo")))
    return _by_groups(said, rest) if method == "compressed-tensors" else None


def _by_groups(said: Mapping[str, Any], rest: str) -> tuple[float, str] | None:
    """Of compressed-tensors, if all its groups are alike."""
    groups = said.get("config_groups")
    kinds = {_of_group(group, rest) for group in groups.values()} if isinstance(groups, Mapping) else set()
    return kinds.pop() if len(kinds) == 1 else None


def _of_group(group: Any, rest: str) -> tuple[float, str] | None:
    weights = group.get("weights") if isinstance(group, Mapping) else None
    weight = _kind(weights)
    if weight is None or not isinstance(weights, Mapping):
        return None
    # NVFP4 has a scale for each 16 elements; of other formats the elements alone are counted.
    is_nvfp4 = weight == "fp4" and weights.get("group_size") == 16
    weight_bytes = _NVFP4_BYTES if is_nvfp4 else 0.5 if weight.endswith("4") else 1.0
    inputs = group.get("input_activations")
    name = rest if inputs is None else _kind(inputs)
    return None if name in (None, "int4") else (weight_bytes, str(name))


def _kind(elements: Any) -> str | None:
    """The format of elements by their bits and type."""
    if not isinstance(elements, Mapping) or elements.get("num_bits") not in (4, 8):
        return None
    return f"{'fp' if elements.get('type') == 'float' else 'int'}{elements['num_bits']}"


def _kv_bytes(said: Mapping[str, Any], kv_dtype: str) -> float | None:
    name = kv_dtype.removeprefix("torch.")
    if name == "auto":
        # Some checkpoints bring the scales for it, and engines take them up.
        is_quantised = said.get("kv_cache_scheme") or said.get("kv_cache_quant_algo")
        return 1.0 if is_quantised else 2.0
    return 2.0 if name in _HALVES else _KV_BYTES.get(name.partition("_")[0])
