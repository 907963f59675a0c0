from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.measure.accelerators import ACCELERATORS, Accelerator, accelerator_named
from pytest_llmperf.measure.architecture import shape_of
from pytest_llmperf.measure.light import Light, floor_tpot_s, floor_ttft_s
from pytest_llmperf.measure.shape import ModelShape, Precision
from tests.measure.shapes import DEEPSEEK_V3, GPT_OSS, KNOWN, LLAMA_3_8B, MIXTRAL

FP8 = Precision(weight_bytes=1.0, weights="fp8")


def h100() -> Accelerator:
    found = accelerator_named("NVIDIA H100 80GB HBM3")
    assert found is not None
    return found


def shape(config: object, precision: Precision | None = None) -> ModelShape:
    found = shape_of(config, precision or Precision())  # type: ignore[arg-type]
    assert found is not None
    return found


SHAPES = st.sampled_from([shape(config) for config, _, _ in KNOWN.values()])
MACHINES = st.sampled_from(ACCELERATORS)
TOKENS = st.integers(1, 100_000)
COUNTS = st.sampled_from([1, 2, 4, 8, 16])


def test_a_llama_of_8e9_on_an_h100_is_what_one_gets_by_hand() -> None:
    model = shape(LLAMA_3_8B)
    # Attention has 2 × 4096 × 4096 and 2 × 4096 × 1024 weights in a layer, the MLP 3 × 4096 × 14336.
    matrices = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    head, norms = 128256 * 4096, 65 * 4096
    read = 2 * (matrices + head + norms)
    assert model.weight_bytes == read
    assert model.kv_bytes(1000) == 1000 * 131_072  # 128 KiB for each token
    assert floor_tpot_s(model, h100(), 1, 1088) == pytest.approx((read + 1088 * 131_072) / 3.35e12)
    assert floor_tpot_s(model, h100(), 1, 1088) * 1e3 == pytest.approx(4.523, abs=0.001)
    pairs = 1024 * 1025 / 2
    flops = 2 * matrices * 1024 + 2 * head + 4 * 32 * 4096 * pairs
    assert floor_ttft_s(model, h100(), 1, 1024) == pytest.approx(flops / 989.5e12)
    assert floor_ttft_s(model, h100(), 1, 1024) * 1e3 == pytest.approx(14.724, abs=0.001)


def test_a_short_prompt_is_bound_by_the_memory_and_a_long_one_by_the_multiplications() -> None:
    model = shape(LLAMA_3_8B)
    assert floor_ttft_s(model, h100(), 1, 1) == floor_ttft_s(model, h100(), 1, 200)
    assert floor_ttft_s(model, h100(), 1, 400) > floor_ttft_s(model, h100(), 1, 350)
    # Where the two meet: as many operations for a byte as the machine has, two bytes a weight.
    balance = h100().flops_of("bfloat16") / h100().bytes_per_s
    meeting = next(
        n for n in range(1, 1000) if floor_ttft_s(model, h100(), 1, n + 1) > floor_ttft_s(model, h100(), 1, 1)
    )
    assert meeting == pytest.approx(balance, rel=0.1)


def test_of_a_mixture_only_the_experts_that_a_token_goes_through_are_read() -> None:
    model = shape(MIXTRAL)
    embeddings = 32000 * 4096
    assert model.weight_bytes == 2 * (model.active_parameters - embeddings)


def test_latent_attention_has_a_cache_of_its_ranks_alone() -> None:
    # 576 elements for each token and layer, as DeepSeek-V3 says of itself: 70 KB a token.
    assert shape(DEEPSEEK_V3).kv_bytes(1) == 61 * (512 + 64) * 2 == 70_272


def test_a_window_bounds_what_is_read_of_the_cache() -> None:
    model = shape(GPT_OSS)
    each = 2 * 8 * 64 * 2
    assert model.kv_bytes(100) == 24 * 100 * each
    assert model.kv_bytes(1000) == (12 * 1000 + 12 * 128) * each


def test_where_only_the_experts_are_quantised_the_rest_is_read_in_16_bits() -> None:
    half, quarter = shape(GPT_OSS), shape(GPT_OSS, Precision(weight_bytes=0.5, is_of_experts=True))
    of_experts = 24 * 4 * 3 * 2880 * 2880
    assert half.weight_bytes - quarter.weight_bytes == 1.5 * of_experts


def test_a_quantised_head_is_read_in_fewer_bits() -> None:
    model = shape(LLAMA_3_8B, FP8)
    quantised = shape(LLAMA_3_8B, dataclasses.replace(FP8, is_of_head=True))
    assert model.weight_bytes - quantised.weight_bytes == 128256 * 4096


@given(model=SHAPES, tokens=st.integers(1, 300))
def test_the_pairs_of_attention_are_those_that_one_counts(model: ModelShape, tokens: int) -> None:
    window = model.window or tokens
    within = sum(min(position, window) for position in range(1, tokens + 1))
    full = sum(range(1, tokens + 1))
    pairs = (model.layers - model.windowed_layers) * full + model.windowed_layers * within
    one_pair = shape_flops_of_a_pair(model)
    assert model.attention_flops(tokens) == pytest.approx(one_pair * pairs)


def shape_flops_of_a_pair(model: ModelShape) -> float:
    """Of one query and one key in all heads of a layer: a prompt of one token has one pair in each."""
    return model.attention_flops(1) / model.layers


@given(model=SHAPES, machine=MACHINES, count=COUNTS, tokens=TOKENS, more=TOKENS)
def test_more_tokens_never_take_less(
    model: ModelShape, machine: Accelerator, count: int, tokens: int, more: int
) -> None:
    for floor in (floor_ttft_s, floor_tpot_s):
        assert floor(model, machine, count, tokens + more) >= floor(model, machine, count, tokens) > 0


@given(model=SHAPES, machine=MACHINES, count=COUNTS, tokens=TOKENS)
def test_twice_the_accelerators_take_half_the_time(
    model: ModelShape, machine: Accelerator, count: int, tokens: int
) -> None:
    for floor in (floor_ttft_s, floor_tpot_s):
        halved = floor(model, machine, 2 * count, tokens)
        assert halved == pytest.approx(floor(model, machine, count, tokens) / 2)


@given(model=SHAPES, machine=MACHINES, tokens=TOKENS)
def test_fewer_bits_never_take_more(model: ModelShape, machine: Accelerator, tokens: int) -> None:
    quantised = dataclasses.replace(model, precision=FP8)
    for floor in (floor_ttft_s, floor_tpot_s):
        assert floor(quantised, machine, 1, tokens) <= floor(model, machine, 1, tokens)


@given(model=SHAPES, machine=MACHINES, tokens=TOKENS)
def test_a_prompt_takes_no_less_than_its_last_token_alone_would_without_a_cache(
    model: ModelShape, machine: Accelerator, tokens: int
) -> None:
    assert floor_ttft_s(model, machine, 1, tokens) >= model.weight_bytes / machine.bytes_per_s


def test_the_share_is_that_of_the_medians_and_only_of_what_is_known() -> None:
    values = {"ttft_p50_ms": 40.0, "tpot_p50_ms": 8.0, "ttft_p95_ms": 90.0}
    assert Light(10.0, 6.0, "H100").as_json(values) == {
        "ttft_ms": 10.0,
        "tpot_ms": 6.0,
        "share": {"ttft": 0.25, "tpot": 0.75},
        "of": "H100",
    }
    assert Light(None, 6.0, "H100").as_json({"ttft_p50_ms": 40.0}) == {
        "tpot_ms": 6.0,
        "share": {},
        "of": "H100",
    }
