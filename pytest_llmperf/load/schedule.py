"""When requests are due."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from pytest_llmperf.declare.load import LoadPoint


def seed_of(*parts: str) -> int:
    """A seed that belongs to ``parts`` (a test's id and a load point, say), the same in every process."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def arrival_offsets(point: LoadPoint, seed: int) -> npt.NDArray[np.float64]:
    """Seconds from the start of the run to each request of an open loop, ascending.

    ``constant``: request i at i / rate. ``poisson``: a Poisson process given its number of arrivals, which
    is that many uniform times in order (Ross, Stochastic Processes, theorem 2.3.1); so the rate asked for
    is the rate driven, and only the pattern is random. It comes from ``seed`` alone: every launch of every
    subject sees the same arrivals (common random numbers; Law, Simulation Modeling and Analysis, ch. 11).
    """
    if point.rate is None:
        raise ValueError(f"{point.label}: a closed loop has no schedule")
    count = max(1, round(point.rate * point.scheduled_s))
    if point.arrivals == "constant":
        return np.arange(count) / point.rate
    return np.sort(np.random.default_rng(seed).uniform(0, point.scheduled_s, count))
