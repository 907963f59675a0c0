"""What is happening now and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_LINE = 100


@dataclass
class _Work:
    """A test: how long one round takes, as declared until it was seen, and how many rounds are left."""

    round_s: float | None
    rounds: int


class Progress:
    """Turns the session's phases into lines.

    ``write(text, transient)`` shows a line; a transient one is overwritten by the next, where the output
    can do that.
    """

    def __init__(self, write: Callable[[str, bool], None]) -> None:
        self._write = write
        self._work: dict[str, _Work] = {}
        self._test: str | None = None
        self._test_began = self._phase_began = time.monotonic()
        self._text = ""
        self._expected_s: float | None = None

    def plan(self, test: str, round_s: float | None, rounds: int) -> None:
        """A test will run ``rounds`` times, about ``round_s`` seconds each (None: who knows)."""
        self._work[test] = _Work(round_s, rounds)

    def begin(self, test: str) -> None:
        """A round of a test begins."""
        self._test, self._test_began = test, time.monotonic()

    def end(self, test: str, *, is_over: bool) -> None:
        """A round of a test has ended, and with ``is_over`` the test."""
        work = self._work.get(test)
        if work is not None and test == self._test:
            work.round_s = time.monotonic() - self._test_began
            work.rounds = 0 if is_over else work.rounds - 1
        self._test = None

    def phase(self, text: str, expected_s: float | None = None) -> None:
        """Something else happens now; a phase that repeats itself word for word is the same one."""
        if text != self._text:
            self._text, self._expected_s, self._phase_began = text, expected_s, time.monotonic()
            lasting = f", about {expected_s:.0f} s" if expected_s else ""
            self._write(f"{text}{lasting}{self._session_left()}", False)

    def tick(self, sent: int, ended: int) -> None:
        """Within a measurement: so many requests were sent, so many have ended."""
        left = ""
        if self._expected_s:
            left_s = max(0.0, self._expected_s - (time.monotonic() - self._phase_began))
            left = f", {left_s:.0f} s left"
        self._write(f"{self._text}: {ended} of {sent} requests answered{left}{self._session_left()}", True)

    def waiting(self, elapsed_s: float, line: str = "") -> None:
        """Within a start: it has taken so long until now; ``line``: how far it came, what it logged last."""
        said = f" · {_shortened(line)}" if line else ""
        self._write(f"{self._text}: {elapsed_s:.0f} s{self._session_left()}{said}", True)

    def _session_left(self) -> str:
        left_s = 0.0
        for test, work in self._work.items():
            if work.rounds > 0:
                if work.round_s is None:
                    return ""
                left_s += work.round_s * work.rounds
                if test == self._test:
                    left_s -= min(work.round_s, time.monotonic() - self._test_began)
        return f" · session about {_duration(left_s)} left" if left_s >= 1 else ""


def _shortened(line: str) -> str:
    """A line of a log as far as it fits on a terminal, without what would move the cursor."""
    printable = " ".join("".join(c if c.isprintable() else " " for c in line).split())
    return printable if len(printable) <= _LINE else printable[: _LINE - 1] + "…"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
