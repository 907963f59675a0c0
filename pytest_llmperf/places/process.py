"""An engine process under its guardian, seen from the test run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places import guardian


class EngineProcess:
    """A process in a session of its own that ends with :meth:`stop`, or with this process."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path, grace_s: float) -> None:
        """Start it. Raises :class:`EngineError` if there is no such program or the log cannot be written."""
        self.log = log
        self.exit_code: int | None = None
        self.started_at = time.monotonic()
        self._grace_s = grace_s
        # The guardian's own session keeps the terminal's Ctrl-C from it; the run decides what that means.
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        try:
            spec = {"argv": list(argv), "env": dict(env), "log": str(log), "grace_s": grace_s}
            self._pipe().write(json.dumps(spec).encode() + b"\n")
            first = self._read(timeout_s=30.0)
            if first is None or "pid" not in first:
                raise EngineError((first or {}).get("error", "the engine's guardian process did not answer"))
            self.pid: int = first["pid"]
        except BaseException:
            self.stop()
            raise

    def _pipe(self) -> Any:
        assert self._guardian.stdin is not None
        return self._guardian.stdin

    def _read(self, timeout_s: float) -> dict[str, Any] | None:
        """The guardian's next message, or None."""
        assert self._guardian.stdout is not None
        readable, _, _ = select.select([self._guardian.stdout], [], [], timeout_s)
        line = self._guardian.stdout.readline() if readable else b""
        return json.loads(line) if line else None

    def is_alive(self) -> bool:
        """Whether the engine still runs; afterwards :attr:`exit_code` says how it ended."""
        if self.exit_code is None and self._guardian.returncode is None:
            message = self._read(timeout_s=0.0)
            if message is not None:
                self.exit_code = message.get("exit")
        return self.exit_code is None and self._guardian.poll() is None

    def stop(self) -> None:
        """End the engine and all its descendants; returns when they are gone. May be called again."""
        if self._guardian.returncode is not None:
            return
        self._pipe().close()
        try:
            self._guardian.wait(timeout=self._grace_s + 10.0)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
            if hasattr(self, "pid"):
                _kill_group(self.pid)
        if self.exit_code is None:
            message = self._read(timeout_s=0.0)
            self.exit_code = message.get("exit") if message else None
        assert self._guardian.stdout is not None
        self._guardian.stdout.close()

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines of the log that are not blank."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
                text = file.read().decode(errors="replace")
        except OSError as error:
            return [f"(the log cannot be read: {error})"]
        return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def describe_exit(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"exited with code {code}"
