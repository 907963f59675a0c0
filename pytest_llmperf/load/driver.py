"""Open and closed loops: when requests are sent, and what came back, undecoded."""

from __future__ import annotations

import itertools
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmperf.load.clock import ClockMap, read_offset
from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.loop import OPEN_AHEAD_NS, Loop, Watch
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target

_HOPELESS = 20
_STOCK = 256


@dataclass(frozen=True)
class Exchange:
    """One request and the raw response to it; all times are monotonic ns.

    ``due_ns`` is when it had to be sent, ``handed_ns`` when this process was about to, ``sent_ns`` when the
    connection took it (either 0: never). ``reads`` are the pieces of the response with their stamps, and
    ``since_ns`` has for each of them a moment at which nothing of it had arrived. ``failure`` is
    ``kind: detail`` if the exchange broke off.
    """

    request: Request
    due_ns: int
    handed_ns: int
    sent_ns: int
    ended_ns: int
    reads: tuple[tuple[int, bytes], ...]
    since_ns: tuple[int, ...]
    failure: str | None


@dataclass(frozen=True)
class Drive:
    """All that one run of the driver brought."""

    exchanges: list[Exchange]
    started_ns: int
    ended_ns: int
    cpu_s: float
    """CPU seconds that this process used meanwhile."""
    read_lags_ns: list[int]
    """How long data had been there when it was read, for each read; empty without kernel stamps."""
    clock_drift_ns: int
    """By how much real time and monotonic time moved against each other."""


class Driver:
    """Drives load against one target.

    ``watch(sent, ended)`` is called now and then while there is time for it; what it raises ends the run.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout_s: float,
        limit_bytes: int,
        watch: Watch = lambda sent, ended: None,
    ) -> None:
        self._target = target
        self._timeout_ns = round(timeout_s * 1e9)
        self._limit_bytes = limit_bytes
        self._watch = watch

    def open_loop(
        self, requests: Sequence[Request], offsets_s: Sequence[float], start_ns: int | None = None
    ) -> Drive:
        """Send request i at ``offsets_s[i]`` seconds after ``start_ns`` (None: as soon as can be), come what
        may."""
        with self._loop() as loop:
            account = _Account()
            start = start_ns or time.monotonic_ns() + OPEN_AHEAD_NS + 10_000_000
            loop.schedule(
                (start + round(offset * 1e9), request)
                for offset, request in zip(offsets_s, requests, strict=True)
            )
            while loop.is_busy:
                loop.turn()
            return account.drive(loop.connections, start)

    def closed_loop(
        self,
        requests: Iterator[Request],
        concurrency: int,
        *,
        duration_s: float | None,
        count: int | None,
        start_ns: int | None = None,
    ) -> Drive:
        """Keep ``concurrency`` requests under way until ``duration_s`` passed or ``count`` were sent.

        A request is due when its connection stands, which is opened when the request before it ended.
        Stops early after 20 failures in a row on every stream: nobody is there.
        """
        if duration_s is None and count is None:
            raise ValueError("a closed loop needs a duration or a number of requests")
        stock = max(_STOCK, 4 * concurrency)
        ready = deque(itertools.islice(requests, stock if count is None else min(stock, count)))
        with self._loop() as loop:
            account = _Account()
            start = max(start_ns or 0, time.monotonic_ns())
            time.sleep(max(0, start - time.monotonic_ns()) / 1e9)
            deadline = start + round(duration_s * 1e9) if duration_s is not None else None
            slots = iter(itertools.count() if count is None else range(count))

            def more() -> None:
                if (deadline is None or time.monotonic_ns() < deadline) and next(slots, None) is not None:
                    loop.send_when_open(ready.popleft() if ready else next(requests))

            for _ in range(concurrency):
                more()
            is_hopeless = False
            while loop.is_busy:
                loop.turn()
                is_hopeless = is_hopeless or loop.failures_in_a_row >= _HOPELESS * concurrency
                while loop.ended:
                    loop.ended.popleft()
                    if not is_hopeless:
                        more()
            return account.drive(loop.connections, start)

    def _loop(self) -> Loop:
        return Loop(self._target, self._timeout_ns, self._limit_bytes, self._watch)


class _Account:
    """What a run cost, and the clocks around it."""

    def __init__(self) -> None:
        self._cpu_s = _cpu_s()
        self._before = read_offset()

    def drive(self, connections: Sequence[Connection], started_ns: int) -> Drive:
        """What was collected, with all stamps on the monotonic clock."""
        ended_ns = time.monotonic_ns()
        cpu_s = _cpu_s() - self._cpu_s
        clock = ClockMap(self._before, read_offset())
        monotonic: Callable[[int], int] = clock.monotonic_ns if KERNEL_STAMPS else int
        exchanges = [
            Exchange(
                c.request,
                c.due_ns,
                c.handed_ns,
                c.sent_ns,
                c.ended_ns,
                tuple((monotonic(stamp), data) for stamp, _, data in c.reads),
                tuple(since for _, since, _ in c.reads),
                c.failure,
            )
            for c in connections
        ]
        lags = [lag for connection in connections for lag in connection.read_lags_ns]
        return Drive(
            exchanges, started_ns, ended_ns, cpu_s, lags, clock.after.value_ns - clock.before.value_ns
        )


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
