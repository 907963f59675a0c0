"""Is the SLO met? One limit, the launches of one load point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Limit
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.student import t_quantile
from pytest_llmperf.judge.verdict import Verdict

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class Objective:
    """A limit and how it went: ``value`` over the launches with its 95 % interval from ``low`` to ``high``,
    and ``missed`` by that many of ``launches``.

    ``margin`` is the distance to the limit as a share of it, negative when the value is beyond the limit;
    None for a limit of zero. ``verdict`` is ``pass``, ``slo broken``, or ``inconclusive`` where the limit is
    within the interval.
    """

    limit: Limit
    value: float
    low: float
    high: float
    margin: float | None
    launches: int
    missed: int
    verdict: Verdict


def mean_value(key: MetricKey, values: Sequence[float]) -> float:
    """The mean that is judged: arithmetic for shares and where a value is zero, else geometric."""
    if len(values) == 1:
        return values[0]
    if key.metric.share or min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def judge_limit(
    limit: Limit,
    values: Sequence[float],
    prior: Prior,
    sampling: float = 0.0,
    requests: int = 0,
    error: float = _TAIL,
) -> Objective:
    """Judge a limit on the mean over launches: geometric for quantities, arithmetic for shares.

    The interval of a quantity is Student's, of logarithms, with the launches' own spread moderated by
    ``prior`` and by what a launch's requests leave unknown, ``sampling``. That of a share is Wilson's (1927),
    of all ``requests`` together; a perfect record counts as it is, and so does a limit of zero, which one
    failed request breaks. A limit is broken where a value within it has a probability below ``error``,
    which is what this look at it may err. Raises :class:`ValueError` without a value.
    """
    if not values:
        raise ValueError("no launch has a value")
    value = mean_value(limit.key, values)

    def interval(tail: float) -> tuple[float, float]:
        if limit.value == 0 or (not limit.key.metric.share and min(values) <= 0):
            return value, value
        if limit.key.metric.share:
            return _wilson(value, requests, tail)
        half = half_width([math.log(one) for one in values], prior, sampling, tail)
        return value * math.exp(-half), value * math.exp(half)

    low, high = interval(_TAIL)
    distance = limit.value - value if limit.is_upper else value - limit.value
    return Objective(
        limit=limit,
        value=value,
        low=low,
        high=high,
        margin=distance / limit.value if limit.value else None,
        launches=len(values),
        missed=sum(not limit.met_by(one) for one in values),
        verdict=_verdict(limit, (low, high), interval(min(error, _TAIL))),
    )


def _verdict(limit: Limit, likely: tuple[float, float], sure: tuple[float, float]) -> Verdict:
    if all(map(limit.met_by, likely)):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE if any(map(limit.met_by, sure)) else Verdict.SLO_BROKEN


def half_width(logs: Sequence[float], prior: Prior, sampling: float, tail: float) -> float:
    """Half of the interval around a mean of launches' logarithms that leaves ``tail`` out on either side."""
    mean = math.fsum(logs) / len(logs)
    own = math.fsum((one - mean) ** 2 for one in logs)
    degrees = prior.degrees + len(logs) - 1
    variance = (prior.degrees * (prior.spread**2 + sampling**2) + own) / degrees
    return t_quantile(1 - tail, degrees) * math.sqrt(variance / len(logs))


def _wilson(share: float, requests: int, tail: float) -> tuple[float, float]:
    if requests < 1 or share in (0.0, 1.0):
        return share, share
    z = NormalDist().inv_cdf(1 - tail)
    centre = share + z * z / (2 * requests)
    half = z * math.sqrt(share * (1 - share) / requests + z * z / (4 * requests * requests))
    scale = 1 + z * z / requests
    return (centre - half) / scale, (centre + half) / scale
