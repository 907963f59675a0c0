"""What is happening now and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Turns the session's phases into lines.

    ``write(text, transient)`` shows a line; a transient one is overwritten by the next, where the output
    can do that. ``work_s`` is the time that all tests together will drive load, as far as is known.
    """

    def __init__(self, write: Callable[[str, bool], None]) -> None:
        self.work_s = 0.0
        self._write = write
        self._began = time.monotonic()
        self._done_s = 0.0
        self._text = ""
        self._phase_began = self._began
        self._expected_s: float | None = None

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

    def waiting(self, elapsed_s: float) -> None:
        """Within a start: it has taken so long until now."""
        self._write(f"{self._text}: {elapsed_s:.0f} s{self._session_left()}", True)

    def done(self, expected_s: float) -> None:
        """A load point of this expected time was measured."""
        self._done_s += expected_s

    def _session_left(self) -> str:
        if not self._done_s or self.work_s <= self._done_s:
            return ""
        pace = (time.monotonic() - self._began) / self._done_s
        left_s = (self.work_s - self._done_s) * pace
        return f" · session about {_duration(left_s)} left"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
