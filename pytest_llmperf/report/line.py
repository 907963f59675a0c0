"""A line that changes on a terminal, and plain lines elsewhere."""

from __future__ import annotations

from typing import TextIO

from pytest_llmperf.report.plain import show_plainly
from pytest_llmperf.report.progress import Pulse, Told
from pytest_llmperf.report.row import Row
from pytest_llmperf.report.width import changes_in_place


class Line:
    """What is going on now, and what is to stay, on one stream."""

    def __init__(self, out: TextIO) -> None:
        show_plainly(out)
        self._out, self._changes = out, changes_in_place(out)
        self._row, self._pulse = Row(), Pulse()

    def write(self, told: Told, transient: bool) -> None:
        """Show it until something else is to be shown; elsewhere than on a terminal, what is transient is but
        a sign of life now and then."""
        if self._changes:
            self._row.show(self._out, told)
        elif self._pulse.beats(is_transient=transient):
            self.say(str(told))

    def say(self, text: str) -> None:
        """Print ``text`` to stay."""
        self.clear()
        self._out.write(f"llmperf: {text}\n")
        self._out.flush()

    def clear(self) -> None:
        """Take away what was to be shown for a while."""
        self._row.clear(self._out)
