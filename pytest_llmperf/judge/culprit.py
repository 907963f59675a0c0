"""Which position of a history brought it, by Bayes on a grid.

Position k, from 1 to n, is the culprit when all before it are as good as position 0, and all from it on are
as bad as position n. A pair of launches, one at each of two positions, says with noise whether the culprit
lies between them. That is probabilistic bisection (Horstein 1963, "Sequential transmission using noiseless
feedback"; Waeber, Frazier and Henderson 2013, "Bisection search with noisy responses"), with the size of what
was measured in place of a yes or no. How far launches are apart and how large the change is, is learnt on the
way. BBChop and git_bayesect (2026) bisect by Bayes where a test fails now and then; their answers are yes or
no.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_llmperf.judge.prior import Prior

Array = npt.NDArray[np.float64]
DEGREES = 5.0
"""Of Student's t, which the noise of a pair has (Lange, Little and Taylor 1989): one bad launch shall not
name a culprit."""
LEAST, MOST = 0.002, 2.0
"""The effect that something may have, as a logarithm; every size between is as likely as its double."""
_EFFECTS, _SPREADS = 32, 13
_WIDEST = 8.0  # how far a spread may be from what is known of it beforehand, as a factor
_IGNORED = 1e-4
_ROUNDS = 4
_TAILS = (0.025, 0.975)
_NARROW = math.sqrt((DEGREES - 2) / DEGREES)  # Student's t of that scale has a variance of 1


@dataclass(frozen=True)
class Sight:
    """What one pair of launches said: the logarithm of the change from the position ``left`` to ``right``,
    counted upwards where it is for the worse."""

    left: int
    right: int
    worse: float


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


class Culprit:
    """What is known of the culprit between ``good`` and ``bad``, from pairs of launches.

    The difference of a pair is the effect if the culprit lies between its positions, and 0 otherwise, plus
    noise: that of two launches, each with a standard deviation of which ``prior`` knows something. Before
    anything is measured all positions are alike. Sights of positions outside are left aside, and their order
    does not matter. Between two measured positions all are alike, so that a history may be long.

    Raises :class:`ValueError` where there is no position between the ends.
    """

    def __init__(self, good: int, bad: int, sights: Sequence[Sight], prior: Prior) -> None:
        if not good < bad:
            raise ValueError(f"there is nothing between the positions {good} and {bad}")
        self.good, self.bad = good, bad
        inside = sorted(
            (
                min(one.left, one.right),
                max(one.left, one.right),
                one.worse * (1 if one.left < one.right else -1),
            )
            for one in sights
            if good <= min(one.left, one.right) and max(one.left, one.right) <= bad and one.left != one.right
        )
        self.pairs = len(inside)
        lefts, rights = (np.array([one[i] for one in inside], dtype=int) for i in (0, 1))
        worse = np.array([one[2] for one in inside], dtype=float)
        self._cuts = np.unique(np.concatenate(([good, bad], lefts, rights)))
        starts, ends = np.searchsorted(self._cuts, lefts), np.searchsorted(self._cuts, rights)
        spreads = prior.spread * np.geomspace(1 / _WIDEST, _WIDEST, _SPREADS)
        known = -prior.degrees * (np.log(spreads) + (prior.spread / spreads) ** 2 / 2)
        effects = np.geomspace(LEAST, MOST, _EFFECTS)
        for _ in range(_ROUNDS):
            weights = _posterior(effects, spreads, worse, starts, ends, np.diff(self._cuts)) + known
            weights = np.exp(weights - weights.max())
            weights /= weights.sum()
            narrower = _narrowed(effects, weights.sum(axis=(0, 2)))
            if narrower is None:
                break
            effects = narrower
        self._segments = weights.sum(axis=(1, 2))
        self._effects, self._spreads = effects, spreads
        self._grid: Array = weights.sum(axis=0)

    @property
    def probabilities(self) -> Array:
        """Of each position after the good end, up to the bad one, to be the culprit; they sum to 1."""
        sizes = np.diff(self._cuts)
        return np.repeat(self._segments / sizes, sizes)

    def between(self, before: int, last: int) -> float:
        """The probability that the culprit is one of the positions after ``before``, up to ``last``."""
        own = self.probabilities[max(before - self.good, 0) : max(last - self.good, 0)]
        return float(min(own.sum(), 1.0))

    @property
    def effect(self) -> Estimate:
        """The logarithm of the change from good to bad."""
        of_effects = self._grid.sum(axis=1)
        summed = np.cumsum(of_effects) - of_effects / 2
        low, high = np.interp(_TAILS, summed, self._effects)
        return Estimate(float(of_effects @ self._effects), float(low), float(high))

    @property
    def spread(self) -> float:
        """The standard deviation of a launch's logarithm."""
        return float(np.exp(self._grid.sum(axis=0) @ np.log(self._spreads)))

    def densities(self, at: Array) -> tuple[Array, Array]:
        """How probable it is that the next pair says ``at``: one with the culprit between its positions, and
        one without."""
        is_there = _density(at[:, None, None] - self._effects[:, None], self._spreads)
        is_not = _density(at[:, None], self._spreads)
        return (is_there * self._grid).sum(axis=(1, 2)), is_not @ self._grid.sum(axis=0)


def _posterior(
    effects: Array,
    spreads: Array,
    worse: Array,
    starts: npt.NDArray[np.int_],
    ends: npt.NDArray[np.int_],
    sizes: npt.NDArray[np.int_],
) -> Array:
    """The logarithm of what the pairs say, ``[segment, effect, spread]``: a pair counts with the effect in
    the segments between its positions, and without it elsewhere."""
    without = _log_density(worse[:, None], spreads)
    with_it = _log_density(worse[:, None, None] - effects[:, None], spreads) - without[:, None, :]
    steps = np.zeros((sizes.size + 1, effects.size, spreads.size))
    np.add.at(steps, starts, with_it)
    np.subtract.at(steps, ends, with_it)
    found = np.cumsum(steps, axis=0)[:-1] + without.sum(axis=0)
    return np.asarray(found + np.log(sizes)[:, None, None])


def _narrowed(effects: Array, weights: Array) -> Array | None:
    """A grid of the effects that matter, if they are less than a third of these."""
    some = np.flatnonzero(weights > _IGNORED * weights.max())
    first, last = max(some[0] - 1, 0), min(some[-1] + 1, effects.size - 1)
    if last - first >= effects.size / 3:
        return None
    return np.geomspace(effects[first], effects[last], effects.size)


def _log_density(off: Array, spreads: Array) -> Array:
    """Of Student's t with the variance of two launches, but for a constant."""
    scale = math.sqrt(2) * _NARROW * spreads
    return np.asarray(-(DEGREES + 1) / 2 * np.log1p((off / scale) ** 2 / DEGREES) - np.log(scale))


def _density(off: Array, spreads: Array) -> Array:
    constant = math.lgamma((DEGREES + 1) / 2) - math.lgamma(DEGREES / 2) - math.log(DEGREES * math.pi) / 2
    return np.asarray(np.exp(_log_density(off, spreads) + constant))
