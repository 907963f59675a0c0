"""pytest on a pseudo-terminal, and what is seen there in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

_OURS = ("COLUMNS", "NO_COLOR", "PYTEST_ADDOPTS", "PY_COLORS", "FORCE_COLOR")


def run_on_a_terminal(directory: Path, columns: int, *args: str, **variables: str) -> tuple[str, int]:
    """Run pytest on a terminal of so many columns; all that it wrote there, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *args],
        cwd=directory,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm", "PYTHONUTF8": "1", **variables},
    )
    os.close(theirs)
    written = b""
    with os.fdopen(ours, "rb", buffering=0) as screen:
        while True:
            try:
                piece = screen.read(65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            written += piece
    return written.decode(), process.wait(60)


def shown(written: str) -> list[str]:
    """The lines as they stand in the end, after all that was written over."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        cells: list[str] = []
        for piece in line.split("\r"):
            cells[: len(piece)] = piece
        lines.append("".join(cells).rstrip())
    return lines


def without_colours(text: str) -> str:
    """The text alone."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
