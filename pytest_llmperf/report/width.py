"""How wide text is on a terminal, in cells, and text that is made to fit."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from itertools import accumulate, takewhile
from typing import TextIO

NARROWEST = 20
"""Terminals that say that they are narrower are taken to be so wide."""
_USUAL = 80
_HARDLY_ANY = 8


def cells(text: str) -> int:
    """How many cells a terminal gives to ``text``: two to each wide character of East Asia and each emoji,
    none to what combines with the character before it (Unicode Standard Annex #11)."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc") or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fitted(text: str, width: int, dots: str = "…") -> str:
    """``text`` in no more than ``width`` cells, cut at its end."""
    if cells(text) <= width:
        return text
    return _begin(text, width - cells(dots)) + dots if width >= cells(dots) else ""


def squeezed(text: str, width: int, dots: str = "…") -> str:
    """``text`` in no more than ``width`` cells, cut in the middle: names of tests differ at their ends."""
    if cells(text) <= width:
        return text
    room = width - cells(dots)
    if room < _HARDLY_ANY:
        return fitted(text, width, dots)
    end = _begin(text[::-1], room // 2)[::-1]
    while end and not _cell(end[0]):  # what it combines with is cut off
        end = end[1:]
    return _begin(text, room - cells(end)) + dots + end


def _begin(text: str, width: int) -> str:
    taken = takewhile(lambda so_far: so_far <= width, accumulate(map(_cell, text)))
    return text[: sum(1 for _ in taken)]


def wrapped(text: str, width: int | None, indent: str = "  ") -> list[str]:
    """``text`` in lines of no more than ``width`` cells, the first as it is, those below indented by as much
    more; a word that is longer than a line is broken. None: in one line."""
    if width is None or cells(text) <= width:
        return [text]
    margin = text[: len(text) - len(text.lstrip(" "))]
    return list(_lines(text.split(), margin[: width // 4], f"{margin}{indent}"[: width // 2], width))


def _lines(words: list[str], margin: str, later: str, width: int) -> Iterator[str]:
    line, is_empty = margin, True
    for word in words:
        if not is_empty and cells(line) + 1 + cells(word) > width:
            yield line
            line, is_empty = later, True
        if not is_empty:
            word = f" {word}"
        while cells(line) + cells(word) > width and (part := _begin(word, width - cells(line))):
            yield line + part
            line, word = later, word[len(part) :]
        line, is_empty = line + word, False
    yield line


def padded(text: str, width: int, *, right: bool = False) -> str:
    """``text`` with blanks after it, or with ``right`` before it, up to ``width`` cells."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def width_of(stream: TextIO) -> int | None:
    """How many cells a row has now on the terminal that ``stream`` is written to, but no more than COLUMNS
    says, which counts elsewhere too; None: nobody knows."""
    said = os.environ.get("COLUMNS", "")
    known = [int(said)] if said.isascii() and said.isdecimal() else []
    if stream.isatty():
        with contextlib.suppress(OSError, ValueError):  # a terminal in name only has no size
            known.append(os.get_terminal_size(stream.fileno()).columns)
        if not any(known):
            known = [_USUAL]
    return max(NARROWEST, min(filter(None, known))) if any(known) else None


def changes_in_place(stream: TextIO) -> bool:
    """Whether a line can be written over where ``stream`` is shown."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
