"""What the cache of environments takes, and keeping it below a size.

What was not used for the longest goes first; how long that is, the time of an environment's ``pyvenv.cfg``
says. What a test run uses stays, and so does what somebody builds: see :mod:`~pytest_llmperf.places.isolated`
for the locks that tell. What a build left that was killed goes after a day.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.places.isolated import remove, try_lock, unused

_LEFTOVER_S = 24 * 3600.0


@dataclass(frozen=True)
class Stored:
    """One environment in the cache, or what a build left of one.

    ``size`` is in bytes on the disk, ``used`` when it was used last, in seconds since the epoch.
    """

    directory: Path
    size: int
    used: float
    is_complete: bool

    @property
    def name(self) -> str:
        return self.directory.parent.name


def stored(cache: Path) -> list[Stored]:
    """What is in the cache, what was used last first. Raises :class:`OSError`."""
    complete = set(_complete(cache))
    found = []
    for directory in (entry for slot in cache.iterdir() if slot.is_dir() for entry in slot.iterdir()):
        if not directory.is_dir():
            continue
        with contextlib.suppress(FileNotFoundError):  # removed by another test run meanwhile
            found.append(
                Stored(directory, _size(directory), _used(directory), directory.resolve() in complete)
            )
    return sorted(found, key=lambda one: one.used, reverse=True)


def prune(cache: Path, limit: int) -> list[Stored]:
    """Remove what has to go for ``cache`` to take no more than ``limit`` bytes, and what builds left that
    were killed; returns what is gone. Raises :class:`OSError` if the cache cannot be read."""
    gone = []
    found = stored(cache)
    total = sum(one.size for one in found)
    for one in reversed(found):
        is_leftover = not one.is_complete and time.time() - one.used > _LEFTOVER_S
        if (is_leftover or (one.is_complete and total > limit)) and _remove(one):
            gone.append(one)
            total -= one.size
    return gone


def _remove(one: Stored) -> bool:
    """Whether it could be removed: neither its builder nor a test run has it."""
    slot = one.directory.parent
    try:
        with (slot / "lock").open("a") as lock:
            if not try_lock(lock.fileno()):
                return False
            if not one.is_complete:
                remove(one.directory)
                return not one.directory.exists()
            with unused(one.directory) as is_unused:
                if is_unused:
                    _forget(one.directory)
                    remove(one.directory)
                return is_unused and not one.directory.exists()
    except OSError:
        return False


def _forget(directory: Path) -> None:
    """Name it no longer in its own slot; where another names it, it will be found to be gone."""
    ready = directory.parent / "ready.json"
    if _named(ready) == directory.resolve():
        ready.unlink(missing_ok=True)


def _complete(cache: Path) -> Iterator[Path]:
    for ready in cache.glob("*/ready.json"):
        if (named := _named(ready)) is not None:
            yield named


def _named(ready: Path) -> Path | None:
    """The environment that a slot's file names."""
    try:
        return Path(json.loads(ready.read_text(encoding="utf-8"))["environment"]).resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _used(directory: Path) -> float:
    try:
        return (directory / "pyvenv.cfg").stat().st_mtime
    except FileNotFoundError:
        return directory.stat().st_mtime


def _size(directory: Path) -> int:
    """Bytes on the disk, each file once, also where it is linked from elsewhere."""
    total, seen = 0, set[tuple[int, int]]()
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(place, name))
                if (known := (status.st_dev, status.st_ino)) not in seen:
                    seen.add(known)
                    total += status.st_blocks * 512
    return total


def readable(size: int) -> str:
    """``2.5 GB``, ``340 MB``."""
    for unit, bytes_of in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= bytes_of:
            return f"{size / bytes_of:.3g} {unit}"
    return f"{size / 1000:.3g} kB"
