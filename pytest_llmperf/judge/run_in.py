"""How long a run of a search sends before anything counts, and what it is off for want of that."""

from __future__ import annotations

import math

RELAXATIONS = 3.0
"""A run-in of so many relaxation times leaves 5 % of what an empty engine makes look better."""
MOST_SHARE = 0.5
"""The longest run-in, as a share of the time that counts: what is longer is taken from other runs."""
LAG = 0.22
"""What a run of a relaxation time or less is off in log rate if it has no run-in (found by bench/search)."""


def relaxation_s(latency_s: float, alone_s: float) -> float:
    """In what time an engine forgets that it was empty, to 1/e, from how long a request takes at this load
    and alone.

    A step of continuous batching takes a + b · n for n sequences, so that a request takes latency = alone ·
    (1 + b n / a), and n / latency leave in each second. Linearised around the steady state, what n lacks
    decays at the derivative of that, alone / latency².
    """
    return latency_s * max(1.0, latency_s / alone_s)


def run_in_s(relaxation_s: float, duration_s: float) -> float:
    """How long to send before a run of ``duration_s`` that counts."""
    return min(RELAXATIONS * relaxation_s, MOST_SHARE * duration_s)


def lag(run_in_s: float, relaxation_s: float, duration_s: float) -> float:
    """By how much in log rate such a run looks better than it is, because it began with an empty engine."""
    return LAG * math.exp(-run_in_s / relaxation_s) * min(1.0, relaxation_s / duration_s)
