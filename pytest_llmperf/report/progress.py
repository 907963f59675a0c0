"""What is happening now, what is left, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.width import cells, fitted, squeezed

_LINE = 100
"""So much is shown of what somebody else's log says."""
_LONGEST = 200
"""So long is a line that has room for all of it."""
_LEAST = 12
_SOON_S, _DAY_S = 90.0, 86_400.0
_BRIEF_S = 0.5
_BEAT_S = 60.0


@dataclass(frozen=True)
class Told:
    """A line of progress: what is happening, how far it came, which one it is of how many, and when all will
    be over, the last three in a longer and a shorter form; ``aside``: what is logged meanwhile."""

    what: str
    far: tuple[str, str] = ("", "")
    place: tuple[str, str] = ("", "")
    end: tuple[str, str] = ("", "")
    aside: str = ""

    def __str__(self) -> str:
        return squeezed(self._with(0, 0, 0, self.aside), _LONGEST)

    def fitted(self, width: int, dots: str = "…") -> str:
        """As much of it as ``width`` cells hold: first others' words go, then long forms become short, then
        the name of what is happening does."""
        if self.aside and (room := width - cells(self._with(0, 0, 0, "")) - 3) >= _LEAST:
            return self._with(0, 0, 0, fitted(self.aside, room, dots))
        forms = ((0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 2, 1))
        for line in (self._with(*form) for form in forms):
            if cells(line) <= width:
                return line
        rest = cells(self._with(1, 2, 1)) - cells(self.what)
        if width - rest >= _LEAST:
            return Told(squeezed(self.what, width - rest, dots), self.far, ("", ""), self.end)._with(1, 2, 1)
        return squeezed(f"{self.what}{self.far[1]}", width, dots)

    def _with(self, far: int, place: int, end: int, aside: str = "") -> str:
        parts = f"{self.what}{self.far[far]}", (*self.place, "")[place], self.end[end], aside
        return " · ".join(filter(None, parts))


class Pulse:
    """Says when it is time for a sign of life, where a line that changes cannot be seen."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beats(self, *, is_transient: bool) -> bool:
        """Whether to show a line now: what is transient, if nothing was shown for a minute."""
        is_due = not is_transient or time.monotonic() - self._last >= _BEAT_S
        if is_due:
            self._last = time.monotonic()
        return is_due


@dataclass
class _Work:
    """A test: how long one turn takes, as declared until it was seen, and how many turns are left that are
    sure to come."""

    declared_s: float | None
    turns: int
    seen_s: float | None = None


class Progress:
    """Turns the session's phases into lines.

    ``write(told, transient)`` shows a line; a transient one is overwritten by the next, where the output
    can do that. The time that is left is told as the least there is if some of it is not known.
    """

    def __init__(self, write: Callable[[Told, bool], None]) -> None:
        self._write = write
        self._work: dict[str, _Work] = {}
        self._tests: Sequence[str] = ()
        self._load = 0, 0
        self._is_open = False
        self._leads_s: list[float] = []
        self._test: str | None = None
        self._place = "", ""
        self._test_began = self._phase_began = time.monotonic()
        self._text = ""
        self._expected_s: float | None = None

    # -- what is to come ----------------------------------------------------------------------------

    def plan(self, test: str, turn_s: float | None, turns: int) -> None:
        """A test will run ``turns`` times, about ``turn_s`` seconds each (None: who knows); if it has run
        already, about as long as the last time."""
        known = self._work.get(test)
        self._work[test] = _Work(turn_s, turns, known.seen_s if known else None)

    def begin_round(self, tests: Sequence[str], *, may_go_on: bool) -> None:
        """These tests will be measured, one after the other; ``may_go_on``: perhaps more often than
        planned."""
        self._tests, self._is_open = tests, may_go_on

    def announce(self, text: str) -> None:
        """Say something ahead of all."""
        self._write(Told(printable(text), end=self._end()), False)

    # -- what happens -------------------------------------------------------------------------------

    def begin(self, test: str) -> None:
        """A turn of a test begins."""
        self._test, self._test_began, self._load = test, time.monotonic(), (0, 0)
        self._place = self._places(test)

    def at(self, number: int, of: int) -> None:
        """The test has come to load point ``number`` of so many."""
        self._load = number, of
        if self._test is not None:
            self._place = self._places(self._test)

    def end(self, test: str, *, is_over: bool) -> None:
        """A turn of a test has ended, and with ``is_over`` the test."""
        work = self._work.get(test)
        if work is not None and test == self._test:
            took_s = time.monotonic() - self._test_began
            if work.seen_s is None and work.declared_s is not None and not is_over:
                self._leads_s.append(max(0.0, took_s - work.declared_s))
            work.seen_s = took_s
            work.turns = 0 if is_over else work.turns - 1
        self._test, self._place = None, ("", "")

    def phase(self, text: str, expected_s: float | None = None) -> None:
        """Something else happens now; a phase that repeats itself word for word is the same one."""
        text = printable(text)
        if text != self._text:
            self._text, self._expected_s, self._phase_began = text, expected_s, time.monotonic()
            lasting = f", about {expected_s:.0f} s" if expected_s and expected_s >= _BRIEF_S else ""
            self._write(Told(text, (lasting, ""), self._place, self._end()), False)

    def tick(self, sent: int, ended: int) -> None:
        """Within a measurement: so many requests were sent, so many have ended."""
        left = ""
        if self._expected_s and self._expected_s >= _BRIEF_S:
            left_s = max(0.0, self._expected_s - (time.monotonic() - self._phase_began))
            left = f", {left_s:.0f} s left"
        far = f": {ended} of {sent} requests answered{left}", f": {ended}/{sent}"
        self._write(Told(self._text, far, self._place, self._end()), True)

    def waiting(self, elapsed_s: float, line: str = "") -> None:
        """Within a start: it has taken so long until now; ``line``: how far it came, what it logged last."""
        said = fitted(" ".join(printable(line).split()), _LINE)
        elapsed = f": {elapsed_s:.0f} s"
        self._write(Told(self._text, (elapsed, elapsed), self._place, self._end(), said), True)

    # -- in words -----------------------------------------------------------------------------------

    def _places(self, test: str) -> tuple[str, str]:
        number, of = self._load
        load = f"load {number} of {of}" if of > 1 else ""
        if len(self._tests) < 2 or test not in self._tests:
            return load, f"{number}/{of}" if load else ""
        at = self._tests.index(test) + 1
        return (
            ", ".join(filter(None, (f"test {at} of {len(self._tests)}", load))),
            f"{at}/{len(self._tests)}",
        )

    def _end(self) -> tuple[str, str]:
        left_s, is_least = self._left()
        if left_s < 1:
            return "", ""
        left = duration(left_s)
        if left_s < _SOON_S:
            return (
                (f"at least {left} left", f"{left}+ left")
                if is_least
                else (f"about {left} left", f"{left} left")
            )
        until = clock(left_s)
        if is_least:
            return f"at least {left} left, until {until} or later", f"until {until}+"
        return f"{left} left, until about {until}", f"until {until}"

    def _left(self) -> tuple[float, bool]:
        """The seconds that are left, and whether that is only what is known of them."""
        left_s, is_least = 0.0, self._is_open
        # Before its first turn a test is known as declared, without the warm-up, say; by the least that the
        # tests until now took longer than that, others will, too.
        lead_s = min(self._leads_s) if len(self._leads_s) > 1 else None
        for test, work in self._work.items():
            if work.turns <= 0:
                continue
            turn_s = work.seen_s
            if turn_s is None:
                is_least |= lead_s is None or work.declared_s is None
                turn_s = (lead_s or 0.0) + (work.declared_s or 0.0)
            left_s += turn_s * work.turns
            if test == self._test:
                left_s -= min(turn_s, time.monotonic() - self._test_began)
        return left_s, is_least


def clock(seconds: float) -> str:
    """What the clock on the wall will say by then: ``14:32``, with the day if it is not within a day."""
    return time.strftime("%H:%M" if seconds < _DAY_S else "%a %H:%M", time.localtime(time.time() + seconds))


def duration(seconds: float) -> str:
    """``45 s``, ``1 min 30 s``, ``2 h 05 min``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
