"""How much worse is still fine, for everything and for single metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmperf.declare.metrics import DEFAULT_PERCENTILE, MetricKey, parse_metric
from pytest_llmperf.declare.number import read_share
from pytest_llmperf.errors import DeclarationError

DEFAULT = 0.05


@dataclass(frozen=True)
class Tolerances:
    """Shares by metric; ``others`` is for metrics that have none of their own (None: nothing was said)."""

    others: float | None = None
    metrics: tuple[tuple[MetricKey, float], ...] = ()

    @classmethod
    def read(cls, words: Iterable[str], default_percentile: str = DEFAULT_PERCENTILE) -> Tolerances:
        """Read ``5%``, for all metrics that are not named, and ``ttft_p95_ms=10%``.

        Raises :class:`DeclarationError` for an unknown name, an impossible value or two for one thing.
        """
        others: float | None = None
        metrics: dict[MetricKey, float] = {}
        for word in words:
            name, equals, share = word.rpartition("=")
            if not equals:
                if others is not None:
                    raise DeclarationError(f"{word!r}: a second tolerance for all metrics that are not named")
                others = read_share(word)
                continue
            key = parse_metric(name, default_percentile)
            if key in metrics:
                raise DeclarationError(f"{word!r}: a second tolerance for {key.label}")
            try:
                metrics[key] = read_share(share)
            except DeclarationError as error:
                raise DeclarationError(f"{name}={error}") from None
        if others is None and not metrics:
            raise DeclarationError("names no tolerance, as in 5% or ttft_p95_ms=10%")
        return cls(others, tuple(sorted(metrics.items())))

    def of(self, key: MetricKey) -> float:
        """The share by which this metric may be worse."""
        return dict(self.metrics).get(key, DEFAULT if self.others is None else self.others)

    def updated(self, closer: Tolerances) -> Tolerances:
        """These with what ``closer`` says in their place; its tolerance for what it does not name is one
        for every metric, also for those that are named here."""
        if closer.others is not None:
            return closer
        return Tolerances(self.others, tuple(sorted({**dict(self.metrics), **dict(closer.metrics)}.items())))

    def __str__(self) -> str:
        named = [f"{key.name}={_percent(share)}" for key, share in self.metrics]
        return " ".join([_percent(DEFAULT if self.others is None else self.others), *named])


def parse_tolerances(text: str, default_percentile: str = DEFAULT_PERCENTILE) -> Tolerances:
    """Read ``"5% ttft_p95_ms=10%"`` (commas will do too). Raises :class:`DeclarationError`."""
    return Tolerances.read(re.sub(r"\s+%", "%", text).replace(",", " ").split(), default_percentile)


def _percent(share: float) -> str:
    return f"{share * 100:.4g}%"
