"""Numbers as a terminal can draw them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800


def sparkline(values: Sequence[float], low: float, high: float, width: int = 24) -> str:
    """Bars from ``low`` to ``high``; where there are more values than ``width``, means of neighbours."""
    shares = [(one - low) / (high - low) if high > low else 0.5 for one in binned(values, width)]
    return "".join(_BARS[min(max(int(share * len(_BARS)), 0), len(_BARS) - 1)] for share in shares)


def binned(values: Sequence[float], width: int) -> list[float]:
    """At most ``width`` means of neighbours, in order."""
    count = min(len(values), width)
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    return [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def column(index: int, count: int, width: int) -> int:
    """Where one of ``count`` values is in a chart of ``width`` characters, from 0."""
    return _dot(index, count, width) // 2


def _dot(index: int, count: int, width: int) -> int:
    return 0 if count < 2 else round(index * (2 * width - 1) / (count - 1))


def chart(
    values: Sequence[float],
    lines: Sequence[tuple[int, int, float, float]],
    low: float,
    high: float,
    width: int = 64,
    height: int = 8,
) -> list[str]:
    """Dots of two by four to a character, ``height`` rows of ``width``, the highest first.

    ``lines`` are drawn where no dot is, each from one value's number to another's and from one height to
    another. What is above ``high`` or below ``low`` is an arrow at the edge.
    """
    count, rows = len(values), 4 * height
    cells = [[_BLANK] * width for _ in range(height)]
    marks: dict[tuple[int, int], str] = {}

    def row(value: float) -> int:
        share = (value - low) / (high - low) if high > low else 0.5
        return rows - 1 - min(max(int(share * rows), 0), rows - 1)

    for index, value in enumerate(values):
        at, y = _dot(index, count, width), row(value)
        if value > high or value < low:
            marks[y // 4, at // 2] = "↑" if value > high else "↓"
        cells[y // 4][at // 2] |= _DOTS[at % 2][y % 4]
    for first, last, start, end in lines:
        a, b = column(first, count, width), column(last, count, width)
        for x in range(a, b + 1):
            share = (x - a) / (b - a) if b > a else 0.0
            y = row(start + share * (end - start)) // 4
            if cells[y][x] == _BLANK:
                marks.setdefault((y, x), "─")
    return [
        "".join(
            marks.get((y, x)) or (" " if cell == _BLANK else chr(cell)) for x, cell in enumerate(line)
        ).rstrip()
        for y, line in enumerate(cells)
    ]
