"""Environments in the cache: each is built once, by whoever needs it first.

::

    environments/vllm-0.24.0-cp312-linux_x86_64-3f2a9c1b7d21/
        lock            held by the one who builds, whose name is in it
        ready.json      which environment is the one, and what is in it
        k3x9w0qd/       the environment

An environment cannot be moved once it is built, so it is built where it stays, and counts from the moment
that ``ready.json`` names it. Whatever else is there was left by a build that was killed; the next clears it,
but for what a test run still uses: that holds a shared lock on the environment's ``pyvenv.cfg``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.places import packages
from pytest_llmperf.places.installer import foreign_environment
from pytest_llmperf.places.packages import Packages

_POLL_S = 0.2
_PATIENCE_S = 2 * 3600.0  # a build from source may take an hour


@dataclass(frozen=True)
class Isolated:
    """A built environment: its directory and what is in it."""

    directory: Path
    packages: Packages

    @property
    def python(self) -> str:
        return str(self.directory / "bin" / "python")


class Slot:
    """The place of one environment in the cache."""

    def __init__(self, directory: Path, distribution: str) -> None:
        self.directory, self.distribution = directory, distribution

    def find(self, using: contextlib.ExitStack) -> Isolated | None:
        """The environment, if there is one that is as it was built; it stays until ``using`` ends."""
        try:
            ready = json.loads((self.directory / "ready.json").read_text(encoding="utf-8"))
            directory, everything = Path(ready["environment"]), ready["everything"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with contextlib.ExitStack() as while_asking:
            try:  # before it is asked: what is answered is to hold
                while_asking.enter_context(use(directory))
                found = ask(str(directory / "bin" / "python"), self.distribution)
            except (OSError, EngineError):
                return None
            if not found or found.everything != everything:
                return None
            using.push(while_asking.pop_all())
        return Isolated(directory, found)

    def publish(self, built: Isolated) -> None:
        """From now on this is the environment. Raises :class:`OSError`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        content = {"environment": str(built.directory), "everything": built.packages.everything}
        handle, scratch = tempfile.mkstemp(dir=self.directory, prefix="ready.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(scratch, self.directory / "ready.json")

    def offer(self, built: Isolated) -> None:
        """The same, unless somebody builds one here just now. Raises :class:`OSError`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("a") as lock:
            if try_lock(lock.fileno()):
                self.publish(built)

    @contextlib.contextmanager
    def building(self, waiting: Callable[[str], None]) -> Iterator[Path]:
        """A directory to build in, for one process at a time; gone again if the block ends with an error.

        ``waiting`` is told when another one builds. Raises :class:`OSError`, and :class:`EngineError` if
        that one does not come to an end.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("a+") as lock:
            began = time.monotonic()
            while not try_lock(lock.fileno()):
                if time.monotonic() - began > _PATIENCE_S:
                    raise Hindered(
                        f"another test run ({_content(lock)}) builds it since more than {_PATIENCE_S:.0f} s; "
                        f"see what it does, or end it: {lock.name} is free then"
                    )
                waiting("another test run builds it")
                time.sleep(_POLL_S)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}")
            lock.flush()
            self._clear()
            scratch = Path(tempfile.mkdtemp(dir=self.directory, prefix=""))
            try:
                yield scratch
            except BaseException:
                remove(scratch)
                raise

    def _clear(self) -> None:
        """Remove what no complete environment needs, and nobody uses."""
        with contextlib.ExitStack() as using:
            if self.find(using) is None:
                (self.directory / "ready.json").unlink(missing_ok=True)
            for entry in self.directory.iterdir():
                if entry.is_dir():
                    _remove_unused(entry)
                elif entry.suffix == ".part":
                    entry.unlink(missing_ok=True)


def use(directory: Path) -> IO[str]:
    """Keep an environment from being removed, until what is returned is closed; it counts as used now.

    Raises :class:`OSError` if it is gone, or going.
    """
    # For writing, because only then a network file system grants the lock of one who removes it.
    file = (directory / "pyvenv.cfg").open("r+")
    if _try_lock(file.fileno(), fcntl.LOCK_SH):
        with contextlib.suppress(OSError):  # of another user's the time cannot be set
            os.utime(file.fileno())
        return file
    file.close()
    raise BlockingIOError(f"{directory} is being removed")


def _remove_unused(directory: Path) -> None:
    try:
        file = (directory / "pyvenv.cfg").open("r+")
    except FileNotFoundError:  # its making had only begun
        remove(directory)
        return
    with file:
        if try_lock(file.fileno()):
            remove(directory)


@contextlib.contextmanager
def unused(directory: Path) -> Iterator[bool]:
    """Whether no test run uses an environment, nor can begin to until the block ends. Raises
    :class:`OSError` if it is gone."""
    with (directory / "pyvenv.cfg").open("r+") as file:
        yield try_lock(file.fileno())


def try_lock(handle: int) -> bool:
    """Have a file's lock alone, or not at all."""
    return _try_lock(handle, fcntl.LOCK_EX)


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read(200) or "unknown which"


def remove(directory: Path) -> None:
    """Remove a tree, also one that an installer which is just ending still writes into."""
    for _ in range(5):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)


def ask(python: str, distribution: str, environment: dict[str, str] | None = None) -> Packages | None:
    """What another interpreter has installed; None if not that distribution.

    Raises :class:`EngineError` if it does not answer.
    """
    try:
        answer = subprocess.run(
            [python, packages.__file__, distribution],
            env=foreign_environment() | (environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{python} cannot be run: {error}") from None
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["(it said nothing)"])[-1]
        raise EngineError(f"{python} is no Python that works: {last}")
    try:
        known = json.loads(answer.stdout)
        return known and Packages(**known | {"needed": tuple(known["needed"])})
    except (ValueError, TypeError, KeyError):
        raise EngineError(f"{python} is no Python: it answered {answer.stdout[:80]!r}") from None
