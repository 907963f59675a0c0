"""When requests are due."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_llmperf.declare.load import LoadPoint, Ramp

Times = npt.NDArray[np.float64]


def seed_of(*parts: str) -> int:
    """A seed that belongs to ``parts`` (a test's id and a load point, say), the same in every process."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def arrival_offsets(point: LoadPoint, seed: int, trace_s: Sequence[float] = ()) -> Times:
    """Seconds from the start of the run to each request of an open loop, ascending.

    They come from ``seed`` alone: every launch of every subject sees the same arrivals (common random
    numbers; Law, Simulation Modeling and Analysis, ch. 11). Their number is rate × time, so the rate asked
    for is the rate driven, and only the pattern is random. A ramp is the same pattern with its time changed
    (Çinlar, Introduction to Stochastic Processes, ch. 4.7). A replay has the times of ``trace_s``, which
    begin at 0, divided by its speed.
    """
    if point.replay is not None:
        times = np.asarray(trace_s, dtype=np.float64) / point.replay
        if point.duration_s is not None:
            times = times[times <= point.duration_s]
        return times[: point.requests]
    if point.mean_rate is None:
        raise ValueError(f"{point.label}: a closed loop has no schedule")
    steady = _steady(point, point.mean_rate, seed)
    return _ramped(steady, point.rate, point.scheduled_s) if isinstance(point.rate, Ramp) else steady


def peak_rate(offsets_s: Sequence[float]) -> float:
    """Arrivals per second in the busiest tenth of a schedule, or in its busiest second if that is longer."""
    window_s = max(1.0, offsets_s[-1] / 10)
    counts = np.bincount((np.asarray(offsets_s) / window_s).astype(np.int64))
    return float(counts.max() / window_s)


def _steady(point: LoadPoint, rate: float, seed: int) -> Times:
    """The arrivals at a rate that does not change.

    ``constant``: request i at i / rate. ``poisson``: a Poisson process given its number n of arrivals, which
    is that many uniform times in order (Ross, Stochastic Processes, theorem 2.3.1). ``gamma``: n + 1 gaps of
    a gamma distribution, scaled so that together they last as long as the run. With shape 1 that is the
    Poisson process again; in general the gaps have a squared coefficient of variation of n / (shape (n + 1)
    + 1), which is 1 / shape but for the few requests, and counts in windows of length w an index of
    dispersion of about (1 − w / time) / shape.
    """
    count, time_s = max(1, round(rate * point.scheduled_s)), point.scheduled_s
    if point.arrivals == "constant":
        return np.arange(count) / rate
    rng = np.random.default_rng(seed)
    if point.shape is None:
        return np.sort(rng.uniform(0, time_s, count))
    ends = np.cumsum(rng.gamma(point.shape, size=count + 1))
    # Gaps of a small shape may all be too small for a float.
    return ends[:-1] / (ends[-1] or 1.0) * time_s


def _ramped(steady: Times, ramp: Ramp, time_s: float) -> Times:
    """Arrivals at the ramp's mean rate, moved to where the ramp has brought as many.

    Solves Λ(t) = start t + (end − start) t² / (2 time) = mean s for each time s.
    """
    arrived = ramp.mean * steady
    curvature = (ramp.end - ramp.start) / (2 * time_s)
    root = np.sqrt(np.maximum(ramp.start**2 + 4 * curvature * arrived, 0))
    # Sorted, because rounding may swap arrivals that are as good as one.
    return np.sort(np.minimum(2 * arrived / (ramp.start + root), time_s))
