"""Change points as Apache Otava 0.8 finds them in a series, at its defaults.

E-divisive (Matteson and James 2014, "A nonparametric approach for multiple change point analysis of
multivariate data") with Student's t-test in place of the permutations, in two passes: a split at p ≤ 0.01,
and a merge that keeps what reaches p < 0.001 (Fleming et al. 2023, "Hunter: using change point detection to
hunt for performance regressions"). Otava's windows of 50 play no part in shorter series, and a magnitude of 0
is enough. Like Otava's, the t-test takes standard deviations with n in the denominator, not n - 1.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from pytest_llmperf.judge.student import t_tail

Values = NDArray[np.float64]

WEAK, STRONG = 0.01, 0.001
WINDOW = 50


def best_splits(series: Values) -> tuple[NDArray[np.intp], Values]:
    """Of each series ``[series, point]``, at least two points: where its second part begins, and Q there."""
    points = series.shape[1]
    distances = np.abs(series[:, :, None] - series[:, None, :])
    sums = np.zeros((len(series), points + 1, points + 1))
    sums[:, 1:, 1:] = distances.cumsum(axis=1).cumsum(axis=2)
    split, end = (index[1:] for index in np.triu_indices(points + 1, 1))
    split, end = split[split > 0], end[split > 0]
    m, n = split, end - split
    before, across, all_of_it = sums[:, split, split], sums[:, split, end], sums[:, end, end]
    between, after = across - before, all_of_it - 2 * across + before
    # Halves, since the sums have each pair twice; a part of one point has no distance within.
    q = 2 / (m + n) * between - n / (m + n) / np.maximum(m - 1, 1) * before
    q -= m / (m + n) / np.maximum(n - 1, 1) * after
    best = q.argmax(axis=1)
    return split[best], q[np.arange(len(series)), best]


def change_points(series: Values) -> list[int]:
    """Where the parts after the first one begin. At most 50 points."""
    if len(series) > WINDOW:
        raise ValueError(f"{len(series)} points are more than a window of {WINDOW}")
    found: list[int] = []
    while True:
        parts = [part for part in _parts(found, len(series)) if part[1] - part[0] > 1]
        if not parts:
            break
        splits = [best_splits(series[None, start:end]) for start, end in parts]
        chosen = max(range(len(parts)), key=lambda part: splits[part][1][0])
        start, end = parts[chosen]
        point = start + int(splits[chosen][0][0])
        if p_value(series[start:point], series[point:end]) > WEAK:
            break
        found = sorted([*found, point])
    return _merged(found, series)


def _merged(found: list[int], series: Values) -> list[int]:
    """Without the weakest, one after the other, until all that are left are strong.

    Of the neighbours of a point that is dropped, Otava scores the later two anew, and not the earlier one.
    """
    found = list(found)
    scores = [_score(found, index, series) for index in range(len(found))]
    while found and max(scores) >= STRONG:
        weakest = scores.index(max(scores))
        del found[weakest], scores[weakest]
        for index in range(weakest, min(weakest + 2, len(found))):
            scores[index] = _score(found, index, series)
    return found


def _score(found: list[int], index: int, series: Values) -> float:
    start, point, end = [0, *found, len(series)][index : index + 3]
    return p_value(series[start:point], series[point:end])


def _parts(points: list[int], length: int) -> list[tuple[int, int]]:
    ends = [0, *points, length]
    return list(itertools.pairwise(ends))


def t_ratio(left: Values, right: Values) -> float:
    """Student's t, without its sign, of the means of two parts."""
    m, n = len(left), len(right)
    if m + n <= 2:
        return 0.0
    pooled = ((m - 1) * left.var() + (n - 1) * right.var()) / (m + n - 2)
    difference = abs(float(right.mean() - left.mean()))
    if pooled == 0:
        return math.inf if difference else 0.0
    return difference / math.sqrt(pooled * (1 / m + 1 / n))


def p_value(left: Values, right: Values) -> float:
    """Two-sided, of Student's t-test."""
    degrees = len(left) + len(right) - 2
    return 2 * float(t_tail(t_ratio(left, right), degrees)) if degrees > 0 else 1.0
