"""The record of one session."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import write_json

KIND, VERSION = "llmperf_record", 1
IGNORED = (
    "# Written by pytest-llmperf: baselines and locks are meant to be committed, the rest is not.\n"
    "runs/\nlogs/\nmatrix/\nbisect/\nhistory.sqlite*\n"
)
_FORMERLY = ("", IGNORED.replace("history.sqlite*\n", ""))
"""What a full disk left, and what earlier releases wrote."""


def now() -> datetime:
    return datetime.now(UTC)


def versions() -> dict[str, str]:
    """Of what measures: this package and its Python."""
    return {
        "pytest-llmperf": importlib.metadata.version("pytest-llmperf"),
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Store:
    """The directory that everything is kept under (``.llmperf``)."""

    directory: Path

    @property
    def baselines(self) -> Path:
        return self.directory / "baselines"

    @property
    def locks(self) -> Path:
        return self.directory / "locks"

    def logs(self) -> Path:
        """A directory for engine logs that can be written to; made."""
        path = self.directory / "logs"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            return elsewhere("logs")
        if not os.access(path, os.W_OK):
            return elsewhere("logs")
        self.ignore_what_is_not_meant_to_be_committed()
        return path

    def ignore_what_is_not_meant_to_be_committed(self) -> None:
        """Tell git, once."""
        path = self.directory / ".gitignore"
        # Without the file nothing is lost but a little order.
        with contextlib.suppress(OSError, UnicodeDecodeError):
            is_former = path.exists() and path.read_text() in _FORMERLY
            with path.open("w" if is_former else "x") as file:
                file.write(IGNORED)


class RecordFile:
    """The record of one session, written again whenever there is more: a killed session leaves it as it was.

    ``failure`` says why ``path`` is not in the store's directory.
    """

    def __init__(self, store: Store, started: datetime) -> None:
        name = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.json"
        self.path = store.directory / "runs" / name
        self.failure: StoreError | None = None
        self._store = store

    def write(self, content: Mapping[str, Any], *, falls_back: bool = True) -> None:
        """Atomically; where the store cannot be written to, in a temporary directory if it ``falls_back``.

        Raises :class:`StoreError` if there is none, or if the content cannot be JSON.
        """
        try:
            write_json(self.path, content)
        except StoreError as error:
            if self.failure is not None or not falls_back:
                raise
            self.path, self.failure = elsewhere("runs") / self.path.name, error
            write_json(self.path, content)
        else:
            self._store.ignore_what_is_not_meant_to_be_committed()


def elsewhere(name: str) -> Path:
    """A directory that nobody else can have prepared, for what has no other place."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"llmperf-{name}-"))
    except OSError as error:
        raise StoreError(f"no directory can be written to: {error}") from None
