"""The statistics of a handful of times, as pytest-benchmark has them in its files."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any


def stats(values: Sequence[float]) -> dict[str, Any]:
    """What pytest-benchmark says of ``values`` in seconds, one for each round.

    Quartiles are those of its methods (the median of a half for an even number, else between the two nearest
    values); fences are Tukey's (Exploratory Data Analysis, 1977). Raises :class:`ValueError` without a value.
    """
    if not values:
        raise ValueError("statistics of nothing")
    ordered = sorted(values)
    mean = statistics.fmean(ordered)
    stddev = statistics.stdev(ordered) if len(ordered) > 1 else 0.0
    q1, q3 = _first_quartile(ordered), _first_quartile(ordered[::-1])
    iqr = q3 - q1
    low, high = q1 - 1.5 * iqr, q3 + 1.5 * iqr
    within = [value for value in ordered if low <= value <= high] or ordered
    far = sum(not mean - stddev <= value <= mean + stddev for value in ordered)
    beyond = sum(not low <= value <= high for value in ordered)
    total = math.fsum(ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": stddev,
        "rounds": len(ordered),
        "median": statistics.median(ordered),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": within[0],
        "hd15iqr": within[-1],
        "ops": len(ordered) / total if total else 0.0,
        "total": total,
        "data": list(values),
        "iterations": 1,
    }


def _first_quartile(ordered: Sequence[float]) -> float:
    """Of values in order, the last one of those from the end."""
    count = len(ordered)
    quarter, rest = divmod(count, 4)
    if count == 1:
        return ordered[0]
    if rest == 1:
        return 0.25 * ordered[quarter - 1] + 0.75 * ordered[quarter]
    if rest == 3:
        return 0.75 * ordered[quarter] + 0.25 * ordered[quarter + 1]
    return statistics.median(ordered[: count // 2])
