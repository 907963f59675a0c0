"""What is known of the spread between launches before there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_llmperf.judge.gamma import digamma, inverse_trigamma, trigamma

DEGREES = 4.0
"""The weight of a documented spread: it counts as much as so many degrees of freedom of a measured one."""
MOST_DEGREES = 16.0
RUN_SPREAD = 0.02
"""How runs of one launch vary, where nothing else is known: what is said of that launch alone."""


@dataclass(frozen=True)
class Prior:
    """The standard deviation of a launch's logarithm, known as well as from ``degrees`` of freedom."""

    spread: float
    degrees: float = DEGREES


def learn(prior: Prior, history: Sequence[tuple[float, int]]) -> Prior:
    """``prior`` together with what earlier sessions saw: variances of logarithms between launches of one
    subject, each with its degrees of freedom.

    The variances are pooled. How much the result is worth depends on how far they differ among each other,
    by the variance of their logarithms (Smyth 2004, section 6.2), and is at most 16 degrees, since what a
    new session meets was never seen.
    """
    known = [(variance, degrees) for variance, degrees in history if variance > 0 and degrees > 0]
    if not known:
        return prior
    variances, degrees = (np.array(column, dtype=float) for column in zip(*known, strict=True))
    total = degrees.sum()
    pooled = (prior.degrees * prior.spread**2 + (degrees * variances).sum()) / (prior.degrees + total)
    worth = min(prior.degrees + total, MOST_DEGREES)
    if len(known) > 1:
        logs = np.log(variances) - digamma(degrees / 2) + np.log(degrees / 2)
        beyond_chance = float(logs.var(ddof=1) - trigamma(degrees / 2).mean())
        if beyond_chance > 0:
            worth = min(worth, max(prior.degrees, 2 * inverse_trigamma(beyond_chance)))
    return Prior(float(np.sqrt(pooled)), float(worth))
