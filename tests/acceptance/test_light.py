"""What a GPU could do at most, and what it costs: a real engine, which believes to run on GPUs."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Project
from tests.measure.shapes import LLAMA_3_8B
from tests.places import smi

ON_A_GPU = """
import dataclasses

from pytest_llmperf.engines.llamacpp import LlamaCpp

class OnAGpu(LlamaCpp):
    name = "onagpu"
    def model(self, model):
        return super().model(None)
    def gpus(self, subject):
        return 1
    def describe(self, client, model):
        settings = {"parallel.tensor_parallel_size": "1", "model.dtype": "torch.bfloat16"}
        return dataclasses.replace(super().describe(client, model), settings=settings)

def pytest_llmperf_engines():
    return [OnAGpu()]
"""
TEST = """
from pytest_llmperf import Workload, sweep

@sweep(rates=[8], duration=2)
def test_chat(llmperf):
    measured = llmperf(Workload(input_tokens=64, output_tokens=16))
    rate = measured[0].value("output_tokens_per_s")
    assert abs(measured[0].value("cost_usd_per_mtok") * rate * 0.0036 - 2.1) < 1e-9
"""
PRICES = '[[price]]\naccelerator = "H100"\nusd_per_hour = 2.1\nsource = "our contract"\ndate = 2026-10-01\n'


def test_a_known_model_on_a_known_gpu_is_told_with_its_floors_and_its_cost(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.install(project.path.parent / f"{project.path.name}-bin", monkeypatch, 1)
    (project.path / "model").mkdir()
    (project.path / "model" / "config.json").write_text(json.dumps(LLAMA_3_8B))
    (project.path / "prices.toml").write_text(PRICES)
    project.write(conftest=ON_A_GPU, test_it=TEST)
    options = ("--llmperf-engine", "onagpu", "--llmperf-launches", "1")
    given = ("--llmperf-model=model", "--llmperf-prices=prices.toml", "--llmperf-gate=cost_usd_per_mtok")
    result = project.run("--llmperf", *options, *given)
    (test,) = project.records()[-1]["tests"]
    assert test["subject"]["fields"]["price"] == "$2.1 per hour"
    (run,) = test["points"][0]["runs"]
    assert run["price"] == {"usd_per_hour": 2.1, "source": "our contract", "date": "2026-10-01"}
    # 64 tokens: the weights are read once.
    assert run["light"]["ttft_ms"] == pytest.approx(4.4807, abs=0.001)
    assert run["light"]["tpot_ms"] == pytest.approx(4.4835, abs=0.001)
    assert run["light"]["share"]["ttft"] == pytest.approx(4.4807 / run["values"]["ttft_p50_ms"], rel=1e-3)
    assert run["values"]["cost_usd_per_mtok"] > 0
    # Here the model is another one, and small: what is reached of the floors means nothing.
    result.stdout.fnmatch_lines(["  speed of light at 8/s: TTFT 4.48 ms (*), TPOT 4.48 ms (*)"])
    # On a busy machine what was measured may be called invalid; what the test itself asserts holds.
    assert not result.parseoutcomes().get("failed")


@pytest.mark.beside_others
def test_a_file_without_prices_is_an_error_before_anything_is_measured(project: Project) -> None:
    (project.path / "prices.toml").write_text("[prices]\nH100 = 2.1\n")
    project.write(test_it=TEST)
    result = project.run("--llmperf", "--llmperf-prices=prices.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --llmperf-prices: *prices.toml has no prices, or something else *"])
    assert project.starts() == 0


@pytest.mark.beside_others
def test_two_prices_that_may_be_meant_are_an_error_before_anything_is_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.install(project.path.parent / f"{project.path.name}-bin", monkeypatch, 1)
    (project.path / "prices.toml").write_text(PRICES + PRICES.replace("H100", "NVIDIA"))
    project.write(conftest=ON_A_GPU, test_it=TEST)
    result = project.run("--llmperf", "--llmperf-engine=onagpu", "--llmperf-prices=prices.toml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*prices.toml: "H100" and "NVIDIA" are alike prices of NVIDIA H100*'])
    assert not any(test["points"] for record in project.records() for test in record["tests"])
