"""The command ``llmperf load`` as a person runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_llmperf

ROOT = Path(pytest_llmperf.__file__).parent.parent
FIELDS = (
    "id",
    "scheduled_ns",
    "sent_ns",
    "first_token_ns",
    "token_ns",
    "ended_ns",
    "status",
    "usage",
    "error",
    "merged_tokens",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def notes(self) -> list[str]:
        return [line.partition("note: ")[2] for line in self.err.splitlines() if "note: " in line]


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start the command and leave it running."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_llmperf.cli", "load", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1", **environment},
    )


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for its end; nothing that it does may look like a crash."""
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err + out
    return Ended(process.returncode, out, err)


def load(*arguments: str | Path, **environment: str) -> Ended:
    """Run the command to its end."""
    return end(start(*arguments, **environment))


def timelines(path: Path) -> list[dict[str, Any]]:
    """The lines of a timelines file, which have to have all fields and to be in order."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(tuple(line) == FIELDS for line in lines)
    due = [line["scheduled_ns"] for line in lines]
    assert due == sorted(due)
    assert not list(path.parent.glob("*.part"))
    return lines
