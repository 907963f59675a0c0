from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from pytest_llmperf.measure.precision import precision_of
from pytest_llmperf.measure.shape import Precision
from tests.measure.test_architecture import ANYTHING

BF16 = {"torch_dtype": "bfloat16"}


def quantised(**said: object) -> dict[str, Any]:
    return {**BF16, "quantization_config": said}


def group(bits: int, kind: str, inputs: dict[str, object] | None = None, **more: object) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": kind, **more}
    return {"weights": weights, "input_activations": inputs}


def tensors(*groups: dict[str, Any]) -> dict[str, Any]:
    named = {f"group_{number}": one for number, one in enumerate(groups)}
    return quantised(quant_method="compressed-tensors", config_groups=named)


@pytest.mark.parametrize(
    ("config", "dtype", "rest"),
    [
        (BF16, "auto", "bfloat16"),
        ({"dtype": "float16"}, "auto", "float16"),
        ({"text_config": BF16}, "auto", "bfloat16"),
        ({"torch_dtype": "float32"}, "auto", "float16"),
        ({}, "torch.bfloat16", "bfloat16"),
        (BF16, "half", "float16"),
    ],
)
def test_a_model_that_is_not_quantised_has_16_bits_everywhere(
    config: dict[str, Any], dtype: str, rest: str
) -> None:
    expected = Precision(weights=rest, rest=rest, attention=rest)
    assert precision_of(config, dtype, None, "auto") == expected


@pytest.mark.parametrize(
    ("config", "weight_bytes", "weights"),
    [
        (quantised(quant_method="fp8"), 1.0, "fp8"),
        (quantised(quant_method="gptq", bits=4), 0.5, "bfloat16"),
        (quantised(quant_method="awq", bits=4), 0.5, "bfloat16"),
        (quantised(quant_method="gptq", bits=8), 1.0, "bfloat16"),
        (quantised(quant_method="mxfp4"), 0.53125, "fp8"),
        (quantised(quant_method="modelopt", quant_algo="FP8"), 1.0, "fp8"),
        (quantised(quant_method="modelopt", quant_algo="NVFP4"), 0.5625, "fp4"),
        (tensors(group(8, "float", {"num_bits": 8, "type": "float"})), 1.0, "fp8"),
        (tensors(group(8, "int", {"num_bits": 8, "type": "int"})), 1.0, "int8"),
        (tensors(group(4, "int")), 0.5, "bfloat16"),
        (tensors(group(4, "int", {"num_bits": 8, "type": "float"})), 0.5, "fp8"),
        (tensors(group(4, "float", {"num_bits": 4, "type": "float"}, group_size=16)), 0.5625, "fp4"),
        (tensors(group(4, "int"), group(4, "int")), 0.5, "bfloat16"),
    ],
)
def test_a_checkpoint_says_how_it_is_quantised(
    config: dict[str, Any], weight_bytes: float, weights: str
) -> None:
    found = precision_of(config, "auto", "whatever the engine calls it", "auto")
    assert found is not None
    assert (found.weight_bytes, found.weights, found.rest_bytes, found.kv_bytes) == (
        weight_bytes,
        weights,
        2.0,
        2.0,
    )
    assert found.is_of_experts == (config["quantization_config"]["quant_method"] == "mxfp4")


def test_an_engine_may_quantise_what_has_16_bits() -> None:
    found = precision_of(BF16, "auto", "fp8", "auto")
    assert found is not None
    assert (found.weight_bytes, found.weights) == (1.0, "fp8")


@pytest.mark.parametrize(
    ("config", "kv_dtype", "kv_bytes", "attention"),
    [
        (BF16, "auto", 2.0, "bfloat16"),
        (BF16, "torch.float16", 2.0, "bfloat16"),
        (BF16, "fp8", 1.0, "fp8"),
        (BF16, "fp8_e4m3", 1.0, "fp8"),
        (BF16, "fp4_e2m1", 0.5, "fp8"),
        (quantised(quant_method="fp8", kv_cache_scheme={"num_bits": 8}), "auto", 1.0, "fp8"),
    ],
)
def test_the_cache_has_a_format_of_its_own(
    config: dict[str, Any], kv_dtype: str, kv_bytes: float, attention: str
) -> None:
    found = precision_of(config, "auto", None, kv_dtype)
    assert found is not None
    assert (found.kv_bytes, found.attention) == (kv_bytes, attention)


def test_a_head_is_quantised_if_the_checkpoint_says_so() -> None:
    found = precision_of(quantised(quant_method="gptq", bits=4, lm_head=True), "auto", None, "auto")
    assert found is not None
    assert found.is_of_head


@pytest.mark.parametrize(
    ("config", "dtype", "quantization", "kv_dtype"),
    [
        ({}, "auto", None, "auto"),
        (BF16, "torch.float32", None, "auto"),
        (BF16, "auto", "bitsandbytes", "auto"),
        (BF16, "auto", None, "turbo3"),
        (quantised(quant_method="quip"), "auto", None, "auto"),
        (quantised(quant_method="gptq", bits="4"), "auto", None, "auto"),
        (tensors(), "auto", None, "auto"),
        (tensors(group(4, "int"), group(8, "int")), "auto", None, "auto"),
        (tensors(group(3, "int")), "auto", None, "auto"),
        (tensors(group(4, "int", {"num_bits": 4, "type": "int"})), "auto", None, "auto"),
    ],
)
def test_nothing_is_said_of_what_is_not_understood(
    config: dict[str, Any], dtype: str, quantization: str | None, kv_dtype: str
) -> None:
    assert precision_of(config, dtype, quantization, kv_dtype) is None


@given(said=ANYTHING, groups=ANYTHING, bits=ANYTHING, inputs=ANYTHING)
def test_anything_else_is_no_error(said: object, groups: object, bits: object, inputs: object) -> None:
    for config in (
        {**BF16, "quantization_config": said},
        quantised(quant_method="compressed-tensors", config_groups=groups),
        quantised(quant_method="gptq", bits=bits),
        tensors({"weights": {"num_bits": bits}, "input_activations": inputs}),
    ):
        found = precision_of(config, "auto", None, "auto")
        assert found is None or 0 < found.weight_bytes <= 2
