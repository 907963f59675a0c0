"""How much load meets the SLO: a search with noisy answers."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.judge.edge import Edge, Sight
from pytest_llmperf.judge.run_in import lag, relaxation_s

LOWEST_SHARE = 0.1
"""The lowest rate that is asked for, as a share of what requests one after another reach."""
HIGHEST_SHARE = 1.05
"""The highest, as a share of the rate of a throughput run."""
COMMON = 0.006
"""What all runs of a search may be off together, in log rate, beside their lags."""
SPREAD, MOST_SPREAD = 1.45, 0.1
"""What a run of a single request would be off in log rate: n of them vary by 1 / √n or so."""
FLOOR = 1.0
"""The least that margins may fall to below the edge, where no run so far had a lower one."""
DOUBLINGS = 3
"""How often the highest rate is doubled where nothing was too much for the engine."""
_TAILS = (0.025, 0.5, 0.975)
_TWO_SIDED = 1.96
_SHORT, _HALF = 0.35, 0.12
_LEAST_SPREAD, _MOST_SPREAD = 0.01, 0.03
_MIN_FULL, _MIN_MISSED = 3, 2
_AT_END, _NEAR = 0.3, 0.08
_AT_TOP = 0.1
_HASTE, _FAR = 0.2, -0.25


@dataclass(frozen=True)
class Probe:
    """One run at ``rate`` requests/s, open loop, that sent for ``duration_s`` after a run-in of ``run_in_s``
    that does not count.

    ``margin`` is log(value / limit) of the worst limit: below 0 where it was met, inf where the run was given
    up because its queue grew without bound, -inf where a share was perfect. ``error`` is its standard
    deviation as far as the run's own requests tell (0: unknown). ``latency_s`` is the median of what requests
    took from end to end (None: unknown).
    """

    rate: float
    margin: float
    error: float
    duration_s: float
    run_in_s: float = 0.0
    latency_s: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the SLO was met, and the engine kept up."""
        return self.margin < 0


@dataclass(frozen=True)
class Trial:
    """What to run next: a rate (requests/s, three digits), for which ``share`` of a full run, and in how many
    seconds the engine is expected to forget that it was empty (:mod:`pytest_llmperf.judge.run_in`)."""

    rate: float
    share: float
    relaxation_s: float


@dataclass(frozen=True)
class Capacity:
    """The highest rate (requests/s) that meets the SLO, with its 95 % interval.

    ``deviation`` is the standard deviation of its logarithm. ``kind``: ``below`` where the SLO is missed even
    at the lowest rate that makes sense, which is then ``rate``; ``above`` where it is met as long as the
    engine keeps up: ``rate`` is then the highest that was driven, met the SLO and was kept up with, so that
    the capacity is that at least. ``is_settled``: known as precisely as was asked.
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
    does not hang on the slope. The highest rate is a guess: where all runs met the SLO up to there, it is
    doubled, three times at most.
    """

    def __init__(
        self,
        lowest: float,
        highest: float,
        *,
        precision: float = 0.03,
        most: int = 14,
        full_s: float | None = None,
    ) -> None:
        """``lowest`` is the rate (requests/s) of requests one after another, ``highest`` that of a throughput
        run. Raises :class:`ValueError` where they are no such rates."""
        if not 0 < lowest <= highest < math.inf:
            raise ValueError(f"rates have to be 0 < lowest <= highest, not {lowest:g} and {highest:g}")
        if not 0 < precision < 1:
            raise ValueError(f"precision {precision:g} is not between 0 and 1")
        if most < 1:
            raise ValueError(f"a search takes one run at least, not {most}")
        self._alone_s = 1 / lowest
        self._lowest, self._most_asked = _within(lowest * LOWEST_SHARE, highest * HIGHEST_SHARE)
        self._precision, self._most, self._full_s = precision, most, full_s
        self._top = highest * HIGHEST_SHARE
        self._edge = Edge(math.log(self._lowest), math.log(self._top))
        self._probes: list[Probe] = []
        self._full = self._missed_at_lowest = self._doubled = 0

    def next(self) -> Trial | None:
        """The run to make now; None where the search is over. Asking again gives the same answer."""
        if len(self._probes) >= self._most or self._is_over():
            return None
        if self._doubled and self._is_all_met():
            return self._trial(self._most_asked, 0.25)
        low, median, high = self._interval()
        half = (high - low) / 2
        if median < math.log(self._lowest) + _AT_END:
            return self._trial(self._lowest, 1.0)
        share = 0.25 if half > _SHORT else 0.5 if half > _HALF else 1.0
        offset = 0.0 if half > _HALF else self._side(median) * min(max(half / 2, _LEAST_SPREAD), _MOST_SPREAD)
        return self._trial(self._rounded(math.exp(min(median + offset, self._middle()))), share)

    def add(self, probe: Probe) -> None:
        """Learn what a run said. It need not be the one that was asked for; its share of a full run is told
        by the trial that :meth:`next` asks for now."""
        if not (0 < probe.rate < math.inf and 0 < probe.duration_s < math.inf):
            raise ValueError(f"a run at {probe.rate:g}/s for {probe.duration_s:g} s is none")
        if math.isnan(probe.margin) or not 0 <= probe.error < math.inf:
            raise ValueError(f"a margin of {probe.margin:g} ± {probe.error:g} says nothing")
        trial = self.next()
        share = trial.share if trial else 1.0
        self._full += share == 1.0
        self._missed_at_lowest += share == 1.0 and probe.margin > 0 and probe.rate <= self._lowest
        self._probes.append(probe)
        self._look_again()
        if self._doubled < DOUBLINGS and self._is_at_top():
            self._double()

    def capacity(self) -> Capacity:
        """What is known so far."""
        low, rate, high = (math.exp(one) for one in self._interval())
        deviation = math.hypot(self._edge.deviation, COMMON)
        kind = self._kind()
        if kind == "above" and self._is_all_met():  # how much more it could be nobody has seen
            low, high = math.exp(self._bracket()[0]), self._top * 2 ** (DOUBLINGS - self._doubled)
            deviation = max(deviation, math.log(high / low) / (2 * _TWO_SIDED))
        if kind != "found":
            rate = max(p.rate for p in self._probes if p.is_met) if kind == "above" else self._lowest
        return Capacity(
            rate=rate,
            low=min(low, rate),
            high=max(high, rate),
            deviation=deviation,
            kind=kind,
            is_settled=self._is_over() and not (kind == "above" and self._is_all_met()),
        )

    def _trial(self, rate: float, share: float) -> Trial:
        """For a full run where a part of it would be hardly more than a run-in."""
        relaxes_s = self._relaxation_s(rate)
        is_hasty = self._full_s is not None and relaxes_s > _HASTE * share * self._full_s
        return Trial(rate, 1.0 if is_hasty else share, relaxes_s)

    def _relaxation_s(self, rate: float) -> float:
        """By the run nearest to that rate that knows its latency."""
        known = [(abs(math.log(p.rate / rate)), p.latency_s) for p in self._probes if p.latency_s]
        return relaxation_s(min(known)[1] if known else self._alone_s, self._alone_s)

    def _lag(self, probe: Probe) -> float:
        """0 where nothing but the side is known: what looks better than it is, and is missed, is missed.

        Beyond the edge requests take as long as the queue is, which is no steady state: what the highest run
        took that met the SLO is taken for it.
        """
        if math.isinf(probe.margin):
            return 0.0
        known = [(p.rate, p.latency_s) for p in self._probes if p.is_met and p.latency_s]
        met = [one for one in known if one[0] < probe.rate]
        latency_s = probe.latency_s
        if latency_s and met and not probe.is_met:
            latency_s = min(latency_s, max(met)[1])
        relaxes_s = relaxation_s(latency_s, self._alone_s) if latency_s else self._relaxation_s(probe.rate)
        return lag(probe.run_in_s, relaxes_s, probe.duration_s)

    def _middle(self) -> float:
        """The log rate between the highest that was met and the lowest that was hopeless, while these are far
        apart: how hopeless the latter was is not known, and the next would be just below it."""
        met, lost = self._bracket()
        return (met + lost) / 2 if lost - met > _HALF else math.inf

    def _bracket(self) -> tuple[float, float]:
        """The highest log rate that was met, and the lowest above it that was hopeless."""
        met = max((math.log(p.rate) for p in self._probes if p.is_met), default=math.log(self._lowest))
        lost = [math.log(p.rate) for p in self._probes if p.margin == math.inf]
        return met, min((one for one in lost if one > met), default=math.inf)

    def _is_at_top(self) -> bool:
        """Whether no run was too much for the engine, and the highest rate was driven or is most likely."""
        highest = max(self._edge.quantiles(_TAILS)[1], self._bracket()[0])
        return self._is_all_met() and highest > math.log(self._top) - _AT_TOP

    def _is_all_met(self) -> bool:
        return all(p.is_met for p in self._probes)

    def _double(self) -> None:
        self._doubled += 1
        self._top *= 2
        _, self._most_asked = _within(self._lowest, self._top)
        self._look_again()

    def _look_again(self) -> None:
        """At all runs, none of which is known better than half of them are.

        The stalls that decide a tail come now and then: a run that met none looks both fast and sure of it.
        """
        finite = [probe for probe in self._probes if math.isfinite(probe.margin)]
        errors = [probe.error for probe in finite if probe.error]
        least = statistics.median(errors) if errors else 0.0
        floor = max([FLOOR, *(-probe.margin for probe in finite)])
        self._edge = Edge(math.log(self._lowest), math.log(self._top), floor)
        for probe in self._probes:
            error = max(probe.error, least) if probe.error else 0.0
            spread = min(MOST_SPREAD, SPREAD / math.sqrt(probe.rate * probe.duration_s))
            self._edge.add(Sight(math.log(probe.rate), probe.margin, error, self._lag(probe), spread))

    def _kind(self) -> Literal["found", "below", "above"]:
        if self._missed_at_lowest >= _MIN_MISSED:
            return "below"
        if not self._probes:
            return "found"
        is_met = [p.is_met for p in self._probes]
        met, lost = self._bracket()
        is_sharp = lost - met <= _HALF and not any(0 <= p.margin < math.inf for p in self._probes)
        is_far = max(p.margin for p in self._probes) < _FAR
        if any(is_met) and (is_far if all(is_met) else is_sharp):
            return "above"
        median = self._edge.quantiles(_TAILS)[1]
        if not any(is_met) and median < math.log(self._lowest) + self._precision:
            return "below"
        return "found"

    def _is_over(self) -> bool:
        """Whether no further run would tell what was asked for better than it is known."""
        if self._missed_at_lowest >= _MIN_MISSED:
            return True
        if self._doubled == DOUBLINGS and self._is_all_met():
            return max(p.rate for p in self._probes) >= self._most_asked
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
