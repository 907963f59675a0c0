"""How much load meets the SLO: a search with noisy answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.judge.edge import Edge, Sight

LOWEST_SHARE = 0.1
"""The lowest rate that is asked for, as a share of what requests one after another reach."""
HIGHEST_SHARE = 1.05
"""The highest, as a share of the rate of a throughput run."""
COMMON = 0.007
"""What all runs of a search may be off together, in log rate: each begins with an empty engine."""
_TAILS = (0.025, 0.5, 0.975)
_TWO_SIDED = 1.96
_SHORT, _HALF = 0.35, 0.12
_LEAST_SPREAD, _MOST_SPREAD = 0.01, 0.03
_MIN_FULL, _MIN_MISSED = 3, 2
_AT_END, _NEAR = 0.3, 0.08


@dataclass(frozen=True)
class Probe:
    """One run at ``rate`` requests/s, open loop, that sent for ``duration_s``.

    ``margin`` is log(value / limit) of the worst limit: below 0 where it was met, inf where the run was given
    up because its queue grew without bound, -inf where a share was perfect. ``error`` is its standard
    deviation as far as the run's own requests tell (0: unknown).
    """

    rate: float
    margin: float
    error: float
    duration_s: float


@dataclass(frozen=True)
class Trial:
    """What to run next: a rate (requests/s, three digits), and for which ``share`` of a full run."""

    rate: float
    share: float


@dataclass(frozen=True)
class Capacity:
    """The highest rate (requests/s) that meets the SLO, with its 95 % interval.

    ``deviation`` is the standard deviation of its logarithm. ``kind``: ``below`` where the SLO is missed even
    at the lowest rate that makes sense, which is then ``rate``; ``above`` where it is met as long as the
    engine keeps up: ``rate`` is that of the throughput run. ``is_settled``: known as precisely as was asked.
    """

    rate: float
    low: float
    high: float
    deviation: float
    kind: Literal["found", "below", "above"]
    is_settled: bool


class CapacitySearch:
    """Asks for one run after another until the capacity is known to ± ``precision`` (95 %), or ``most`` ran.

    The next run is where the capacity most likely is: the median of what the runs so far say
    (:class:`pytest_llmperf.judge.edge.Edge`), as in probabilistic bisection (Waeber, Frazier and Henderson
    2013), but with the size of the margins and not their sign alone. Far from the edge a quarter or half of a
    full run is enough. Close to it the runs lie in turn a little below and above it, so that what they say
    does not hang on the slope.
    """

    def __init__(self, lowest: float, highest: float, *, precision: float = 0.03, most: int = 14) -> None:
        """``lowest`` is the rate (requests/s) of requests one after another, ``highest`` that of a throughput
        run. Raises :class:`ValueError` where they are no such rates."""
        if not 0 < lowest <= highest < math.inf:
            raise ValueError(f"rates have to be 0 < lowest <= highest, not {lowest:g} and {highest:g}")
        if not 0 < precision < 1:
            raise ValueError(f"precision {precision:g} is not between 0 and 1")
        if most < 1:
            raise ValueError(f"a search takes one run at least, not {most}")
        self._highest = highest
        self._lowest, self._most_asked = _within(lowest * LOWEST_SHARE, highest * HIGHEST_SHARE)
        self._precision, self._most = precision, most
        self._edge = Edge(math.log(self._lowest), math.log(highest * HIGHEST_SHARE))
        self._probes: list[Probe] = []
        self._full = self._missed_at_lowest = 0

    def next(self) -> Trial | None:
        """The run to make now; None where the search is over. Asking again gives the same answer."""
        if len(self._probes) >= self._most or self._is_settled():
            return None
        low, median, high = self._interval()
        half = (high - low) / 2
        if median < math.log(self._lowest) + _AT_END:
            return Trial(self._lowest, 1.0)
        share = 0.25 if half > _SHORT else 0.5 if half > _HALF else 1.0
        offset = 0.0 if half > _HALF else self._side(median) * min(max(half / 2, _LEAST_SPREAD), _MOST_SPREAD)
        return Trial(self._rounded(math.exp(median + offset)), share)

    def add(self, probe: Probe) -> None:
        """Learn what a run said. It need not be the one that was asked for; its share of a full run is told
        by the trial that :meth:`next` asks for now."""
        if not (0 < probe.rate < math.inf and 0 < probe.duration_s < math.inf):
            raise ValueError(f"a run at {probe.rate:g}/s for {probe.duration_s:g} s is none")
        if math.isnan(probe.margin) or not 0 <= probe.error < math.inf:
            raise ValueError(f"a margin of {probe.margin:g} ± {probe.error:g} says nothing")
        trial = self.next()
        share = trial.share if trial else 1.0
        self._probes.append(probe)
        self._full += share == 1.0
        self._missed_at_lowest += share == 1.0 and probe.margin > 0 and probe.rate <= self._lowest
        self._edge.add(Sight(math.log(probe.rate), probe.margin, probe.error, share))

    def capacity(self) -> Capacity:
        """What is known so far."""
        low, rate, high = (math.exp(one) for one in self._interval())
        kind = self._kind(rate)
        if kind != "found":
            rate = self._highest if kind == "above" else self._lowest
        return Capacity(
            rate=rate,
            low=min(low, rate),
            high=max(high, rate),
            deviation=math.hypot(self._edge.deviation, COMMON),
            kind=kind,
            is_settled=self._is_settled(),
        )

    def _kind(self, rate: float) -> Literal["found", "below", "above"]:
        if self._missed_at_lowest >= _MIN_MISSED:
            return "below"
        step = math.exp(self._precision)
        if (
            self._probes
            and rate > self._highest / step
            and not any(0 < p.margin < math.inf for p in self._probes)
        ):
            return "above"
        if self._probes and rate < self._lowest * step and not any(p.margin < 0 for p in self._probes):
            return "below"
        return "found"

    def _is_settled(self) -> bool:
        if self._missed_at_lowest >= _MIN_MISSED:
            return True
        low, _, high = self._interval()
        return self._full >= _MIN_FULL and (high - low) / 2 <= self._precision

    def _interval(self) -> tuple[float, float, float]:
        """Of log capacity: 95 % and the median."""
        low, median, high = self._edge.quantiles(_TAILS)
        common = _TWO_SIDED * COMMON
        return median - math.hypot(median - low, common), median, median + math.hypot(high - median, common)

    def _side(self, median: float) -> float:
        """Below (-1) or above (1): where fewer runs were, by how far from the edge they were."""
        distances = [math.log(probe.rate) - median for probe in self._probes]
        near = [one for one in distances if abs(one) <= _NEAR]
        return -1.0 if sum(near) >= 0 else 1.0

    def _rounded(self, rate: float) -> float:
        """To three digits, within what may be asked for."""
        return min(max(float(f"{rate:.3g}"), self._lowest), self._most_asked)


def _within(low: float, high: float) -> tuple[float, float]:
    """The lowest and the highest number of three digits between two bounds."""
    first, last = float(f"{low:.3g}"), float(f"{high:.3g}")
    first = first if first >= low else float(f"{low * 1.005:.3g}")
    return first, last if last <= high else float(f"{high / 1.005:.3g}")
