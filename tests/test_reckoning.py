"""The records of real engines on an H100, reckoned with again."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.model import LLAMA_8B
from pytest_llmperf.engines.serving import Serving
from pytest_llmperf.keep.prices import Prices
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.request import Request
from pytest_llmperf.measure.cost import usd_per_million
from pytest_llmperf.reckoning import Served, served_of
from tests.measure.shapes import LLAMA_3_8B, QWEN3_MOE
from tests.measure.traces import answered, failed

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "bench/gpu/results/2026-11-22-h100"
H100 = {"accelerators": "NVIDIA H100 80GB HBM3"}
VLLM = {"parallel.tensor_parallel_size": "1", "model.dtype": "torch.bfloat16", "cache.cache_dtype": "auto"}


def record(name: str) -> tuple[dict[str, str], dict[str, str], list[dict[str, Any]]]:
    """Environment, settings and load points of a session's first test."""
    test = json.loads((RECORDS / f"{name}.json").read_text())["tests"][0]
    fields = test["subject"]["fields"]
    settings = {
        field.removeprefix("setting "): value
        for field, value in fields.items()
        if field.startswith("setting ")
    }
    return test["environment"], settings, test["points"]


def request(prompt: int, answer: int, cached: int | None = None, **of_request: Any) -> Trace:
    asked = Request("r", b"", answer, prompt, **of_request)
    return dataclasses.replace(
        answered(0, 10, 20), request=asked, prompt_tokens=prompt, output_tokens=answer, cached_tokens=cached
    )


def served(**changes: Any) -> Served:
    found = served_of(H100, VLLM, LLAMA_3_8B)
    assert found is not None
    return dataclasses.replace(found, serving=dataclasses.replace(found.serving, **changes))


def floors(traces: Sequence[Trace], **changes: Any) -> tuple[float | None, float | None]:
    light = served(**changes).light(traces)
    return (None, None) if light is None else (light.ttft_ms, light.tpot_ms)


@pytest.mark.parametrize("name", ["vllm-0.24.0-sweep", "sglang-0.5.16-sweep"])
def test_real_engines_stay_below_the_speed_of_light_and_near_it(name: str) -> None:
    environment, settings, points = record(name)
    machine = served_of(environment, settings, LLAMA_8B)
    assert machine is not None
    assert str(machine) == "H100 SXM; 8.03e9 parameters; 16-bit weights, 16-bit KV cache"
    light = machine.light([request(1024, 128)])
    assert light is not None
    shares = [light.share(point["runs"][0]["values"]) for point in points]
    assert all(0.2 < share["ttft"] < 0.5 for share in shares)
    assert all(0.3 < share["tpot"] < 0.8 for share in shares)
    assert [share["tpot"] for share in shares] == sorted((one["tpot"] for one in shares), reverse=True)


def test_the_shares_and_costs_in_the_documentation_are_those_of_the_records() -> None:
    page = (ROOT / "docs/light.md").read_text()
    rows = re.findall(r"^\| (?:vLLM|SGLang)?[^|]*\| (\d+)/s \| (.*) \|$", page, re.MULTILINE)
    expected = []
    for name in ("vllm-0.24.0-sweep", "sglang-0.5.16-sweep"):
        environment, settings, points = record(name)
        machine, price = served_of(environment, settings, LLAMA_8B), Prices.read().of(environment)
        assert machine is not None
        assert price is not None
        light = machine.light([request(1024, 128)])
        assert light is not None
        for point in points:
            values = point["runs"][0]["values"]
            share = light.share(values)
            cost = usd_per_million(price.usd_per_hour, values["output_tokens_per_s"])
            cells = (
                f"{values['ttft_p50_ms']:.1f}",
                f"{share['ttft']:.0%}".replace("%", " %"),
                f"{values['tpot_p50_ms']:.3g}",
                f"{share['tpot']:.0%}".replace("%", " %"),
                f"${cost:.2f}",
            )
            expected.append((point["load"].removesuffix("/s"), " | ".join(cells)))
    assert rows == expected


@pytest.mark.parametrize(
    ("environment", "settings", "config"),
    [
        ({}, VLLM, LLAMA_3_8B),
        ({"accelerators": "NVIDIA H100 80GB HBM3 MIG 1g.10gb"}, VLLM, LLAMA_3_8B),
        ({"accelerators": "NVIDIA H100 80GB HBM3, NVIDIA L4"}, VLLM, LLAMA_3_8B),
        (H100, {"total_slots": "8"}, LLAMA_3_8B),
        (H100, VLLM, None),
        (H100, VLLM, {"model_type": "mamba", "torch_dtype": "bfloat16"}),
        (H100, VLLM | {"model.quantization": "bitsandbytes"}, LLAMA_3_8B),
        (H100, VLLM | {"parallel.tensor_parallel_size": "2"}, LLAMA_3_8B),
    ],
)
def test_nothing_is_known_unless_all_is(
    environment: dict[str, str], settings: dict[str, str], config: dict[str, Any] | None
) -> None:
    assert served_of(environment, settings, config) is None


def test_stages_of_a_pipeline_share_a_prompt_but_not_a_token() -> None:
    alone, staged = floors([request(4096, 64)]), floors([request(4096, 64)], prefilling=2)
    assert alone[0] is not None
    assert staged[0] == pytest.approx(alone[0] / 2)
    assert staged[1] == alone[1]


def test_of_several_lengths_it_is_the_median() -> None:
    spread = [request(100, 10), request(8000, 100), request(3000, 400)]
    assert floors(spread)[0] == floors([request(3000, 1)])[0]
    # Contexts are 105, 8050 and 3200 tokens.
    assert floors(spread)[1] == floors([request(3000, 400)])[1]


def test_only_what_succeeded_counts() -> None:
    assert floors([request(3000, 400), failed(0, "timeout: late")]) == floors([request(3000, 400)])
    assert floors([failed(0, "timeout: late")]) == floors([]) == (None, None)


def test_what_was_cached_is_not_computed() -> None:
    cold = floors([request(2000, 10)])
    told = floors([request(3000, 10, cached=1000)])
    may_be = floors([request(3064, 10, shared_tokens=1000)])
    assert told[0] == may_be[0] == cold[0]
    assert told[1] is not None
    assert cold[1] is not None
    assert told[1] > cold[1]  # the cache of the whole prompt is read all the same


@pytest.mark.parametrize(
    "trace",
    [
        request(3000, 10, is_quoted=True),
        request(3000, 10, shared_tokens=5000),
        request(3000, 10, cached=3000),
    ],
)
def test_no_first_token_has_a_floor_if_all_may_have_been_cached(trace: Trace) -> None:
    ttft, tpot = floors([trace])
    assert ttft is None
    assert tpot is not None


def test_drafts_have_no_floor_for_a_token() -> None:
    ttft, tpot = floors([request(3000, 10)], drafts=True)
    assert ttft is not None
    assert tpot is None
    assert floors([request(3000, 10, is_quoted=True)], drafts=True) == (None, None)


def test_a_mixture_over_several_gpus_is_told_with_what_is_active() -> None:
    eight = {"accelerators": "8 × NVIDIA H200"}
    found = served_of(
        eight, VLLM | {"parallel.tensor_parallel_size": "4", "cache.cache_dtype": "fp8"}, QWEN3_MOE
    )
    assert found is not None
    assert found.serving == Serving("torch.bfloat16", None, "fp8", 4, 4, drafts=False)
    assert str(found) == (
        "4 × H200 SXM; 30.5e9 parameters, 3.35e9 of them active; 16-bit weights, 8-bit KV cache"
    )
