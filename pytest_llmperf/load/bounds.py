"""Between which rates an engine can be asked anything: what it makes of one request, and of many at once."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.decode import Trace

_ALONE = 3
_LONG_S = 5.0
_AT_ONCE = (4, 16, 64, 256, 1024)
_GROWTH = 1.3
"""Four times as many at once that bring less than this will bring next to nothing four times later."""
_TELLING = 64
"""Fewer at once are as slow as the longest answer among them is by chance."""
_ROOM = 1.3
"""A burst begins with an empty engine and ends with one: its throughput is less than that of a long run."""
_LEAST_GROWTH, _MOST_GROWTH = 1.3, 4.0
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


@dataclass(frozen=True)
class Burst:
    """What came of requests in a closed loop: the median ``latency_s`` of those that were answered (None if
    none was), how long all took, and how many were answered or failed."""

    latency_s: float | None
    took_s: float
    answered: int
    failed: int = 0

    @property
    def throughput(self) -> float:
        """Answered requests/s."""
        return self.answered / self.took_s if self.answered else 0.0


Send = Callable[[int, int], Burst]
"""Sends so many requests, so many at once."""


def find_bounds(client: Client, workload: Workload, patience_s: float) -> Bounds | None:
    """The bounds of what the client drives, see :func:`bounds_of`. It also warms up every batch size on the
    way."""
    return bounds_of(lambda count, at_once: _sent(client.burst(workload, count, at_once)), patience_s)


def bounds_of(send: Send, patience_s: float) -> Bounds | None:
    """Send a few requests one after the other, then bursts of 4, 16, 64 … at once until the throughput grows
    little; no further burst after a failure, or where it would not end within ``patience_s``.

    None if not even a single request was answered. A failure says nothing of what more at once would bring.
    The next burst is expected to take as many times longer than the last as that did than the one before,
    at least 1.3 times and at most 4.
    """
    alone = send(1, 1)
    if alone.latency_s is None:
        return None
    left_s = patience_s - alone.took_s
    if alone.latency_s < _LONG_S:
        more = send(_ALONE, 1)
        alone, left_s = (more if more.latency_s is not None else alone), left_s - more.took_s
    latency_s = alone.latency_s or 0.0
    best, at_once, took_s, expected_s = 1 / latency_s, 1, latency_s, latency_s
    for count in _AT_ONCE:
        if expected_s > left_s:
            return Bounds(latency_s, best, at_once, is_flat=False)
        burst = send(count, count)
        left_s -= burst.took_s
        if burst.failed:
            return Bounds(latency_s, max(best, burst.throughput), at_once, is_flat=False)
        if burst.throughput < _GROWTH * best and count >= _TELLING:
            return Bounds(latency_s, max(best, burst.throughput), at_once, is_flat=True)
        growth = min(_MOST_GROWTH, max(_LEAST_GROWTH, burst.took_s / took_s))
        at_once = count if burst.throughput >= _GROWTH * best else at_once
        best = max(best, burst.throughput)
        took_s, expected_s = burst.took_s, growth * burst.took_s
    return Bounds(latency_s, best, at_once, is_flat=True)


def _sent(traces: Sequence[Trace]) -> Burst:
    good = [trace for trace in traces if trace.error is None]
    if not good:
        return Burst(
            None, max(t.ended_ns for t in traces) / 1e9 - min(t.due_ns for t in traces) / 1e9, 0, len(traces)
        )
    ended_ns, sent_ns = max(t.token_ns[-1] for t in good), min(t.sent_ns for t in good)
    return Burst(_latency_s(good), (ended_ns - sent_ns) / 1e9, len(good), len(traces) - len(good))


def _latency_s(traces: Sequence[Trace]) -> float:
    return statistics.median(t.token_ns[-1] - t.sent_ns for t in traces) / 1e9
