"""The record of one session."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import write_json

KIND, VERSION = "llmperf_record", 1
IGNORED = "# Written by pytest-llmperf: baselines are meant to be committed, the rest is not.\nruns/\nlogs/\n"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Store:
    """The directory that everything is kept under (``.llmperf``)."""

    directory: Path

    @property
    def baselines(self) -> Path:
        return self.directory / "baselines"

    def logs(self) -> Path:
        """A directory for engine logs that can be written to; made."""
        path = self.directory / "logs"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            return _elsewhere("logs")
        if not os.access(path, os.W_OK):
            return _elsewhere("logs")
        self._ignore_what_is_not_meant_to_be_committed()
        return path

    def write_record(self, content: dict[str, Any]) -> tuple[Path, StoreError | None]:
        """Write the session's record; where that fails, into a temporary directory, with the reason."""
        name = f"{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.json"
        try:
            path = self.directory / "runs" / name
            write_json(path, content)
            self._ignore_what_is_not_meant_to_be_committed()
            return path, None
        except StoreError as error:
            path = _elsewhere("runs") / name
            write_json(path, content)
            return path, error

    def _ignore_what_is_not_meant_to_be_committed(self) -> None:
        # Without the file nothing is lost but a little order.
        with contextlib.suppress(OSError), (self.directory / ".gitignore").open("x") as file:
            file.write(IGNORED)


def session_record(
    tests: Sequence[dict[str, Any]], launches: Sequence[dict[str, Any]], started: datetime, status: str
) -> dict[str, Any]:
    """The record's JSON; ``status`` is ``complete`` or ``interrupted``."""
    return {
        KIND: VERSION,
        "started": started.isoformat(timespec="seconds"),
        "ended": now().isoformat(timespec="seconds"),
        "status": status,
        "launches": list(launches),
        "tests": list(tests),
    }


def _elsewhere(name: str) -> Path:
    """A directory that nobody else can have prepared, for what has no other place."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"llmperf-{name}-"))
    except OSError as error:
        raise StoreError(f"no directory can be written to: {error}") from None
