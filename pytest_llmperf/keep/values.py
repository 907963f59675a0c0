"""Values by load point and metric, one for each launch, as files have them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.keep.files import rounded

Values = Mapping[str, Mapping[str, Sequence[float]]]


def read_values(content: Any) -> dict[str, dict[str, tuple[float, ...]]]:
    """Raises ValueError, TypeError or AttributeError for what is none."""
    return {
        str(point): {str(metric): read_launches(values) for metric, values in metrics.items()}
        for point, metrics in content.items()
    }


def read_launches(values: Any) -> tuple[float, ...]:
    """At least one number, none below 0. Raises ValueError."""
    if not isinstance(values, list) or not values:
        raise ValueError("a metric without a list of values")
    if not all(type(value) in (int, float) and finite_number(value) is not None for value in values):
        raise ValueError("a value that is not a number")
    if min(values) < 0:
        raise ValueError("a value below 0")
    return tuple(map(float, values))


def rounded_values(points: Values) -> dict[str, dict[str, list[float]]]:
    return {
        point: {metric: [rounded(value) for value in values] for metric, values in metrics.items()}
        for point, metrics in points.items()
    }


def middle(values: Sequence[float]) -> float:
    """The geometric mean; the arithmetic one where a value is zero."""
    if len(values) == 1:
        return values[0]
    if min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def by_metric(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Of recorded runs the values of each metric by launch: the mean over its valid runs."""
    found: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        if not run["health"]["problems"]:
            for metric, value in run["values"].items():
                found.setdefault(metric, {}).setdefault(run["launch"], []).append(float(value))
    return {
        metric: {launch: middle(values) for launch, values in launches.items()}
        for metric, launches in found.items()
    }
