"""The metrics: their names, units, direction and formulas, in this one place.

A *metric name* is what a user writes in ``slo()``, reads in a table and finds in a record:
``<metric>[_<statistic>][_<unit>]``, as in ``ttft_ms``, ``ttft_p99_ms``, ``output_tokens_per_s``.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.errors import DeclarationError

PERCENTILES = ("p50", "p90", "p95", "p99")
STATISTICS = (*PERCENTILES, "mean")
DEFAULT_PERCENTILE = "p95"


@dataclass(frozen=True)
class Metric:
    """One measured quantity.

    ``per`` says what one observation is: a distribution over requests or tokens, which needs a
    statistic to become a number, or one number per run, per launch or per search, which takes many runs.
    ``spread`` is the standard deviation of its logarithm between launches of one build, as long as nothing
    better is known.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    per: Literal["request", "token", "run", "launch", "search"]
    formula: str
    spread: float
    share: bool = False

    @property
    def has_load(self) -> bool:
        """Whether it is of one load point; not what is a launch's own, or was searched for."""
        return self.per not in ("launch", "search")

    @property
    def is_distribution(self) -> bool:
        return self.per in ("request", "token")


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "ttft",
            "ms",
            "lower",
            "request",
            "Time to first token: arrival of the first token minus the *intended* send time, so that a "
            "late client shows as latency and not as a rosier number (coordinated omission, Tene 2015).",
            spread=0.05,
        ),
        Metric(
            "tpot",
            "ms",
            "lower",
            "request",
            "Time per output token: (last token - first token) / (output tokens - 1) of one request; "
            "output tokens are the engine's own usage figure.",
            spread=0.02,
        ),
        Metric(
            "itl",
            "ms",
            "lower",
            "token",
            "Inter-token latency: each gap between two successive stream events that carry text, pooled "
            "over the requests of the run.",
            spread=0.05,
        ),
        Metric(
            "e2e",
            "ms",
            "lower",
            "request",
            "End to end: arrival of the last token minus the intended send time.",
            spread=0.05,
        ),
        Metric(
            "output_tokens",
            "per_s",
            "higher",
            "run",
            "Output tokens of successful requests / (end of the schedule or last token, whichever is later - "
            "start of the run).",
            spread=0.02,
        ),
        Metric(
            "requests",
            "per_s",
            "higher",
            "run",
            "Successful requests / the same time.",
            spread=0.02,
        ),
        Metric(
            "goodput",
            "",
            "higher",
            "run",
            "Share of requests that succeeded and met every limit of the SLO on TTFT, TPOT and E2E at once "
            "(DistServe, Zhong et al., OSDI 2024).",
            spread=0.02,
            share=True,
        ),
        Metric(
            "good_requests",
            "per_s",
            "higher",
            "run",
            "Requests that succeeded and met every such limit at once / the time of requests_per_s.",
            spread=0.02,
        ),
        Metric(
            "error_rate",
            "",
            "lower",
            "run",
            "Share of requests that failed: refused, reset, timed out, answered with an error, cut short, "
            "or returned another number of tokens than asked.",
            spread=0.05,
            share=True,
        ),
        Metric(
            "cost",
            "usd_per_mtok",
            "lower",
            "run",
            "Dollars per million output tokens: the price of all GPUs for the time that so many tokens take "
            "at the rate of the run. Has no value where no price is known.",
            spread=0.02,
        ),
        Metric(
            "startup",
            "s",
            "lower",
            "launch",
            "From spawning the engine process to the end of its first generated answer; of a start that "
            "found its caches warm, or of an engine that has none or does not tell.",
            spread=0.1,
        ),
        Metric(
            "cold_startup",
            "s",
            "lower",
            "launch",
            "The same of a start that found its caches empty, by the engine's log: it compiled what later "
            "starts load.",
            spread=0.1,
        ),
        Metric(
            "capacity",
            "per_s",
            "higher",
            "search",
            "The highest rate of an open loop, in requests/s, at which the engine meets every limit of the "
            "SLO.",
            spread=0.03,
        ),
    )
}


@dataclass(frozen=True, order=True)
class MetricKey:
    """A metric together with the statistic that makes it one number: ``ttft`` + ``p95``."""

    metric_name: str
    statistic: str | None = None

    @property
    def metric(self) -> Metric:
        return METRICS[self.metric_name]

    @property
    def name(self) -> str:
        """The canonical name, statistic included: ``ttft_p95_ms``."""
        return "_".join(part for part in (self.metric_name, self.statistic, self.metric.unit) if part)

    @property
    def label(self) -> str:
        """How a person reads it: ``TTFT p95``."""
        label = _LABELS.get(self.metric_name, self.metric_name.replace("_", " "))
        return f"{label} {self.statistic}" if self.statistic else label

    def format(self, value: float) -> str:
        """``value`` with its unit, with as many digits as a person needs."""
        if self.metric.share:
            return f"{value * 100:.4g}%"
        if self.metric_name == "cost":
            return f"${dollars(value)}/M tokens"
        digits = f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
        unit = self.metric.unit.replace("per_s", "/s")
        return f"{digits}{unit}" if unit == "/s" else f"{digits} {unit}"


CAPACITY = MetricKey("capacity").name
"""The metric that a run has if it stands for a search."""


def dollars(value: float) -> str:
    """An amount to the cent, a small one to three digits: ``12.35``, ``0.52``, ``0.00417``."""
    value = float(f"{value:.3g}") if value < 0.1 else value
    digits = 2 if value >= 0.1 or value == 0 else 2 - math.floor(math.log10(value))
    return f"{value:.{digits}f}"


_LABELS = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2e": "E2E",
    "output_tokens": "output tokens",
    "good_requests": "good requests",
    "error_rate": "error rate",
    "startup": "start-up",
    "cold_startup": "cold start-up",
}


def metric_names() -> list[str]:
    """Every name that :func:`parse_metric` takes without a statistic."""
    return ["_".join(part for part in (m.name, m.unit) if part) for m in METRICS.values()]


def parse_metric(name: str, default_percentile: str = DEFAULT_PERCENTILE) -> MetricKey:
    """Read a metric name; a distribution without a statistic gets ``default_percentile``.

    Raises :class:`DeclarationError` with the valid names.
    """
    for metric in METRICS.values():
        suffix = f"_{metric.unit}" if metric.unit else ""
        if name == metric.name + suffix:
            return MetricKey(metric.name, default_percentile if metric.is_distribution else None)
        if metric.is_distribution:
            for statistic in STATISTICS:
                if name == f"{metric.name}_{statistic}{suffix}":
                    return MetricKey(metric.name, statistic)
    raise DeclarationError(_unknown(name))


def _unknown(name: str) -> str:
    every = metric_names() + [
        MetricKey(m.name, s).name for m in METRICS.values() if m.is_distribution for s in STATISTICS
    ]
    close = difflib.get_close_matches(name, every, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return (
        f"unknown metric {name!r}{hint}; valid: {', '.join(metric_names())}; "
        f"the latencies also with a statistic before the unit ({', '.join(STATISTICS)}), as in ttft_p99_ms"
    )
