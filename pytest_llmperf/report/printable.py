"""Text of others, commits' authors say, without what would move the cursor or turn the line round."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence


def printable(text: str, most: int | None = None) -> str:
    """``text`` on one line, with a space for whatever is not printable; cut after ``most`` characters."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"


TYPED = 2000
"""Characters of a command that are shown."""


def instead_of(command: str) -> str | None:
    """What is said of a command that is too long to show: cut, it would be another. None: show it."""
    return f"a command of {len(command)} characters, too many to show them" if len(command) > TYPED else None


def typed_words(words: Sequence[str]) -> str:
    """A command as a shell takes it; what is not printable is written as bash's ``$'\\x1b'``."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    try:
        encoded = os.fsencode(word)
    except UnicodeEncodeError:  # half a character, which no file is called by
        encoded = word.encode(errors="surrogatepass")
    return "$'" + "".join(map(_sign, encoded)) + "'"


def _sign(byte: int) -> str:
    if chr(byte) in "\\'":
        return f"\\{chr(byte)}"
    return chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"
