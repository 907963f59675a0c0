"""An engine process under its guardian, seen from the test run."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places import guardian

LOG_LIMIT = 64 * 1024 * 1024
"""Bytes to which a log may grow until its middle is cut out."""
_CONDITIONS = {
    "T": "is stopped by a signal (SIGSTOP; kill -CONT lets it go on)",
    "t": "is stopped by a debugger",
    "D": "still runs, and waits for a disk or a device",
}
_MARK = "PYTEST_LLMPERF_LAUNCH"


class EngineProcess:
    """A process in a session of its own that ends with :meth:`stop`, or with this process."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        grace_s: float,
        held: Sequence[int] = (),
    ) -> None:
        """Start it. Raises :class:`EngineError` if there is no such program or the log cannot be written.

        ``held`` are descriptors that stay open until it has ended, also if this process ends before.
        """
        self.log = log
        self.exit_code: int | None = None
        self.pid: int | None = None
        self._is_stopped = self._was_stopped_alive = False
        self._grace_s = grace_s
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        try:
            self._scratch = Path(tempfile.mkdtemp(prefix="llmperf-"))
        except OSError as error:
            raise EngineError(f"there is no directory for its temporary files: {error}") from None
        # The guardian's own session keeps the terminal's Ctrl-C from it; the run decides what that means.
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=held,
            )
        except OSError as error:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise EngineError(f"its guardian process cannot be started: {error}") from None
        try:
            spec = {
                "argv": list(argv),
                "env": self._environment(env),
                "log": str(log),
                "grace_s": grace_s,
                "scratch": str(self._scratch),
                "log_limit": LOG_LIMIT,
            }
            self._pipe().write(json.dumps(spec).encode() + b"\n")
            first = self._read(timeout_s=30.0)
            if first is None or "pid" not in first:
                raise EngineError((first or {}).get("error", "the engine's guardian process did not answer"))
            self.pid = int(first["pid"])
        except BaseException:
            self.stop()
            raise

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """``env`` with a directory for temporary files that ends with the engine, and a mark to find its
        processes by. What torch compiles stays where it would be by hand: it is meant to be found again."""
        name, _, value = self._mark.partition("=")
        ours = {name: value}
        if env.get("TMPDIR") == os.environ.get("TMPDIR"):  # else somebody chose one for this engine
            ours["TMPDIR"] = str(self._scratch)
            with contextlib.suppress(KeyError, OSError):  # a user without a name has no such cache by hand
                cache = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
                ours["TORCHINDUCTOR_CACHE_DIR"] = env.get("TORCHINDUCTOR_CACHE_DIR") or cache
        return dict(env) | ours

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
        if self._is_stopped:
            return False
        has_ended = self._guardian.poll() is not None
        self._note_exit()  # after the poll, so that the last word of a guardian that ended is not missed
        return self.exit_code is None and not has_ended

    def stop(self) -> None:
        """End the engine and all its descendants; returns when they are gone. May be called again."""
        if self._is_stopped:
            return
        assert self._guardian.stdout is not None
        self._was_stopped_alive = self._was_stopped_alive or self.is_alive()
        self._pipe().close()
        with contextlib.suppress(ProcessLookupError):
            self._guardian.send_signal(signal.SIGCONT)  # somebody may have stopped it
        try:
            self._guardian.wait(timeout=self._grace_s + 2 * guardian.SWEEP_S + 10.0)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self._note_exit()
        if self._guardian.returncode and self.pid is not None:
            # The guardian was killed. The kernel ended the engine with it, but not the engine's children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            _kill_marked(self._mark)
        shutil.rmtree(self._scratch, ignore_errors=True)  # gone by now, unless the guardian was killed
        self._guardian.stdout.close()
        self._is_stopped = True

    def condition(self) -> str:
        """How it lives, in words."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return "still runs"
        return _CONDITIONS.get(state, "still runs")

    def exit_code_by_itself(self) -> int | None:
        """The exit code of an engine that was not ended from here; None for one that was, or still runs."""
        return None if self.is_alive() or self._was_stopped_alive else self.exit_code

    def _note_exit(self) -> None:
        if self.exit_code is None and (message := self._read(timeout_s=0.0)) is not None:
            self.exit_code = message.get("exit")

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines of the log that are not blank."""
        return log_tail(self.log, lines)


def log_tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that are not blank."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return [f"(the log cannot be read: {error})"]
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _kill_marked(mark: str) -> None:
    """Kill all processes with this in their environment, until there is none; Linux only."""
    for _ in range(50):
        found = False
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found = True
                    os.kill(int(entry.name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.02)


def describe_exit(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended with its guardian process, which somebody killed"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"exited with code {code}, which is how a shell says {signal.Signals(code - 128).name}"
    return f"exited with code {code}"


def lineage_of(pid: int) -> set[int]:
    """A process and its ancestors, as far as ``/proc`` tells."""
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(text.rpartition(")")[2].split()[1])
    return found
