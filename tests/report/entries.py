"""Entries of a record, as a session writes them, from figures that a test chooses."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.slo import Limit, Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.change import Change
from pytest_llmperf.judge.objective import Objective, mean_value
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.prices import Price
from pytest_llmperf.keep.result import Base, Creep, PointResult, Run, TestResult
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

CHAT = Workload(input_tokens=1024, output_tokens=128, chat=True)
SLOW, FAST = LoadPoint(rate=1.0, duration_s=30.0), LoadPoint(rate=4.0, duration_s=30.0)
COMPARED = "compared with vllm==0.23.0, accepted 2026-01-02, 3 launches"
SPREAD, TOLERANCE = 0.05, 0.05
"""A launch's logarithm has this standard deviation, which is known: intervals are ± 1.96 of what follows."""
_MANY = 1e6
_LIMIT_HALF = 0.04


class Writer:
    """Collects launches of load points, of both sides, and gives the entry of their test."""

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
        health: Mapping[str, Any] = MappingProxyType({}),
        disturbances: Sequence[str] = (),
        light: Mapping[str, Any] = MappingProxyType({}),
        price: Price | None = None,
        of_base: bool = False,
    ) -> None:
        """What launch ``number`` measured at a point."""
        failed = sum(count for count, _ in errors.values())
        measurement = Measurement(
            workload=workload,
            point=point,
            requests=requests,
            values={"error_rate": failed / requests, **values},
            errors=errors,
            health=dataclasses.replace(HEALTH, **health),
        )
        run = Run(
            number,
            number,
            measurement,
            {},
            counters,
            cache_reset=cache_reset,
            disturbances=disturbances,
            light=light,
            price=price,
        )
        self.result.add(workload, point, run, of_base=of_base)

    def judge(self, **base: Sequence[float]) -> None:
        """Judge all points by the limits, and the metrics named by what the baseline's launches had."""
        for point in self.result.points.values():
            for limit in self.result.slo.with_no_errors().limits:
                if values := point.values(limit.key):
                    point.objectives.append(objective(limit, values))
            for name, launches in base.items():
                self.compare(point, name, launches)
        if base:
            self.result.baseline = COMPARED
            self.from_baseline("vllm==0.23.0", {"engine": "vllm", "version": "0.23.0"})

    def from_baseline(self, text: str, fields: Mapping[str, str]) -> None:
        """Say what the baseline is of."""
        self.result.compared_with = Base("baseline", text, fields, 3, "2026-01-02T03:04:05+00:00")

    def side_by_side(self, text: str, **fields: str) -> None:
        """Judge TTFT p50 and TPOT p50 of all points by the launches of the other side, which is ``text``."""
        launches = 0
        for point in self.result.points.values():
            for name in ("ttft_p50_ms", "tpot_p50_ms"):
                self.compare(point, name, point.base_values(parse_metric(name)))
            launches = max(launches, len(point.base_runs))
        self.result.baseline = f"measured side by side with {text}"
        self.result.compared_with = Base("side by side", text, {"engine": "vllm", **fields}, launches)

    def compare(self, point: PointResult, name: str, base: Sequence[float]) -> None:
        if values := point.values(parse_metric(name)):
            point.changes[parse_metric(name)] = change(name, base, values)

    def crept(self, name: str, base: Sequence[float], text: str, steps: int = 3) -> None:
        """A metric is worse than in the first baseline of all, which was of ``text``."""
        key = parse_metric(name)
        for point in self.result.points.values():
            judged = change(name, base, point.values(key))
            point.creep[key] = Creep("2026-05-01T06:07:08+00:00", text, steps, judged)

    def entry(self) -> dict[str, Any]:
        """As it arrives at the terminal, which is through JSON."""
        entry: dict[str, Any] = json.loads(json.dumps(self.result.as_json()))
        return entry


def objective(limit: Limit, values: Sequence[float]) -> Objective:
    """A limit, judged by an interval that is ± 4 % for one launch and narrower for more; none for a share."""
    value = mean_value(limit.key, values)
    half = 0.0 if limit.key.metric.share else value * _LIMIT_HALF / math.sqrt(len(values))
    met = {limit.met_by(value - half), limit.met_by(value + half)}
    distance = limit.value - value if limit.is_upper else value - limit.value
    return Objective(
        limit=limit,
        value=value,
        low=value - half,
        high=value + half,
        margin=distance / limit.value if limit.value else None,
        launches=len(values),
        missed=sum(not limit.met_by(one) for one in values),
        verdict=Verdict.INCONCLUSIVE
        if len(met) == 2
        else Verdict.PASS
        if met == {True}
        else Verdict.SLO_BROKEN,
    )


def change(name: str, base: Sequence[float], candidate: Sequence[float]) -> Change:
    """A change, judged by an interval that is known before: what is beyond it and the tolerance is worse."""
    metric = parse_metric(name).metric
    base_mean, mean = (math.exp(statistics.fmean(map(math.log, side))) for side in (base, candidate))
    error = SPREAD * math.sqrt(1 / len(base) + 1 / len(candidate))
    worse = math.log(mean / base_mean) * (1 if metric.better == "lower" else -1)
    limit = math.log1p(TOLERANCE)
    risk = 1 - statistics.NormalDist(worse, error).cdf(limit)
    if worse > max(limit, 1.96 * error):
        verdict = Verdict.REGRESSED
    elif worse < -max(limit, 1.96 * error):
        verdict = Verdict.IMPROVED
    else:
        verdict = Verdict.PASS if risk < 0.05 else Verdict.INCONCLUSIVE
    return Change(
        base=base_mean,
        candidate=mean,
        base_launches=len(base),
        candidate_launches=len(candidate),
        most=8,
        tolerance=TOLERANCE,
        better=metric.better,
        spread=SPREAD,
        error=error,
        degrees=_MANY,
        p_value=0.0 if verdict is Verdict.REGRESSED else 0.5,
        level=0.001,
        final_level=0.001,
        risk=risk,
        p_twice=risk / 2,
        verdict=verdict,
    )


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
