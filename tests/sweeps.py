"""Runs that were never driven: what a queue with one kind of server would have made of a load point."""

from __future__ import annotations

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.keep.result import Run
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

WORKLOAD = Workload(input_tokens=16, output_tokens=8)
ALONE_MS, MOST = 100.0, 20.0


def latency_ms(rate: float) -> float:
    """Of an M/M/1 queue that serves ``MOST`` requests/s, and is never faster than a request that is alone."""
    return ALONE_MS / (1 - rate / MOST) if rate < MOST else 60_000.0


def run(point: LoadPoint, launch: int = 1, *, saturates_at: float = MOST) -> Run:
    """What a load point would have measured."""
    rate = point.mean_rate or 0.0
    ttft = latency_ms(rate) / 2
    values = {
        "ttft_p50_ms": ttft,
        "ttft_p95_ms": 2 * ttft,
        "tpot_p50_ms": 5.0,
        "e2e_p50_ms": latency_ms(rate),
        "error_rate": 0.0,
        "requests_per_s": min(rate, MOST) if rate else (1e3 / ALONE_MS if point.concurrency == 1 else MOST),
    }
    measured = Measurement(WORKLOAD, point, 100, values, {}, HEALTH, dict.fromkeys(values, 0.02))
    is_saturated = rate >= saturates_at
    return Run(launch, launch, measured, {}, gave_up=is_saturated, is_saturated=is_saturated)
