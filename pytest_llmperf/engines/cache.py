"""What is worth keeping between sessions: generated models, built environments."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from pathlib import Path


def cache_directory(name: str) -> Path:
    """A directory that can be written to: ``llmperf/NAME`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Where that cannot be written to, a temporary one that is removed when this process ends.
    """
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home at all
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmperf" / name
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK | os.X_OK):
            return path
    return _temporary_directory(name)


def is_kept(directory: Path) -> bool:
    """Whether a :func:`cache_directory` outlives this process."""
    return not directory.name.startswith("llmperf-")


@functools.cache
def _temporary_directory(name: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix=f"llmperf-{name}-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
