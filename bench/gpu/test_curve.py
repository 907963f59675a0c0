"""What an engine can do on this GPU: its curve up to saturation, its capacity, and a batch."""

from __future__ import annotations

from pytest_llmperf import Workload, slo, sweep
from pytest_llmperf.fixture import Llmperf

WORKLOAD = Workload(input_tokens=1024, output_tokens=128)


@slo(ttft_ms=300, tpot_ms=40)
@sweep(duration=20, budget="4m")
def test_curve(llmperf: Llmperf) -> None:
    llmperf(WORKLOAD)


@slo(ttft_ms=300)
@sweep(duration=20, budget="4m")
def test_capacity(llmperf: Llmperf) -> None:
    llmperf.capacity(WORKLOAD)


def test_batch(llmperf: Llmperf) -> None:
    llmperf.batch(WORKLOAD, requests=512)
