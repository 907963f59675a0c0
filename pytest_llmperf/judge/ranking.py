"""Which of several is best, and which cannot be told from it.

Launches are the unit, as everywhere: each is compared with the best by the difference of their launch means,
with the spread moderated as in :mod:`~pytest_llmperf.judge.spread`. What is not significantly worse than the
best is a tie (multiple comparisons with the best, Hsu 1984; the level shared among them after Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_llmperf.judge.change import CONFIDENCE, Direction
from pytest_llmperf.judge.objective import half_width
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.spread import Logs, contrasts
from pytest_llmperf.judge.student import t_quantile, t_tail


@dataclass(frozen=True)
class Entrant:
    """What is ranked: one positive value for each launch.

    ``sampling`` is what a launch's own requests leave unknown, as the standard deviation of its logarithm.
    ``may_be_better``: the truth lies at the values or on the better side of them, who knows how far.
    """

    name: str
    values: tuple[float, ...]
    sampling: float = 0.0
    may_be_better: bool = False


@dataclass(frozen=True)
class Standing:
    """How one came out: its mean over launches with a 95 % interval, and its difference from the best
    (``-0.3`` is 30 % less) with the interval that the tie was decided by; none of the best itself."""

    entrant: Entrant
    estimate: float
    low: float
    high: float
    is_tie: bool = True
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


def rank(entrants: Sequence[Entrant], better: Direction, prior: Prior) -> list[Standing]:
    """The best first, then its ties, then what is worse. Raises :class:`ValueError` for one without a
    positive value."""
    if not entrants:
        return []
    alone = [_alone(entrant, prior) for entrant in entrants]
    alone.sort(key=lambda one: -one.estimate if better == "higher" else one.estimate)
    best, others = alone[0], alone[1:]
    if not others:
        return alone
    found = contrasts(
        [
            Logs(
                "ranked",
                [math.log(value) for value in best.entrant.values],
                [math.log(value) for value in other.entrant.values],
                prior,
                max(best.entrant.sampling, other.entrant.sampling),
            )
            for other in others
        ]
    )
    level = (1 - CONFIDENCE) / len(others)
    differences = found.means[:, 1] - found.means[:, 0]
    p_values = 2 * t_tail(np.abs(differences) / found.error, found.degrees)
    standings = [best]
    for i, other in enumerate(others):
        half = t_quantile(1 - level / 2, float(found.degrees[i])) * float(found.error[i])
        difference = float(differences[i])
        standings.append(
            Standing(
                other.entrant,
                other.estimate,
                other.low,
                other.high,
                is_tie=bool(p_values[i] >= level) or other.entrant.may_be_better,
                difference=math.expm1(difference),
                difference_low=math.expm1(difference - half),
                difference_high=math.expm1(difference + half),
            )
        )
    return sorted(standings, key=lambda one: not one.is_tie)


def _alone(entrant: Entrant, prior: Prior) -> Standing:
    if not entrant.values or min(entrant.values) <= 0:
        raise ValueError(f"{entrant.name}: needs positive values")
    logs = [math.log(value) for value in entrant.values]
    mean = math.fsum(logs) / len(logs)
    half = half_width(logs, prior, entrant.sampling, (1 - CONFIDENCE) / 2)
    return Standing(entrant, math.exp(mean), math.exp(mean - half), math.exp(mean + half))
