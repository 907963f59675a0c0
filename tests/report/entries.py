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
from pytest_llmperf.judge.objective import judge_limit
from pytest_llmperf.keep.result import PointResult, Run, TestResult
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

CHAT = Workload(input_tokens=1024, output_tokens=128, chat=True)
SLOW, FAST = LoadPoint(rate=1.0, duration_s=30.0), LoadPoint(rate=4.0, duration_s=30.0)
COMPARED = "compared with vllm==0.23.0, accepted 2026-01-02, 3 launches"
_ERROR = 0.05
"""The standard error of a launch's logarithm; the intervals are ± 1.96 of what follows from it."""
TOLERANCE = 0.05

Json = dict[str, Any]


class Writer:
    """Collects launches of load points, of both sides, and gives the entry of their test."""

    def __init__(self, nodeid: str = "tests/test_perf.py::test_chat", **limits: float) -> None:
        self.result = TestResult(nodeid, Slo.of(limits), ["pytest", "--llmperf", nodeid])
        self.result.subject = {"engine": "vllm", "version": "0.24.0"}
        self.result.subject_text = "vllm --max-num-seqs 256"
        self.compared: Json | None = None
        self._base = TestResult(nodeid, self.result.slo)
        self._changes: dict[str, list[Json]] = {}
        self._creep: dict[str, list[Json]] = {}
        self._objectives: dict[str, list[Json]] = {}

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
        is_base: bool = False,
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
        )
        (self._base if is_base else self.result).add(workload, point, run)

    def judge(self, **base: Sequence[float]) -> None:
        """Judge all points by the limits, and the metrics named by what the baseline's launches had."""
        for key, point in self.result.points.items():
            for limit in self.result.slo.with_no_errors().limits:
                if values := point.values(limit.key):
                    self._objectives.setdefault(key, []).append(objective(limit, values))
            for name, launches in base.items():
                self.compare(point, name, launches)
        if base:
            self.result.baseline = COMPARED
            self.compared = {
                "kind": "baseline",
                "text": "vllm==0.23.0",
                "fields": {"engine": "vllm", "version": "0.23.0"},
                "launches": max(map(len, base.values())),
                "accepted": "2026-01-02T03:04:05+00:00",
                "name": None,
            }

    def side_by_side(self, text: str, **fields: str) -> None:
        """Judge TTFT p50 and TPOT p50 of all points by the launches of the other side, which is ``text``."""
        for key, point in self.result.points.items():
            for name in ("ttft_p50_ms", "tpot_p50_ms"):
                self.compare(point, name, self._base.points[key].values(parse_metric(name)))
        launches = self._base.launches
        self.result.baseline = f"compared with {text}, side by side, {launches} launches"
        self.compared = {
            "kind": "side by side",
            "text": text,
            "fields": {"engine": "vllm", **fields},
            "launches": launches,
            "accepted": None,
            "name": None,
        }

    def compare(self, point: PointResult, name: str, base: Sequence[float]) -> None:
        if values := point.values(parse_metric(name)):
            self._changes.setdefault(point.key, []).append(change(name, base, values))

    def crept(self, name: str, base: Sequence[float], since: str, steps: int, text: str = "") -> None:
        """A metric is worse than in the first baseline of all."""
        for key, point in self.result.points.items():
            judged = change(name, base, point.values(parse_metric(name)))
            self._creep.setdefault(key, []).append({**judged, "since": since, "steps": steps, "text": text})

    def entry(self) -> Json:
        """As it arrives at the terminal, which is through JSON."""
        entry: Json = self.result.as_json()
        entry["compared_with"] = self.compared
        for key, point in zip(self.result.points, entry["points"], strict=True):
            base = self._base.points.get(key)
            point["base_runs"] = base.as_json()["runs"] if base else []
            point["changes"] = self._changes.get(key, [])
            point["creep"] = self._creep.get(key, [])
            point["objectives"] = self._objectives.get(key, [])
        arrived: Json = json.loads(json.dumps(entry))
        return arrived


def objective(limit: Limit, values: Sequence[float]) -> Json:
    """A limit, judged by an interval that is ± 4 % for one launch and narrower for more; none for a share."""
    judged = judge_limit(limit, values)
    has_interval = not limit.key.metric.share
    half = 0.04 / math.sqrt(len(values)) * judged.value if has_interval else 0.0
    low, high = judged.value - half, judged.value + half
    met = (limit.met_by(low), limit.met_by(high))
    return {
        "metric": limit.key.name,
        "label": limit.key.label,
        "limit": limit.value,
        "value": judged.value,
        "margin": judged.margin,
        "met": judged.is_met,
        "launches": len(values),
        "missed": judged.missed,
        "low": low if has_interval else None,
        "high": high if has_interval else None,
        "verdict": "pass" if all(met) else "inconclusive" if any(met) else "slo broken",
    }


def change(name: str, base: Sequence[float], candidate: Sequence[float]) -> Json:
    """A change, judged by an interval that is known before: what is beyond it and the tolerance is worse."""
    key = parse_metric(name)
    means = [math.exp(statistics.fmean(map(math.log, side))) for side in (base, candidate)]
    difference = math.log(means[1] / means[0])
    error = _ERROR * math.sqrt(1 / len(base) + 1 / len(candidate))
    worse = difference if key.metric.better == "lower" else -difference
    limit = math.log1p(TOLERANCE)
    risk = 1 - statistics.NormalDist(worse, error).cdf(limit)
    is_worse, is_better = worse - 1.96 * error > 0 and worse > limit, worse + 1.96 * error < -limit
    verdict = (
        "regressed" if is_worse else "improved" if is_better else "pass" if risk < 0.05 else "inconclusive"
    )
    return {
        "metric": key.name,
        "label": key.label,
        "base": means[0],
        "candidate": means[1],
        "estimate": math.expm1(difference),
        "low": math.expm1(difference - 1.96 * error),
        "high": math.expm1(difference + 1.96 * error),
        "base_launches": len(base),
        "candidate_launches": len(candidate),
        "most": 8,
        "tolerance": TOLERANCE,
        "better": key.metric.better,
        "spread": _ERROR,
        "error": error,
        "degrees": 20.0,
        "p_value": 0.0001 if is_worse else 0.5,
        "level": 0.001,
        "final_level": 0.001,
        "risk": risk,
        "verdict": verdict,
    }


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
