"""Is the SLO met? One limit, the launches of one load point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Limit


@dataclass(frozen=True)
class Objective:
    """A limit and how it went: ``value`` over the launches, and ``missed`` by that many of ``launches``.

    ``margin`` is the distance to the limit as a share of it, negative when the limit is broken; None for
    a limit of zero.
    """

    limit: Limit
    value: float
    margin: float | None
    launches: int
    missed: int

    @property
    def is_met(self) -> bool:
        return self.limit.met_by(self.value)


def mean_value(key: MetricKey, values: Sequence[float]) -> float:
    """The mean that is judged: arithmetic for shares and where a value is zero, else geometric."""
    if len(values) == 1:
        return values[0]
    if key.metric.share or min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def judge_limit(limit: Limit, values: Sequence[float]) -> Objective:
    """Judge a limit on the mean over launches: geometric for quantities, arithmetic for shares.

    Raises :class:`ValueError` without a value.
    """
    if not values:
        raise ValueError("no launch has a value")
    value = mean_value(limit.key, values)
    distance = limit.value - value if limit.is_upper else value - limit.value
    return Objective(
        limit=limit,
        value=value,
        margin=distance / limit.value if limit.value else None,
        launches=len(values),
        missed=sum(not limit.met_by(one) for one in values),
    )
