"""Whether an open loop's queue grows without bound, seen while the run is under way."""

from __future__ import annotations

import math

import numpy as np

from pytest_llmperf.load.trend import Column, line, still_rises

BATCHES, SKIPPED = 10, 2
MIN_BEGUN, MIN_S = 100, 6.0
"""Before so many requests have their first token, and before so much time, nothing is said."""
MIN_LATENCIES = 10.0
"""The schedule has to have gone on for so many times the TTFT of its first requests."""
MIN_GROWTH = 0.12
"""Seconds of TTFT for each second of the schedule: an engine that is sent 12 % more than it can take."""
SURE = 8.0
"""Student's t of the growth. Because it is looked for often, it has to be surer than at a single look."""
STILL_RISES = 0.7
"""The least share of its growth in the first half that the second half still has to show."""
_LOOKS, _BETWEEN = 6, 0.02
_FIRST = 0.1


class Backlog:
    """Watches what was sent and what was begun to be answered in an open loop that sends ``rate`` requests/s.

    If first tokens come in the order in which requests were sent, the one that gets its first token now was
    sent when as many had been sent as have one now; since then it waited. Under a load of ρ times what the
    engine can take this TTFT grows by ρ − 1 seconds with each second of the schedule. The means of it over
    ten stretches of the schedule, without the first two (batch means: Law, Simulation Modeling and Analysis,
    ch. 9.5.3), have to rise along a straight line, and the second half as the first, at six looks in a row,
    each 2 % later than the one before.

    Whole answers would say it later or not at all: with seconds of latency, a batch that grows to its new
    size looks like a queue for as long as a run lasts, while first tokens hardly mind it.
    """

    def __init__(self, rate: float) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"a rate of {rate:g} requests/s is not above zero")
        self._rate = rate
        self._seen: list[tuple[float, int, int]] = [(0.0, 0, 0)]
        self._agreed, self._next_s = 0, MIN_S
        self._is_growing = False

    def see(self, at_s: float, sent: int, begun: int) -> bool:
        """Take in that ``at_s`` seconds after the start so many were sent, and so many of these had a first
        token or had failed; return whether the queue grows without bound, which once said is not taken back.
        """
        if self._is_growing or at_s <= self._seen[-1][0]:
            return self._is_growing
        self._seen.append((at_s, sent, begun))
        if at_s < self._next_s or begun < MIN_BEGUN:
            return False
        self._next_s = at_s * (1 + _BETWEEN)
        # Half of what the growth that is looked for would have left under way: not worth a look.
        is_few = sent - begun <= MIN_GROWTH / 2 * self._rate * at_s
        self._agreed = 0 if is_few or not self._grows() else self._agreed + 1
        self._is_growing = self._agreed >= _LOOKS
        return self._is_growing

    def _grows(self) -> bool:
        at_s, sent, begun = np.array(self._seen, dtype=np.float64).T
        due_s, ttft_s = _in_order(at_s, sent, begun)
        first = ttft_s[: int(np.searchsorted(due_s, _FIRST * due_s[-1])) + 1].mean()
        if due_s[-1] < MIN_LATENCIES * first:
            return False
        edges = np.searchsorted(due_s, np.linspace(0, due_s[-1], BATCHES + 1)[1:-1])
        parts = [part for part in np.split(np.arange(due_s.size), edges)[SKIPPED:] if part.size]
        if len(parts) < BATCHES - SKIPPED:
            return False
        x, y = (np.array([column[part].mean() for part in parts]) for column in (due_s, ttft_s))
        slope, sd = line(x, y)
        return slope > MIN_GROWTH and slope > SURE * sd and still_rises(y, STILL_RISES)


def _in_order(at_s: Column, sent: Column, begun: Column) -> tuple[Column, Column]:
    """When those were sent that had their first token at each look, and how long they waited for it, if first
    tokens come in order."""
    news = np.flatnonzero(np.diff(begun, prepend=0.0) > 0)
    due_s = np.interp(begun[news], sent, at_s)
    return due_s, at_s[news] - due_s
