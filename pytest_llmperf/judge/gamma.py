"""Derivatives of the logarithm of the gamma function, which the logarithm of a variance is made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_STEPS = np.arange(12.0)  # so many further on, the asymptotic series is good to 1e-13


def digamma(x: npt.ArrayLike) -> Array:
    """The first derivative, for x > 0 (Abramowitz & Stegun 6.3.6 and 6.3.18)."""
    value = np.asarray(x, dtype=float)
    far = value + len(_STEPS)
    square = 1 / (far * far)
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
    return np.asarray(np.log(far) - 0.5 / far - series - (1 / (value[..., None] + _STEPS)).sum(axis=-1))


def trigamma(x: npt.ArrayLike) -> Array:
    """The second derivative, for x > 0 (Abramowitz & Stegun 6.4.6 and 6.4.12)."""
    value = np.asarray(x, dtype=float)
    far = value + len(_STEPS)
    square = 1 / (far * far)
    series = square * (1 / 6 - square * (1 / 30 - square * (1 / 42 - square * (1 / 30 - square * 5 / 66))))
    return np.asarray((1 + 0.5 / far + series) / far + ((value[..., None] + _STEPS) ** -2.0).sum(axis=-1))


def inverse_trigamma(y: float) -> float:
    """The x > 0 whose :func:`trigamma` is ``y`` > 0, by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(trigamma(x))
        slope = (float(trigamma(x * (1 + 1e-6))) - value) / (x * 1e-6)
        step = value * (1 - value / y) / slope
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x
