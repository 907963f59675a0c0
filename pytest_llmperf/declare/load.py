"""How hard the engine is driven: load points and sweeps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pytest_llmperf.declare.metrics import Metric
from pytest_llmperf.declare.number import MAX_SECONDS, finite_number, read_duration
from pytest_llmperf.declare.search import Search, read_search
from pytest_llmperf.errors import DeclarationError

ARRIVALS = ("poisson", "constant", "gamma:SHAPE")
MIN_SHAPE, MAX_SHAPE = 0.01, 1000.0
MAX_CONCURRENCY = 100_000
MAX_REQUESTS = 10_000_000
MAX_AT_ONCE = 1024
"""Of a batch: as many connections are open at a time, which keeps every engine busy."""
USUAL_S = 30.0
USUAL_BUDGET_S = 300.0

T = TypeVar("T")


@dataclass(frozen=True)
class Ramp:
    """A rate that goes from ``start`` to ``end`` requests/s in a straight line over the run."""

    start: float
    end: float

    @property
    def mean(self) -> float:
        return (self.start + self.end) / 2

    def __str__(self) -> str:
        return f"{self.start:g}..{self.end:g}"


@dataclass(frozen=True)
class LoadPoint:
    """One point of a sweep: an open loop at ``rate`` requests/s, a closed loop of ``concurrency``, or the
    arrivals of the workload's trace at ``replay`` times their speed.

    ``duration_s`` bounds the time in which requests are sent, ``requests`` their number; where both are
    given, whichever ends first. ``arrivals`` is one of ``ARRIVALS``, for an open loop with a rate.

    Two are no load that is driven once: ``seeks`` says in words under which limits the highest rate is
    searched for, in runs of that length. A ``batch`` is so many requests, all at once.
    """

    rate: float | Ramp | None = None
    concurrency: int | None = None
    arrivals: str = "poisson"
    duration_s: float | None = None
    requests: int | None = None
    replay: float | None = None
    seeks: str | None = None
    batch: int | None = None

    @classmethod
    def of_batch(cls, requests: object) -> LoadPoint:
        """All requests at once. Raises :class:`DeclarationError`."""
        number = _whole("requests", requests, MAX_REQUESTS)
        return cls(concurrency=min(number, MAX_AT_ONCE), requests=number, batch=number)

    def concerns(self, metric: Metric) -> bool:
        """Whether the metric says something about the engine at such a point: of a search what it finds, and
        of a batch, in which everybody waits for all others, what the whole run did."""
        if metric.per == "launch":
            return True
        if self.seeks is not None or metric.per == "search":
            return self.seeks is not None and metric.per == "search"
        return self.batch is None or metric.per == "run"

    @property
    def mean_rate(self) -> float | None:
        """Requests/s over the whole run, where the point itself says it."""
        return self.rate.mean if isinstance(self.rate, Ramp) else self.rate

    @property
    def label(self) -> str:
        """How a person names the point within its sweep: ``4/s``, ``1→10/s``, ``8 at once``."""
        if self.seeks is not None:
            return "capacity"
        if self.batch is not None:
            return f"batch of {self.batch}"
        if self.replay is not None:
            return f"replay ×{self.replay:g}"
        if isinstance(self.rate, Ramp):
            return f"{self.rate.start:g}→{self.rate.end:g}/s"
        return f"{self.rate:g}/s" if self.rate is not None else f"{self.concurrency} at once"

    @property
    def key(self) -> str:
        """What makes two points the same for a comparison, and seeds the arrivals."""
        extent = "".join(
            (
                f" for {self.duration_s:g} s" if self.duration_s is not None else "",
                f" of {self.requests} requests" if self.requests is not None else "",
            )
        )
        if self.seeks is not None:
            return f"capacity under {self.seeks}, {self.arrivals}{extent}"
        if self.batch is not None:
            return self.label
        if self.replay is not None:
            return f"{self.label}{extent}"
        if self.rate is not None:
            rate = str(self.rate) if isinstance(self.rate, Ramp) else f"{self.rate:g}"
            return f"{self.arrivals} {rate}/s{extent}"
        return f"closed loop, {self.concurrency} at once{extent}"

    @property
    def shape(self) -> float | None:
        """The shape of gamma arrivals; None for others."""
        return float(self.arrivals.removeprefix("gamma:")) if self.arrivals.startswith("gamma:") else None

    @property
    def scheduled_s(self) -> float:
        """How long an open loop with a rate sends by its schedule; 0 for a closed loop, which has none, and
        for a replay, whose trace alone knows."""
        rate = self.mean_rate
        if rate is None:
            return 0.0
        bounds = [] if self.duration_s is None else [self.duration_s]
        return min([*bounds, self.requests / rate] if self.requests is not None else bounds)

    @property
    def expected_s(self) -> float | None:
        """About how long sending takes; None for a closed loop or a replay that no duration bounds."""
        return self.scheduled_s or self.duration_s


@dataclass(frozen=True)
class Sweep:
    """The load points of a test, as far as a marker, an option or the configuration said; None: not said."""

    rates: tuple[float | Ramp, ...] | None = None
    concurrency: tuple[int, ...] | None = None
    arrivals: str | None = None
    duration_s: float | None = None
    requests: int | None = None
    replay: tuple[float, ...] | None = None
    search: Search | None = None
    budget_s: float | None = None

    @classmethod
    def of(
        cls,
        *,
        rates: object = None,
        concurrency: object = None,
        arrivals: object = None,
        duration: object = None,
        requests: object = None,
        replay: object = None,
        budget: object = None,
    ) -> Sweep:
        """Check and convert what a person wrote. Raises :class:`DeclarationError`."""
        if sum(kind is not None for kind in (rates, concurrency, replay)) > 1:
            raise DeclarationError(
                "give either rates (open loop), concurrency (closed loop) or replay (of a trace)"
            )
        search = read_search(rates) if isinstance(rates, str) else None
        return cls(
            rates=None if rates is None or search else _distinct("rates", rates, read_rate),
            concurrency=None if concurrency is None else _distinct("concurrency", concurrency, _concurrency),
            arrivals=None if arrivals is None else _arrivals(arrivals),
            duration_s=None if duration is None else _seconds(duration),
            requests=None if requests is None else _whole("requests", requests, MAX_REQUESTS),
            replay=None
            if replay is None
            else _distinct("replay", replay, lambda value: _positive("replay", value)),
            search=search,
            budget_s=None if budget is None else _budget(budget),
        )

    @property
    def names_points(self) -> bool:
        """Whether it says at what rates, concurrencies or speeds, or how to find them."""
        return bool(self.rates or self.concurrency or self.replay or self.search)

    def updated(self, closer: Sweep) -> Sweep:
        """This sweep with all that ``closer`` says in its place; rates, concurrency and replay, and duration
        and requests, are one thing each: saying the one takes back the others."""
        points = closer if closer.names_points else self
        extent = closer if (closer.duration_s or closer.requests) else self
        return Sweep(
            points.rates,
            points.concurrency,
            closer.arrivals or self.arrivals,
            extent.duration_s,
            extent.requests,
            points.replay,
            points.search,
            closer.budget_s or self.budget_s,
        )

    @property
    def allowed_s(self) -> float:
        """How long a search of its rates, or for a capacity, may take in a launch."""
        return self.budget_s or USUAL_BUDGET_S

    @property
    def _length_s(self) -> float | None:
        return USUAL_S if self.duration_s is None and self.requests is None else self.duration_s

    def at(self, rate: float | Ramp) -> LoadPoint:
        """An open loop at this rate, of the length and with the arrivals that were asked for."""
        return LoadPoint(rate, None, self.arrivals or "poisson", self._length_s, self.requests)

    def points(self) -> list[LoadPoint]:
        """The load points, in the order given; one request at a time where nothing was said, and none that
        have to be found first."""
        if self.search is not None:
            return []
        if self.replay:
            bounds = (self.duration_s, self.requests)
            return [LoadPoint(None, None, "poisson", *bounds, replay=speed) for speed in self.replay]
        if self.rates:
            points = [self.at(rate) for rate in self.rates]
            for point in points:
                if (point.mean_rate or 0) * point.scheduled_s > MAX_REQUESTS:
                    raise DeclarationError(
                        f"{point.key}: more than {MAX_REQUESTS} requests, which are all built beforehand; "
                        "give a shorter duration"
                    )
            return points
        return [
            LoadPoint(None, n, "poisson", self._length_s, self.requests) for n in self.concurrency or (1,)
        ]


def _distinct(name: str, values: object, read: Callable[[object], T]) -> tuple[T, ...]:
    if isinstance(values, int | float):
        values = [values]
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DeclarationError(f"{name}={values!r}: a list of numbers, as in {name}=[1, 2, 4]")
    listed = list(values)
    if not listed:
        raise DeclarationError(f"{name}=[]: at least one load point")
    if any(isinstance(value, Iterable) and not isinstance(value, str) for value in listed):
        raise DeclarationError(f"{name}={listed!r}: a flat list of numbers")
    points = tuple(map(read, listed))
    if len(set(points)) < len(points):
        raise DeclarationError(f"{name}={listed!r}: the same point twice")
    return points


def _positive(name: str, value: object) -> float:
    number = finite_number(value)
    if number is None or number <= 0:
        raise DeclarationError(f"{name}={value!r}: a number greater than 0")
    return number


def _seconds(value: object) -> float:
    seconds = _positive("duration", value)
    if seconds > MAX_SECONDS:
        raise DeclarationError(f"duration={value!r}: at most {MAX_SECONDS} seconds, which is a week")
    return seconds


def _budget(value: object) -> float:
    try:
        return read_duration(value if isinstance(value, str) else f"{_positive('budget', value):g}")
    except DeclarationError as error:
        raise DeclarationError(f"budget={value!r}: {error}") from None


def read_rate(value: object) -> float | Ramp:
    """A number of requests/s, or a ramp as ``"1..10"``. Raises :class:`DeclarationError`."""
    if isinstance(value, str) and ".." in value:
        try:
            start, end = map(float, value.split(".."))
        except ValueError:
            raise DeclarationError(f"rates={value!r}: a ramp is written as '1..10'") from None
        return Ramp(_rate(start), _rate(end))
    return _rate(value)


def _rate(value: object) -> float:
    rate = _positive("rates", value)
    if rate > 100_000:
        raise DeclarationError(f"rates={value!r}: more than 100000 requests/s cannot be driven")
    return rate


def _arrivals(value: object) -> str:
    if value in ("poisson", "constant"):
        return str(value)
    name, _, shape = value.partition(":") if isinstance(value, str) else ("", "", "")
    if name != "gamma":
        raise DeclarationError(f"arrivals={value!r}: valid: {', '.join(ARRIVALS)}")
    try:
        number = float(shape)
    except ValueError:
        number = 0.0
    if not MIN_SHAPE <= number <= MAX_SHAPE:
        raise DeclarationError(
            f"arrivals={value!r}: the shape is a number from {MIN_SHAPE:g} to {MAX_SHAPE:g}, as in gamma:0.5"
        )
    return f"gamma:{number:g}"


def _concurrency(value: object) -> int:
    return _whole("concurrency", value, MAX_CONCURRENCY)


def _whole(name: str, value: object, most: int) -> int:
    number = _positive(name, value)
    if number != int(number):
        raise DeclarationError(f"{name}={value!r}: a whole number")
    if number > most:
        raise DeclarationError(f"{name}={value!r}: at most {most}")
    return int(number)
