"""Sweeps that find their own rates, and the schedule that all other launches then keep to."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.declare.load import LoadPoint, Sweep
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.judge.curve import AdaptiveSweep, knee, linear_rates
from pytest_llmperf.judge.margin import margin
from pytest_llmperf.keep.result import Run
from pytest_llmperf.load.bounds import Bounds

_FEWEST = 3
_MOST = 50
_BATCH = 16
_DOUBLINGS = 4
_RATE = re.compile(r"\S+ (\d+(?:\.\d+)?(?:e[+-]\d+)?)/s")
_LATENCIES = ("ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "e2e_p50_ms")
_ALONE_SHARE = 3
_ALONE_REQUESTS = 3

Measure = Callable[[LoadPoint], Run]


@dataclass
class Exploration:
    """What a sweep found: ``points`` in the order in which they were measured, without those at which the
    engine was ``saturated`` and those that say nothing about it (``late``: the load generator could not
    drive them), and why there are no more of them."""

    points: list[LoadPoint] = field(default_factory=list)
    saturated: list[tuple[LoadPoint, Run]] = field(default_factory=list)
    late: list[tuple[LoadPoint, Run]] = field(default_factory=list)
    runs: dict[LoadPoint, Run] = field(default_factory=dict)
    ended: str = ""

    def keep(self, point: LoadPoint, run: Run) -> None:
        if is_point(point, run):
            self.points.append(point)
            self.runs[point] = run
        else:  # a late generator makes latency grow as well
            (self.saturated if run.is_valid else self.late).append((point, run))

    def is_bounded(self) -> bool:
        """Whether there is a rate above which nothing is to be learnt."""
        return bool(self.saturated or self.late)

    def open_loop(self) -> list[tuple[float, Run]]:
        """Rates that the engine kept up with, ascending, and their runs."""
        kept = ((p.mean_rate, run) for p, run in self.runs.items())
        return sorted(((rate, run) for rate, run in kept if rate is not None), key=lambda one: one[0])


def is_point(point: LoadPoint, run: Run) -> bool:
    """Whether a run tells how the engine is at a rate. What bounds the sweep, and has no rate, has to be
    valid as any other run of a test has."""
    return point.rate is None or (run.is_valid and not run.is_saturated)


def capped(sweep: Sweep) -> Sweep:
    """The sweep with load points that end with a third of its budget, where requests alone would end them."""
    if sweep.requests is None or sweep.duration_s is not None:
        return sweep
    return dataclasses.replace(sweep, duration_s=sweep.allowed_s / _FEWEST)


def single(sweep: Sweep) -> LoadPoint:
    """One request after the other, for a third of what a load point of the sweep takes."""
    usual = sweep.at(1.0)
    if usual.duration_s is not None:
        return LoadPoint(concurrency=1, duration_s=usual.duration_s / _ALONE_SHARE, requests=usual.requests)
    return LoadPoint(concurrency=1, requests=max(_ALONE_REQUESTS, (usual.requests or 0) // _ALONE_SHARE))


def explore(
    sweep: Sweep,
    slo: Slo,
    bounds: Bounds,
    measure: Measure,
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Exploration:
    """Measure one request at a time, a batch that takes all that the engine can give, and rates in between
    and, as long as it keeps up, beyond, until the sweep has its points, its budget is spent or the engine is
    saturated.

    ``measure`` is expected to give up where the queue grows without bound.
    """
    found = Exploration()
    deadline = clock() + budget_s
    for point in (single(sweep), LoadPoint.of_batch(max(_BATCH, 2 * bounds.at_once))):
        found.keep(point, measure(point))
    highest = max(
        bounds.highest, *(run.measurement.values.get("requests_per_s", 0.0) for run in found.runs.values())
    )
    begun = clock()
    for done, rate in enumerate(_rates(sweep, slo, found, bounds.lowest, highest)):
        each = (clock() - begun) / done if done else sweep.at(rate).scheduled_s
        if done >= _FEWEST and clock() + each > deadline:
            found.ended = "budget"
            break
        point = sweep.at(rate)
        found.keep(point, measure(point))
    if found.late and not found.ended:
        found.ended = "load generator"
    return found


def _rates(sweep: Sweep, slo: Slo, found: Exploration, lowest: float, highest: float) -> Iterator[float]:
    """The next rate, given what was found until then."""
    assert sweep.search is not None, "only what searches is explored"
    if sweep.search.kind == "linear":
        for rate in linear_rates(lowest, highest, sweep.search.points or _MOST):
            yield _readable(rate)
            if found.is_bounded():
                return
        return
    most = sweep.search.points or _MOST
    # A burst may tell too little of what the engine can do: where it keeps up, the range is doubled.
    for _ in range(_DOUBLINGS):
        yield from _bending(slo, found, AdaptiveSweep(lowest, highest, most=most), sweep)
        asked = len(found.open_loop()) + len(found.saturated) + len(found.late)
        if found.is_bounded() or asked >= most:
            return
        lowest, highest, most = highest, 2 * highest, most - asked


def _bending(slo: Slo, found: Exploration, chooser: AdaptiveSweep, sweep: Sweep) -> Iterator[float]:
    """The rates that the chooser asks for; what was late bounds it as what was saturated does."""
    limits = slo.of_load()
    while (chosen := chooser.next()) is not None:
        yield (rate := _readable(chosen))
        bounding = next((run for p, run in (*found.saturated, *found.late) if p.rate == rate), None)
        run = bounding or found.runs[sweep.at(rate)]
        values = run.measurement.values
        known = {name: values[name] for name in _LATENCIES if name in values}
        over = _margin(limits, run) if limits.limits else None
        chooser.add(rate, known, over, is_saturated=bounding is not None)


def _margin(limits: Slo, run: Run) -> float:
    measured = run.measurement
    return margin(limits, measured.values, measured.uncertainty, measured.requests)[0]


def _readable(rate: float) -> float:
    """Three digits are all that anybody reads, and what a load point is called by."""
    return float(f"{rate:.3g}")


def in_order(points: Iterable[LoadPoint]) -> list[LoadPoint]:
    """As a person reads them: one at a time, then the rates, then the batch."""
    return sorted(points, key=lambda point: (point.batch is not None, point.mean_rate or 0.0))


def scheduled(keys: Iterable[str], workload: str, sweep: Sweep) -> list[LoadPoint]:
    """The points of an earlier sweep that a baseline has, by the ``keys`` of those that it explored; none
    where it has no rates that would be driven in the same way."""
    rest = [key.removeprefix(f"{workload}, ") for key in keys if key.startswith(f"{workload}, ")]
    rates = [sweep.at(float(match[1])) for key in rest if (match := _RATE.match(key))]
    points = [point for point in rates if point.key in rest]
    if not points:
        return []
    batches = [LoadPoint.of_batch(int(m[1])) for key in rest if (m := re.fullmatch(r"batch of (\d+)", key))]
    return [single(sweep), *batches, *in_order(points)]


def told(
    workload: str, side: str, sweep: Sweep, slo: Slo, bounds: Bounds, found: Exploration
) -> Mapping[str, Any]:
    """The sweep as records have it; ``side`` is whose launch it was."""
    kept = found.open_loop()
    limits = slo.of_load()
    over = [(rate, _margin(limits, run)) for rate, run in kept] if limits.limits else []
    met = [rate for rate, by in over if by <= 0]
    missed = [rate for rate, by in over if by > 0]
    latencies = [run.measurement.values.get("e2e_p50_ms", 0.0) for _, run in kept]
    return {
        "workload": workload,
        "side": side,
        "search": str(sweep.search),
        "bounds": dataclasses.asdict(bounds),
        "rates": [rate for rate, _ in kept],
        "saturated": [
            {
                "rate": point.mean_rate,
                "requests": run.measurement.requests,
                "values": dict(run.measurement.values),
                "gave_up": run.gave_up,
            }
            for point, run in found.saturated
        ],
        "late": [
            {"rate": p.mean_rate, "problems": list(run.measurement.health.problems)} for p, run in found.late
        ],
        "meets_slo_at": max(met, default=None),
        "misses_slo_at": min((rate for rate in missed if rate > max(met, default=0.0)), default=None),
        "knee": knee([rate for rate, _ in kept], latencies) if len(kept) >= _FEWEST else None,
        "ended": found.ended,
    }
