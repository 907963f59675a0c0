from __future__ import annotations

import pytest

from pytest_llmperf.engines.serving import Serving, serving_of

# As releases of 2026 told them on a GPU, where they matter here.
VLLM = {
    "model.dtype": "torch.bfloat16",
    "cache.cache_dtype": "auto",
    "parallel.pipeline_parallel_size": "1",
    "parallel.tensor_parallel_size": "1",
    "parallel.prefill_context_parallel_size": "1",
    "parallel.data_parallel_size": "1",
    "parallel.enable_expert_parallel": "False",
}
SGLANG = {
    "dtype": "auto",
    "kv_cache_dtype": "auto",
    "tp_size": "1",
    "pp_size": "1",
    "dp_size": "1",
    "json_model_override_args": "{}",
    "decoupled_spec_role": "null",
    "speculative_adaptive": "False",
}
PLAIN = Serving("torch.bfloat16", None, "auto", 1, 1, drafts=False)


def sizes(settings: dict[str, str]) -> tuple[int, int]:
    found = serving_of(settings)
    assert found is not None
    return found.decoding, found.prefilling


def test_one_gpu_is_one_gpu() -> None:
    assert serving_of(VLLM) == PLAIN
    assert serving_of(SGLANG) == Serving("auto", None, "auto", 1, 1, drafts=False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (VLLM | {"parallel.tensor_parallel_size": "4"}, (4, 4)),
        (VLLM | {"parallel.tensor_parallel_size": "4", "parallel.pipeline_parallel_size": "2"}, (4, 8)),
        (VLLM | {"parallel.prefill_context_parallel_size": "2"}, (1, 2)),
        (VLLM | {"parallel.data_parallel_size": "8"}, (1, 1)),
        (VLLM | {"parallel.data_parallel_size": "8", "parallel.enable_expert_parallel": "True"}, (8, 8)),
        (SGLANG | {"tp_size": "8", "dp_size": "8"}, (8, 8)),
        (SGLANG | {"tp_size": "2", "pp_size": "2"}, (2, 4)),
        (SGLANG | {"tp_size": "two"}, (1, 1)),
    ],
)
def test_a_request_is_shared_by_the_gpus_that_work_on_it_at_once(
    settings: dict[str, str], expected: tuple[int, int]
) -> None:
    assert sizes(settings) == expected


@pytest.mark.parametrize(
    ("settings", "drafts"),
    [
        (VLLM | {"speculative.method": "ngram"}, True),
        (SGLANG | {"speculative_algorithm": "EAGLE"}, True),
        (SGLANG | {"speculative_algorithm": "null"}, False),
    ],
)
def test_drafts_are_told(settings: dict[str, str], drafts: bool) -> None:
    found = serving_of(settings)
    assert found is not None
    assert found.drafts is drafts


def test_formats_are_those_that_the_engine_tells() -> None:
    told = VLLM | {"model.quantization": "fp8", "cache.cache_dtype": "fp8", "model.dtype": "torch.float16"}
    assert serving_of(told) == Serving("torch.float16", "fp8", "fp8", 1, 1, drafts=False)
    told = SGLANG | {"quantization": "fp8", "kv_cache_dtype": "fp8_e5m2"}
    assert serving_of(told) == Serving("auto", "fp8", "fp8_e5m2", 1, 1, drafts=False)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"total_slots": "8"},
        {"cache.block_size": "16"},
        VLLM | {"model.hf_overrides.num_hidden_layers": "2"},
        SGLANG | {"json_model_override_args": '{"num_hidden_layers": 2}'},
    ],
)
def test_nothing_is_said_of_other_engines_and_of_models_that_are_changed(settings: dict[str, str]) -> None:
    assert serving_of(settings) is None
