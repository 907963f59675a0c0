"""How sure a look has to be, if one may look again after every launch."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
POWER = 5.0
_POINTS, _WIDE = 801, 9.0
_NORMAL = NormalDist()
_erfc = np.vectorize(math.erfc, otypes=[float])


def levels(alpha: float, times: Sequence[float]) -> tuple[float, ...]:
    """The one-sided p-value that each look may call significant, so that all together err with ``alpha``.

    ``times`` are the shares of the final information at each look, rising, the last 1. The error spent until
    time t is alpha·t⁵ (Kim & DeMets 1987, an error spending function after Lan & DeMets 1983); what a look
    may spend beyond its predecessors is found by integrating over the paths that did not cross before
    (Armitage, McPherson & Rowe 1969). Raises :class:`ValueError` for times that do not rise to 1.
    """
    if not times or list(times) != sorted(set(times)) or times[0] <= 0 or not math.isclose(times[-1], 1):
        raise ValueError(f"times {times} do not rise to 1")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha {alpha} is not between 0 and 0.5")
    return _levels(alpha, tuple(round(time, 9) for time in times))


@functools.lru_cache(maxsize=512)
def _levels(alpha: float, times: tuple[float, ...]) -> tuple[float, ...]:
    """Paths are sums of a Brownian motion: ``at`` are their places, ``density`` how many are there still."""
    found = [alpha * times[0] ** POWER]
    edge = -_NORMAL.inv_cdf(found[0]) * math.sqrt(times[0])
    at, step = np.linspace(-_WIDE * math.sqrt(times[0]), edge, _POINTS, retstep=True)
    density = _density(at / math.sqrt(times[0])) / math.sqrt(times[0])
    for before, time in itertools.pairwise(times):
        deviation = math.sqrt(time - before)
        weights = density * step
        weights[[0, -1]] /= 2
        edge = _edge(alpha * (time**POWER - before**POWER), weights, at, deviation, math.sqrt(time))
        found.append(0.5 * math.erfc(edge / math.sqrt(2 * time)))
        following, step = np.linspace(-_WIDE * math.sqrt(time), edge, _POINTS, retstep=True)
        density = _density((following[:, None] - at[None, :]) / deviation) @ weights / deviation
        at = following
    return tuple(found)


def _edge(spend: float, weights: Array, at: Array, deviation: float, unit: float) -> float:
    """The place that paths cross with the probability ``spend``, by bisection."""
    low, high = 0.0, 2 * _WIDE * unit
    while high - low > 1e-9:
        middle = (low + high) / 2
        crossing = float(weights @ (0.5 * _erfc((middle - at) / (deviation * math.sqrt(2)))))
        low, high = (middle, high) if crossing > spend else (low, middle)
    return (low + high) / 2


def _density(z: Array) -> Array:
    return np.asarray(np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
