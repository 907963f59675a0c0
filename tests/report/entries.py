"""Entries of a record, made as a session makes them, from figures that a test chooses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.change import compare
from pytest_llmperf.judge.objective import judge_limit
from pytest_llmperf.keep.result import PointResult, Run, TestResult
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

CHAT = Workload(input_tokens=1024, output_tokens=128, chat=True)
SLOW, FAST = LoadPoint(rate=1.0, duration_s=30.0), LoadPoint(rate=4.0, duration_s=30.0)
COMPARED = "compared with vllm==0.23.0, accepted 2026-01-02, 3 launches"


class Writer:
    """Collects launches of load points and gives the entry of their test."""

    def __init__(self, nodeid: str = "tests/test_perf.py::test_chat", **limits: float) -> None:
        self.result = TestResult(nodeid, Slo.of(limits), ["pytest", "--llmperf", nodeid])
        self.result.subject = {"engine": "vllm", "version": "0.24.0"}
        self.result.subject_text = "vllm --max-num-seqs 256"

    def launch(
        self,
        number: int,
        point: LoadPoint = SLOW,
        values: Mapping[str, float] = MappingProxyType({}),
        *,
        workload: Workload = CHAT,
        requests: int = 1000,
        errors: Mapping[str, tuple[int, str]] = MappingProxyType({}),
        counters: Mapping[str, float] = MappingProxyType({}),
        cache_reset: bool | None = None,
        cached_prompt_share: float = 0.0,
    ) -> None:
        """What launch ``number`` measured at a point."""
        failed = sum(count for count, _ in errors.values())
        measurement = Measurement(
            workload=workload,
            point=point,
            requests=requests,
            values={"error_rate": failed / requests, **values},
            errors=errors,
            health=dataclasses.replace(HEALTH, cached_prompt_share=cached_prompt_share),
        )
        run = Run(number, number, measurement, {}, counters, cache_reset=cache_reset)
        self.result.add(workload, point, run)

    def judge(self, **base: Sequence[float]) -> None:
        """Judge all points by the limits, and the metrics named by what the baseline's launches had."""
        for point in self.result.points.values():
            for limit in self.result.slo.with_no_errors().limits:
                if values := point.values(limit.key):
                    point.objectives.append(judge_limit(limit, values))
            for name, launches in base.items():
                self.compare(point, name, launches)
        if base:
            self.result.baseline = COMPARED

    def compare(self, point: PointResult, name: str, base: Sequence[float]) -> None:
        key = parse_metric(name)
        if values := point.values(key):
            point.changes[key] = compare(
                base, values, better=key.metric.better, tolerance=0.05, prior_spread=0.05
            )

    def entry(self) -> dict[str, Any]:
        """As it arrives at the terminal, which is through JSON."""
        entry: dict[str, Any] = json.loads(json.dumps(self.result.as_json()))
        return entry


def latencies(scale: float = 1.0) -> dict[str, float]:
    """The values of all columns that are always there."""
    return {
        "ttft_p50_ms": 100 * scale,
        "ttft_p95_ms": 150 * scale,
        "ttft_p99_ms": 200 * scale,
        "tpot_p50_ms": 8.25 * scale,
        "itl_p99_ms": 31.5 * scale,
        "output_tokens_per_s": 1234.6 / scale,
        "requests_per_s": 0.987 / scale,
    }


def text_block(lines: str | Sequence[str]) -> str:
    """Lines as a test writes them: between two line ends."""
    return "\n" + (lines if isinstance(lines, str) else "\n".join(lines)) + "\n"
