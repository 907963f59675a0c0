"""Service level objectives: limits on metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmperf.declare.metrics import DEFAULT_PERCENTILE, MetricKey, parse_metric
from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.errors import DeclarationError


@dataclass(frozen=True)
class Limit:
    """One bound: an upper one where lower is better, a lower one where higher is better."""

    key: MetricKey
    value: float

    @property
    def is_upper(self) -> bool:
        return self.key.metric.better == "lower"

    def met_by(self, value: float) -> bool:
        return value <= self.value if self.is_upper else value >= self.value

    def __str__(self) -> str:
        return f"{self.key.label} {'≤' if self.is_upper else '≥'} {self.key.format(self.value)}"


@dataclass(frozen=True)
class Slo:
    """Limits that hold at once, at most one for each metric and statistic.

    An error rate that nobody spoke of has to be zero: an engine that refuses requests must not pass on
    the speed of the others.
    """

    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(cls, bounds: Mapping[str, object], default_percentile: str = DEFAULT_PERCENTILE) -> Slo:
        """Read ``{"ttft_ms": 300, "goodput": 0.99}``.

        Raises :class:`DeclarationError` for an unknown name, an impossible value or two limits on one thing.
        """
        limits: dict[MetricKey, Limit] = {}
        for name, value in bounds.items():
            key = parse_metric(name, default_percentile)
            if key in limits:
                raise DeclarationError(f"{name}={value!r}: a second limit on {key.label}")
            limits[key] = Limit(key, _checked(name, value, key))
        return cls(tuple(limits.values()))

    def updated(self, closer: Slo) -> Slo:
        """These limits with those of ``closer`` in place of the same metric and statistic."""
        merged = {limit.key: limit for limit in (*self.limits, *closer.limits)}
        return Slo(tuple(merged.values()))

    def of_load(self) -> Slo:
        """Those limits that are met the less the higher the load is: on latencies, goodput and errors."""
        kept = (
            limit
            for limit in self.limits
            if limit.key.metric.per in ("request", "token") or limit.key.metric.share
        )
        return Slo(tuple(kept))

    def of_throughput(self) -> tuple[Limit, ...]:
        """Those on what a run did in a time, which the load decides as much as the engine."""
        return tuple(
            limit for limit in self.limits if limit.key.metric.per == "run" and not limit.key.metric.share
        )

    def with_no_errors(self) -> Slo:
        """These limits, and no errors where the error rate has no limit of its own."""
        errors = MetricKey("error_rate")
        if any(limit.key == errors for limit in self.limits):
            return self
        return Slo((*self.limits, Limit(errors, 0.0)))


def _checked(name: str, value: object, key: MetricKey) -> float:
    number = finite_number(value)
    if number is None:
        raise DeclarationError(f"{name}={value!r}: a limit is a finite number")
    if key.metric.share:
        if not 0 <= number <= 1:
            raise DeclarationError(f"{name}={value!r}: a share lies between 0 and 1")
    elif number <= 0:
        raise DeclarationError(f"{name}={value!r}: a limit is greater than 0")
    return number


def parse_slo(text: str, default_percentile: str = DEFAULT_PERCENTILE) -> Slo:
    """Read ``"ttft_ms=300 tpot_ms=40"`` (commas will do too), as options and configuration spell it."""
    bounds: dict[str, object] = {}
    for word in text.replace(",", " ").split():
        name, _, value = word.partition("=")
        if name in bounds:
            raise DeclarationError(f"{word!r}: a second limit on {name}")
        try:
            bounds[name] = float(value)
        except ValueError:
            raise DeclarationError(f"{word!r}: expected NAME=NUMBER, as in ttft_ms=300") from None
    return Slo.of(bounds, default_percentile)
