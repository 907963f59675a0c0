"""How latency grows with load: where to measure, and where it bends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FIRST = (0.5, 0.85)
"""Where a sweep begins after its lowest point, as shares of its highest rate."""
ENOUGH = 0.01
"""No point is asked for where the logarithm of no latency can be off by more than this."""
CROSSING = 3.0
"""So many times as much an interval counts in which a limit is crossed."""
_NEAREST, _ROOM = 0.03, 0.1
_INNER = (0.3, 0.7)


@dataclass(frozen=True)
class _Point:
    rate: float
    logs: Mapping[str, float]
    margin: float | None


class AdaptiveSweep:
    """Which rate to measure next, so that the curve is known where it bends and where it crosses a limit.

    Between two points the logarithm of a latency is taken to lie on their chord. A curve that bends one way
    lies between the chord and the chords beside it, extended: the sandwich algorithm (Rote 1992), which puts
    the next point where the triangle between them is highest, that is where these two meet. Below the lowest
    point curves are taken for flat, beyond the highest for twice as steep. An interval in which the margin
    changes its sign counts three times. The highest point that the engine kept up with moves up until 90 % of
    what saturates it; closer to that a run's latency is chance.
    """

    def __init__(self, lowest: float, highest: float, *, most: int) -> None:
        """From ``lowest`` to ``highest`` requests/s, ``most`` points at most."""
        if not 0 < lowest <= highest < math.inf:
            raise ValueError(f"rates have to be 0 < lowest <= highest, not {lowest:g} and {highest:g}")
        if most < 1:
            raise ValueError(f"a sweep takes one point at least, not {most}")
        self._lowest, self._bound, self._most = lowest, highest, most
        self._highest = highest
        self._is_bound_saturated = False
        self._points: list[_Point] = []
        self._asked = 0

    def next(self) -> float | None:
        """The rate (requests/s, three digits) to measure now; None where the sweep is over."""
        if self._asked >= self._most:
            return None
        if self._asked <= len(FIRST):
            rate = (self._lowest, *(share * self._highest for share in FIRST))[self._asked]
            if self._lowest <= rate < self._bound and self._is_apart(rate):
                return self._rounded(rate)
        gap, rate = max(self._gaps(), default=(0.0, 0.0))
        return self._rounded(rate) if gap > ENOUGH else None

    def add(
        self, rate: float, latencies: Mapping[str, float], margin: float | None, *, is_saturated: bool
    ) -> None:
        """Learn a point: ``latencies`` by name, in any unit; ``margin`` is log(value / limit), None without
        an SLO. Nothing at or above a saturated point is asked for any more."""
        if not 0 < rate < math.inf:
            raise ValueError(f"a point at {rate:g}/s is none")
        if margin is not None and math.isnan(margin):
            raise ValueError("a margin that is not a number says nothing")
        self._asked += 1
        if is_saturated:
            self._bound, self._is_bound_saturated = min(self._bound, rate), True
            self._points = [point for point in self._points if point.rate < self._bound]
            return
        if rate >= self._bound and self._is_bound_saturated:
            return
        logs = {name: math.log(value) for name, value in latencies.items() if 0 < value < math.inf}
        self._points = sorted(
            [*(point for point in self._points if point.rate != rate), _Point(rate, logs, margin)],
            key=lambda point: point.rate,
        )

    def _gaps(self) -> list[tuple[float, float]]:
        """How far off the curve may be in each interval, and where a point would tell."""
        points = self._points
        if not points:
            middle = (self._lowest + self._bound) / 2
            return [(math.inf, middle)] if self._is_apart(middle) else []
        found = []
        for index in range(len(points) - 1):
            gap, rate = max(self._gap(name, index) for name in self._names())
            margins = points[index].margin, points[index + 1].margin
            if None not in margins and (margins[0] < 0) != (margins[1] < 0):  # type: ignore[operator]
                gap *= CROSSING
            found.append((gap, rate))
        room = self._bound - points[-1].rate
        steepest = max(self._slope(name, len(points) - 2) for name in self._names()) if points[1:] else 0.0
        if room > _ROOM * self._bound:
            found.append((max(steepest, 1 / self._bound) * room / 2, points[-1].rate + room / 2))
        # Rounded, so that of equal gaps the same is taken in any unit of rate.
        return [(float(f"{gap:.9g}"), rate) for gap, rate in found if self._is_apart(rate)]

    def _gap(self, name: str, index: int) -> tuple[float, float]:
        """The height of the triangle over one interval, and the rate at its top."""
        left, right = self._points[index].rate, self._points[index + 1].rate
        own = self._slope(name, index)
        before = abs(own - (self._slope(name, index - 1) if index else 0.0))
        after = abs(self._slope(name, index + 1) - own) if index + 2 < len(self._points) else 2 * before
        if not before + after:
            return 0.0, (left + right) / 2
        # The two lines meet nearer to the end where the curve bends more.
        share = min(max(after / (before + after), _INNER[0]), _INNER[1])
        return (right - left) * before * after / (before + after), left + share * (right - left)

    def _slope(self, name: str, index: int) -> float:
        first, second = self._points[index], self._points[index + 1]
        rise = second.logs.get(name, math.nan) - first.logs.get(name, math.nan)
        return 0.0 if math.isnan(rise) else rise / (second.rate - first.rate)

    def _names(self) -> list[str]:
        return sorted({name for point in self._points for name in point.logs}) or [""]

    def _is_apart(self, rate: float) -> bool:
        near = _NEAREST * self._highest * (1 - 1e-9)  # so that rounding does not decide
        ends = [self._bound] if self._is_bound_saturated else []
        return all(abs(rate - one) >= near for one in [*(point.rate for point in self._points), *ends])

    def _rounded(self, rate: float) -> float:
        short = float(f"{rate:.3g}")
        return short if self._lowest <= short < self._bound else rate


def linear_rates(lowest: float, highest: float, points: int) -> list[float]:
    """So many rates, evenly from ``lowest`` to ``highest``."""
    if not 0 < lowest <= highest < math.inf or points < 2:
        raise ValueError(f"{points} points from {lowest:g} to {highest:g} requests/s are no grid")
    return [float(rate) for rate in np.linspace(lowest, highest, points)]


def knee(rates: Sequence[float], latencies: Sequence[float]) -> float | None:
    """The rate where the curve bends most: where, both axes scaled to 0 … 1, it lies farthest below the
    straight line between its ends (Kneedle; Satopaa et al. 2011). None where it does not bend."""
    if len(rates) != len(latencies):
        raise ValueError(f"{len(rates)} rates and {len(latencies)} latencies are no curve")
    order = np.argsort(rates)
    x, y = np.asarray(rates, dtype=float)[order], np.asarray(latencies, dtype=float)[order]
    if x.size < 3 or x[-1] <= x[0] or y[-1] <= y[0]:
        return None
    below = (x - x[0]) / (x[-1] - x[0]) - (y - y[0]) / (y[-1] - y[0])
    most = int(np.argmax(below))
    return float(x[most]) if below[most] > _BENDS else None


_BENDS = 0.1
"""A curve that lies no farther below the line between its ends is a straight one, but for noise."""
