"""A file that a workload names: its lines, and who it is whatever directory it lies in."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pytest_llmperf.declare.lengths import MAX_TOKENS
from pytest_llmperf.errors import DeclarationError


@dataclass(frozen=True)
class DataFile:
    """A text file, known by its name without directories and a hash of its content."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} ({self.digest})"

    def wrong(self, line: int, expected: str) -> NoReturn:
        """Raise :class:`DeclarationError` that names the line and what was expected there."""
        raise DeclarationError(f"{self.name}:{line}: expected {expected}")

    def tokens(self, line: int, name: str, value: Any, least: int = 1) -> int:
        """A number of tokens as a JSON value or a CSV field; 0, where that may be, counts as 1."""
        try:
            number = None if isinstance(value, bool | float) else int(value)
        except (TypeError, ValueError):
            number = None
        if number is None or not least <= number <= MAX_TOKENS:
            self.wrong(line, f"{name} to be a whole number of tokens, at least {least}, found {value!r}")
        return max(1, number)


def read_lines(path: str | os.PathLike[str], what: str) -> tuple[DataFile, list[tuple[int, str]]]:
    """The file and its lines with their numbers, without empty ones.

    A relative path is relative to the current directory. Raises :class:`DeclarationError` for a file that
    is missing, empty or no text in UTF-8.
    """
    if not isinstance(path, str | os.PathLike):
        raise DeclarationError(f"{what}={path!r}: the path of a file")
    where = Path(path)
    try:
        content = where.read_bytes()
    except (OSError, ValueError) as error:
        seen_from = "" if where.is_absolute() else f" (seen from {Path.cwd()})"
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise DeclarationError(f"{what}={str(path)!r}: {why}{seen_from}") from None
    file = DataFile(where.name, hashlib.sha256(content).hexdigest()[:8])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        file.wrong(content.count(b"\n", 0, error.start) + 1, "text in UTF-8")
    # Not splitlines: a JSON string may have a U+2028 in it.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DeclarationError(f"{what}={str(path)!r}: the file is empty")
    return file, lines
