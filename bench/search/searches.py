"""The searches that are compared, each on the same simulated engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.search.engine import Engine, Served, closed_loop, open_loop
from pytest_llmperf.judge.capacity import Capacity, CapacitySearch, Probe
from pytest_llmperf.load.backlog import Backlog

Array = npt.NDArray[np.float64]
ALONE_S, CROWD_S = 15.0, 40.0
MANY = 512
LOOK_S = 0.2
QUANTILE = 0.95


@dataclass(frozen=True)
class Case:
    """An engine and its SLO: p95 of ``metric`` (``ttft`` or ``tpot``) within ``limit_s``; a full run sends
    for ``full_s``."""

    engine: Engine
    metric: Literal["ttft", "tpot"]
    limit_s: float
    full_s: float

    def values(self, run: Served) -> Array:
        """What the SLO is about, in seconds, one for each request."""
        return run.ttft if self.metric == "ttft" else run.tpot

    def margin(self, run: Served) -> float:
        """log(p95 / limit)."""
        return math.log(float(np.quantile(self.values(run), QUANTILE)) / self.limit_s)

    def error(self, run: Served) -> float:
        """What a bootstrap gives for the standard deviation of the margin, without its dice: the rank of a
        resampled quantile is binomial (Efron 1979)."""
        values = self.values(run)
        spread = math.sqrt(QUANTILE * (1 - QUANTILE) / values.size)
        low, high = np.quantile(values, [QUANTILE - spread, min(1.0, QUANTILE + spread)])
        return math.log(float(high / low)) / 2


@dataclass(frozen=True)
class Bounds:
    """Requests/s of one after another and of many at once, and what it took to measure them."""

    lowest: float
    highest: float
    took_s: float


def bounds(case: Case, seed: int) -> Bounds:
    """The synchronous and the throughput run that a sweep begins with; of the latter the second half counts,
    because so many at once take their time to begin."""
    alone = closed_loop(case.engine, 1, ALONE_S, seed)
    crowd = closed_loop(case.engine, MANY, CROWD_S, seed + 1)
    half, end = np.searchsorted(np.sort(crowd.last), (CROWD_S / 2, CROWD_S))
    return Bounds(
        lowest=alone.due.size / float(alone.last.max()),
        highest=float(end - half) / (CROWD_S / 2),
        took_s=float(alone.last.max() + CROWD_S),
    )


def stopped_at(run: Served, rate: float, duration_s: float) -> float | None:
    """When the run would have been given up."""
    backlog, ends = Backlog(rate), np.sort(run.last)
    for at_s in np.arange(1, math.floor(duration_s / LOOK_S) + 1) * LOOK_S:
        sent, ended = np.searchsorted(run.due, at_s, "right"), np.searchsorted(ends, at_s, "right")
        if backlog.see(float(at_s), int(sent), int(ended)):
            return float(at_s)
    return None


@dataclass(frozen=True)
class Outcome:
    """What a search said, the time it took (s, without warm-up) and its runs."""

    rate: float
    took_s: float
    runs: int
    capacity: Capacity | None = None


def ours(case: Case, known: Bounds, seed: int, precision: float = 0.03, most: int = 14) -> Outcome:
    """The search of this package, with runs given up as it gives them up."""
    search = CapacitySearch(known.lowest, known.highest, precision=precision, most=most)
    took_s, runs = known.took_s, 0
    while (trial := search.next()) is not None:
        probe, spent_s = _probe(case, trial.rate, trial.share * case.full_s, seed + 10 + runs)
        search.add(probe)
        took_s, runs = took_s + spent_s, runs + 1
    capacity = search.capacity()
    return Outcome(capacity.rate, took_s, runs, capacity)


def _probe(case: Case, rate: float, duration_s: float, seed: int) -> tuple[Probe, float]:
    run = open_loop(case.engine, rate, duration_s, seed)
    stop_s = stopped_at(run, rate, duration_s)
    if stop_s is not None:
        return Probe(rate, math.inf, 0.0, stop_s), stop_s
    margin = case.margin(run)
    return Probe(rate, margin, case.error(run), duration_s), max(duration_s, float(run.last.max()))
