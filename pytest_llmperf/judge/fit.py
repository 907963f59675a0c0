"""How much load of one launch fits under an SLO, from what was measured of it at several loads.

A limit's *margin* (:mod:`~pytest_llmperf.judge.margin`) is below 0 where it is met. It grows with the load,
so margins that fall are noise, and are put together with their neighbours (isotonic regression, by pooling
adjacent violators: Barlow et al. 1972). Between the two loads around 0 the rate is interpolated, in
logarithms of both. The limit that is reached first decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from pytest_llmperf.declare.slo import Limit, Slo
from pytest_llmperf.judge.margin import margin_to

_FAR = 3.0
"""A margin beyond this (20 times the limit) is no further away: of a queue that grows, it is the duration."""

ANYWHERE = 1 / math.sqrt(12)
"""The standard deviation of a place that may be anywhere between two others, as a share of their distance."""
ORDER = {"below": 0, "found": 1, "above": 2}
"""Kinds of fits, from what carries least."""
_FARTHEST = math.log(1.5)


@dataclass(frozen=True)
class Point:
    """One launch at one load: ``load`` is requests/s offered, or in a closed loop requests at once, ``label``
    how a person calls it. ``values`` by the names of the metrics, from so many ``requests``, ``uncertainty``
    the standard deviations of their logarithms. ``is_saturated``: the queue grew as long as it was driven,
    which meets no SLO, whatever the values are: they say how long that was."""

    load: float
    label: str
    values: Mapping[str, float]
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    is_saturated: bool = False
    requests: int = 0


@dataclass(frozen=True)
class Fit:
    """The highest rate, in requests/s, that meets the SLO, in one launch.

    ``found``, or the SLO is met at all loads (the truth is ``above``) or missed at the lowest (``below``).
    ``deviation`` is the standard deviation of its logarithm from the requests of the launch. ``between`` are
    the loads around it, and empty if it was searched for. ``limit`` is what is reached first, ``slope`` how
    fast its margin grows there with the logarithm of the rate (0: unknown), ``margin`` what it is at the
    outermost load, if the truth is beyond that. ``is_saturated``: at the next load the queue grew without
    bound, so that the rate is somewhere between the two.
    """

    rate: float
    kind: Literal["found", "above", "below"]
    deviation: float = 0.0
    slope: float = 0.0
    margin: float = 0.0
    between: tuple[str, str] | None = None
    limit: Limit | None = None
    is_saturated: bool = False


def _says_whether(point: Point, slo: Slo) -> bool:
    """Whether the SLO is met there."""
    limits = slo.with_no_errors().limits
    return point.is_saturated or all(limit.key.name in point.values for limit in limits)


def fit(points: Sequence[Point], slo: Slo, *, is_closed: bool = False) -> Fit | None:
    """How much fits, by a launch's ``points``; in a closed loop in requests/s that were answered.

    None if no point has all values that the SLO is about; where some have not, to be saturated at others does
    not say what happens below.
    """
    usable = sorted((point for point in points if _says_whether(point, slo)), key=lambda point: point.load)
    if not usable or (len(usable) < len(points) and all(point.is_saturated for point in usable)):
        return None
    found = [_of_limit(usable, limit, is_closed=is_closed) for limit in slo.with_no_errors().limits]
    # Of those that are met everywhere, the one that is closest to be missed.
    return min(found, key=lambda one: (ORDER[one.kind], one.rate, -one.margin))


def moved(one: Fit, slope: float) -> Fit:
    """One whose truth is beyond what was measured, taken there along the ``slope`` of other launches; half of
    the way is unsure."""
    way = -one.margin / slope if slope > 0 else 0.0
    way = min(max(way, -_FARTHEST), _FARTHEST)
    return replace(one, rate=one.rate * math.exp(way), kind="found", deviation=abs(way) / 2)


def _of_limit(points: Sequence[Point], limit: Limit, *, is_closed: bool) -> Fit:
    each = [
        (_FAR, 0.0)
        if point.is_saturated
        else margin_to(limit, point.values, point.uncertainty, point.requests)
        for point in points
    ]
    margins = _rising([min(max(over, -_FAR), _FAR) for over, _ in each])
    rates = [point.values.get("requests_per_s", 0.0) if is_closed else point.load for point in points]
    first = next((i for i, one in enumerate(margins) if one > 0), None)
    if first is None:
        return Fit(max(rates), "above", limit=limit, margin=margins[-1])
    if first == 0:
        return Fit(rates[0], "below", limit=limit, margin=margins[0])
    last = first - 1
    weight = -margins[last] / (margins[first] - margins[last])
    around = points[last], points[first]
    if min(rates[last], rates[first]) <= 0:  # not one request was answered there
        return Fit(rates[last], "found", between=(around[0].label, around[1].label), limit=limit)
    step = math.log(rates[first] / rates[last])
    known = [error for _, error in each[last : first + 1]]
    unknown = math.hypot((1 - weight) * known[0], weight * known[1])
    # What is not known of the place between two loads is not more than the place itself.
    share = min(unknown / (margins[first] - margins[last]), ANYWHERE)
    return Fit(
        rate=rates[last] * math.exp(weight * step),
        kind="found",
        deviation=(ANYWHERE if points[first].is_saturated else share) * abs(step),
        slope=max((margins[first] - margins[last]) / step, 0.0) if step else 0.0,
        between=(around[0].label, around[1].label),
        limit=limit,
        is_saturated=points[first].is_saturated,
    )


def _rising(values: Sequence[float]) -> list[float]:
    """The closest sequence that never falls, by least squares."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, n), (other, m) = blocks[-2:]
            blocks[-2:] = [((one * n + other * m) / (n + m), n + m)]
    return [value for value, count in blocks for _ in range(count)]


def at_load(points: Sequence[Point], name: str, load: float) -> float | None:
    """A metric at a load, interpolated in logarithms of both; None outside of what was measured and kept up
    with."""
    measured = (p for p in points if not p.is_saturated and p.values.get(name, 0.0) > 0)
    known = sorted(measured, key=lambda point: point.load)
    for point in known:
        if math.isclose(point.load, load, rel_tol=1e-6):
            return point.values[name]
    for low, high in pairwise(known):
        if low.load < load < high.load:
            weight = math.log(load / low.load) / math.log(high.load / low.load)
            return float(low.values[name] ** (1 - weight) * high.values[name] ** weight)
    return None
