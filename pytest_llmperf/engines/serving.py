"""How a model is served, as far as it decides what is possible: from the settings that an engine resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NOTHING = ("", "None", "null", "{}")


@dataclass(frozen=True)
class Serving:
    """Formats by the engine's names, ``auto`` where the model decides; ``quantization`` None for none.

    ``decoding`` is how many GPUs share the work on one token of one request, ``prefilling`` on its prompt.
    ``drafts``: whether tokens are guessed ahead, so that several may come of one step.
    """

    dtype: str
    quantization: str | None
    kv_dtype: str
    decoding: int
    prefilling: int
    drafts: bool


def serving_of(settings: Mapping[str, str]) -> Serving | None:
    """None where the settings are not vLLM's or SGLang's, or change what the model is."""
    if "parallel.tensor_parallel_size" in settings:
        return _vllm(settings)
    return _sglang(settings) if "tp_size" in settings else None


def _vllm(settings: Mapping[str, str]) -> Serving | None:
    if any(name.startswith("model.hf_overrides") for name in settings):
        return None
    tensor = _size(settings, "parallel.tensor_parallel_size")
    if settings.get("parallel.enable_expert_parallel") == "True":
        # The experts of one request lie on the GPUs of all replicas.
        tensor *= _size(settings, "parallel.data_parallel_size")
    stages = _size(settings, "parallel.pipeline_parallel_size")
    return Serving(
        settings.get("model.dtype", "auto"),
        settings.get("model.quantization"),
        settings.get("cache.cache_dtype", "auto"),
        decoding=tensor,
        prefilling=tensor * stages * _size(settings, "parallel.prefill_context_parallel_size"),
        drafts=any(name.startswith("speculative.") for name in settings),
    )


def _sglang(settings: Mapping[str, str]) -> Serving | None:
    if settings.get("json_model_override_args", "") not in _NOTHING:
        return None
    tensor = _size(settings, "tp_size")
    quantization = settings.get("quantization", "")
    return Serving(
        settings.get("dtype", "auto"),
        None if quantization in _NOTHING else quantization,
        settings.get("kv_cache_dtype", "auto"),
        decoding=tensor,
        prefilling=tensor * _size(settings, "pp_size"),
        drafts=settings.get("speculative_algorithm", "") not in _NOTHING,
    )


def _size(settings: Mapping[str, str], name: str) -> int:
    told = settings.get(name, "1")
    return max(1, int(told)) if told.isdecimal() else 1
