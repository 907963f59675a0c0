"""Whether a series rises, and goes on rising."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]


def line(x: Column, y: Column) -> tuple[float, float]:
    """The slope of the least-squares line through points, and its standard deviation."""
    away = x - x.mean()
    square = float(away @ away)
    if not square:
        return 0.0, 0.0
    slope = float(away @ y) / square
    rest = y - y.mean() - slope * away
    return slope, math.sqrt(float(rest @ rest) / (x.size - 2) / square)


def still_rises(y: Column, share: float) -> bool:
    """Whether the second half rises by more than ``share`` of what the first does."""
    half = y.size // 2
    begin, middle, end = (float(y[at : at + 2].mean()) for at in (0, half - 1, y.size - 2))
    return end - middle > share * (middle - begin)
