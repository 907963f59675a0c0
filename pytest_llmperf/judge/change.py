"""Did it get worse? A candidate's launches against a baseline's.

The launch is the unit of replication: two launches of the same build and flags differ by several percent
(10.6 % in TTFT p50 and 3.6 % in TPOT p50 were measured for vLLM 0.24 on an H100), and no number of requests
within one launch tells how much. So each launch counts as one observation, the logarithm of its statistic,
and the interval comes from the spread between launches.

A few launches know that spread badly. It is moderated: their pooled variance is averaged with a prior one,
each weighted by its degrees of freedom, which gives a t distribution with the sum of both (Smyth 2004,
"Linear models and empirical Bayes methods", eq. 3-4). The prior has 4 degrees of freedom, and a spread that
belongs to the metric: for TTFT and TPOT the differences above over √2, 7.5 % and 2.5 %. To it comes what a
launch's own requests leave unknown: a percentile of few requests varies even if launches do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.judge.student import t_quantile
from pytest_llmperf.judge.verdict import Verdict

PRIOR_DEGREES = 4
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Change:
    """Candidate relative to base: ``estimate`` +0.12 means 12 % more, ``low`` to ``high`` its interval.

    ``base`` and ``candidate`` are the geometric means over their launches, ``spread`` the moderated standard
    deviation of a launch's logarithm.
    """

    base: float
    candidate: float
    estimate: float
    low: float
    high: float
    base_launches: int
    candidate_launches: int
    tolerance: float
    better: Literal["lower", "higher"]
    spread: float
    verdict: Verdict


def compare(
    base: Sequence[float],
    candidate: Sequence[float],
    *,
    better: Literal["lower", "higher"],
    tolerance: float,
    prior_spread: float,
    sampling: Sequence[float] = (),
) -> Change:
    """Judge one metric from one value per launch on either side, all positive.

    ``prior_spread`` is the expected standard deviation of a launch's logarithm; ``sampling`` what the
    requests of each launch, of either side, leave unknown, in the same unit.

    With "worse" counted upwards, whatever the metric's direction: an interval that lies below the
    tolerance is ``pass``, or ``improved`` when it also lies below zero and the estimate beyond the
    tolerance; an interval above zero with the estimate over the tolerance is ``regressed``; anything else
    is ``inconclusive``. Raises :class:`ValueError` without a launch on either side.
    """
    if not base or not candidate:
        raise ValueError("a comparison needs at least one launch on either side")
    if min(*base, *candidate) <= 0:
        raise ValueError("logarithms need positive values")
    base_logs, candidate_logs = [math.log(v) for v in base], [math.log(v) for v in candidate]
    difference = _mean(candidate_logs) - _mean(base_logs)
    degrees = PRIOR_DEGREES + len(base) + len(candidate) - 2
    sampling_variance = _mean([one * one for one in sampling]) if sampling else 0.0
    spread = _moderated_spread(base_logs, candidate_logs, prior_spread**2 + sampling_variance)
    half = t_quantile(0.5 + CONFIDENCE / 2, degrees) * spread * math.sqrt(1 / len(base) + 1 / len(candidate))
    sign = 1 if better == "lower" else -1
    low, high = sorted((sign * (difference - half), sign * (difference + half)))
    return Change(
        base=math.exp(_mean(base_logs)),
        candidate=math.exp(_mean(candidate_logs)),
        estimate=math.expm1(difference),
        low=math.expm1(difference - half),
        high=math.expm1(difference + half),
        base_launches=len(base),
        candidate_launches=len(candidate),
        tolerance=tolerance,
        better=better,
        spread=spread,
        verdict=_verdict(sign * difference, low, high, _limit(better, tolerance)),
    )


def _limit(better: Literal["lower", "higher"], tolerance: float) -> float:
    """The tolerance as a logarithm: 5 % more of what should be low, or 5 % less of what should be high."""
    return math.log1p(tolerance) if better == "lower" else -math.log1p(-tolerance)


def _verdict(worse: float, low: float, high: float, limit: float) -> Verdict:
    if low > 0 and worse > limit:
        return Verdict.REGRESSED
    if high < limit:
        return Verdict.IMPROVED if high < 0 and worse < -limit else Verdict.PASS
    return Verdict.INCONCLUSIVE


def _moderated_spread(base: Sequence[float], candidate: Sequence[float], prior_variance: float) -> float:
    squares = sum((value - _mean(side)) ** 2 for side in (base, candidate) for value in side)
    degrees = len(base) + len(candidate) - 2
    return math.sqrt((PRIOR_DEGREES * prior_variance + squares) / (PRIOR_DEGREES + degrees))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def launches_to_decide(change: Change, most: int = 12) -> int | None:
    """About how many launches a side would decide an inconclusive change, were its estimate the truth.

    Assumes the spread of the change; None if more than ``most``.
    """
    worse = (1 if change.better == "lower" else -1) * math.log1p(change.estimate)
    limit = _limit(change.better, change.tolerance)
    for launches in range(max(change.base_launches, change.candidate_launches) + 1, most + 1):
        degrees = PRIOR_DEGREES + 2 * launches - 2
        half = t_quantile(0.5 + CONFIDENCE / 2, degrees) * change.spread * math.sqrt(2 / launches)
        if _verdict(worse, worse - half, worse + half, limit) is not Verdict.INCONCLUSIVE:
            return launches
    return None
