"""Who may use what of this machine: exclusive leases, across processes, test runs and users.

A lease is a file that is locked (``flock``) in a directory that all users share. The kernel gives it back
when the last process that holds its descriptor has ended, so it needs no cleaning up. An engine's guardian
holds it too, and so keeps it for as long as the engine takes to end, whatever became of the test run. What is
written in the file only tells others who holds it, and is believed in nothing else.

Anybody may write into the directory, so what is found there is opened without following links, and has to be
an ordinary file of one name. Files stay when a lease ends: only the lock counts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import json
import os
import random
import re
import stat
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.places.process import lineage_of

_POLL_S = 0.25
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SHOWN = 120
_mine: weakref.WeakValueDictionary[str, Lease] = weakref.WeakValueDictionary()


class Lease:
    """A name that nobody else has while this object, or a process that was handed :attr:`fd`, lives."""

    def __init__(self, path: str, fd: int) -> None:
        self.fd = fd
        self._users = 1
        self._close = weakref.finalize(self, os.close, fd)
        _mine[path] = self

    def share(self) -> Lease:
        """The same for another user in this process, who is to release it too."""
        self._users += 1
        return self

    def release(self) -> None:
        """Give it back, as far as this process holds it, with its last user. May be called again then."""
        self._users -= 1
        if self.is_held and self._users <= 0:
            with contextlib.suppress(OSError):  # the name of who held it is a courtesy
                os.ftruncate(self.fd, 0)
            self._close()

    @property
    def is_held(self) -> bool:
        return self._close.alive


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, by their own account; nothing of it may be true."""

    program: str = "a process that did not say who it is"
    pid: int | None = None
    engine: str = ""
    since: float | None = None

    @classmethod
    def read(cls, text: str) -> Holder:
        """From a lease's file, whatever is in it."""
        try:
            told = json.loads(text)
            return cls(
                program=_shown(told["program"]),
                pid=int(told["pid"]),
                engine=_shown(told["engine"]),
                since=float(told["since"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return cls()

    def __str__(self) -> str:
        if self.pid is None:
            return self.program
        parts = [f"pid {self.pid}", self.engine]
        if self.since is not None and 0 <= (held_s := time.time() - self.since) < 1e8:
            parts.append(f"for {_duration(held_s)}")
        gone = "" if Path(f"/proc/{self.pid}").exists() else ", which has ended: its engine is being stopped"
        return (
            f"{self.program} ({', '.join(filter(None, parts))}){gone if Path('/proc/self').exists() else ''}"
        )


class Leases:
    """The leases of one directory; ``timeout_s`` is how long they are waited for."""

    def __init__(self, directory: Path, timeout_s: float = 3600.0) -> None:
        self.directory, self.timeout_s = directory, timeout_s

    def take(
        self,
        names: Mapping[str, str],
        count: int,
        engine: str,
        what: str,
        waiting: Callable[[float, str], None],
    ) -> dict[str, Lease]:
        """``count`` of ``names``, all at once or none, as soon as so many can be had.

        ``names`` maps them to what people call them, and ``what`` is what they are together ("a GPU"). Who
        waits holds nothing, so that two that want several cannot wait for each other. ``waiting`` is told the
        seconds, and in words who is waited for, now and then. Raises :class:`Hindered` when the time is
        up, and :class:`EngineError` at once if the wait would be for this very process or one that waits
        for it.
        """
        began = time.monotonic()
        while True:
            taken: dict[str, Lease] = {}
            holders: dict[str, Holder] = {}
            for name in names:
                if len(holders) > len(names) - count or len(taken) == count:
                    break
                if (lease := self.take_now(name, engine)) is not None:
                    taken[name] = lease
                else:
                    holders[names[name]] = self._holder(name)
            if len(taken) == count:
                return taken
            for lease in taken.values():
                lease.release()
            _refuse_to_wait_for_ourselves(holders, len(names) - count)
            waited_s = time.monotonic() - began
            told = f"{what}: {describe(holders)}"
            if waited_s > self.timeout_s:
                raise Hindered(f"waited {self.timeout_s:g} s (--llmperf-lease-timeout) for {told}")
            waiting(waited_s, told)
            time.sleep(_POLL_S * random.uniform(0.8, 1.2))

    def take_now(self, name: str, engine: str) -> Lease | None:
        """A lease without a wait; None if it is somebody else's. Raises :class:`EngineError`."""
        while True:
            fd = self._open(name)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            except OSError as error:
                os.close(fd)
                raise self._error(name, f"cannot be locked: {error.strerror}") from None
            if self._is_current(name, fd):
                break
            os.close(fd)  # somebody removed the file in between, and locks another one of this name
        _sign(fd, engine)
        return Lease(str(self._path(name)), fd)

    def own(self, name: str) -> Lease | None:
        """The lease of that name that this process holds already."""
        lease = _mine.get(str(self._path(name)))
        return lease if lease is not None and lease.is_held else None

    def _holder(self, name: str) -> Holder:
        """Who holds a lease that could not be had."""
        fd = self._open(name)
        try:
            return Holder.read(os.pread(fd, 4096, 0).decode(errors="replace"))
        except OSError:
            return Holder()
        finally:
            os.close(fd)

    def _path(self, name: str) -> Path:
        return self.directory / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lease"

    def _open(self, name: str) -> int:
        """A descriptor of the file of that name, made if need be."""
        directory = self._open_directory()
        file = self._path(name).name
        try:
            fd = _open_or_create(file, directory)
        except OSError as error:
            raise self._error(name, _why(error)) from None
        finally:
            os.close(directory)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(fd)
            raise self._error(name, "is not an ordinary file of one name")
        return fd

    def _open_directory(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileExistsError):
                self.directory.parent.mkdir(parents=True, exist_ok=True)
                self.directory.mkdir()
                made = os.open(self.directory, flags)
                try:  # for every user, but nobody removes another one's file
                    os.fchmod(made, 0o1777)
                finally:
                    os.close(made)
            return os.open(self.directory, flags)
        except OSError as error:
            raise EngineError(
                f"the directory of leases {self.directory} cannot be used: {_why(error)}; "
                "remove it, or name another with --llmperf-lease-dir"
            ) from None

    def _is_current(self, name: str, fd: int) -> bool:
        try:
            there = os.stat(self._path(name), follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def _error(self, name: str, why: str) -> EngineError:
        return EngineError(
            f"the lease {self._path(name)} {why}; remove that file, or name another directory with "
            "--llmperf-lease-dir"
        )


def describe(holders: Mapping[str, Holder]) -> str:
    """What is leased by whom, as a clause."""
    told: dict[str, list[str]] = {}
    for name, holder in holders.items():
        told.setdefault(str(holder), []).append(name)
    return "; ".join(
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} leased by {holder}"
        for holder, names in told.items()
    )


def _open_or_create(file: str, directory: int) -> int:
    # Not both in one: the kernel refuses O_CREAT for another user's file where all may write.
    while True:
        try:
            return os.open(file, os.O_RDWR | _OPEN, dir_fd=directory)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o666, dir_fd=directory)
                os.fchmod(fd, 0o666)  # whatever the umask: others have to lock it too
                return fd
        except PermissionError:
            return os.open(file, os.O_RDONLY | _OPEN, dir_fd=directory)  # enough for a lock


def _why(error: OSError) -> str:
    return "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be opened ({error.strerror})"


def _sign(fd: int, engine: str) -> None:
    """Say who holds it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    told = {
        "program": _program(),
        "pid": os.getpid(),
        "user": user,
        "engine": engine,
        "since": int(time.time()),
    }
    # Without it (a full disk, a file that may only be read) the lock is as good.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(told).encode() + b"\n", 0)


def _program() -> str:
    """This program's name without its arguments, which may hold secrets."""
    path = Path(sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c") else "python")
    return path.parent.name if path.name == "__main__.py" else path.name


def _shown(text: object) -> str:
    """Text of another user, without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:_SHOWN]


def _refuse_to_wait_for_ourselves(holders: Mapping[str, Holder], spare: int) -> None:
    lineage = lineage_of(os.getpid())
    ours = {name: holder for name, holder in holders.items() if holder.pid in lineage}
    if len(ours) > spare:
        raise EngineError(
            f"this would wait for itself: {describe(ours)}, which is this process or one that waits for it"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
