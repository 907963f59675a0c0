"""Which pair to measure next: the one that teaches most about the culprit.

What a pair teaches is the mutual information between what it will say and whether the culprit lies between
its positions. To take at each step what most lowers the expected entropy is best over all steps where
questions are yes or no (Jedynak, Frazier and Sznitman 2012, "Twenty questions with noise: Bayes optimal
policies for entropy loss"). Where noise is small beside the effect this is bisection. A position that perhaps
cannot be measured counts by its chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_llmperf.judge.culprit import Culprit

Array = npt.NDArray[np.float64]
HOPELESS = 0.04
"""A position with less of a chance than this to be measurable is not tried."""
_SHARES = np.linspace(0.0, 1.0, 41)
_WIDE, _FINE = 12.0, 0.35  # in spreads of a launch: beyond the effects, and from point to point
_MOST_POINTS = 2001


@dataclass(frozen=True)
class Suspects:
    """The positions after ``before``, up to ``last``: nothing between these can be measured, so that they
    cannot be told apart. ``probability``: that the culprit is one of them."""

    before: int
    last: int
    probability: float

    @property
    def positions(self) -> range:
        return range(self.before + 1, self.last + 1)


@dataclass(frozen=True)
class NextPair:
    """``gain`` is what the pair is expected to teach, in bits, if it can be measured; ``chance`` that it
    can."""

    left: int
    right: int
    gain: float
    chance: float


def suspects(culprit: Culprit, chances: Array) -> Suspects:
    """The most likely culprit, as narrowly as it can be told."""
    return credible(culprit, chances, 0.0)[0]


def credible(culprit: Culprit, chances: Array, confidence: float) -> list[Suspects]:
    """The fewest that together are the culprit with such a probability, the most likely first; one at
    least."""
    cuts = _cuts(culprit, chances)
    summed = np.concatenate(([0.0], np.cumsum(culprit.probabilities)))
    shares = np.diff(summed[cuts - culprit.good])
    # Rounded, so that of two that are alike it is the same one on every machine.
    order = np.argsort(-np.round(shares, 9), kind="stable")
    count = int(np.searchsorted(np.cumsum(shares[order]), confidence)) + 1
    return [Suspects(int(cuts[i]), int(cuts[i + 1]), float(min(shares[i], 1.0))) for i in order[:count]]


def next_pair(culprit: Culprit, chances: Array) -> NextPair | None:
    """The good end against another position, or the most likely culprit against what is ahead of it; None
    where all that can be measured cannot tell more."""
    cuts = _cuts(culprit, chances)
    first = suspects(culprit, chances)
    summed = np.cumsum(culprit.probabilities)
    inner = cuts[1:-1]
    lefts = np.concatenate((np.full(inner.size, culprit.good), [first.before]))
    rights = np.concatenate((inner, [first.last]))
    shares = np.concatenate((summed[inner - culprit.good - 1], [first.probability]))
    gains = information(culprit, shares)
    chance = chances[rights - culprit.good] * chances[lefts - culprit.good]
    best = int(np.argmax(np.round(gains * chance, 9)))
    if gains[best] * chance[best] <= 0:
        return None
    return NextPair(int(lefts[best]), int(rights[best]), float(gains[best]), float(chance[best]))


def information(culprit: Culprit, shares: Array) -> Array:
    """What a pair teaches, in bits, that has the culprit between its positions with such a probability."""
    margin = _WIDE * culprit.spread
    top = culprit.effect.high + margin
    points = min(int((top + margin) / (_FINE * culprit.spread)) + 2, _MOST_POINTS)
    at, step = np.linspace(-margin, top, points, retstep=True)
    is_there, is_not = culprit.densities(at)
    mixed = _SHARES[:, None] * is_there + (1 - _SHARES)[:, None] * is_not
    whole = _entropy(mixed) - _SHARES * _entropy(is_there) - (1 - _SHARES) * _entropy(is_not)
    return np.asarray(np.maximum(np.interp(shares, _SHARES, whole * step), 0.0))


def _entropy(densities: Array) -> Array:
    return np.asarray(-(densities * np.log2(np.maximum(densities, 1e-300))).sum(axis=-1))


def _cuts(culprit: Culprit, chances: Array) -> npt.NDArray[np.int_]:
    """Where one can measure, with some luck; the ends among them."""
    is_open = chances >= HOPELESS
    is_open[[0, -1]] = True
    return np.flatnonzero(is_open) + culprit.good
