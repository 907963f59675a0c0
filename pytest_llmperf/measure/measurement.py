"""What a test gets back from the ``llmperf`` fixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from pytest_llmperf.declare.load import LoadPoint, read_rate
from pytest_llmperf.declare.metrics import DEFAULT_PERCENTILE, parse_metric
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.load.health import Health


@dataclass(frozen=True)
class Measurement:
    """One load point in one launch.

    ``values`` are all metrics by canonical name; ``errors`` the number of failed requests of each kind,
    with an example; ``uncertainty`` how badly a statistic is known from these requests (see
    :func:`~pytest_llmperf.measure.metrics.uncertainty`).
    """

    workload: Workload
    point: LoadPoint
    requests: int
    values: Mapping[str, float]
    errors: Mapping[str, tuple[int, str]]
    health: Health
    uncertainty: Mapping[str, float] = field(default_factory=dict, repr=False)
    percentile: str = field(default=DEFAULT_PERCENTILE, repr=False)

    def value(self, name: str) -> float:
        """A metric by the name that ``slo()`` would take: ``m.value("ttft_p99_ms")``.

        Raises :class:`DeclarationError` for an unknown name, and for a metric without a value here (a
        TPOT of single-token answers).
        """
        key = parse_metric(name, self.percentile)
        try:
            return self.values[key.name]
        except KeyError:
            raise DeclarationError(f"{key.name} has no value at {self.point.label}") from None


class Measurements(Sequence[Measurement]):
    """The load points that one call of the fixture measured, in their order."""

    def __init__(self, points: Sequence[Measurement]) -> None:
        self._points = tuple(points)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Measurement]: ...
    def __getitem__(self, index: int | slice) -> Measurement | Sequence[Measurement]:
        return self._points[index]

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self._points)

    def __repr__(self) -> str:
        return f"Measurements({', '.join(m.point.label for m in self._points)})"

    def at(
        self, *, rate: float | str | None = None, concurrency: int | None = None, replay: float | None = None
    ) -> Measurement:
        """The load point of this rate, concurrency or speed of a replay.

        Raises :class:`DeclarationError` if there is none.
        """
        named = {"rate": rate, "concurrency": concurrency, "replay": replay}
        asked = [f"{name}={value}" for name, value in named.items() if value is not None]
        if len(asked) != 1:
            raise DeclarationError("at(): expected either rate=…, concurrency=… or replay=…")
        wanted = (None if rate is None else read_rate(rate), concurrency, replay)
        for measurement in self._points:
            point = measurement.point
            if (point.rate, point.concurrency, point.replay) == wanted:
                return measurement
        measured = ", ".join(m.point.label for m in self._points)
        raise DeclarationError(f"no load point with {asked[0]}; measured: {measured}")

    def value(self, name: str) -> float:
        """The metric of the only load point; with several, say which by :meth:`at` or an index."""
        if len(self._points) != 1:
            raise DeclarationError(
                f"value({name!r}): {len(self._points)} load points were measured; name one, as in "
                f"m.at(rate=…).value({name!r})"
            )
        return self._points[0].value(name)
