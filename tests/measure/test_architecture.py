from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.measure.architecture import ARCHITECTURES, shape_of
from pytest_llmperf.measure.shape import ModelShape, Precision
from tests.measure.shapes import DEEPSEEK_V3, GPT_OSS, KNOWN, LLAMA_3_8B, QWEN3_MOE

HALF = Precision()


def shape(config: Mapping[str, Any]) -> ModelShape:
    found = shape_of(config, HALF)
    assert found is not None
    return found


@pytest.mark.parametrize(("config", "parameters", "active"), KNOWN.values(), ids=KNOWN)
def test_the_parameters_of_known_models_are_counted_exactly(
    config: Mapping[str, Any], parameters: int, active: int
) -> None:
    assert (shape(config).parameters, shape(config).active_parameters) == (parameters, active)


def test_every_architecture_is_among_the_known_models() -> None:
    assert {config["model_type"] for config, _, _ in KNOWN.values()} == set(ARCHITECTURES)


def test_of_a_model_that_also_sees_the_text_part_counts() -> None:
    config = {"model_type": "mistral3", "vision_config": {"hidden_size": 1024}, "text_config": LLAMA_3_8B}
    assert shape(config) == shape(LLAMA_3_8B)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({**LLAMA_3_8B, "model_type": "mistral", "sliding_window": 4096}, (4096, 32)),
        ({**LLAMA_3_8B, "model_type": "mistral", "sliding_window": None}, (None, 0)),
        ({**LLAMA_3_8B, "sliding_window": 4096}, (None, 0)),
        (GPT_OSS, (128, 12)),
        (
            {
                **LLAMA_3_8B,
                "model_type": "qwen2",
                "use_sliding_window": True,
                "sliding_window": 64,
                "max_window_layers": 20,
            },
            (64, 12),
        ),
        (
            {
                **LLAMA_3_8B,
                "model_type": "qwen2",
                "use_sliding_window": True,
                "sliding_window": 64,
                "max_window_layers": 32,
            },
            (None, 0),
        ),
        ({**QWEN3_MOE, "sliding_window": 64}, (None, 0)),
    ],
)
def test_windows_are_those_of_the_layers_that_have_one(
    config: Mapping[str, Any], told: tuple[int | None, int]
) -> None:
    assert (shape(config).window, shape(config).windowed_layers) == told


def test_layers_without_experts_are_told_apart() -> None:
    every_second = shape({**QWEN3_MOE, "decoder_sparse_step": 2, "mlp_only_layers": [1]}).experts
    assert every_second is not None
    assert every_second.dense_layers == 25


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "mamba"},
        {"model_type": ["llama"]},
        {**LLAMA_3_8B, "mlp_bias": True},
        {**LLAMA_3_8B, "num_hidden_layers": 0},
        {**LLAMA_3_8B, "hidden_size": "4096"},
        {**LLAMA_3_8B, "num_key_value_heads": True},
        {**QWEN3_MOE, "num_experts_per_tok": 129},
        {**QWEN3_MOE, "mlp_only_layers": 3},
        {**DEEPSEEK_V3, "moe_layer_freq": 2},
        {**DEEPSEEK_V3, "first_k_dense_replace": 62},
        {**GPT_OSS, "layer_types": ["full_attention"]},
        {name: value for name, value in DEEPSEEK_V3.items() if name != "kv_lora_rank"},
    ],
)
def test_nothing_is_said_of_what_is_not_understood(config: Mapping[str, Any]) -> None:
    assert shape_of(config, HALF) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(data=st.data(), known=st.sampled_from(sorted(KNOWN)))
def test_a_configuration_with_a_field_of_any_kind_is_understood_or_not_but_no_error(
    data: st.DataObject, known: str
) -> None:
    config = dict(KNOWN[known][0])
    config[data.draw(st.sampled_from(sorted(config)))] = data.draw(ANYTHING)
    found = shape_of(config, HALF)
    assert found is None or found.parameters >= found.active_parameters > 0
