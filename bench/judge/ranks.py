"""Mann-Whitney's test: exact for few values, by the normal approximation for many."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def u_statistic(left: Values, right: Values) -> tuple[float, int]:
    """Pairs in which ``right`` is the larger one, ties counted half, and the number of tied pairs."""
    ordered = np.sort(left)
    below = int(np.searchsorted(ordered, right, "left").sum())
    not_above = int(np.searchsorted(ordered, right, "right").sum())
    return (below + not_above) / 2, not_above - below


def normal_score(left: Values, right: Values) -> float:
    """U in standard deviations from its mean, positive where ``right`` is larger: the normal approximation.

    With correction for ties and without one for continuity (Hollander, Wolfe and Chicken 2013,
    "Nonparametric statistical methods", eq. 4.9 and 4.13).
    """
    m, n = len(left), len(right)
    variance = m * n * (m + n + 1) / 12
    both = np.sort(np.concatenate([left, right]))
    if (both[1:] == both[:-1]).any():
        _, counts = np.unique(both, return_counts=True)
        variance -= m * n * float(np.sum(counts**3 - counts)) / (12 * (m + n) * (m + n - 1))
    excess = u_statistic(left, right)[0] - m * n / 2
    return excess / math.sqrt(variance) if variance > 0 else 0.0


def exact_p(left: Values, right: Values) -> float:
    """Two-sided, from the distribution of U (Mann and Whitney 1947). Values must not be tied."""
    statistic, tied = u_statistic(left, right)
    if tied:
        raise ValueError("the exact distribution is that of values without ties")
    m, n = len(left), len(right)
    return float(min(1.0, 2 * _shares(m, n)[: int(min(statistic, m * n - statistic)) + 1].sum()))


@functools.cache
def _shares(m: int, n: int) -> Values:
    """The share of all orders of ``m`` and ``n`` values with U of 0, 1, …, m·n."""
    counts = np.array([1.0])
    # The generating function of U is the Gaussian binomial: the product of (1 - q^(n+i)) / (1 - q^i).
    for i in range(1, m + 1):
        larger = np.zeros(len(counts) + n + i)
        larger[: len(counts)] += counts
        larger[n + i :] -= counts
        for power in range(i, len(larger)):
            larger[power] += larger[power - i]
        counts = larger[: i * n + 1]
    return np.asarray(counts / counts.sum())
