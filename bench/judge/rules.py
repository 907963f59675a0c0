"""The rules of others, on the data that ours gets: which items does each call worse?

A rule is a function of a batch ``[session, item, side, launch, run]`` of logarithms. It judges every item for
itself and gives ``[session, item]``. Larger is worse.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.judge.divisive import WEAK, best_splits, change_points, t_ratio
from bench.judge.ranks import exact_p, normal_score
from bench.judge.worlds import Logs, World, requests_of
from pytest_llmperf.judge.student import t_quantile

Alarms = NDArray[np.bool_]

SESSION_LEVEL = 0.01
PRIOR_DEGREES = 4


@dataclass(frozen=True)
class Rule:
    """One way to judge; ``per_request`` ones need the latencies of requests, and time."""

    name: str
    says: str
    judge: Callable[[Logs, World, int], Alarms]
    per_request: bool = False


def moderated_t(logs: Logs, world: World, items: int) -> Alarms:
    """Student's t over launch means with a moderated variance (Smyth 2004), one-sided, Bonferroni over
    ``items``, and the estimate beyond the tolerance."""
    means = logs.mean(axis=-1)
    launches = means.shape[-1]
    degrees = PRIOR_DEGREES + 2 * launches - 2
    squares = means.var(axis=-1).sum(axis=-1) * launches
    variance = (PRIOR_DEGREES * world.prior_spread**2 + squares) / degrees
    difference = means[:, :, 1].mean(axis=-1) - means[:, :, 0].mean(axis=-1)
    limit = t_quantile(1 - SESSION_LEVEL / items, degrees)
    is_sure = difference / np.sqrt(variance * 2 / launches) > limit
    return np.asarray(is_sure & (difference > math.log1p(world.tolerance)))


def asv(logs: Logs, world: World, items: int) -> Alarms:
    """`asv compare` of asv 0.6 at its defaults: medians over all runs differ by a factor of more than 1.1,
    and Mann-Whitney over the runs says p < 0.002; exactly up to 20 values a side."""
    values = logs.reshape(*logs.shape[:3], -1)
    medians = np.median(values, axis=-1)
    alarms: Alarms = medians[:, :, 0] < medians[:, :, 1] - math.log(1.1)
    for session, item in np.argwhere(alarms):
        base, candidate = values[session, item]
        if len(base) <= 20:
            alarms[session, item] = exact_p(base, candidate) < 0.002
        else:
            alarms[session, item] = normal_score(base, candidate) > _normal_limit(0.002)
    return alarms


def median_5_percent(logs: Logs, world: World, items: int) -> Alarms:
    """`pytest-benchmark --benchmark-compare-fail=median:5%`: of all runs."""
    medians = np.median(np.exp(logs.reshape(*logs.shape[:3], -1)), axis=-1)
    alarms: Alarms = medians[:, :, 1] > 1.05 * medians[:, :, 0]
    return alarms


def band_20_percent(logs: Logs, world: World, items: int) -> Alarms:
    """The mean of all runs is more than 20 % above the base's."""
    means = np.exp(logs).mean(axis=(-1, -2))
    alarms: Alarms = means[:, :, 1] > 1.2 * means[:, :, 0]
    return alarms


def otava(logs: Logs, world: World, items: int) -> Alarms:
    """Otava on the launches of the base followed by those of the candidate, one point each: a change point
    for the worse at the first launch of the candidate, or one before or after it."""
    series = np.exp(logs.mean(axis=-1))
    sessions, items_here, _, launches = series.shape
    flat = series.reshape(sessions * items_here, 2 * launches)
    alarms = np.zeros(len(flat), dtype=np.bool_)
    limit = _limit(2 * launches - 2, WEAK)
    for start in range(0, len(flat), 4096):
        here = flat[start : start + 4096]
        for index, split in enumerate(best_splits(here)[0]):
            # Without a weak change point there is no other, and this is much faster.
            if t_ratio(here[index, :split], here[index, split:]) >= limit:
                alarms[start + index] = _got_worse(here[index], launches)
    return alarms.reshape(sessions, items_here)


def _got_worse(series: NDArray[np.float64], launches: int) -> bool:
    ends = [0, *change_points(series), len(series)]
    return any(
        abs(point - launches) <= 1 and series[point:end].mean() > series[start:point].mean()
        for start, point, end in zip(ends, ends[1:-1], ends[2:], strict=False)
    )


def mann_whitney_requests(logs: Logs, world: World, items: int) -> Alarms:
    """Mann-Whitney over all requests of all launches, two-sided p < 0.01, the candidate slower."""
    return _of_requests(logs, _ranks_say_slower)


def welch_requests(logs: Logs, world: World, items: int) -> Alarms:
    """Welch's t-test over all requests of all launches, two-sided p < 0.01, the candidate slower."""
    return _of_requests(logs, _means_say_slower)


def _of_requests(logs: Logs, is_slower: Callable[[Logs, Logs], bool]) -> Alarms:
    alarms = np.zeros(logs.shape[:2], dtype=np.bool_)
    rng = np.random.default_rng(1)
    for session, items in enumerate(logs):
        for item, sides in enumerate(items):
            base, candidate = requests_of(sides, rng)
            alarms[session, item] = is_slower(base, candidate)
    return alarms


def _ranks_say_slower(base: Logs, candidate: Logs) -> bool:
    return normal_score(base, candidate) > _normal_limit(0.01)


def _means_say_slower(base: Logs, candidate: Logs) -> bool:
    ratio, degrees = welch(base, candidate)
    return ratio > _limit(int(degrees), 0.01)


def welch(left: Logs, right: Logs) -> tuple[float, float]:
    """Welch's t, positive where ``right`` is the larger, and its degrees of freedom (Welch 1947)."""
    ours, theirs = left.var(ddof=1) / len(left), right.var(ddof=1) / len(right)
    degrees = (ours + theirs) ** 2 / (ours**2 / (len(left) - 1) + theirs**2 / (len(right) - 1))
    return float((right.mean() - left.mean()) / math.sqrt(ours + theirs)), float(degrees)


@functools.cache
def _limit(degrees: int, p: float) -> float:
    # With a thousand degrees of freedom the two differ by 0.1 %.
    return t_quantile(1 - p / 2, degrees) if degrees < 1000 else _normal_limit(p)


@functools.cache
def _normal_limit(p: float) -> float:
    return NormalDist().inv_cdf(1 - p / 2)


RULES = (
    Rule("moderated t, Bonferroni", "t-test over launches, 1 % for the session", moderated_t),
    Rule("Mann-Whitney on requests", "p < 0.01", mann_whitney_requests, per_request=True),
    Rule("Welch on requests", "p < 0.01", welch_requests, per_request=True),
    Rule("asv", "Mann-Whitney on runs, p < 0.002, and a factor of 1.1", asv),
    Rule("5 % on the median", "pytest-benchmark's median:5%", median_5_percent),
    Rule("± 20 % band", "means of all runs", band_20_percent),
    Rule("Otava", "E-divisive and t-test, p < 0.001", otava),
)
