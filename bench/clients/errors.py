"""How far a client's account of a run is from what the server did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.clients.levels import Level


@dataclass(frozen=True)
class Served:
    """A request by the server's log; times are CLOCK_MONOTONIC in ns."""

    id: str
    arrived_ns: int
    token_ns: tuple[int, ...]

    @property
    def ttft_ns(self) -> int:
        return self.token_ns[0] - self.arrived_ns


@dataclass(frozen=True)
class Told:
    """A request as the client tells of it; times are CLOCK_MONOTONIC in ns, None or empty if untold."""

    started_ns: int
    ttft_ns: float
    id: str | None = None
    intended_ns: int | None = None
    token_ns: tuple[int, ...] = ()
    mean_gap_ns: float | None = None


@dataclass(frozen=True)
class Account:
    """A client's account of a run.

    ``matched_by``: "id", or "order" (of starts and arrivals). ``ttft_from``: whether the client's TTFT
    begins with the "intended" time of a request, or when it was "sent".
    """

    told: tuple[Told, ...]
    matched_by: str
    ttft_from: str


@dataclass(frozen=True)
class Errors:
    """The figures of one client at one level; None where the client does not tell enough."""

    told: int
    matched: int
    miscounted: int
    ttft_ms: tuple[float, ...] | None
    token_p99_ms: float | None
    itl_p99_ms: tuple[float, float] | None
    itl_is_mean: bool
    late_p99_ms: float | None
    arrived: float
    rate: float


Pair = tuple[Told, Served]


def read_log(log: Path, level: Level) -> tuple[list[Served], float]:
    """What the server did, and the p99 of its own lateness in ms."""
    served, late_ns = [], [np.zeros(1)]
    for line in log.read_text().splitlines():
        one = json.loads(line)
        moments = np.array(one["token_ns"], dtype=np.int64)
        rhythm = level.ttft_ms * 1e6 + np.arange(len(moments)) * level.itl_ms * 1e6
        late_ns.append(moments - one["read_ns"] - rhythm)
        served.append(Served(one["id"], one["arrived_ns"], tuple(one["token_ns"])))
    return served, float(np.percentile(np.concatenate(late_ns), 99)) / 1e6


def compare(account: Account, served: Sequence[Served], rate: float, requests: int) -> Errors:
    """``rate`` and ``requests`` as they were asked for."""
    pairs = matched(account, served)
    ours = [one for _, one in pairs] if account.matched_by == "id" else list(served)
    arrivals = np.sort(np.array([one.arrived_ns for one in ours], dtype=np.int64))
    return Errors(
        told=len(account.told),
        matched=len(pairs),
        miscounted=sum(
            bool(told.token_ns) and len(told.token_ns) != len(one.token_ns) for told, one in pairs
        ),
        ttft_ms=_percentiles((told.ttft_ns - one.ttft_ns for told, one in pairs), 50, 99),
        token_p99_ms=_token_error(pairs),
        itl_p99_ms=_gaps(pairs),
        itl_is_mean=not any(told.token_ns for told, _ in pairs),
        late_p99_ms=_lateness(pairs, arrivals, rate),
        arrived=_arrived_in_time(arrivals, rate, requests),
        rate=(len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 1e9 / rate if len(arrivals) > 1 else 0.0,
    )


def matched(account: Account, served: Sequence[Served]) -> list[Pair]:
    """What the client tells of a request, with what the server did for it; answered requests only."""
    answered = [one for one in served if one.token_ns]
    if account.matched_by == "id":
        times = Counter(one.id for one in answered)
        by_id = {one.id: one for one in answered if times[one.id] == 1}
        return [(told, by_id[told.id]) for told in account.told if told.id in by_id]
    by_start = sorted(account.told, key=lambda told: told.started_ns)
    by_arrival = sorted(answered, key=lambda one: one.arrived_ns)
    # What the server answered before the run were probes of the client.
    return list(zip(by_start, by_arrival[max(0, len(by_arrival) - len(by_start)) :], strict=False))


def _token_error(pairs: Iterable[Pair]) -> float | None:
    """Of tokens whose numbers agree; ``miscounted`` tells how many requests are left out."""
    errors = [
        np.array(told.token_ns) - np.array(one.token_ns)
        for told, one in pairs
        if len(told.token_ns) == len(one.token_ns)
    ]
    found = _percentiles(np.concatenate(errors), 99) if errors else None
    return found[0] if found else None


def _gaps(pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """The p99 of all gaps by the client and by the server, or that of the means of the requests."""
    if any(told.token_ns for told, _ in pairs):
        by_client = _percentiles((gap for told, _ in pairs for gap in _between(told.token_ns)), 99)
        by_server = _percentiles((gap for _, one in pairs for gap in _between(one.token_ns)), 99)
    else:
        by_client = _percentiles((told.mean_gap_ns for told, _ in pairs if told.mean_gap_ns is not None), 99)
        by_server = _percentiles((_mean_gap(one.token_ns) for _, one in pairs if len(one.token_ns) > 1), 99)
    return (by_client[0], by_server[0]) if by_client and by_server else None


def _between(moments: Sequence[int]) -> Iterable[int]:
    return (later - earlier for earlier, later in pairwise(moments))


def _mean_gap(moments: Sequence[int]) -> float:
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def _lateness(pairs: Sequence[Pair], arrivals: np.ndarray, rate: float) -> float | None:
    """How much later than intended requests arrived.

    Where the client does not tell what it intended, that is equal spacing from the request that was the
    least late of all.
    """
    if pairs and all(told.intended_ns is not None for told, _ in pairs):
        late: Iterable[float] = (one.arrived_ns - (told.intended_ns or 0) for told, one in pairs)
    elif len(arrivals):
        behind = arrivals - arrivals[0] - np.arange(len(arrivals)) / rate * 1e9
        late = behind - behind.min()
    else:
        return None
    found = _percentiles(late, 99)
    return found[0] if found else None


def _arrived_in_time(arrivals: np.ndarray, rate: float, requests: int) -> float:
    """The share of the requests asked for that arrived while the schedule lasted."""
    if not len(arrivals):
        return 0.0
    return float(np.count_nonzero(arrivals <= arrivals[0] + requests / rate * 1e9)) / requests


def _percentiles(values: Iterable[float], *percents: float) -> tuple[float, ...] | None:
    """In ms; None for no values."""
    array = np.fromiter(values, dtype=np.float64) / 1e6
    return tuple(float(value) for value in np.percentile(array, percents)) if array.size else None
