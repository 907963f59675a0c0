"""The row of a terminal that the cursor is in, written over again and again."""

from __future__ import annotations

from typing import TextIO

from pytest_llmperf.report.plain import plainly
from pytest_llmperf.report.progress import Told
from pytest_llmperf.report.width import cells, fitted, width_of

_USUAL = 80


class Row:
    """What is shown there for now."""

    def __init__(self) -> None:
        self._shown = 0

    def show(self, out: TextIO, told: Told, margin: str = "") -> None:
        """Write as much as there is room for over what is there; the cursor never leaves the row."""
        room = _room(out)
        dots = plainly("…", out.encoding)
        text = fitted(plainly(f"{margin}{told.fitted(room - len(margin), dots)}", out.encoding), room, dots)
        self._write(out, text + " " * (min(self._shown, room) - cells(text)))
        self._shown = cells(text)

    def clear(self, out: TextIO, before: str = "") -> None:
        """Have the row as it was when it said ``before``, or the last row of that, if it took several."""
        if not self._shown:
            return
        self._write(out, " " * min(self._shown, _room(out)))
        self._write(out, _last_row(before, _room(out) + 1))
        self._shown = 0

    @staticmethod
    def _write(out: TextIO, text: str) -> None:
        out.write(f"\r{text}")
        out.flush()


def _room(out: TextIO) -> int:
    # A character in the last cell would have some terminals go to the next row.
    return (width_of(out) or _USUAL) - 1


def _last_row(text: str, width: int) -> str:
    row = ""
    for character in text:
        if cells(row) + cells(character) > width:
            row = ""
        row += character
    return row
