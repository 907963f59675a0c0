"""How hard the engine is driven: load points and sweeps of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast, get_args

from pytest_llmperf.errors import DeclarationError

Arrivals = Literal["poisson", "constant"]
ARRIVALS: tuple[str, ...] = get_args(Arrivals)


@dataclass(frozen=True)
class LoadPoint:
    """One point of a sweep: an open loop at ``rate`` requests/s, or a closed loop of ``concurrency``.

    ``duration_s`` bounds the time in which requests are sent, ``requests`` their number; where both are
    given, whichever ends first.
    """

    rate: float | None = None
    concurrency: int | None = None
    arrivals: Arrivals = "poisson"
    duration_s: float | None = None
    requests: int | None = None

    @property
    def label(self) -> str:
        """How a person names the point within its sweep: ``4/s`` or ``8 at once``."""
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
        if self.rate is not None:
            return f"{self.arrivals} {self.rate:g}/s{extent}"
        return f"closed loop, {self.concurrency} at once{extent}"

    @property
    def scheduled_s(self) -> float:
        """How long an open loop sends by its schedule; 0 for a closed loop, which has none."""
        if self.rate is None:
            return 0.0
        bounds = [] if self.duration_s is None else [self.duration_s]
        return min([*bounds, self.requests / self.rate] if self.requests is not None else bounds)

    @property
    def expected_s(self) -> float | None:
        """About how long sending takes; None for a closed loop that only its requests bound."""
        return self.scheduled_s or self.duration_s


@dataclass(frozen=True)
class Sweep:
    """The load points of a test, as far as a marker, an option or the configuration said; None: not said."""

    rates: tuple[float, ...] | None = None
    concurrency: tuple[int, ...] | None = None
    arrivals: Arrivals | None = None
    duration_s: float | None = None
    requests: int | None = None

    @classmethod
    def of(
        cls,
        *,
        rates: object = None,
        concurrency: object = None,
        arrivals: object = None,
        duration: object = None,
        requests: object = None,
    ) -> Sweep:
        """Check and convert what a person wrote. Raises :class:`DeclarationError`."""
        if rates is not None and concurrency is not None:
            raise DeclarationError("give rates (open loop) or concurrency (closed loop), not both")
        if arrivals is not None and arrivals not in ARRIVALS:
            raise DeclarationError(f"arrivals={arrivals!r}: valid: {', '.join(ARRIVALS)}")
        return cls(
            rates=None if rates is None else tuple(map(_rate, _distinct("rates", rates))),
            concurrency=None
            if concurrency is None
            else tuple(_whole("concurrency", value) for value in _distinct("concurrency", concurrency)),
            arrivals=cast("Arrivals | None", arrivals),
            duration_s=None if duration is None else _positive("duration", duration),
            requests=None if requests is None else _whole("requests", requests),
        )

    def updated(self, closer: Sweep) -> Sweep:
        """This sweep with all that ``closer`` says in its place; rates and concurrency, and duration and
        requests, are one thing each: saying the one takes back the other."""
        points = closer if (closer.rates or closer.concurrency) else self
        extent = closer if (closer.duration_s or closer.requests) else self
        return Sweep(
            points.rates,
            points.concurrency,
            closer.arrivals or self.arrivals,
            extent.duration_s,
            extent.requests,
        )

    def points(self) -> list[LoadPoint]:
        """The load points, in the order given; one request at a time where nothing was said."""
        arrivals = self.arrivals or "poisson"
        duration_s = self.duration_s
        if duration_s is None and self.requests is None:
            duration_s = 30.0
        if self.rates:
            return [LoadPoint(rate, None, arrivals, duration_s, self.requests) for rate in self.rates]
        return [LoadPoint(None, n, "poisson", duration_s, self.requests) for n in self.concurrency or (1,)]


def _distinct(name: str, values: object) -> Sequence[Any]:
    if isinstance(values, int | float):
        values = [values]
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DeclarationError(f"{name}={values!r}: a list of numbers, as in {name}=[1, 2, 4]")
    listed = list(values)
    if not listed:
        raise DeclarationError(f"{name}=[]: at least one load point")
    try:
        repeated = len(set(listed)) < len(listed)
    except TypeError:
        raise DeclarationError(f"{name}={listed!r}: a flat list of numbers") from None
    if repeated:
        raise DeclarationError(f"{name}={listed!r}: the same point twice")
    return listed


def finite_number(value: object) -> float | None:
    """``value`` as a float if it is a finite number (numpy's are, True is not), else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _positive(name: str, value: object) -> float:
    number = finite_number(value)
    if number is None or number <= 0:
        raise DeclarationError(f"{name}={value!r}: a number greater than 0")
    return number


def _rate(value: object) -> float:
    rate = _positive("rates", value)
    if rate > 100_000:
        raise DeclarationError(f"rates={value!r}: more than 100000 requests/s cannot be driven")
    return rate


def _whole(name: str, value: object) -> int:
    number = _positive(name, value)
    if number != int(number):
        raise DeclarationError(f"{name}={value!r}: a whole number")
    return int(number)
