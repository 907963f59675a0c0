"""What is happening now and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_LINE = 100


@dataclass
class _Work:
    """A test: how long one turn takes, as declared until it was seen, and how many turns are left that are
    sure to come."""

    turn_s: float | None
    turns: int


class Progress:
    """Turns the session's phases into lines.

    ``write(text, transient)`` shows a line; a transient one is overwritten by the next, where the output
    can do that. ``of`` is what the time that is left is told of: all that is sure to come, and is planned.
    """

    def __init__(self, write: Callable[[str, bool], None]) -> None:
        self.of = "session"
        self._write = write
        self._work: dict[str, _Work] = {}
        self._test: str | None = None
        self._test_began = self._phase_began = time.monotonic()
        self._text = ""
        self._expected_s: float | None = None

    def plan(self, test: str, turn_s: float | None, turns: int) -> None:
        """A test will run ``turns`` times, about ``turn_s`` seconds each (None: who knows); if it has run
        already, about as long as the last time."""
        known = self._work.get(test)
        self._work[test] = _Work(known.turn_s if known else turn_s, turns)

    def begin(self, test: str) -> None:
        """A turn of a test begins."""
        self._test, self._test_began = test, time.monotonic()

    def end(self, test: str, *, is_over: bool) -> None:
        """A turn of a test has ended, and with ``is_over`` the test."""
        work = self._work.get(test)
        if work is not None and test == self._test:
            work.turn_s = time.monotonic() - self._test_began
            work.turns = 0 if is_over else work.turns - 1
        self._test = None

    def phase(self, text: str, expected_s: float | None = None) -> None:
        """Something else happens now; a phase that repeats itself word for word is the same one."""
        if text != self._text:
            self._text, self._expected_s, self._phase_began = text, expected_s, time.monotonic()
            lasting = f", about {expected_s:.0f} s" if expected_s else ""
            self._write(f"{text}{lasting}{self._time_left()}", False)

    def tick(self, sent: int, ended: int) -> None:
        """Within a measurement: so many requests were sent, so many have ended."""
        left = ""
        if self._expected_s:
            left_s = max(0.0, self._expected_s - (time.monotonic() - self._phase_began))
            left = f", {left_s:.0f} s left"
        self._write(f"{self._text}: {ended} of {sent} requests answered{left}{self._time_left()}", True)

    def waiting(self, elapsed_s: float, line: str = "") -> None:
        """Within a start: it has taken so long until now; ``line``: how far it came, what it logged last."""
        said = f" · {_shortened(line)}" if line else ""
        self._write(f"{self._text}: {elapsed_s:.0f} s{self._time_left()}{said}", True)

    def _time_left(self) -> str:
        left_s = 0.0
        for test, work in self._work.items():
            if work.turns > 0:
                if work.turn_s is None:
                    return ""
                left_s += work.turn_s * work.turns
                if test == self._test:
                    left_s -= min(work.turn_s, time.monotonic() - self._test_began)
        return f" · {self.of} about {duration(left_s)} left" if left_s >= 1 else ""


def _shortened(line: str) -> str:
    """A line of a log as far as it fits on a terminal, without what would move the cursor."""
    printable = " ".join("".join(c if c.isprintable() else " " for c in line).split())
    return printable if len(printable) <= _LINE else printable[: _LINE - 1] + "…"


def duration(seconds: float) -> str:
    """``45 s``, ``1 min 30 s``, ``2 h 05 min``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
