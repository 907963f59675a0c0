"""Waking up on time."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterator

_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_SPIN_NS = 50_000


@contextlib.contextmanager
def fine_timers() -> Iterator[None]:
    """Let this thread's sleeps end when they should: Linux grants itself 50 µs more otherwise."""
    if sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None).prctl
    slack_ns = prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0)
    prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_TIMERSLACK, max(1, slack_ns), 0, 0, 0)


def sleep_until(moment_ns: int) -> None:
    """Sleep to a monotonic time; the last 50 µs awake, because waking up takes about as long."""
    rest = moment_ns - _SPIN_NS - time.monotonic_ns()
    if rest > 0:
        time.sleep(rest / 1e9)
    while time.monotonic_ns() < moment_ns:
        pass
