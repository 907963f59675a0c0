"""The searches that are compared, each on the same simulated engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.search.engine import Engine, Served, burst, open_loop
from pytest_llmperf.judge.capacity import Capacity, CapacitySearch, Probe
from pytest_llmperf.judge.curve import AdaptiveSweep, linear_rates
from pytest_llmperf.judge.run_in import run_in_s
from pytest_llmperf.load.backlog import Backlog
from pytest_llmperf.load.bounds import Burst, bounds_of
from pytest_llmperf.measure.saturation import is_saturated

Array = npt.NDArray[np.float64]
PATIENCE_S = 75.0
"""A quarter of the budget of 300 s."""
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
class Known:
    """Requests/s between which to search, the latency of a request alone, and what it took to measure them
    (s)."""

    lowest: float
    highest: float
    alone_s: float
    took_s: float


def bounds(case: Case, seed: int) -> Known:
    """By the bursts that every search of this package begins with."""
    took_s = 0.0

    def send(count: int, at_once: int) -> Burst:
        nonlocal took_s
        run = burst(case.engine, count, at_once, seed)
        burst_s = float(run.last.max())
        took_s += burst_s
        return Burst(float(np.median(run.last - run.due)), burst_s, count)

    found = bounds_of(send, PATIENCE_S)
    assert found is not None, "this engine answers"
    return Known(found.lowest, found.highest, found.latency_s, took_s)


def stopped_at(run: Served, rate: float, duration_s: float) -> float | None:
    """When the run would have been given up."""
    backlog, firsts = Backlog(rate), np.sort(run.first)
    for at_s in np.arange(1, math.floor(duration_s / LOOK_S) + 1) * LOOK_S:
        sent, begun = np.searchsorted(run.due, at_s, "right"), np.searchsorted(firsts, at_s, "right")
        if backlog.see(float(at_s), int(sent), int(begun)):
            return float(at_s)
    return None


@dataclass(frozen=True)
class Outcome:
    """What a search said, the time it took (s, without warm-up) and its runs."""

    rate: float
    took_s: float
    runs: int
    capacity: Capacity | None = None


def ours(
    case: Case, known: Known, seed: int, budget_s: float = math.inf, precision: float = 0.03, most: int = 14
) -> Outcome:
    """The search of this package, with the run-ins and the end that it has, and runs given up as it does."""
    search = CapacitySearch(
        1 / known.alone_s, known.highest, precision=precision, most=most, full_s=case.full_s
    )
    took_s, runs = known.took_s, 0
    while (trial := search.next()) is not None:
        duration_s = trial.share * case.full_s
        before_s = run_in_s(trial.relaxation_s, duration_s)
        if runs and took_s + before_s + duration_s > budget_s:
            break
        probe, spent_s = _probe(case, trial.rate, duration_s, before_s, seed + 10 + runs)
        search.add(probe)
        took_s, runs = took_s + spent_s, runs + 1
    capacity = search.capacity()
    return Outcome(capacity.rate, took_s, runs, capacity)


def _probe(case: Case, rate: float, duration_s: float, before_s: float, seed: int) -> tuple[Probe, float]:
    run = open_loop(case.engine, rate, before_s + duration_s, seed)
    stop_s = stopped_at(run, rate, before_s + duration_s)
    if stop_s is not None:
        # What was sent is waited for, and then nothing is learnt but the side.
        sent = run.due <= stop_s
        return Probe(rate, math.inf, 0.0, stop_s), max(stop_s, float(run.last[sent].max()))
    spent_s = max(before_s + duration_s, float(run.last.max()))
    counted = run.since(before_s)
    if not counted.due.size or is_saturated(counted.timeline(duration_s)):
        return Probe(rate, math.inf, 0.0, duration_s), spent_s
    latency_s = float(np.median(counted.last - counted.due))
    margin, error = case.margin(counted), case.error(counted)
    return Probe(rate, margin, error, duration_s, before_s, latency_s), spent_s


def linear(case: Case, known: Known, seed: int, duration_s: float, points: int = 10) -> dict[str, Outcome]:
    """An evenly spaced sweep between the bounds, and the capacity read off it in two ways: along straight
    lines between log rates and log latencies, and along a monotone cubic through them."""
    rates = linear_rates(known.lowest, known.highest, points)
    runs = [open_loop(case.engine, rate, duration_s, seed + 10 + i) for i, rate in enumerate(rates)]
    took_s = known.took_s + sum(max(duration_s, float(run.last.max())) for run in runs)
    logs, margins = np.log(rates), np.array([case.margin(run) for run in runs])
    return {
        name: Outcome(math.exp(_crossing(logs, margins, bent)), took_s, points)
        for name, bent in (("linear, straight", False), ("linear, cubic", True))
    }


def bisection(case: Case, known: Known, seed: int, budget_s: float, runs: int = 7) -> Outcome:
    """Halve what is left by the verdict of a single run, in so many runs that take ``budget_s`` together."""
    low, high, took_s = known.lowest, known.highest, known.took_s
    duration_s = (budget_s - known.took_s) / runs
    for number in range(runs):
        middle = (low + high) / 2
        run = open_loop(case.engine, middle, duration_s, seed + 10 + number)
        low, high = (middle, high) if case.margin(run) <= 0 else (low, middle)
        took_s += max(duration_s, float(run.last.max()))
    return Outcome((low + high) / 2, took_s, runs)


def swept(case: Case, known: Known, seed: int, points: int) -> list[tuple[float, float, float]]:
    """Rate, p50 and p95 (s) of the points that an adaptive sweep asks for and the engine keeps up with."""
    sweep = AdaptiveSweep(known.lowest, known.highest, most=points)
    found = []
    number = 0
    while (rate := sweep.next()) is not None:
        run = open_loop(case.engine, rate, case.full_s, seed + 10 + number)
        p50, p95 = (float(one) for one in np.quantile(case.values(run), (0.5, 0.95)))
        is_lost = is_saturated(run.timeline(case.full_s))
        sweep.add(rate, {"p50": p50, "p95": p95}, case.margin(run), is_saturated=is_lost)
        found += [] if is_lost else [(rate, p50, p95)]
        number += 1
    return sorted(found)


def on_a_grid(case: Case, known: Known, seed: int, points: int) -> list[tuple[float, float, float]]:
    """The same of evenly spaced rates."""
    found = []
    for number, rate in enumerate(linear_rates(known.lowest, known.highest, points)):
        run = open_loop(case.engine, rate, case.full_s, seed + 10 + number)
        p50, p95 = (float(one) for one in np.quantile(case.values(run), (0.5, 0.95)))
        found += [] if is_saturated(run.timeline(case.full_s)) else [(rate, p50, p95)]
    return found


def _crossing(logs: Array, margins: Array, bent: bool) -> float:
    """Where margins, made monotone first (pool adjacent violators: Barlow et al. 1972), cross zero."""
    rising = _monotone(margins) + 1e-9 * np.arange(margins.size)
    if rising[0] > 0 or rising[-1] < 0:
        return float(logs[0] if rising[0] > 0 else logs[-1])
    fine = np.linspace(logs[0], logs[-1], 4001)
    values = _cubic(logs, rising, fine) if bent else np.interp(fine, logs, rising)
    return float(fine[int(np.argmax(values >= 0))])


def _monotone(values: Array) -> Array:
    blocks: list[tuple[float, int]] = []
    for value in values:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    return np.concatenate([np.full(count, value) for value, count in blocks])


def _cubic(x: Array, y: Array, at: Array) -> Array:
    """The monotone cubic of Fritsch and Butland (1984)."""
    step, rise = np.diff(x), np.diff(y) / np.diff(x)
    w1, w2 = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    slopes = np.concatenate([[rise[0]], (w1 + w2) / (w1 / rise[:-1] + w2 / rise[1:]), [rise[-1]]])
    i = np.clip(np.searchsorted(x, at, "right") - 1, 0, step.size - 1)
    t, h = (at - x[i]) / step[i], step[i]
    return np.asarray(
        (1 + 2 * t) * (1 - t) ** 2 * y[i]
        + t * (1 - t) ** 2 * h * slopes[i]
        + t * t * (3 - 2 * t) * y[i + 1]
        + t * t * (t - 1) * h * slopes[i + 1]
    )
