"""The loop that sends requests when they are due and collects what comes back.

One thread, one selector. Nothing is parsed and no garbage is collected while it runs; connections are
opened ahead of their request. In the open loop nothing but the clock decides when a request is sent.
"""

from __future__ import annotations

import errno
import gc
import itertools
import resource
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.clock import ClockMap, read_offset
from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.target import Target

_OPEN_AHEAD_NS = 50_000_000
_WATCH_EVERY_NS = 200_000_000
_WATCH_NEEDS_NS = 5_000_000
_WATCH_LATEST_NS = 2_000_000_000
_HOPELESS = 20
_STOCK = 256


@dataclass(frozen=True)
class Exchange:
    """One request and the raw response to it; all times are monotonic ns.

    ``due_ns`` is when it had to be sent, ``handed_ns`` when this process was about to, ``sent_ns`` when the
    connection took it (either 0: never); ``reads`` are the stamped
    pieces of the response. ``failure`` is ``kind: detail`` if the exchange broke off.
    """

    due_ns: int
    handed_ns: int
    sent_ns: int
    ended_ns: int
    reads: tuple[tuple[int, bytes], ...]
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
        watch: Callable[[int, int], None] = lambda sent, ended: None,
    ) -> None:
        self._target = target
        self._timeout_ns = round(timeout_s * 1e9)
        self._limit_bytes = limit_bytes
        self._watch = watch

    def open_loop(self, requests: Sequence[bytes], offsets_s: Sequence[float]) -> Drive:
        """Send request i at ``offsets_s[i]`` seconds (ascending), come what may."""
        with _Loop(self._target, self._timeout_ns, self._limit_bytes, self._watch) as loop:
            start = time.monotonic_ns() + _OPEN_AHEAD_NS + 10_000_000
            due = [start + round(offset * 1e9) for offset in offsets_s]
            opened: list[Connection] = []
            unsent = deque(zip(due, requests, strict=True))
            while unsent or loop.active:
                now = time.monotonic_ns()
                while len(opened) < len(due) and due[len(opened)] - _OPEN_AHEAD_NS <= now:
                    opened.append(loop.open())
                while unsent and unsent[0][0] <= now and (index := len(due) - len(unsent)) < len(opened):
                    moment, request = unsent.popleft()
                    loop.send(opened[index], request, moment)
                    now = time.monotonic_ns()
                wake = [unsent[0][0]] if unsent else []
                if len(opened) < len(due):
                    wake.append(due[len(opened)] - _OPEN_AHEAD_NS)
                loop.turn(min(wake, default=None))
            return loop.drive(opened, start)

    def closed_loop(
        self, requests: Iterator[bytes], concurrency: int, *, duration_s: float | None, count: int | None
    ) -> Drive:
        """Keep ``concurrency`` requests under way until ``duration_s`` passed or ``count`` were sent.

        A request is due when its connection stands, which is opened when the request before it ended.
        Stops early after 20 failures in a row on every stream: nobody is there.
        """
        if duration_s is None and count is None:
            raise ValueError("a closed loop needs a duration or a number of requests")
        stock = max(_STOCK, 4 * concurrency)
        ready = deque(itertools.islice(requests, stock if count is None else min(stock, count)))
        with _Loop(self._target, self._timeout_ns, self._limit_bytes, self._watch) as loop:
            start = time.monotonic_ns()
            deadline = start + round(duration_s * 1e9) if duration_s is not None else None
            slots = iter(itertools.count() if count is None else range(count))
            opened: list[Connection] = []
            waiting: list[Connection] = []

            def more() -> None:
                if (deadline is None or time.monotonic_ns() < deadline) and next(slots, None) is not None:
                    connection = loop.open()
                    opened.append(connection)
                    waiting.append(connection)

            is_hopeless = False
            for _ in range(concurrency):
                more()
            while loop.active:
                ended_before = loop.ended
                for connection in [c for c in waiting if c.is_open or c.is_ended]:
                    waiting.remove(connection)
                    if not connection.is_ended:
                        request = ready.popleft() if ready else next(requests)
                        loop.send(connection, request, time.monotonic_ns())
                loop.turn(None)
                is_hopeless = is_hopeless or loop.failures_in_a_row >= _HOPELESS * concurrency
                if not is_hopeless:
                    for _ in range(loop.ended - ended_before):
                        more()
            return loop.drive(opened, start)


class _Loop:
    """The selector, the connections on it, and the deadlines."""

    def __init__(
        self, target: Target, timeout_ns: int, limit_bytes: int, watch: Callable[[int, int], None]
    ) -> None:
        self.ended = 0
        self.failures_in_a_row = 0
        self.active: set[Connection] = set()
        self._target, self._timeout_ns, self._limit_bytes = target, timeout_ns, limit_bytes
        self._watch, self._watched_ns = watch, time.monotonic_ns()
        self._sent = 0
        self._selector = selectors.DefaultSelector()
        self._deadlines: deque[tuple[int, Connection]] = deque()
        self._unsent: dict[Connection, bytes] = {}
        self._collecting = gc.isenabled()

    def __enter__(self) -> _Loop:
        gc.collect()
        self._frozen = gc.get_freeze_count() == 0
        if self._frozen:
            gc.freeze()
        gc.disable()
        self._cpu_s = _cpu_s()
        self._clock_before = read_offset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self.active:
            connection.close()
        self._selector.close()
        if self._frozen:  # not what somebody else froze before
            gc.unfreeze()
        if self._collecting:
            gc.enable()

    def open(self) -> Connection:
        """Begin to open a connection; it may have ended at once."""
        try:
            connection = Connection(self._target, self._limit_bytes)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise InvalidRun(
                f"{len(self.active)} requests under way exhaust this process's open files (limit {limit}): "
                "raise it with ulimit -n, or lower the load"
            ) from None
        connection.due_ns = time.monotonic_ns()
        self.active.add(connection)
        self._selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        self._deadlines.append((connection.due_ns + self._timeout_ns, connection))
        return connection

    def send(self, connection: Connection, request: bytes, due_ns: int) -> None:
        """Send now, or as soon as the connection stands; it counts as due at ``due_ns`` either way."""
        connection.due_ns, connection.handed_ns = due_ns, time.monotonic_ns()
        self._sent += 1
        if connection.is_ended:
            return
        if connection.is_open:
            connection.send(request)
            self._update(connection)
        else:
            self._unsent[connection] = request

    def turn(self, wake_ns: int | None) -> None:
        """Wait for the sockets, but not beyond ``wake_ns``; serve those that are ready."""
        now = time.monotonic_ns()
        self._expire(now)
        moments = [moment for moment in (wake_ns, self._next_deadline()) if moment is not None]
        if not moments:
            return  # the last one under way has just expired
        until = min(now + _WATCH_EVERY_NS, *moments)
        if now - self._watched_ns > (_WATCH_EVERY_NS if until - now > _WATCH_NEEDS_NS else _WATCH_LATEST_NS):
            self._watch(self._sent, self.ended)
            self._watched_ns = now = time.monotonic_ns()
        free_ms, rest_ns = divmod(max(0, until - now), 1_000_000)
        if free_ms == 0 and rest_ns and KERNEL_STAMPS:
            # Selectors sleep in whole milliseconds. The stamps do not mind who sleeps.
            time.sleep(rest_ns / 1e9)
        # Half a millisecond less, because epoll's wrapper rounds up.
        for key, mask in self._selector.select(max(0.0, (free_ms - 0.5) / 1e3)):
            self._serve(key.data, mask)

    def drive(self, connections: Sequence[Connection], started_ns: int) -> Drive:
        """What was collected, with all stamps on the monotonic clock."""
        ended_ns = time.monotonic_ns()
        cpu_s = _cpu_s() - self._cpu_s
        clock = ClockMap(self._clock_before, read_offset())
        lags = [lag for connection in connections for lag in connection.read_lags_ns]

        def stamped(reads: list[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
            if not KERNEL_STAMPS:
                return tuple(reads)
            return tuple((clock.monotonic_ns(stamp), data) for stamp, data in reads)

        exchanges = [
            Exchange(c.due_ns, c.handed_ns, c.sent_ns, c.ended_ns, stamped(c.reads), c.failure)
            for c in connections
        ]
        drift_ns = clock.after.value_ns - clock.before.value_ns
        return Drive(exchanges, started_ns, ended_ns, cpu_s, lags, drift_ns)

    def _serve(self, connection: Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            connection.on_writable()
        if mask & selectors.EVENT_READ and not connection.is_ended:
            connection.on_readable()
        if connection.is_open and not connection.is_ended and connection in self._unsent:
            connection.send(self._unsent.pop(connection))
        self._update(connection)

    def _update(self, connection: Connection) -> None:
        """Bring the selector up to date with what the connection waits for."""
        if connection.is_ended:
            self._forget(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_write else 0)
        if self._selector.get_key(connection).events != events:
            self._selector.modify(connection, events, connection)

    def _forget(self, connection: Connection) -> None:
        self._selector.unregister(connection)
        connection.close()
        self.active.discard(connection)
        self._unsent.pop(connection, None)
        self.ended += 1
        self.failures_in_a_row = self.failures_in_a_row + 1 if connection.has_failed else 0

    def _next_deadline(self) -> int | None:
        while self._deadlines and self._deadlines[0][1].is_ended:
            self._deadlines.popleft()
        return self._deadlines[0][0] if self._deadlines else None

    def _expire(self, now: int) -> None:
        while (deadline := self._next_deadline()) is not None and deadline <= now:
            connection = self._deadlines[0][1]
            connection.end(f"timeout: not complete after {self._timeout_ns / 1e9:g} s")
            self._forget(connection)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
