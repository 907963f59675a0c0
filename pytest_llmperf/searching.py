"""The capacity of one launch: the highest rate that meets the SLO."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.declare.load import LoadPoint, Sweep
from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.capacity import Capacity, CapacitySearch, Probe
from pytest_llmperf.judge.margin import margin
from pytest_llmperf.judge.run_in import run_in_s
from pytest_llmperf.keep.result import Run
from pytest_llmperf.load.bounds import Bounds
from pytest_llmperf.load.run_in import WithRunIn

MOST_BAD = 2
Measure = Callable[[WithRunIn, int], Run]
"""Drives a load point as the n-th run of a search."""
LATENCY = "e2e_p50_ms"


@dataclass(frozen=True)
class Found:
    """A capacity, the runs that it was found from, and what each said, as records have it."""

    capacity: Capacity
    runs: tuple[Run, ...]
    probes: tuple[Mapping[str, Any], ...]

    def as_run(self, workload: Workload, point: LoadPoint) -> Run:
        """One run that stands for all, with the health of the one that says nothing if there is one."""
        last = self.runs[-1]
        found = self.capacity
        measured = dataclasses.replace(
            last.measurement,
            workload=workload,
            point=point,
            requests=sum(run.measurement.requests for run in self.runs),
            values={**_of_the_launch(last.measurement.values), "capacity_per_s": found.rate},
            uncertainty={"capacity_per_s": found.deviation},
            errors={},
        )
        told = {"low": found.low, "high": found.high, "kind": found.kind, "settled": found.is_settled}
        return dataclasses.replace(
            last,
            measurement=measured,
            counters=_summed([run.counters for run in self.runs]),
            gave_up=False,
            is_saturated=False,
            disturbances=list(dict.fromkeys(text for run in self.runs for text in run.disturbances)),
            capacity=told,
            probes=self.probes,
            series=None,
        )


def sought(sweep: Sweep, slo: Slo) -> LoadPoint:
    """The load point that stands for the search."""
    limits = ", ".join(str(limit) for limit in slo.limits)
    usual = sweep.at(1.0)
    return dataclasses.replace(usual, rate=None, seeks=limits)


def seek(
    sweep: Sweep,
    slo: Slo,
    bounds: Bounds,
    measure: Measure,
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Measure rates, each chosen by what those before it said, until the capacity is known well enough or the
    budget is spent. A run that says nothing about the engine is repeated, but not again and again:
    then the search says nothing, either."""
    search = CapacitySearch(1 / bounds.latency_s, bounds.highest, full_s=sweep.at(bounds.highest).scheduled_s)
    deadline = clock() + budget_s
    runs: list[Run] = []
    probes: list[Mapping[str, Any]] = []
    bad: list[Run] = []
    while (trial := search.next()) is not None:
        point = _part(sweep.at(trial.rate), trial.share)
        part = WithRunIn(point, run_in_s(trial.relaxation_s, point.scheduled_s))
        if runs and clock() + part.driven.scheduled_s > deadline:
            break
        run = measure(part, len(runs) + len(bad))
        measured = run.measurement
        over, error = margin(slo, measured.values, measured.uncertainty, measured.requests)
        if run.is_saturated:
            over, error = math.inf, 0.0
        probes.append(_told(part, run, over, error))
        if not run.is_valid:
            bad.append(run)
            if len(bad) > MOST_BAD:
                runs.append(run)
                break
            continue
        runs.append(run)
        latency_ms = measured.values.get(LATENCY)
        latency_s = latency_ms / 1e3 if latency_ms else None
        search.add(Probe(trial.rate, over, error, point.scheduled_s, part.run_in_s, latency_s))
    nothing = Capacity(bounds.throughput, bounds.lowest, bounds.highest, 1.0, "found", is_settled=False)
    capacity = search.capacity() if any(run.is_valid for run in runs) else nothing
    return Found(capacity, tuple(runs), tuple(probes))


def _of_the_launch(values: Mapping[str, float]) -> dict[str, float]:
    """What is not the run's own."""
    return {name: value for name, value in values.items() if parse_metric(name).metric.per == "launch"}


def _summed(counters: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in counters for name in one)
    return {name: math.fsum(one.get(name, 0.0) for one in counters) for name in names}


def _part(point: LoadPoint, share: float) -> LoadPoint:
    """A shorter run at the same rate."""
    return dataclasses.replace(
        point,
        duration_s=None if point.duration_s is None else point.duration_s * share,
        requests=None if point.requests is None else max(1, math.ceil(point.requests * share)),
    )


def _told(part: WithRunIn, run: Run, over: float, error: float) -> Mapping[str, Any]:
    measured, point = run.measurement, part.point
    return {
        "rate": point.mean_rate,
        "duration_s": point.scheduled_s,
        "run_in_s": part.run_in_s,
        "requests": measured.requests,
        "margin": over if math.isfinite(over) else None,
        "error": error,
        "saturated": run.is_saturated,
        "problems": list(measured.health.problems),
        "values": dict(measured.values),
    }
