"""Environments in the cache: each is built once, by whoever needs it first.

::

    environments/vllm-0.24.0-cp312-linux_x86_64-3f2a9c1b7d21/
        lock            held by the one who builds
        ready.json      which environment is the one, and what is in it
        k3x9w0qd/       the environment

An environment cannot be moved once it is built, so it is built where it stays, and counts from the moment
that ``ready.json`` names it. Whatever else is there was left by a build that was killed; the next clears it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places import packages
from pytest_llmperf.places.installer import foreign_environment
from pytest_llmperf.places.packages import Packages

_POLL_S = 0.2


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

    def find(self) -> Isolated | None:
        """The environment, if there is one that is as it was built."""
        try:
            ready = json.loads((self.directory / "ready.json").read_text(encoding="utf-8"))
            directory, everything = Path(ready["environment"]), ready["everything"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        try:
            found = ask(str(directory / "bin" / "python"), self.distribution)
        except EngineError:
            return None
        return Isolated(directory, found) if found and found.everything == everything else None

    def publish(self, built: Isolated) -> None:
        """From now on this is the environment. Raises :class:`OSError`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        content = {"environment": str(built.directory), "everything": built.packages.everything}
        handle, scratch = tempfile.mkstemp(dir=self.directory, prefix="ready.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(scratch, self.directory / "ready.json")

    @contextlib.contextmanager
    def building(self, waiting: Callable[[str], None]) -> Iterator[Path]:
        """A directory to build in, for one process at a time; gone again if the block ends with an error.

        ``waiting`` is told when another one builds. Raises :class:`OSError`.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            while not _try_lock(lock.fileno()):
                waiting("another test run builds it")
                time.sleep(_POLL_S)
            self._clear()
            scratch = Path(tempfile.mkdtemp(dir=self.directory, prefix=""))
            try:
                yield scratch
            except BaseException:
                remove(scratch)
                raise

    def _clear(self) -> None:
        """Remove what no complete environment needs."""
        if (found := self.find()) is not None and found.directory.parent == self.directory:
            kept = found.directory.name
        else:
            (self.directory / "ready.json").unlink(missing_ok=True)
            kept = None
        for entry in self.directory.iterdir():
            if entry.is_dir() and entry.name != kept:
                remove(entry)
            elif entry.suffix == ".part":
                entry.unlink(missing_ok=True)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
