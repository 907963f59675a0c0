"""Launch means that one outlier does not move far, and how far launches of one build are apart.

The launch is the unit of replication: two launches of the same build and flags differ by several percent
(10.6 % in TTFT p50 and 3.6 % in TPOT p50 were measured for vLLM 0.24 on an H100), and no number of requests
within one launch tells how much.

*Robust.* Each side's mean is Huber's M-estimate: a launch further than 2.25 spreads from it counts as if it
were that far (Huber 1964); the spread comes from residuals clipped in the same way ("Proposal 2").
M-estimates that ignore outliers altogether would not do: of three launches they take the odd two for the
truth.

*Drift.* Where both sides were launched in turn, what changes steadily in the meantime (a GPU that warms up)
is a slope common to both, estimated along with the means, and is neither a difference nor a spread.

*Moderated.* A few launches know their spread badly, so it is averaged with that of the other items of its
group (the same metric in other tests and load points), and the group's with a prior (Smyth 2004, "Linear
models and empirical Bayes methods"). How much an item's own spread counts follows from how far the items'
spreads differ beyond chance. The launches of a session serve all its tests, so a slow one is slow in all of
them: what a group knows is worth fewer degrees of freedom the more its items' residuals move together.
Degrees by Satterthwaite (1946).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_llmperf.judge.gamma import digamma, inverse_trigamma, trigamma
from pytest_llmperf.judge.prior import Prior

Array = npt.NDArray[np.float64]
CLIP = 2.25
_CLIPPED_VARIANCE = 0.956495  # of a standard normal variable clipped at CLIP
_EFFICIENCY = 0.994983  # of the mean, where there are no outliers
_SPREAD_EFFICIENCY = 0.933
_MOST_DEGREES = 300.0
# Spreads of unlike items: as a prior, four items whose spreads vary as if each had ten degrees of freedom.
_UNLIKE, _UNLIKE_ITEMS = float(trigamma(5.0)), 4.0
_ROUNDS = 5
_FEWEST_FOR_A_DRIFT = 3


@dataclass(frozen=True)
class Logs:
    """What was measured of one item: the logarithms of its launches on either side, and what is known of it.

    ``sampling`` is what the requests of one launch leave unknown: the standard deviation of the logarithm.
    ``is_paired``: whether the sides were launched in turn, as base, candidate, candidate, base, …
    """

    group: str
    base: Sequence[float]
    candidate: Sequence[float]
    prior: Prior
    sampling: float = 0.0
    is_paired: bool = False

    @property
    def expected_spread(self) -> float:
        return math.hypot(self.prior.spread, self.sampling)


@dataclass(frozen=True)
class Contrasts:
    """For each item: both means (``[items, 2]``), the standard error of their difference, a launch's standard
    deviation, and how many degrees of freedom that is known with."""

    means: Array
    error: Array
    spread: Array
    degrees: Array


def contrasts(items: Sequence[Logs]) -> Contrasts:
    """Estimate all items of a session together. Raises :class:`ValueError` for an item without a launch on
    either side."""
    if any(min(len(item.base), len(item.candidate)) == 0 for item in items):
        raise ValueError("a comparison needs at least one launch on either side")
    unit = np.array([item.expected_spread for item in items])
    values, there = _padded(items)
    values /= unit[:, None, None]
    counts = there.sum(axis=2)
    places, apart = _places(items, there)
    length = (places**2).sum(axis=(1, 2))
    own_degrees = (counts.sum(axis=1) - 2 - (length > 0)).astype(float)
    groups = _Groups(items, counts, own_degrees)
    length = np.where(length > 0, length, 1.0)
    # A residual from a fit of few varies less than a launch does, by its leverage.
    narrow = np.sqrt(np.maximum(1 - 1 / counts[:, :, None] - places**2 / length[:, None, None], 0.0))
    means, drift = _medians(values, there), np.zeros(len(items))
    variance = groups.start(np.where(there, values - means[:, :, None], np.nan))
    degrees = own_degrees
    for _ in range(_ROUNDS):
        limit = CLIP * np.sqrt(variance)[:, None, None]
        for _ in range(2):
            residuals = np.where(there, values - means[:, :, None] - drift[:, None, None] * places, 0.0)
            clipped = np.clip(residuals, -limit, limit)
            means += clipped.sum(axis=2) / counts
            drift += (clipped * places).sum(axis=(1, 2)) / length
        residuals = np.where(there, values - means[:, :, None] - drift[:, None, None] * places, 0.0)
        wide = residuals / np.maximum(narrow, 0.5)  # as wide as a launch, which is what is clipped
        clipped = np.clip(wide, -limit, limit) * narrow / math.sqrt(_CLIPPED_VARIANCE)
        variance, degrees = groups.moderate(clipped)
    means += np.stack((drift * apart, -drift * apart), axis=1) / 2  # both as in the middle of the session
    spread = np.sqrt(variance) * unit
    error = spread * np.sqrt(((1 / counts).sum(axis=1) + apart**2 / length) / _EFFICIENCY)
    return Contrasts(means * unit[:, None], error, spread, degrees)


class _Groups:
    """The items by group, and what spreads within a group tell about each other; in units of the prior's."""

    def __init__(self, items: Sequence[Logs], counts: npt.NDArray[np.int_], degrees: Array) -> None:
        names = [item.group for item in items]
        self._members = [
            np.array([i for i, other in enumerate(names) if other == name]) for name in dict.fromkeys(names)
        ]
        self._prior = [float(np.mean([items[i].prior.degrees for i in group])) for group in self._members]
        self._degrees = degrees
        self._drifts = [bool((counts.sum(axis=1) - 2 > degrees)[group].any()) for group in self._members]
        # Launches that every item with a spread has: those in which items can be seen to move together.
        seen = [group[degrees[group] > 0] for group in self._members]
        self._common = [counts[some].min(axis=0).tolist() if some.size else [1, 1] for some in seen]

    def start(self, residuals: Array) -> Array:
        """A first guess of the variances, from each group's (lower) median absolute deviation from medians.

        Of an odd number of launches one is the median itself, which tells nothing."""
        variance = np.ones(len(self._degrees))
        for group, prior in zip(self._members, self._prior, strict=True):
            moved = np.abs(residuals[group])
            there = ~np.isnan(moved)
            odd = int((there.sum(axis=2) % 2).sum())
            moved = np.sort(moved[there])[odd:]
            if moved.size:
                middle = 1.4826 * moved[(moved.size - 1) // 2]
                variance[group] = (moved.size * middle**2 + prior) / (moved.size + prior)
        return variance

    def moderate(self, residuals: Array) -> tuple[Array, Array]:
        """The variance of each item and its degrees of freedom, from clipped residuals (0 where none is)."""
        v = self._degrees
        known = v > 0
        own = np.where(known, (residuals**2).sum(axis=(1, 2)) / np.maximum(v, 1), 0.0)
        together = [self._together(i, residuals) for i in range(len(self._members))]
        unlike = self._unlike_degrees(own, together)
        variance, degrees = np.ones_like(own), np.ones_like(own)
        for group, prior, shared in zip(self._members, self._prior, together, strict=True):
            worth, pooled = self._pool(group, own, shared)
            of_group = (worth * pooled + prior) / (worth + prior)
            if len(group) == 1:
                variance[group], degrees[group] = of_group, worth + prior
                continue
            share = np.where(known[group], v[group] / (v[group] + unlike), 0.0)
            rest = 1 - share
            variance[group] = share * own[group] + rest * of_group
            unsure = share**2 / np.maximum(v[group] * _SPREAD_EFFICIENCY, 1e-9) + rest**2 / (worth + prior)
            unsure += 2 * share * rest / max(worth, 1e-9) * (worth > 0) + rest**2 / unlike
            degrees[group] = 1 / unsure
        return variance, np.minimum(degrees, _MOST_DEGREES)

    def _pool(self, group: npt.NDArray[np.int_], own: Array, together: float) -> tuple[float, float]:
        """The group's own variance, and the degrees of freedom that it is worth."""
        v = self._degrees[group]
        if not (total := float(v.sum())):
            return 0.0, 0.0
        worth = max(total / (1 + ((v > 0).sum() - 1) * together), float(v.max()))
        return worth * _SPREAD_EFFICIENCY, float((own[group] * v).sum() / total)

    def _together(self, index: int, residuals: Array) -> float:
        """The mean squared correlation of the group's residuals, less what chance makes of it."""
        group, (base, candidate) = self._members[index], self._common[index]
        degrees = base + candidate - 2 - int(self._drifts[index])
        if len(group) < 2 or degrees < 1:
            return 0.0 if len(group) < 2 else 1.0
        moved = np.concatenate((residuals[group, 0, :base], residuals[group, 1, :candidate]), axis=1)
        length = np.sqrt((moved**2).sum(axis=1))
        moved = moved[length > 0] / length[length > 0][:, None]
        if len(moved) < 2 or degrees < 2:
            return 1.0
        squared = ((moved @ moved.T) ** 2).sum() - len(moved)
        by_chance = 1 / degrees
        return float(np.clip((squared / (len(moved) * (len(moved) - 1)) - by_chance) / (1 - by_chance), 0, 1))

    def _unlike_degrees(self, own: Array, together: Sequence[float]) -> float:
        """How like the spreads of a group's items are, in degrees of freedom: from the variance of their
        logarithms beyond chance (Smyth 2004, section 6.2), over all groups."""
        beyond, weight = _UNLIKE_ITEMS * _UNLIKE, _UNLIKE_ITEMS
        for group, shared in zip(self._members, together, strict=True):
            some = group[(self._degrees[group] > 0) & (own[group] > 0)]
            if len(some) < 2:
                continue
            v = self._degrees[some] * _SPREAD_EFFICIENCY
            logs = np.log(own[some]) - digamma(v / 2) + np.log(v / 2)
            certainty = 1 / trigamma(v / 2)
            mean = (certainty * logs).sum() / certainty.sum()
            excess = (certainty * (logs - mean) ** 2).sum() - (len(some) - 1) * (1 - shared)
            scale = certainty.sum() - (certainty**2).sum() / certainty.sum()
            beyond, weight = beyond + (len(some) - 1) * excess / scale, weight + len(some) - 1
        if beyond <= 0:
            return _MOST_DEGREES
        return min(2 * inverse_trigamma(beyond / weight), _MOST_DEGREES)


def _places(items: Sequence[Logs], there: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """When each launch was, in launches, from the middle of its side's; and how much later the candidate's
    middle is.

    0 for all launches of an item whose sides were not launched in turn, or too seldom to tell a drift.
    """
    turns = np.arange(there.shape[2])
    # Base, candidate, candidate, base, base, candidate, …
    order = np.stack((2 * turns + turns % 2, 2 * turns + 1 - turns % 2)).astype(float)
    counts = there.sum(axis=2)
    middles = np.where(there, order, 0.0).sum(axis=2) / counts
    is_told = np.array([item.is_paired for item in items]) & (counts.min(axis=1) >= _FEWEST_FOR_A_DRIFT)
    places = np.where(there & is_told[:, None, None], order - middles[:, :, None], 0.0)
    return places, np.where(is_told, middles[:, 1] - middles[:, 0], 0.0)


def _padded(items: Sequence[Logs]) -> tuple[Array, npt.NDArray[np.bool_]]:
    most = max(max(len(item.base), len(item.candidate)) for item in items)
    values, there = np.zeros((len(items), 2, most)), np.zeros((len(items), 2, most), dtype=bool)
    for i, item in enumerate(items):
        for side, logs in enumerate((item.base, item.candidate)):
            values[i, side, : len(logs)], there[i, side, : len(logs)] = logs, True
    return values, there


def _medians(values: Array, there: npt.NDArray[np.bool_]) -> Array:
    return np.asarray(np.nanmedian(np.where(there, values, np.nan), axis=2))
