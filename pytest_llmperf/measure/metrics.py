"""The numbers of a run, by the formulas of :mod:`pytest_llmperf.declare.metrics`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_llmperf.declare.metrics import METRICS, STATISTICS, MetricKey
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.measure.timeline import Timeline

Values = npt.NDArray[np.float64]
RESAMPLES = 200


def observations(timeline: Timeline) -> dict[str, Values]:
    """One value for each request (``ttft``, ``tpot``, ``e2e``) or gap (``itl``), in ms.

    A request of one token has no TPOT; it is NaN there.
    """
    after_first = np.maximum(timeline.tokens - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(after_first > 0, (timeline.last_ns - timeline.first_ns) / after_first, np.nan)
    return {
        "ttft": (timeline.first_ns - timeline.due_ns) / 1e6,
        "tpot": tpot / 1e6,
        "e2e": (timeline.last_ns - timeline.due_ns) / 1e6,
        "itl": timeline.gaps_ns / 1e6,
    }


def summarise(
    timeline: Timeline, slo: Slo, startup_s: float | None, *, is_cold: bool = False
) -> dict[str, float]:
    """Every metric that has a value, by its canonical name.

    Percentiles interpolate linearly between order statistics (Hyndman & Fan 1996, definition 7). A start
    counts as one of two metrics, by whether it ``is_cold``.
    """
    observed = observations(timeline)
    values: dict[str, float] = {}
    for metric in METRICS.values():
        if metric.is_distribution:
            known = observed[metric.name][~np.isnan(observed[metric.name])]
            for statistic in STATISTICS if known.size else ():
                values[MetricKey(metric.name, statistic).name] = float(_statistic(known, statistic))
    succeeded = timeline.due_ns.size
    values[MetricKey("error_rate").name] = 1 - succeeded / timeline.requests if timeline.requests else 0.0
    if timeline.requests:
        good = _good(timeline, observed, slo)
        values[MetricKey("goodput").name] = good / timeline.requests
    if succeeded:
        values[MetricKey("output_tokens").name] = float(timeline.tokens.sum() / timeline.window_s)
        values[MetricKey("requests").name] = float(succeeded / timeline.window_s)
        values[MetricKey("good_requests").name] = float(good / timeline.window_s)
    if startup_s is not None:
        values[MetricKey("cold_startup" if is_cold else "startup").name] = startup_s
    return values


def uncertainty(timeline: Timeline) -> dict[str, float]:
    """How badly each statistic over requests is known from this many of them, by its canonical name: the
    standard deviation of its logarithm.

    By the bootstrap (Efron 1979): the statistic of 200 resamples. It takes requests for independent, which
    under load they are not, so it is a lower bound. A single request tells nothing: 1.
    """
    rng = np.random.default_rng(0)
    found: dict[str, float] = {}
    for name, values in observations(timeline).items():
        if METRICS[name].per != "request":
            continue
        known = values[~np.isnan(values)]
        draws = rng.choice(known, (RESAMPLES, known.size)) if known.size > 1 and known.min() > 0 else None
        for statistic in STATISTICS if known.size else ():
            key = MetricKey(name, statistic).name
            found[key] = 1.0 if draws is None else float(np.std(np.log(_statistic(draws, statistic))))
    return found


def _statistic(values: Values, statistic: str) -> Values:
    """The statistic along the last axis: of one sample, or of each of many."""
    if statistic == "mean":
        return np.asarray(values.mean(axis=-1))
    return np.asarray(np.percentile(values, int(statistic.removeprefix("p")), axis=-1))


def _good(timeline: Timeline, observed: dict[str, Values], slo: Slo) -> int:
    good = np.ones(timeline.due_ns.size, dtype=bool)
    for limit in slo.limits:
        if limit.key.metric.per == "request":
            # A request without the quantity (no TPOT of a single token) cannot miss its limit.
            good &= ~(observed[limit.key.metric_name] > limit.value)
    return int(good.sum())


def is_supported(key: MetricKey, observations_of_it: int) -> bool:
    """Whether a percentile has at least one observation beyond it; below that it is the maximum's noise."""
    if key.statistic is None or key.statistic == "mean":
        return True
    return observations_of_it * (100 - int(key.statistic.removeprefix("p"))) >= 100
