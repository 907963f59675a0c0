"""Is the SLO met? One limit, the launches of one load point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def judge_limit(limit: Limit, values: Sequence[float]) -> Objective:
    """Judge a limit on the mean over launches: geometric for quantities, arithmetic for shares.

    Raises :class:`ValueError` without a value.
    """
    if not values:
        raise ValueError("no launch has a value")
    if limit.key.metric.share or min(values) <= 0:
        value = math.fsum(values) / len(values)
    else:
        value = math.exp(math.fsum(map(math.log, values)) / len(values))
    distance = limit.value - value if limit.is_upper else value - limit.value
    return Objective(
        limit=limit,
        value=value,
        margin=distance / limit.value if limit.value else None,
        launches=len(values),
        missed=sum(not limit.met_by(one) for one in values),
    )
