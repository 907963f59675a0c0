"""Warm up until it is warm."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.load.client import Client

MAX_BURSTS = 6
MAX_AT_ONCE = 256
MAX_OF_BATCH = 64
ENOUGH_S = 10.0
AGREEMENT = 0.1
AGREEMENT_MS = 2.0


@dataclass(frozen=True)
class WarmUp:
    """The median end-to-end latency of each burst in ms; ``settled`` if the last two agreed."""

    medians_ms: tuple[float, ...]
    settled: bool

    @property
    def latency_s(self) -> float | None:
        """How long a request took in the end; None if none was answered."""
        return self.medians_ms[-1] / 1e3 if self.medians_ms else None


def warm_up(client: Client, workload: Workload, point: LoadPoint) -> WarmUp:
    """Send bursts as large as the load point keeps under way and discard them, until two successive
    medians agree within 10 % or 2 ms, at most six, and no further one after 10 s or as long as the load point
    itself is to take.

    An open loop keeps rate × latency requests under way (Little 1961), as far as the burst before it told
    the latency; a ramp counts with its highest rate, a replay with the mean rate of its trace. Of
    conversations only first turns are sent. Ends at once when a whole burst fails: the measurement will
    show why.
    """
    medians: list[float] = []
    until = time.monotonic() + max(ENOUGH_S, point.expected_s or 0.0)
    while len(medians) < MAX_BURSTS and (not medians or time.monotonic() < until):
        at_once = _closed(point) or min(
            MAX_AT_ONCE,
            point.requests or MAX_AT_ONCE,
            math.ceil(_rate(workload, point) * (medians[-1] / 1e3 if medians else 1)),
        )
        traces = client.burst(workload, count=max(4, at_once), concurrency=at_once)
        latencies = [(t.token_ns[-1] - t.sent_ns) / 1e6 for t in traces if t.error is None]
        if not latencies:
            return WarmUp(tuple(medians), settled=False)
        medians.append(statistics.median(latencies))
        if len(medians) > 1:
            last, this = medians[-2:]
            if abs(this - last) <= max(AGREEMENT_MS, AGREEMENT * max(last, this)):
                return WarmUp(tuple(medians), settled=True)
    return WarmUp(tuple(medians), settled=False)


def _closed(point: LoadPoint) -> int | None:
    """How many a closed loop keeps under way; of a batch, which takes as long as itself, a part will do."""
    return min(point.batch, MAX_OF_BATCH) if point.batch is not None else point.concurrency


def _rate(workload: Workload, point: LoadPoint) -> float:
    if point.replay is not None and workload.trace_file is not None:
        return point.replay * workload.trace_file.rate
    if isinstance(point.rate, Ramp):
        return max(point.rate.start, point.rate.end)
    return point.rate or 1.0
