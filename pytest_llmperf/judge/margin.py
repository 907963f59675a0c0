"""How far a run is from its limits, as one number that grows with the load."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_llmperf.declare.slo import Limit, Slo


def margin(
    slo: Slo, values: Mapping[str, float], known: Mapping[str, float], requests: int
) -> tuple[float, float]:
    """The logarithm of value over limit, of the limit that is closest to being missed or is missed by most,
    and the standard deviation that its requests leave: below 0 all are met.

    ``values`` and ``known`` are those of a run by metric name, see
    :func:`~pytest_llmperf.measure.metrics.uncertainty`. Shares count by what is missing to all: 98 % of 99 %
    has a margin of log 2. +inf where something without a value (nothing was answered), or that may not be
    at all (an error), is missed. Raises :class:`ValueError` without a limit.
    """
    if not slo.limits:
        raise ValueError("a margin to no limit")
    return max(margin_to(limit, values, known, requests) for limit in slo.limits)


def margin_to(
    limit: Limit, values: Mapping[str, float], known: Mapping[str, float], requests: int
) -> tuple[float, float]:
    """The same of one limit."""
    value = values.get(limit.key.name)
    if value is None:
        return math.inf, 0.0
    if not limit.key.metric.share:
        ratio = value / limit.value if limit.is_upper else limit.value / max(value, 1e-12)
        return math.log(max(ratio, 1e-12)), known.get(limit.key.name, 0.0)
    missing, allowed = (value, limit.value) if limit.is_upper else (1 - value, 1 - limit.value)
    if allowed <= 0:
        return (math.inf if missing > 0 else -math.inf), 0.0
    # Half a request, so that none and one are not infinitely far apart.
    half = 0.5 / max(requests, 1)
    count = max(missing * requests, 0.5)
    return math.log((missing + half) / (allowed + half)), 1 / math.sqrt(count)
