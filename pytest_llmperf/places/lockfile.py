"""The lock file of an environment: the exact packages that a version runs with, next week and elsewhere.

A requirements file, so that every installer reads it and a person may add an index to it. Meant to be
committed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.packages import digest


@dataclass(frozen=True)
class LockFile:
    """One at ``path``, with the ``lines`` that say something."""

    path: Path
    lines: tuple[str, ...]

    @property
    def identity(self) -> str:
        return digest(sorted(self.lines))[:12]

    @classmethod
    def read(cls, path: Path) -> LockFile | None:
        """None where there is none. Raises :class:`EngineError` for one that cannot be read or is empty."""
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise EngineError(f"{path} cannot be read: {error}") from None
        lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
        kept = tuple(line for line in lines if line and not line.startswith("#"))
        if not kept:
            raise EngineError(f"{path} locks no package; restore it, or delete it to have it written anew")
        return cls(path, kept)

    @classmethod
    def write(cls, path: Path, of: str, pins: Iterable[str]) -> LockFile:
        """Make one for the environment ``of``, whole or not at all. Raises :class:`OSError`."""
        lock = cls(path, tuple(sorted(pins)))
        head = [
            f"# What {of} runs with ({path.stem}). Commit this file: with it the environment is built from",
            "# these packages and no others. To let the installer choose anew, delete this file and",
            f"# environments/{path.stem}-* in the cache (~/.cache/llmperf).",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("\n".join((*head, *lock.lines)) + "\n")
            os.chmod(scratch, 0o644)
            os.replace(scratch, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(scratch)
        return lock
