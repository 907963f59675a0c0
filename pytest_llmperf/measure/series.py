"""What a picture of one run is drawn from: distributions, requests, and how busy the engine was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytest_llmperf.load.client import LoadRun
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.measure.metrics import observations
from pytest_llmperf.measure.timeline import Timeline

PERCENTS = (0, 1, 5, *range(10, 100, 10), 95, 99, 100)
METRICS = ("ttft", "itl", "tpot")
MOST_REQUESTS = 60
_BEFORE = 40  # what happened to a request is explained by those before it


class Shown(NamedTuple):
    """One request; seconds from the start of the run, None for what did not happen or was not told.

    ``error`` is the kind alone.
    """

    due_s: float
    sent_s: float | None
    first_token_s: float | None
    ended_s: float | None
    output_tokens: int | None
    error: str | None


class Busy(NamedTuple):
    """What the engine told, so many seconds after the start of the run; None: it does not tell that."""

    at_s: float
    running: float | None
    waiting: float | None
    cache_use: float | None


@dataclass(frozen=True)
class Series:
    """``quantiles`` has for each of :data:`METRICS` that has a value its percentiles :data:`PERCENTS`, in ms.

    ``waterfall`` are at most 60 requests that were due one after the other, around the first that failed, or
    else the one with the longest TTFT. ``engine`` is how busy it was, by time.
    """

    quantiles: Mapping[str, Sequence[float]]
    waterfall: Sequence[Shown]
    engine: Sequence[Busy]


def series(driven: LoadRun, timeline: Timeline) -> Series:
    """Of a run, the requests of ``timeline`` counting."""
    return Series(
        quantiles(timeline),
        waterfall(driven.traces, driven.started_ns),
        [
            Busy((moment.at_ns - driven.started_ns) / 1e9, moment.running, moment.waiting, moment.cache_use)
            for moment in driven.busy
            if moment.at_ns >= driven.started_ns
        ],
    )


def quantiles(timeline: Timeline) -> dict[str, list[float]]:
    """As :func:`~pytest_llmperf.measure.metrics.summarise` has them, of the same observations."""
    observed = observations(timeline)
    known = {name: observed[name][~np.isnan(observed[name])] for name in METRICS}
    return {name: np.percentile(values, PERCENTS).tolist() for name, values in known.items() if values.size}


def waterfall(traces: Sequence[Trace], started_ns: int) -> list[Shown]:
    """The requests to show, by the time at which they were due."""
    by_time = sorted(traces, key=lambda trace: trace.due_ns)
    if not by_time:
        return []
    failed = (index for index, trace in enumerate(by_time) if trace.error is not None)
    ttfts_ns = [trace.token_ns[0] - trace.due_ns if trace.token_ns else 0 for trace in by_time]
    worst = next(failed, ttfts_ns.index(max(ttfts_ns)))
    first = max(0, min(worst - _BEFORE, len(by_time) - MOST_REQUESTS))
    return [_shown(trace, started_ns) for trace in by_time[first : first + MOST_REQUESTS]]


def _shown(trace: Trace, started_ns: int) -> Shown:
    def at_s(stamp_ns: int) -> float | None:
        return (stamp_ns - started_ns) / 1e9 if stamp_ns else None

    return Shown(
        (trace.due_ns - started_ns) / 1e9,
        at_s(trace.sent_ns),
        at_s(trace.token_ns[0] if trace.token_ns else 0),
        at_s(trace.ended_ns),
        trace.output_tokens,
        trace.error_kind,
    )
