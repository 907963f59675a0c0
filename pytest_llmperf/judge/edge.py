"""Where a margin crosses zero, by Bayes on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
DEGREES = 4.0
"""Of Student's t, which the noise of a margin has: a run that went wrong shall not move the edge far."""
BEND = 0.3
"""So badly a straight line knows a margin far from the edge, as a share of what it says there."""
SURE = 0.002
"""A lag below this is taken for known."""
MOST_SKEW = 0.03
"""The most in log rate that runs are taken to look better than a long one would because they are noisy."""
FLOOR, UNKNOWN = 0.01, 0.15
"""The least standard deviation of a margin, and what is taken for it where the run says nothing."""
LIES, SIDE = 0.01, 0.015
"""How often a run that was given up, or a share that was perfect, lies on the wrong side of the edge, and how
far from it (in log rate) either could be chance."""
_POINTS = 600
_LAGS, _LAG_PRIOR = np.array([0.0, 1.0, 2.0]), np.array([0.15, 0.7, 0.15])
_SLOPES = np.geomspace(1.0, 40, 14)
_FACTORS = np.array([1.0, 1.4, 2.0, 2.8, 4.0, 5.6])
_FACTOR_PRIOR = np.array([0.40, 0.30, 0.16, 0.08, 0.04, 0.02])


@dataclass(frozen=True)
class Sight:
    """What one run says: the logarithm of its rate, its margin with its error, by how much in log rate it
    probably looks better than it is, and by how much in log rate its load varies."""

    log_rate: float
    margin: float
    error: float
    lag: float = 0.0
    spread: float = 0.0


class Edge:
    """The posterior of log capacity, the slope of the margin there, how far errors are too small and how far
    runs lag.

    margin = bent(slope · (log rate − log capacity − share · lag)) − w / 2 + noise. Beyond the edge
    bent(x) = x; below it a latency falls no further than to that of an idle engine: bent(x) =
    floor · (exp(x / floor) − 1). The noise is from Student's t with four degrees of freedom (Lange, Little
    and Taylor 1989) and the variance w + (0.3 · bent(x))², where w = (factor · error)² + (slope there ·
    spread)². The factor is learnt, because a bootstrap takes requests for independent, which under load they
    are not. Because of the second term runs far from the edge tell hardly more than their side of it, and no
    curve has to be known.

    The share is 0, 1 or 2, and the same for all runs of an engine: none looks worse than it is for want of a
    run-in, so that what was missed is missed. A run with an infinite margin tells its side only, whatever the
    slope is.

    w / 2 is what the mean of logarithms lacks to the logarithm of the mean (of a log-normal distribution,
    Aitchison and Brown 1957): the tail of a long run is that of its worst stretches, which most short runs do
    not see.

    Before anything is measured, capacity is taken to be anywhere between the bounds, four fifths of the
    chance even in rate and the rest even in log rate; slopes are even in their logarithm from 1 to 40,
    factors lie between 1 and 5.6, most likely below 2, and the share is 1 in 70 of 100.
    """

    def __init__(self, low: float, high: float, floor: float = 1.0) -> None:
        """Bounds of log capacity; margins fall to -``floor`` where there is hardly any load."""
        self._floor = floor
        self.grid: Array = np.linspace(low, high, _POINTS)
        even = np.exp(self.grid - high)
        prior = 0.8 * even / even.sum() + 0.2 / _POINTS
        self._log: Array = (
            np.log(prior)[:, None, None, None]
            + np.zeros(_SLOPES.size)[:, None, None]
            + np.log(_FACTOR_PRIOR)[:, None]
        )

    def add(self, sight: Sight) -> None:
        """Learn from one run."""
        if math.isinf(sight.margin):
            self._log = self._log + self._side(sight)[:, None, None, None]
        elif sight.lag < SURE:
            self._log = self._log + self._likely(sight, np.array([sight.lag]))
        else:
            if self._log.shape[3] == 1:
                self._log = self._log + np.log(_LAG_PRIOR)
            self._log = self._log + self._likely(sight, sight.lag * _LAGS)
        self._log -= self._log.max()

    def _side(self, sight: Sight) -> Array:
        """The log likelihood of a margin of ±inf, at each log capacity."""
        distance = math.copysign(1.0, sight.margin) * (sight.log_rate - self.grid)
        width = SIDE if sight.margin > 0 else math.hypot(SIDE, sight.spread / 2)
        return np.asarray(np.log(LIES + (1 - 2 * LIES) * (1 + np.tanh(distance / width / 2)) / 2))

    def _likely(self, sight: Sight, lags: Array) -> Array:
        """The log likelihood of a margin by log capacity, slope, factor and lag."""
        slope = _SLOPES[:, None, None]
        error = _FACTORS[:, None] * max(sight.error or UNKNOWN, FLOOR)
        line = slope * (sight.log_rate - lags - self.grid[:, None])[:, None, None, :]
        flatter = np.exp(np.minimum(line, 0) / self._floor)
        line = np.where(line < 0, self._floor * (flatter - 1), line)
        noise = error**2 + (slope * flatter * sight.spread) ** 2
        variance = noise + (BEND * line) ** 2
        skew = np.minimum(noise / 2, MOST_SKEW * slope * flatter)
        score = (sight.margin - line + skew) ** 2 / (variance * DEGREES)
        return np.asarray(-np.log(variance * (1 + score) ** (DEGREES + 1)) / 2)

    @property
    def density(self) -> Array:
        """The probability of each point of ``grid``."""
        weight = np.exp(self._log).sum(axis=(1, 2, 3))
        return np.asarray(weight / weight.sum())

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Of log capacity."""
        below = np.cumsum(self.density)
        return [float(one) for one in np.interp(shares, below - self.density / 2, self.grid)]

    @property
    def deviation(self) -> float:
        """The standard deviation of log capacity."""
        density = self.density
        mean = float(density @ self.grid)
        return math.sqrt(float(density @ (self.grid - mean) ** 2))
