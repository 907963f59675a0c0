"""Between which rates an engine can be asked anything: what it makes of one request, and of many at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.decode import Trace

_ALONE = 3
_LONG_S = 5.0
_AT_ONCE = (4, 16, 64, 256, 1024)
_GROWTH = 1.3
"""Four times as many at once that bring less than this will bring next to nothing four times later."""
_ROOM = 1.3
"""A burst begins with an empty engine and ends with one: its throughput is less than that of a long run."""
_TENTH = 10.0


@dataclass(frozen=True)
class Bounds:
    """``latency_s`` of a request that is alone, ``throughput`` in requests/s of ``at_once`` requests at once,
    and whether more at once would bring no more (``is_flat``), as far as that was tried."""

    latency_s: float
    throughput: float
    at_once: int
    is_flat: bool

    @property
    def lowest(self) -> float:
        """The rate of one request after the other, or a tenth of the throughput if that is less: what serves
        one at a time waits for that long at its own rate. In requests/s."""
        return min(1 / self.latency_s, self.throughput / _TENTH)

    @property
    def highest(self) -> float:
        """What no open loop can get beyond, in requests/s, with some room."""
        return self.throughput * (_ROOM if self.is_flat else 2.0)


def find_bounds(client: Client, workload: Workload, patience_s: float) -> Bounds | None:
    """Send a few requests one after the other, then bursts of 4, 16, 64 … at once until the throughput grows
    little; no further burst after a failure, or where it would not end within ``patience_s``.

    None if not even a single request was answered. It also warms up every batch size on the way.
    """
    until = time.monotonic() + patience_s
    alone = [trace for trace in client.burst(workload, count=1) if trace.error is None]
    if alone and _latency_s(alone) < _LONG_S:
        alone += [t for t in client.burst(workload, count=_ALONE, concurrency=1) if t.error is None]
    if not alone:
        return None
    latency_s = _latency_s(alone)
    best, at_once = 1 / latency_s, 1
    expected_s = latency_s
    for count in _AT_ONCE:
        if time.monotonic() + expected_s > until:
            return Bounds(latency_s, best, at_once, is_flat=False)
        traces = client.burst(workload, count=count)
        throughput = _throughput(traces)
        if any(trace.error for trace in traces) or throughput < _GROWTH * best:
            return Bounds(latency_s, max(best, throughput), at_once, is_flat=True)
        best, at_once, expected_s = throughput, count, 4 * count / throughput / _GROWTH
    return Bounds(latency_s, best, at_once, is_flat=True)


def _latency_s(traces: Sequence[Trace]) -> float:
    return statistics.median(t.token_ns[-1] - t.sent_ns for t in traces) / 1e9


def _throughput(traces: Sequence[Trace]) -> float:
    """Answered requests per second, from the first that was sent to the last token."""
    good = [trace for trace in traces if trace.error is None]
    if not good:
        return 0.0
    return len(good) * 1e9 / (max(t.token_ns[-1] for t in good) - min(t.sent_ns for t in good))
