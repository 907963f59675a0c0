"""Where a metric changed from one session to the next, over many sessions.

One value a session: the mean of its launches' logarithms. Candidates come from PELT (Killick, Fearnhead and
Eckley 2012, "Optimal detection of changepoints with a linear computational cost"; ruptures, Truong, Oudre and
Vayatis 2020) with squared errors and a penalty low enough to propose too many. What is proposed is then taken
back, the weakest first, until every change that is left

* is significant: the levels on either side differ by Student's t, with an error that all places share
  where the change could have been (Bonferroni). The noise is that of the sessions around their segments;
  where neighbours are alike, as where a machine drifts, it counts for as much more (an AR(1) process of
  the same correlation: Bartlett 1946);
* is a step: it explains the sessions on either side better than a smooth curve through all of them (a cubic).

Single sessions far out are pulled in before (Hampel 1974: the median of the sessions around ± three spreads),
so that one bad night is no change; and sessions that are known badly count less (``unknown``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_llmperf.judge.student import t_quantile

Array = npt.NDArray[np.float64]

ERROR = 0.01
FEWEST = 3
"""Sessions of a segment: fewer are no level yet."""
FEWEST_BETWEEN = 5
"""Sessions of one between two others, which a few bad nights may otherwise be."""
FEWEST_TO_JUDGE = 8
"""Sessions without which the noise between them is not known."""
OUTLIER = 2.25
REACH = 3
"""Sessions before and after one that say whether it is far out."""
STEP_EVIDENCE = 6.0
"""Twice the logarithm of how much likelier a step has to be than a smooth curve: 20 times."""
HINT_EVIDENCE, NEAR = 4.0, 1
"""The same within so many sessions of what is known to have changed: 7.4 times."""
CURVE = 3
SLOPE_T, FEWEST_FOR_A_SLOPE = 4.0, 20
PLACE_EVIDENCE = 6.0
"""The same for places where a change may have been: those at least a twentieth as likely as the likeliest."""
LEAST_NOISE = 5e-4
MOST_ALIKE, PRIOR_SESSIONS = 0.6, 20
_TOO_SHORT, _ROUNDS = 1e-6, 4
_CLIPPED = 0.956  # of a normal distribution's variance, within OUTLIER spreads


@dataclass(frozen=True)
class Segment:
    """Sessions ``start`` to ``end`` (that one left out) of one level, an interval of 95 % around it, and
    how much it rose over them where it is a slope and no level."""

    start: int
    end: int
    level: float
    low: float
    high: float
    rise: float = 0.0


@dataclass(frozen=True)
class Step:
    """A change of level: session ``at`` is the first after it, or any of ``first`` to ``last`` is (both
    included); by how much, with an interval of 95 %."""

    at: int
    first: int
    last: int
    size: float
    low: float
    high: float


@dataclass(frozen=True)
class Course:
    """What a series did. ``noise`` is the standard deviation of a session around its level; ``is_judged``
    says whether there were sessions enough to tell a change."""

    segments: Sequence[Segment]
    steps: Sequence[Step]
    noise: float
    is_judged: bool = True


def proposed(values: Array, noise: float) -> list[int]:
    """Where segments may begin, by PELT. Raises :class:`ImportError` without ruptures."""
    import ruptures  # of the extra, and it brings scipy

    # Half of what is usual for independent errors (Schwarz 1978): to be taken back costs nothing.
    penalty = noise**2 * math.log(len(values))
    search = ruptures.KernelCPD(kernel="linear", min_size=FEWEST).fit(values[:, None])
    return [int(place) for place in search.predict(pen=penalty)[:-1]]


def find_steps(
    values: Sequence[float],
    unknown: Sequence[float] | None = None,
    known: Collection[int] = (),
    error: float = ERROR,
) -> Course:
    """The course of a series, oldest first.

    ``unknown`` is the standard deviation that each session's own launches leave it with (0: not known);
    ``known`` are the sessions that are the first with something that is known to have changed, another
    version say: half the error is theirs, since a step there is no surprise. In a series in which nothing
    changed, a step is found with a probability of about ``error``. Raises :class:`ImportError` without
    ruptures.
    """
    raw = np.asarray(values, dtype=float)
    count = len(raw)
    if count < FEWEST_TO_JUDGE:
        return level(values)
    rough = rough_noise(raw)
    spreads = np.zeros(count) if unknown is None else np.asarray(unknown, dtype=float)
    series = _Series(_pulled_in(raw, rough), _weights(spreads, rough))
    hints = sorted(place for place in set(known) if FEWEST <= place <= count - FEWEST)
    starts = proposed(series.values, rough)
    demands = _Demands(error, count, hints)
    while True:
        parts = series.parts(starts)
        noise, alike = series.noise(parts)
        pairs = list(itertools.pairwise(parts))
        strengths = [demands.met_by(series.step(*pair), noise * alike) for pair in pairs]
        strengths = [
            met if all(_is_long(part, count) for part in pair) else met * _TOO_SHORT
            for met, pair in zip(strengths, pairs, strict=True)
        ]
        if not strengths or min(strengths) >= 1:
            break
        del starts[strengths.index(min(strengths))]
    parts = series.settled(raw, parts, noise)
    pairs = list(itertools.pairwise(parts))
    wide = t_quantile(0.975, max(count - len(parts) - 1, 1)) * noise * alike
    steps = [series.step(*pair).told(wide, noise * alike) for pair in pairs]
    return Course([part.segment(wide) for part in parts], steps, noise)


class _Demands:
    """What a step has to show, by its place."""

    def __init__(self, error: float, count: int, hints: Sequence[int]) -> None:
        share, degrees = (error / 2 if hints else error), max(count - 2, 1)
        self._hints = hints
        self._anywhere = t_quantile(1 - share / 2 / count, degrees)
        near = min((2 * NEAR + 1) * len(hints), count) or 1
        self._at_hints = t_quantile(1 - share / 2 / near, degrees)

    def met_by(self, step: _Jump, noise: float) -> float:
        """How far they are met: 1 is enough."""
        is_hint = any(abs(step.at - hint) <= NEAR for hint in self._hints)
        critical, evidence = (self._at_hints, HINT_EVIDENCE) if is_hint else (self._anywhere, STEP_EVIDENCE)
        certain = abs(step.size) / (noise * step.error) / critical
        return min(certain, math.sqrt(max(step.evidence, 0.0) / evidence) / noise)


def level(values: Sequence[float]) -> Course:
    """A series that is taken for one level."""
    raw = np.asarray(values, dtype=float)
    count = len(raw)
    if count < 2:
        segment = Segment(0, count, float(raw[0]), float(raw[0]), float(raw[0]))
        return Course([segment], [], 0.0, is_judged=False)
    noise = float(raw.std(ddof=1))
    half = t_quantile(0.975, count - 1) * noise / math.sqrt(count)
    middle = float(raw.mean())
    return Course([Segment(0, count, middle, middle - half, middle + half)], [], noise, is_judged=False)


@dataclass(frozen=True)
class _Part:
    """A segment as it is fitted: at a session ``t`` it is ``level + slope * (t - middle)``; ``weight`` is
    the sum of its sessions', ``length`` that of their squared distances from the middle."""

    start: int
    end: int
    level: float
    slope: float
    middle: float
    weight: float
    length: float
    squares: float

    def at(self, time: float) -> float:
        return self.level + self.slope * (time - self.middle)

    def variance_at(self, time: float) -> float:
        return 1 / self.weight + ((time - self.middle) ** 2 / self.length if self.slope else 0.0)

    @property
    def fitted(self) -> int:
        return 2 if self.slope else 1

    def segment(self, wide: float) -> Segment:
        half = wide / math.sqrt(self.weight)
        rise = self.slope * (self.end - 1 - self.start)
        return Segment(self.start, self.end, self.level, self.level - half, self.level + half, rise)


@dataclass(frozen=True)
class _Jump:
    """From one part to the next: ``error`` in units of the noise, ``evidence`` against a curve in units of
    its square, ``losses`` by place, from the likeliest."""

    at: int
    size: float
    error: float
    evidence: float
    first: int
    losses: Array

    def told(self, wide: float, noise: float) -> Step:
        likely = np.flatnonzero(self.losses <= PLACE_EVIDENCE * noise**2)
        places = (self.first + int(likely[0]), self.first + int(likely[-1]))
        half = wide * self.error
        return Step(self.at, *places, self.size, self.size - half, self.size + half)


class _Series:
    def __init__(self, values: Array, weights: Array) -> None:
        self.values, self._weights = values, weights
        self._times = np.arange(len(values), dtype=float)

    def parts(self, starts: Sequence[int]) -> list[_Part]:
        ends = [0, *starts, len(self.values)]
        return [self._part(*ends[i : i + 2]) for i in range(len(ends) - 1)]

    def _part(self, start: int, end: int, *, is_line: bool = False) -> _Part:
        values, weights, times = self._of(start, end)
        weight = float(weights.sum())
        middle, mean = float(weights @ times) / weight, float(weights @ values) / weight
        length = float(weights @ (times - middle) ** 2)
        flat = float(weights @ (values - mean) ** 2)
        slope = float(weights @ ((times - middle) * (values - mean))) / length if length else 0.0
        steep = flat - slope**2 * length
        count = end - start
        if not is_line:
            noise = math.sqrt(max(steep, 0.0) / max(count - 2, 1))
            is_line = count >= FEWEST_FOR_A_SLOPE and abs(slope) * math.sqrt(length) > SLOPE_T * noise
        if not is_line:
            return _Part(start, end, mean, 0.0, middle, weight, length, flat)
        return _Part(start, end, mean, slope, middle, weight, length, max(steep, 0.0))

    def settled(self, raw: Array, parts: Sequence[_Part], noise: float) -> list[_Part]:
        """The parts, from values that are pulled in towards them, and not towards those around."""
        starts, parts = [part.start for part in parts[1:]], list(parts)
        for _ in range(_ROUNDS):
            fitted = np.concatenate(
                [p.level + p.slope * (self._times[p.start : p.end] - p.middle) for p in parts]
            )
            self.values = np.clip(raw, fitted - OUTLIER * noise, fitted + OUTLIER * noise)
            parts = self.parts(starts)
        return parts

    def _of(self, start: int, end: int) -> tuple[Array, Array, Array]:
        return self.values[start:end], self._weights[start:end], self._times[start:end]

    def noise(self, parts: Sequence[_Part]) -> tuple[float, float]:
        """The standard deviation of a session of weight 1, and how much more it counts for, because
        neighbours are alike."""
        residuals = np.concatenate([self._residuals(part, part.start, part.end) for part in parts])
        squares = float(residuals @ residuals)
        degrees = max(len(self.values) - sum(part.fitted for part in parts), 1)
        noise = max(math.sqrt(squares / degrees / _CLIPPED), LEAST_NOISE)
        together = float(residuals[:-1] @ residuals[1:]) / squares if squares > 0 else 0.0
        count = len(residuals)
        alike = min(max(together * count / (count + PRIOR_SESSIONS), 0.0), MOST_ALIKE)
        return noise, math.sqrt((1 + alike) / (1 - alike))

    def _residuals(self, part: _Part, start: int, end: int) -> Array:
        values, weights, times = self._of(start, end)
        return np.asarray(np.sqrt(weights) * (values - part.level - part.slope * (times - part.middle)))

    def step(self, before: _Part, after: _Part) -> _Jump:
        here = after.start - 0.5
        error = math.sqrt(before.variance_at(here) + after.variance_at(here))
        first, last = before.start + 1, after.end - 1
        old = self._residuals(before, before.start, last) ** 2
        new = self._residuals(after, before.start, last) ** 2
        losses = np.cumsum(old - new)
        evidence = self._bent(before.start, after.end) - before.squares - after.squares
        return _Jump(
            after.start, after.at(here) - before.at(here), error, evidence, first, losses - losses.min()
        )

    def _bent(self, start: int, end: int) -> float:
        """The squares that a smooth curve (a cubic) leaves of these sessions."""
        values, weights, times = self._of(start, end)
        scaled = np.polynomial.legendre.legvander(2 * (times - start) / max(end - start - 1, 1) - 1, CURVE)
        roots = np.sqrt(weights)
        found = np.linalg.lstsq(scaled * roots[:, None], values * roots, rcond=None)[0]
        return float((weights * (values - scaled @ found) ** 2).sum())


def _is_long(part: _Part, count: int) -> bool:
    return part.start == 0 or part.end == count or part.end - part.start >= FEWEST_BETWEEN


def rough_noise(values: Array) -> float:
    """From the differences between neighbours, of which few have a step between them."""
    apart = np.abs(np.diff(values))
    return max(1.4826 * float(np.median(apart)) / math.sqrt(2), LEAST_NOISE)


def _pulled_in(values: Array, noise: float) -> Array:
    """Values no further out than OUTLIER spreads from the median of those around them."""
    around = [values[max(0, i - REACH) : i + REACH + 1] for i in range(len(values))]
    middles = np.array([float(np.median(some)) for some in around])
    return np.clip(values, middles - OUTLIER * noise, middles + OUTLIER * noise)


def _weights(known: Array, noise: float) -> Array:
    """What sessions count for, 1 on average: less where their own launches leave them badly known."""
    known = np.where(known > 0, known, np.median(known[known > 0]) if np.any(known > 0) else 0.0)
    between = max(noise**2 - float(np.median(known**2)), 0.25 * noise**2)
    weights = 1 / (between + known**2)
    return np.asarray(weights / weights.mean())
