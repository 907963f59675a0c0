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
UNSURE = 0.5
"""How badly a lag is known, as a share of it."""
MOST_SKEW = 0.03
"""The most in log rate that runs are taken to look better than a long one would because they are noisy."""
FLOOR, UNKNOWN = 0.01, 0.15
"""The least standard deviation of a margin, and what is taken for it where the run says nothing."""
LIES = 0.01
"""How often a run that was given up, or a share that was perfect, lies on the wrong side of the edge."""
_POINTS = 600
_SLOPES = np.geomspace(1.0, 40, 14)
_FACTORS = np.array([1.0, 1.4, 2.0, 2.8, 4.0, 5.6])
_FACTOR_PRIOR = np.array([0.40, 0.30, 0.16, 0.08, 0.04, 0.02])


@dataclass(frozen=True)
class Sight:
    """What one run says: the logarithm of its rate, its margin with its error, by how much in log rate it
    looks better than it is (give or take half of that), and by how much in log rate its load varies."""

    log_rate: float
    margin: float
    error: float
    lag: float = 0.0
    spread: float = 0.0


class Edge:
    """The posterior of log capacity, the slope of the margin there and how far errors are too small.

    margin = slope · (log rate − log capacity − lag) − w / 2 + noise, the noise from Student's t with four
    degrees of freedom (Lange, Little and Taylor 1989) and the variance w + (slope · 0.3 · distance)²
    + (slope · lag / 2)², where w = (factor · error)² + (slope · spread)². The factor is learnt, because a
    bootstrap takes requests for independent, which under load they are not. Because of the second term runs
    far from the edge tell hardly more than their side of it, and no curve has to be known. A run with an
    infinite margin tells its side only.

    w / 2 is what the mean of logarithms lacks to the logarithm of the mean (of a log-normal distribution,
    Aitchison and Brown 1957): the tail of a long run is that of its worst stretches, which most short runs do
    not see.

    Before anything is measured, capacity is taken to be anywhere between the bounds, four fifths of the
    chance even in rate and the rest even in log rate; slopes are even in their logarithm from 1 to 40, and
    factors lie between 1 and 5.6, most likely below 2.
    """

    def __init__(self, low: float, high: float) -> None:
        """Bounds of log capacity."""
        self.grid: Array = np.linspace(low, high, _POINTS)
        even = np.exp(self.grid - high)
        prior = 0.8 * even / even.sum() + 0.2 / _POINTS
        self._log: Array = (
            np.log(prior)[:, None, None] + np.zeros(_SLOPES.size)[None, :, None] + np.log(_FACTOR_PRIOR)
        )

    def add(self, sight: Sight) -> None:
        """Learn from one run."""
        distance = sight.log_rate - sight.lag - self.grid[:, None, None]
        slope, factor = _SLOPES[None, :, None], _FACTORS[None, None, :]
        error = factor * max(sight.error or UNKNOWN, FLOOR)
        noise = error**2 + (slope * sight.spread) ** 2
        scale = np.sqrt(noise + (slope * BEND * distance) ** 2 + (slope * UNSURE * sight.lag) ** 2)
        if math.isinf(sight.margin):
            side = math.copysign(1.0, sight.margin)
            likely = LIES + (1 - 2 * LIES) * _t_below(side * slope * distance / scale)
            self._log = self._log + np.log(likely)
        else:
            expected = slope * distance - np.minimum(noise / 2, MOST_SKEW * slope)
            score = (sight.margin - expected) / scale
            self._log = self._log - np.log(scale) - (DEGREES + 1) / 2 * np.log1p(score * score / DEGREES)
        self._log -= self._log.max()

    @property
    def density(self) -> Array:
        """The probability of each point of ``grid``."""
        weight = np.exp(self._log).sum(axis=(1, 2))
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


def _t_below(t: Array) -> Array:
    """The probability of a value below ``t`` for four degrees of freedom (Abramowitz & Stegun 26.7.4)."""
    cosine2 = 1 / (1 + t * t / 4)
    sine = t / 2 * np.sqrt(cosine2)
    return np.asarray(0.5 + 0.5 * sine * (1 + 0.5 * cosine2))
