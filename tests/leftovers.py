"""Finds what a run left behind: processes, by a mark in their environment, and open files."""

from __future__ import annotations

import os
import time
from pathlib import Path

MARK = "LEFTOVER_MARK"


def marked(mark: str) -> list[int]:
    """The processes that have ``mark`` in their environment, this one excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{MARK}={mark}".encode() in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


def open_files() -> set[str]:
    """What the open files of this process are, without the one that lists them."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
        except FileNotFoundError:
            continue
    return found


def gone(mark: str, within_s: float = 20.0) -> bool:
    """Whether all marked processes end within a time that is generous on a busy machine."""
    deadline = time.monotonic() + within_s
    while marked(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
