"""A history that is not one change for good, from what was measured along it.

One step, from 0 to the level of the bad end, is held against two others. One has besides a stretch of
measured positions with a level of its own: that finds a second culprit (the stretch between the two is better
than the bad end and worse than the good one), and what was mended in between (a stretch that is good again).
The other has besides a slope: that finds a creep, everything a little worse than what is ahead of it. Least
squares, with the p-value of the best stretch times the number of stretches (Bonferroni).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_llmperf.judge.culprit import Sight
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.student import t_tail

Array = npt.NDArray[np.float64]
Words = Literal["good again", "in between"]
ERROR = 0.0015
"""How often one look finds what is not there. One looks after every pair, but at much the same data."""
ERROR_AT_LAST = 0.01
"""The same of the one look when there is a culprit, and it is asked whether it is the only one."""
WOBBLE = 0.006
"""Positions may differ by so much (a standard deviation of logarithms) without anybody being to blame."""
APART = 0.25
"""A level of its own is so much of the effect away from both good and bad."""
FEWEST = 3
"""Pairs in a stretch, and in what speaks against it, so that it does not come of one bad launch."""
_CLIP = 2.25
_FEWEST_OF_A_SLOPE = 4  # measured positions


@dataclass(frozen=True)
class Misfit:
    """The measured ``positions`` are ``good again`` after a bad one, or ``in between`` good and bad.

    ``narrowed`` is the last position of the earliest worsening: up to there one step may fit.
    """

    positions: tuple[int, ...]
    words: Words
    narrowed: int


def misfit(good: int, bad: int, sights: Sequence[Sight], prior: Prior) -> Misfit | None:
    """What does not fit one step between ``good`` and ``bad``, if anything surely does not.

    Looks at the pairs with the good end on the left. ``prior`` is of the spread between launches. What hangs
    on a single pair is not told.
    """
    own = [one for one in sights if one.left == good and good < one.right <= bad]
    found = _misfit(good, bad, own, prior)
    if found is None or any(
        _misfit(good, bad, own[:i] + own[i + 1 :], prior) is None for i in range(len(own))
    ):
        return None
    return found


def beyond(good: int, step: int, bad: int, sights: Sequence[Sight], prior: Prior) -> Misfit | None:
    """Whether what was measured from the position ``step`` on, which is the culprit, is surely better than
    ``bad``: then it is not the only one."""
    values = _values(good, bad, sights)
    if bad not in values or not good < step < bad:
        return None
    return _Levels(values, prior).beyond(step)


def _misfit(good: int, bad: int, sights: Sequence[Sight], prior: Prior) -> Misfit | None:
    values = _values(good, bad, sights)
    if bad not in values or len(values) < 2:
        return None
    levels = _Levels(values, prior)
    return levels.stretch(is_odd=levels.creeps(good))


def _values(good: int, bad: int, sights: Sequence[Sight]) -> dict[int, list[float]]:
    values: dict[int, list[float]] = {}
    for one in sights:
        if one.left == good and good < one.right <= bad:
            values.setdefault(one.right, []).append(one.worse)
    return values


class _Levels:
    """The mean level of each measured position, in their order; the last is the bad end."""

    def __init__(self, values: Mapping[int, Sequence[float]], prior: Prior) -> None:
        self._positions = sorted(values)
        self._effect = max(float(np.median(values[self._positions[-1]])), 0.0)
        self._counts = np.array([len(values[one]) for one in self._positions])
        wide = max(_CLIP * 2**0.5 * prior.spread, self._effect / 2)
        clipped = [np.clip(values[one], -wide, self._effect + wide) for one in self._positions]
        self._means = np.array([float(one.mean()) for one in clipped])
        inside = sum(float(((one - one.mean()) ** 2).sum()) for one in clipped) / 2
        self._degrees = prior.degrees + float(self._counts.sum() - self._counts.size)
        self._variance = (prior.degrees * prior.spread**2 + inside) / self._degrees
        self._weights = 1 / (2 * self._variance / self._counts + 2 * WOBBLE**2)

    def stretch(self, is_odd: bool) -> Misfit | None:
        """The stretch that explains most and is far enough from good and bad, if it surely is one, or if one
        step is known not to fit (``is_odd``)."""
        summed = [
            np.concatenate(([0.0], np.cumsum(self._weights * self._means**power))) for power in (0, 1, 2)
        ]
        size = len(self._positions)
        first, end, cut = np.meshgrid(*(np.arange(size) for _ in range(3)), indexing="ij")
        one_step = _unexplained(summed, np.arange(size)).min()
        free = _unexplained(summed, cut, first, end)
        level = _mean(summed, first, end)
        counts = np.concatenate(([0], np.cumsum(self._counts)))
        top = _mean_above(summed, cut, first, end)
        # What is right of the step differs from bad, and what is left of it from good; beside it, from both.
        is_own = (end > first) & ((cut <= first) | (cut >= end)) & (counts[end] - counts[first] >= FEWEST)
        against = np.where(cut < first, counts[first] - counts[cut], counts[cut] - counts[end])
        is_own &= (cut == first) | (cut == end) | (against >= FEWEST)
        is_own &= (cut < first) | (level > APART * top)
        is_own &= (cut > end) | (level < (1 - APART) * top)
        gained = np.where(is_own, one_step - free, -1.0)
        i, j, k = np.unravel_index(int(np.argmax(np.round(gained, 9))), gained.shape)
        is_sure = self._is_sure(gained[i, j, k], size * (size - 1) / 2)
        if not is_sure and not (is_odd and gained[i, j, k] > 0):
            return None
        return self._told(int(i), int(j), int(k), bool(level[i, j, k] < APART * top[i, j, k]))

    def creeps(self, good: int) -> bool:
        """Whether there surely is a slope beside the step."""
        if len(self._positions) < _FEWEST_OF_A_SLOPE:
            return False
        along = (np.array(self._positions) - good) / (self._positions[-1] - good)
        steps = np.tril(np.ones((along.size, along.size))).T  # [cut, position]
        w, y = self._weights, self._means
        ss, sx, xx = steps @ w, steps @ (w * along), float((w * along**2).sum())
        sy, xy = steps @ (w * y), float((w * along * y).sum())
        determinant = ss * xx - sx**2
        slopes = (ss * xy - sx * sy) / np.maximum(determinant, 1e-300)
        heights = (sy - sx * slopes) / ss
        gained = float((slopes * xy + heights * sy).max() - (sy**2 / ss).max())
        best = int(np.argmax(np.round(slopes * xy + heights * sy, 9)))
        is_much = slopes[best] > APART * (slopes[best] + heights[best])
        return bool(is_much and self._is_sure(gained, 1.0))

    def beyond(self, step: int) -> Misfit | None:
        """The stretch behind the step, known to be one, that most surely has not all of the effect."""
        start = next(i for i, one in enumerate(self._positions) if one >= step)
        weights, means, last = self._weights, self._means, len(self._positions) - 1
        found, most = None, 0.0
        for first, end in itertools.combinations(range(start, last + 1), 2):
            own = slice(first, end)
            weight, total = float(weights[own].sum()), float(weights[own] @ means[own])
            rest = float(weights[start:].sum()) - weight
            level, top = total / weight, (float(weights[start:] @ means[start:]) - total) / rest
            away = (top - level) / float(np.sqrt(1 / weight + 1 / rest))
            is_much = self._counts[own].sum() >= FEWEST and level < (1 - APART) * top
            times = (last - start) * (last - start + 1) / 2
            if is_much and away > most and self._is_sure(away**2, times, ERROR_AT_LAST):
                words: Words = "good again" if level < APART * top else "in between"
                most = away
                found = Misfit(tuple(self._positions[own]), words, self._positions[end - 1])
        return found

    def _is_sure(self, gained: float, times: float, error: float = ERROR) -> bool:
        """Whether so much less is left unexplained by the best of so many ways."""
        return gained > 0 and 2 * float(t_tail(np.sqrt(gained), self._degrees)) * times < error

    def _told(self, first: int, end: int, cut: int, is_good: bool) -> Misfit:
        """Of the stretch from ``first`` to before ``end``, with the step at ``cut``."""
        places = self._positions
        if cut > end:
            return Misfit(tuple(places[end:cut]), "good again", places[end - 1])
        words: Words = "good again" if is_good else "in between"
        return Misfit(tuple(places[first:end]), words, places[first - 1 if cut < first else end - 1])


Index = npt.NDArray[np.intp]


def _between(summed: Array, first: Index, end: Index) -> Array:
    return np.asarray(summed[end] - summed[first])


def _mean(summed: Sequence[Array], first: Index, end: Index) -> Array:
    return _between(summed[1], first, end) / np.maximum(_between(summed[0], first, end), 1e-300)


def _above(summed: Array, cut: Index, first: Index, end: Index) -> Array:
    """From the cut on, but for the stretch."""
    stretch = _between(summed, np.maximum(first, cut), np.maximum(end, cut))
    return np.asarray(summed[-1] - summed[cut] - stretch)


def _mean_above(summed: Sequence[Array], cut: Index, first: Index, end: Index) -> Array:
    return _above(summed[1], cut, first, end) / np.maximum(_above(summed[0], cut, first, end), 1e-300)


def _unexplained(
    summed: Sequence[Array], cut: Index, first: Index | None = None, end: Index | None = None
) -> Array:
    """The weighted squares that are left with 0 ahead of the cut, one level from there on, and one of its
    own for the stretch."""
    first = cut if first is None else first
    end = first if end is None else np.maximum(end, first)
    weight, total = (_above(summed[i], cut, first, end) for i in (0, 1))
    own_weight, own_total = (_between(summed[i], first, end) for i in (0, 1))
    explained = total**2 / np.maximum(weight, 1e-300)
    explained = explained + np.where(own_weight > 0, own_total**2 / np.maximum(own_weight, 1e-300), 0.0)
    return np.asarray(summed[2][-1] - explained)
