"""Text for streams that cannot show all of it: a build's log in ASCII, a terminal of an old code page."""

from __future__ import annotations

import codecs
import io
from typing import TextIO

_NAME = "llmperf-plain"
# The marks in a table are as wide as what they stand for.
_PLAIN = dict(zip("✓✗▲–·…×−’", "=!^--~x-'", strict=True)) | {
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "µ": "u",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    shown = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in unknown)
    return "".join(shown), error.end


codecs.register_error(_NAME, _plain)


def plainly(text: str, encoding: str | None) -> str:
    """``text`` as a stream with this encoding shows it: other words for what it has not, code points for
    letters of others' names."""
    return text.encode(encoding or "utf-8", _NAME).decode(encoding or "utf-8")


def show_plainly(stream: TextIO | None) -> None:
    """Have ``stream`` show what it cannot in other words, in place of an error."""
    if isinstance(stream, io.TextIOWrapper) and plainly("".join(_PLAIN), stream.encoding) != "".join(_PLAIN):
        stream.reconfigure(errors=_NAME)
