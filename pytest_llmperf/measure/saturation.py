"""Whether a run's queue grew as long as it lasted."""

from __future__ import annotations

import numpy as np

from pytest_llmperf.load.trend import line, still_rises
from pytest_llmperf.measure.timeline import Timeline

BATCHES, SKIPPED = 10, 2
MIN_REQUESTS = 50
MIN_GROWTH = 0.04
"""Seconds of TTFT for each second of the run: an engine that is sent 4 % more than it can take."""
SURE = 3.5
"""Student's t of the growth over the batches kept: with six degrees of freedom 0.6 % by chance."""
STILL_RISES = 0.25
"""The least share of its growth in the first half that the second half still has to show."""


def is_saturated(timeline: Timeline) -> bool:
    """Whether TTFT grew with the time at which requests were due, from the beginning to the end.

    An engine that is sent ρ times what it can take makes request after request wait longer for its first
    token, by ρ − 1 seconds each second; whole answers get slower for other reasons, too. Requests that follow
    each other wait in the same queue and are no independent witnesses, so the means of ten batches are (Law,
    Simulation Modeling and Analysis, ch. 9.5.3), without the first two: a straight line through them has to
    rise by more than 0.04 s/s, and surely; and the second half has to go on rising, because a larger batch
    makes everything slower once, and then no more.
    """
    if timeline.due_ns.size < MIN_REQUESTS:
        return False
    order = np.argsort(timeline.due_ns, kind="stable")
    due_s = (timeline.due_ns - timeline.due_ns.min())[order] / 1e9
    ttft_s = (timeline.first_ns - timeline.due_ns)[order] / 1e9
    x, y = (
        np.array([batch.mean() for batch in np.array_split(column, BATCHES)[SKIPPED:]])
        for column in (due_s, ttft_s)
    )
    slope, sd = line(x, y)
    return slope > MIN_GROWTH and slope > SURE * sd and still_rises(y, STILL_RISES)
