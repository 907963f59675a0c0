"""Open and closed loops: when requests are sent, and what came back, undecoded."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmperf.load.account import Account, Meter
from pytest_llmperf.load.backlog import Backlog
from pytest_llmperf.load.clock import ClockMap
from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.loop import OPEN_AHEAD_NS, Loop, Watch
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.wakeup import sleep_until

_HOPELESS = 20
_STOCK = 256
_LEAD_NS = 10_000_000

Then = Callable[[Connection], tuple[Request, float] | None]
"""What follows an ended exchange: a request, and the seconds from that end until it is due."""


@dataclass(frozen=True)
class Drive:
    """All that one run of the driver brought; ``gave_up`` if it sent less than it was to, since the queue
    grew without bound."""

    exchanges: list[Exchange]
    account: Account
    gave_up: bool = False


class Driver:
    """Drives load against one target.

    ``watch(sent, ended)`` is called now and then while there is time for it; what it raises ends the run.
    ``then`` makes a conversation of requests that follow from each other's answers.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout_s: float,
        limit_bytes: int,
        watch: Watch = lambda sent, ended: None,
        then: Then = lambda ended: None,
    ) -> None:
        self._target = target
        self._timeout_ns = round(timeout_s * 1e9)
        self._limit_bytes = limit_bytes
        self._watch = watch
        self._then = then

    def open_loop(
        self,
        requests: Sequence[Request],
        offsets_s: Sequence[float],
        start_ns: int | None = None,
        backlog: Backlog | None = None,
    ) -> Drive:
        """Send request i at ``offsets_s[i]`` seconds after ``start_ns`` (None: as soon as can be), come what
        may; or until ``backlog`` says that the queue grows without bound. What was sent is waited for."""
        gave_up = False

        def watch(sent: int, ended: int) -> None:
            nonlocal gave_up
            self._watch(sent, ended)
            if backlog is not None and not gave_up:
                gave_up = backlog.see((time.monotonic_ns() - start) / 1e9, sent, loop.begun())
                if gave_up:
                    loop.send_no_more()

        with self._loop(watch) as loop:
            meter = Meter()
            start = start_ns or time.monotonic_ns() + OPEN_AHEAD_NS + _LEAD_NS
            loop.schedule(
                (start + round(offset * 1e9), request)
                for offset, request in zip(offsets_s, requests, strict=True)
            )
            while loop.is_busy:
                loop.turn()
                while loop.ended:
                    ended = loop.ended.popleft()
                    if not gave_up:
                        self._follow(loop, ended)
                    loop.send_due()
            return _drive(meter, loop.connections, start, gave_up=gave_up)

    def closed_loop(
        self,
        requests: Iterator[Request],
        concurrency: int,
        *,
        duration_s: float | None,
        count: int | None,
        start_ns: int | None = None,
        stock: int = 0,
    ) -> Drive:
        """Keep ``concurrency`` requests under way until ``duration_s`` passed or ``count`` were sent.

        A request is due when its connection stands, which is opened when the request before it ended.
        ``stock`` of them at least are built beforehand. Stops early after 20 failures in a row on every
        stream, or two time-outs without a byte: nobody is there.
        """
        if duration_s is None and count is None:
            raise ValueError("a closed loop needs a duration or a number of requests")
        stock = max(_STOCK, 4 * concurrency, stock)
        ready = deque(itertools.islice(requests, stock if count is None else min(stock, count)))
        with self._loop(self._watch) as loop:
            meter = Meter()
            start = max(start_ns or 0, time.monotonic_ns())
            sleep_until(start)
            deadline = start + round(duration_s * 1e9) if duration_s is not None else None
            slots = iter(itertools.count() if count is None else range(count))

            def more(ended: Connection | None = None) -> None:
                is_over = deadline is not None and time.monotonic_ns() >= deadline
                if is_over or next(slots, None) is None or (ended and self._follow(loop, ended, deadline)):
                    return
                loop.send_when_open(ready.popleft() if ready else next(requests))

            for _ in range(concurrency):
                more()
            is_hopeless = False
            while loop.is_busy:
                loop.turn()
                is_hopeless = is_hopeless or loop.failures_in_a_row >= _HOPELESS * concurrency
                while loop.ended:
                    ended = loop.ended.popleft()
                    if not is_hopeless:
                        more(ended)
            return _drive(meter, loop.connections, start)

    def _follow(self, loop: Loop, ended: Connection, deadline_ns: int | None = None) -> bool:
        """Schedule what follows from this exchange, unless that is due after the deadline; False if nothing
        does."""
        if (following := self._then(ended)) is None:
            return False
        request, pause_s = following
        due_ns = ended.ended_ns + round(pause_s * 1e9)
        if deadline_ns is not None and due_ns >= deadline_ns:
            return True
        if due_ns - time.monotonic_ns() > OPEN_AHEAD_NS:
            loop.schedule([(due_ns, request)])
        else:  # too late to open a connection ahead: it does not count as the server's time to answer
            loop.send_when_open(request, due_ns)
        return True

    def _loop(self, watch: Watch) -> Loop:
        return Loop(self._target, self._timeout_ns, self._limit_bytes, watch)


def _drive(
    meter: Meter, connections: Sequence[Connection], started_ns: int, *, gave_up: bool = False
) -> Drive:
    """What was collected, with all stamps on the monotonic clock."""
    lags = [lag for connection in connections for lag in connection.read_lags_ns]
    account, after = meter.stop(started_ns, lags)
    clock = ClockMap(meter.before, after)
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
    return Drive(exchanges, account, gave_up)
