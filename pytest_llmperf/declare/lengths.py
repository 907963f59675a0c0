"""How long prompts and answers are: a whole number of tokens, or a distribution of them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import NormalDist

from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.errors import DeclarationError

MAX_TOKENS = 10_000_000
_TAIL = 6.0
_Z95 = NormalDist().inv_cdf(0.95)
_TINY = 1e-16
WAYS = (
    "100-500, normal:MEAN,STD or lognormal:MEDIAN,P95, the last two with bounds as in normal:512,100,64-1024"
)


@dataclass(frozen=True)
class Uniform:
    """Every length from ``low`` to ``high``, both included, equally often."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_bounds(self, self.low, self.high)

    @property
    def most(self) -> int:
        """The greatest length there is."""
        return self.high

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True)
class Normal:
    """Lengths of a normal distribution with this mean and standard deviation, rounded, and none outside
    ``low`` to ``high`` (by default, six standard deviations above the mean).

    The distribution is truncated, not clipped: no length is heaped up at a bound, but a bound close to the
    mean moves mean and deviation of what is drawn.
    """

    mean: float
    std: float
    low: int = 1
    high: int | None = None

    def __post_init__(self) -> None:
        _check_number(self, "mean", self.mean)
        _check_number(self, "std", self.std)
        _check_bounds(self, self.low, self.most, mean=self.mean)

    @property
    def most(self) -> int:
        """The greatest length there is."""
        return self.high if self.high is not None else _at_most(self.mean + _TAIL * self.std)

    def draw(self, rng: random.Random) -> int:
        length = _truncated(rng, NormalDist(self.mean, self.std), self.low - 0.5, self.most + 0.5)
        return _within(length, self.low, self.most)

    def __str__(self) -> str:
        return f"{self.mean:g}±{self.std:g}{_bounds(self.low, self.high)}"


@dataclass(frozen=True)
class LogNormal:
    """Lengths of a log-normal distribution with this median and 95th percentile, rounded, and none outside
    ``low`` to ``high`` (by default, six standard deviations of the logarithm above the median).

    The logarithm has mean μ = ln(median) and standard deviation σ = ln(p95 / median) / 1.6449; so the mean
    of the lengths is median · exp(σ² / 2). Truncated as :class:`Normal` is.
    """

    median: float
    p95: float
    low: int = 1
    high: int | None = None

    def __post_init__(self) -> None:
        _check_number(self, "median", self.median)
        _check_number(self, "p95", self.p95)
        if self.p95 <= self.median:
            raise DeclarationError(f"{self!r}: p95 is greater than the median")
        _check_bounds(self, self.low, self.most, median=self.median)

    @property
    def most(self) -> int:
        """The greatest length there is."""
        if self.high is not None:
            return self.high
        exponent = math.log(self.median) + _TAIL * self._sigma
        return _at_most(math.exp(min(exponent, math.log(MAX_TOKENS))))

    @property
    def _sigma(self) -> float:
        return math.log(self.p95 / self.median) / _Z95

    def draw(self, rng: random.Random) -> int:
        logarithm = NormalDist(math.log(self.median), self._sigma)
        drawn = _truncated(rng, logarithm, math.log(self.low - 0.5), math.log(self.most + 0.5))
        return _within(math.exp(drawn), self.low, self.most)

    def __str__(self) -> str:
        return f"median {self.median:g} p95 {self.p95:g}{_bounds(self.low, self.high)}"


Distribution = Uniform | Normal | LogNormal
Lengths = int | Distribution


def draw_length(lengths: Lengths, rng: random.Random) -> int:
    """One length, the number itself where it is one."""
    return lengths if isinstance(lengths, int) else lengths.draw(rng)


def most_tokens(lengths: Lengths) -> int:
    """The greatest length that may be drawn."""
    return lengths if isinstance(lengths, int) else lengths.most


def least_tokens(lengths: Lengths) -> int:
    """The smallest length that may be drawn."""
    return lengths if isinstance(lengths, int) else lengths.low


def check_lengths(lengths: object) -> Lengths:
    """Raises :class:`DeclarationError`, without a name, for what is neither a number of tokens nor a
    distribution."""
    if isinstance(lengths, Uniform | Normal | LogNormal):
        return lengths
    if isinstance(lengths, int) and not isinstance(lengths, bool):
        if lengths < 1:
            raise DeclarationError("a whole number of tokens, at least 1")
        if lengths > MAX_TOKENS:
            raise DeclarationError(f"at most {MAX_TOKENS} tokens")
        return lengths
    raise DeclarationError(
        "a whole number of tokens, at least 1, or a distribution: Uniform(100, 500), Normal(512, 100) or "
        "LogNormal(median=300, p95=1200)"
    )


def parse_lengths(text: str) -> Lengths:
    """Read ``512``, ``100-500``, ``normal:512,100`` or ``lognormal:300,1200``, the last two with bounds as
    in ``normal:512,100,64-1024``.

    Raises :class:`DeclarationError` that shows the text and what is valid.
    """
    name, colon, rest = text.strip().partition(":")
    try:
        if not colon:
            return Uniform(*_range(name)) if "-" in name else check_lengths(int(name))
        first, second, *bounds = rest.split(",")
        low, high = _range(",".join(bounds)) if bounds else (1, None)
        kinds: dict[str, type[Normal] | type[LogNormal]] = {"normal": Normal, "lognormal": LogNormal}
        return kinds[name](float(first), float(second), low, high)
    except (ValueError, KeyError) as error:
        why = f"{error}; " if isinstance(error, DeclarationError) else ""
        raise DeclarationError(f"{text!r}: {why}valid: a number of tokens, {WAYS}") from None


def _range(text: str) -> tuple[int, int]:
    low, high = text.split("-")
    return int(low), int(high)


def _truncated(rng: random.Random, distribution: NormalDist, low: float, high: float) -> float:
    """By the inverse of the distribution function, so that every length takes one random number."""
    below, up_to = distribution.cdf(low), distribution.cdf(high)
    share = below + (up_to - below) * rng.random()
    return distribution.inv_cdf(min(max(share, _TINY), 1 - _TINY))


def _within(length: float, low: int, high: int) -> int:
    return min(max(round(length), low), high)


def _at_most(length: float) -> int:
    return min(math.ceil(length), MAX_TOKENS)


def _bounds(low: int, high: int | None) -> str:
    if high is None:
        return f" (≥{low})" if low > 1 else ""
    return f" ({low}-{high})"


def _check_number(what: object, name: str, value: object) -> None:
    number = finite_number(value)
    if number is None or number <= 0:
        raise DeclarationError(f"{what!r}: {name} is a number greater than 0")
    if number > MAX_TOKENS:
        raise DeclarationError(f"{what!r}: {name} is at most {MAX_TOKENS} tokens")


def _check_bounds(what: object, low: object, high: object, **middle: float) -> None:
    for value in (low, high):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DeclarationError(f"{what!r}: low and high are whole numbers of tokens, at least 1")
    assert isinstance(low, int)
    assert isinstance(high, int)
    if low > high:
        raise DeclarationError(f"{what!r}: low is not above high")
    if high > MAX_TOKENS:
        raise DeclarationError(f"{what!r}: at most {MAX_TOKENS} tokens")
    for name, value in middle.items():
        if not low <= value <= high:
            raise DeclarationError(f"{what!r}: the {name} lies between low and high ({low} to {high})")
