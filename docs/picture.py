"""Draws what a terminal showed: reads it, colours and all, and writes an SVG, readable on light and on dark.

pytest --llmperf --color=yes | python docs/picture.py 'pytest --llmperf' > docs/terminal.svg
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html import escape

_COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#76e3ea"}
_WIDTH, _HEIGHT, _MARGIN = 7.83, 18, 16
_FONT = "13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def picture(text: str, title: str) -> str:
    """The SVG of lines with escape sequences for colours; every character has a column of its own."""
    lines = text.expandtabs().splitlines()
    columns = max(len("".join(part for part, _ in _parts(line))) for line in [title, *lines])
    width, height = round(columns * _WIDTH) + 2 * _MARGIN, (len(lines) + 2) * _HEIGHT + 2 * _MARGIN
    rows = [_row(f"\x1b[36m$\x1b[0m {title}", 0), *(_row(line, n) for n, line in enumerate(lines, 2))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
            f"<title>{escape(title)}</title>",
            f"<desc>Drawn by: {escape(title)} --color=yes | python docs/picture.py …</desc>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117" stroke="#444c56"/>',
            f'<g style="font:{_FONT};white-space:pre" fill="#d1d7de" xml:space="preserve">',
            *filter(None, rows),
            "</g>\n</svg>\n",
        ]
    )


def _row(line: str, number: int) -> str:
    y, column, spans = _MARGIN + (number + 0.75) * _HEIGHT, 0, []
    for part, codes in _parts(line):
        fill = next((f' fill="{_COLOURS[code]}"' for code in codes if code in _COLOURS), "")
        bold = ' font-weight="bold"' if "1" in codes else ""
        # Wherever the font is another one, columns still stand below each other.
        for word in re.finditer(r"\S+(?: \S+)*", part):
            x, wide = _MARGIN + (column + word.start()) * _WIDTH, len(word[0]) * _WIDTH
            spans.append(
                f'<tspan x="{x:.1f}" textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs"{fill}{bold}>'
                f"{escape(word[0])}</tspan>"
            )
        column += len(part)
    return f'<text y="{y:g}">{"".join(spans)}</text>' if spans else ""


def _parts(line: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Text and the codes that are in force for it."""
    codes: tuple[str, ...] = ()
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        if piece.startswith("\x1b["):
            said = tuple(piece[2:-1].split(";"))
            codes = () if said in (("0",), ("",)) else codes + said
        elif piece:
            yield piece, codes


if __name__ == "__main__":
    sys.stdout.write(picture(sys.stdin.read(), sys.argv[1]))
