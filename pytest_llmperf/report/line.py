"""A line that changes on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import shutil
from typing import TextIO


class Line:
    """What is going on now, and what is to stay, on one stream."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._is_terminal = out, out.isatty()
        self._shown = 0

    def write(self, text: str, transient: bool) -> None:
        """Show ``text`` until something else is to be shown; elsewhere than on a terminal, what is
        transient is not shown at all."""
        if self._is_terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._out.write(f"\r{text.ljust(self._shown)}")
            self._out.flush()
            self._shown = len(text)
        elif not transient:
            self.say(text)

    def say(self, text: str) -> None:
        """Print ``text`` to stay."""
        self.clear()
        self._out.write(f"llmperf: {text}\n")
        self._out.flush()

    def clear(self) -> None:
        """Take away what was to be shown for a while."""
        if self._shown:
            self._out.write(f"\r{' ' * self._shown}\r")
            self._out.flush()
            self._shown = 0
