"""Run a process on one core and account for what it and its descendants take."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.2
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Spent:
    """``cpu_s`` is user and system time; ``peak_bytes`` the most memory that was resident at once, with
    file-backed pages that several processes share counted once."""

    status: int
    cpu_s: float
    peak_bytes: int
    wall_s: float


def run_pinned(
    command: Sequence[str | Path], core: int, environment: Mapping[str, str], log: Path, limit_s: float
) -> Spent:
    """Run to the end, or kill it after ``limit_s``; what it prints goes to ``log``."""
    # Descendants that outlive their parent become ours, so that their time is counted as well.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    peak = 0
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        peak = max(peak, resident_bytes(tree(process.pid)))
        if time.monotonic() - began > limit_s:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(_SAMPLE_S)
    wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    cpu_s = _cpu(ended[2]) + _reap_session(process.pid)
    return Spent(process.returncode, cpu_s, peak, wall_s)


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    return [pid, *(descendant for child in children(pid) for descendant in tree(child))]


def children(pid: int) -> list[int]:
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def resident_bytes(pids: Iterable[int]) -> int:
    private, shared = 0, 0
    for pid in pids:
        with contextlib.suppress(OSError):
            resident, file_backed = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
            private += resident - file_backed
            shared = max(shared, file_backed)
    return (private + shared) * _PAGE_BYTES


def _reap_session(session: int) -> float:
    """End what is left of a session of ours; its CPU time."""
    cpu_s = 0.0
    left = True
    while left:
        left = False
        for pid in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if os.getsid(pid) == session:
                    os.kill(pid, signal.SIGKILL)
                    cpu_s += _cpu(os.wait4(pid, 0)[2])
                    left = True
    return cpu_s


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime
