"""Sessions as the judge sees them: launches are added to a test until it wants no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judging import Judge
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.result import Run, TestResult
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

WORKLOAD, POINT = Workload(input_tokens=16, output_tokens=8), LoadPoint(rate=1.0, duration_s=5.0)
HERE = {"place": "local"}
STEADY = [1.0, 1.004, 0.997, 1.002, 0.999, 1.003, 0.998, 1.001]


def settings(**said: str) -> Settings:
    options = {name.replace("_", "-"): text for name, text in said.items() if name != "update"}
    return Settings.resolve({"gate": "ttft_p50_ms", **options}, {}, {}, update="update" in said)


def run(number: int, requests: int = 100, **values: float) -> Run:
    measurement = Measurement(
        workload=WORKLOAD,
        point=POINT,
        requests=requests,
        values={"error_rate": 0.0, **values},
        errors={},
        health=HEALTH,
        uncertainty=dict.fromkeys(values, 0.01),
    )
    return Run(number, number, measurement, {})


class Test:
    """One test of a session: launches are added, side by side or not, and it is judged."""

    __test__ = False

    def __init__(self, name: str = "test_a", engine: str = "vllm", **limits: float) -> None:
        self.result = TestResult(f"tests/test_it.py::{name}", Slo.of(limits))
        self.result.subject, self.result.subject_text = {"engine": engine, "version": "2"}, "vllm==2"
        self.result.base_subject, self.result.base_subject_text = (
            {"engine": engine, "version": "1"},
            "vllm==1",
        )
        self.result.environment = HERE

    def launch(self, ttft: float, base: float | None = None) -> None:
        number = self.result.rounds + 1
        self.result.add(WORKLOAD, POINT, run(number, ttft_p50_ms=ttft))
        if base is not None:
            self.result.add(WORKLOAD, POINT, run(number, ttft_p50_ms=base), of_base=True)


Judges = Callable[..., Judge]


@pytest.fixture
def judge(tmp_path: Path) -> Judges:
    def make(**said: str) -> Judge:
        return Judge(settings(**said), Baselines(tmp_path))

    return make


def play(judge: Judge, test: Test, base: Sequence[float] | None, candidate: Sequence[float]) -> int:
    """Launch as long as the test wants it, out of what there is; how many there were."""
    for number, value in enumerate(candidate):
        test.launch(value, None if base is None else base[number])
        judge.judge([test.result])
        if not test.result.wants_launch:
            return number + 1
    return len(candidate)
