"""The selector, the connections on it, what is due and what has to end.

It parses nothing, and no garbage is collected while it runs. Between any two steps it looks for sends that
have come due.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import heapq
import itertools
import resource
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.descriptors import room_for_connections
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.wakeup import fine_timers, sleep_until

OPEN_AHEAD_NS = 50_000_000
_WATCH_EVERY_NS = 200_000_000
_WATCH_NEEDS_NS = 5_000_000
_WATCH_LATEST_NS = 2_000_000_000
_REST_EVERY_NS = 50_000_000
_REST_SHARE = 0.05
_MAX_REST_NS = 500_000
_NEAR_NS = 1_000_000
_LOOK_S = 0.0009
_SILENCE_WEIGHT = 10
"""A time-out without a byte says as much as so many failures that come at once."""

Watch = Callable[[int, int], None]


class Loop:
    """Sends requests when they are due, and reads what comes; a context manager.

    ``watch(sent, ended)`` is called now and then while there is time for it; what it raises ends the run.
    """

    def __init__(self, target: Target, timeout_ns: int, limit_bytes: int, watch: Watch) -> None:
        self.connections: list[Connection] = []
        self.ended: deque[Connection] = deque()
        """Those that ended and that nobody has taken from here yet."""
        self.failures_in_a_row = 0
        self._target, self._timeout_ns, self._limit_bytes = target, timeout_ns, limit_bytes
        self._watch, self._watched_ns = watch, time.monotonic_ns()
        self._sent = self._done = 0
        self._selector = selectors.DefaultSelector()
        self._active: set[Connection] = set()
        self._order = itertools.count()
        self._to_open: list[tuple[int, int, Request]] = []
        self._to_send: list[tuple[int, int, Connection]] = []
        self._when_open: set[Connection] = set()
        self._deadlines: deque[tuple[int, Connection]] = deque()
        self._next_due_ns: float = float("inf")
        self._polled_ns = time.monotonic_ns()
        self._rest_ns = self._rested_ns = self._reads = 0
        self._found = False
        self._conditions = contextlib.ExitStack()

    def __enter__(self) -> Loop:
        self._conditions.enter_context(room_for_connections())
        self._conditions.enter_context(fine_timers())
        self._conditions.enter_context(_no_collection())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._active:
            connection.close()
        self._conditions.close()
        self._selector.close()

    @property
    def is_busy(self) -> bool:
        """Whether anything is still to be sent or under way."""
        return bool(self._to_open or self._to_send or self._active)

    def begun(self) -> int:
        """How many requests have had their first event, or have ended."""
        return self._done + sum(connection.has_begun for connection in self._active)

    def schedule(self, due: Iterable[tuple[int, Request]]) -> None:
        """Send each request at its monotonic time in ns; its connection is opened ahead of that."""
        for due_ns, request in due:
            heapq.heappush(self._to_open, (due_ns, next(self._order), request))
        self._note_next()

    def send_no_more(self) -> None:
        """Forget what is scheduled; what has a connection already is still sent."""
        self._to_open.clear()
        self._note_next()

    def send_when_open(self, request: Request, not_before_ns: int = 0) -> None:
        """Open a connection now; the request is due when it stands, and at ``not_before_ns``."""
        connection = self._open(request, max(not_before_ns, time.monotonic_ns()))
        if not connection.is_ended:
            self._when_open.add(connection)

    def send_due(self) -> None:
        """Send what is due now, if anything is."""
        if (now := time.monotonic_ns()) >= self._next_due_ns:
            self._send_due(now)

    def turn(self) -> None:
        """Wait for what is due next or for sockets, send what is due, and serve those that are ready."""
        until = self._sleep_until(time.monotonic_ns())
        self.send_due()
        self._expire(time.monotonic_ns())
        if not self.is_busy:
            return
        polled_ns = self._polled_ns
        ready = self._look(until)
        self._found = bool(ready)
        for key, mask in ready:
            connection = key.data
            if mask & selectors.EVENT_WRITE and not connection.is_ended:
                connection.on_writable()
            if mask & selectors.EVENT_READ and not connection.is_ended:
                connection.on_readable(polled_ns)
            is_settled = key.events == selectors.EVENT_READ and connection.sent_ns
            if not is_settled or connection.is_ended or connection.wants_write:
                self._update(connection, key.events)
            self.send_due()
            self._reads += 1

    # -- sending ------------------------------------------------------------------------------------

    def _send_due(self, now: int) -> None:
        while self._to_send and self._to_send[0][0] <= now:
            due_ns, _, connection = heapq.heappop(self._to_send)
            self._hand(connection, due_ns)
            now = time.monotonic_ns()
        while self._to_open and self._to_open[0][0] - OPEN_AHEAD_NS <= now:
            due_ns, order, request = heapq.heappop(self._to_open)
            connection = self._open(request, due_ns)
            heapq.heappush(self._to_send, (due_ns, order, connection))
            now = time.monotonic_ns()
            if self._to_send[0][0] <= now:
                break
        self._note_next()

    def _note_next(self) -> None:
        send = self._to_send[0][0] if self._to_send else float("inf")
        self._next_due_ns = min(send, self._to_open[0][0] - OPEN_AHEAD_NS if self._to_open else send)

    def _stands(self, connection: Connection) -> None:
        """Its request is due now, or at its own time if that is later."""
        if connection.due_ns <= (now := time.monotonic_ns()):
            self._hand(connection, now)
        else:
            heapq.heappush(self._to_send, (connection.due_ns, next(self._order), connection))
            self._note_next()

    def _hand(self, connection: Connection, due_ns: int) -> None:
        """Send now, or as soon as the connection stands; it counts as due at ``due_ns`` either way."""
        connection.due_ns, connection.handed_ns = due_ns, time.monotonic_ns()
        self._sent += 1
        if connection.is_open and not connection.is_ended:
            connection.send()
            if connection.is_ended or connection.wants_write:
                self._update(connection, selectors.EVENT_READ)

    def _open(self, request: Request, due_ns: int) -> Connection:
        """Begin to open a connection; it may have ended at once."""
        try:
            connection = Connection(self._target, request, self._limit_bytes)
        except OSError as error:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            lack = f"this process's open files (limit {limit}): raise it with ulimit -n, or lower the load"
            if error.errno != errno.EMFILE:
                lack = f"this machine's means ({error.strerror}): lower the load"
            raise InvalidRun(f"{len(self._active)} requests under way exhaust {lack}") from None
        connection.due_ns = due_ns
        self.connections.append(connection)
        self._active.add(connection)
        events = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(connection, events, connection)
        self._deadlines.append((due_ns + self._timeout_ns, connection))
        if connection.is_ended:
            self._forget(connection)  # no selector need ever speak of it
        return connection

    # -- serving ------------------------------------------------------------------------------------

    def _update(self, connection: Connection, events: int) -> None:
        """Bring the selector, which waits for ``events``, up to date with what the connection waits for."""
        if connection.is_ended:
            self._forget(connection)
            return
        if connection.is_open and not connection.sent_ns:
            if connection in self._when_open:
                self._when_open.discard(connection)
                self._stands(connection)
            elif connection.handed_ns:
                connection.send()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_write else 0)
        if wanted != events and not connection.is_ended:
            self._selector.modify(connection, wanted, connection)

    def _forget(self, connection: Connection) -> None:
        if connection in self._active:
            self._selector.unregister(connection)
            connection.close()
            self._active.discard(connection)
            self._when_open.discard(connection)
            self.ended.append(connection)
            self._done += 1
            self.failures_in_a_row = self.failures_in_a_row + 1 if connection.has_failed else 0

    # -- waiting ------------------------------------------------------------------------------------

    def _look(self, until: int) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for sockets, a millisecond at most: what is not ready now had nothing when this began, and the
        less time between two looks, the better that is known."""
        self._polled_ns = now = time.monotonic_ns()
        # Half a millisecond less, because epoll's wrapper rounds up.
        timeout_s = max(0.0, ((until - now) // 1_000_000 - 0.5) / 1e3)
        return self._selector.select(min(timeout_s, _LOOK_S) if self._active else timeout_s)

    def _sleep_until(self, now: int) -> int:
        """Do what there is time for, rest if that saves work, and return when to wake up at the latest."""
        deadline = self._next_deadline()
        until = int(min(now + _WATCH_EVERY_NS, self._next_due_ns, deadline or float("inf")))
        since = now - self._watched_ns
        if since > (_WATCH_EVERY_NS if until - now > _WATCH_NEEDS_NS else _WATCH_LATEST_NS):
            self._watch(self._sent, self._done)
            self._watched_ns = now = time.monotonic_ns()
        if now - self._rested_ns > _REST_EVERY_NS:
            self._rest_ns = self._affordable_rest(now - self._rested_ns)
            self._rested_ns, self._reads = now, 0
        if KERNEL_STAMPS:
            # The stamps do not mind who sleeps, and selectors sleep in whole milliseconds.
            if until - now < _NEAR_NS:
                sleep_until(until)
            elif self._rest_ns and self._found:
                time.sleep(self._rest_ns / 1e9)
        return until

    def _affordable_rest(self, span_ns: int) -> int:
        """How long to let data pile up before the next look at the sockets: a twentieth of the time between
        two reads of one stream, so that hardly ever two of one stream become one."""
        if not self._reads:
            return 0
        return int(min(_MAX_REST_NS, _REST_SHARE * span_ns * len(self._active) / self._reads))

    def _next_deadline(self) -> int | None:
        while self._deadlines and self._deadlines[0][1].is_ended:
            self._deadlines.popleft()
        return self._deadlines[0][0] if self._deadlines else None

    def _expire(self, now: int) -> None:
        while (deadline := self._next_deadline()) is not None and deadline <= now:
            connection = self._deadlines[0][1]
            connection.end(f"timeout: not complete after {self._timeout_ns / 1e9:g} s")
            self._forget(connection)
            self.failures_in_a_row += 0 if connection.reads else _SILENCE_WEIGHT - 1


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection, and none of what there is now when it comes back."""
    # Not what somebody else froze before.
    is_collecting, freezes = gc.isenabled(), gc.get_freeze_count() == 0
    gc.collect()
    if freezes:
        gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if freezes:
            gc.unfreeze()
        if is_collecting:
            gc.enable()
