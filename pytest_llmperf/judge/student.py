"""Student's t distribution, for arrays."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_TINY = 1e-300
_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def t_tail(t: npt.ArrayLike, degrees: npt.ArrayLike) -> Array:
    """The probability of a value above ``t`` with ``degrees`` (> 0, not necessarily whole) of freedom.

    Half the regularised incomplete beta function I(v/(v+t²); v/2, 1/2) (Abramowitz & Stegun 26.7.1), which
    is good to 1e-12 relative however far out the tail is, and to 1e-8 for ``t`` near 0.
    """
    x, v = np.broadcast_arrays(np.asarray(t, dtype=float), np.asarray(degrees, dtype=float))
    if np.any(~(v > 0)):
        raise ValueError("degrees of freedom must be greater than 0")
    half = 0.5 * _incomplete_beta(v / (v + x * x), v / 2, 0.5)
    return np.asarray(np.where(x >= 0, half, 1 - half))


@functools.lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """The ``probability`` quantile with ``degrees`` of freedom, by bisection; good to 1e-9 relative but near
    0, where it is good to 1e-7."""
    if not 0 < probability < 1:
        raise ValueError(f"probability {probability} is not between 0 and 1")
    tail = min(probability, 1 - probability)
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > tail:
        high *= 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return math.copysign((low + high) / 2, probability - 0.5)


def _incomplete_beta(x: Array, a: Array, b: float) -> Array:
    """Regularised incomplete beta function by Lentz's continued fraction (Numerical Recipes, 6.4)."""
    is_far = x >= (a + 1) / (a + b + 2)
    # I(x; a, b) = 1 - I(1 - x; b, a), of which one converges fast.
    x_, a_, b_ = np.where(is_far, 1 - x, x), np.where(is_far, b, a), np.where(is_far, a, b)
    with np.errstate(divide="ignore"):
        logs = _log_gamma(a + b) - _log_gamma(a) - math.lgamma(b) + a * np.log(x) + b * np.log1p(-x)
    part = np.exp(logs) * _continued_fraction(x_, a_, b_) / a_
    return np.asarray(np.where(is_far, 1 - part, part))


def _continued_fraction(x: Array, a: Array, b: Array) -> Array:
    c, d = np.ones_like(x), _away_from_zero(1 - (a + b) * x / (a + 1))
    d = 1 / d
    result = d.copy()
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            result *= c * d
        if np.all(np.abs(c * d - 1) < 1e-13):
            break
    return np.asarray(result)


def _away_from_zero(values: Array) -> Array:
    return np.asarray(np.where(np.abs(values) > _TINY, values, _TINY))
