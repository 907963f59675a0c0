"""The process between a test run and an engine: it starts the engine and makes sure that it ends.

Runs as a program of its own, from the standard library alone. The test run holds its standard input open;
when that closes, because the run said so or because it is gone (a crash, ``kill -9``), the guardian stops
the engine: SIGTERM to the engine's own process, a bounded wait, SIGKILL to all that is left of its process
group and to whatever left the group (on Linux such orphans are handed to the guardian). Then it removes the
engine's directory for temporary files, and its shared memory that nobody uses any more. Meanwhile it keeps
the log from filling the disk. Descriptors that it inherited stay open until then, so that what they lock is
not free while an engine still uses it.

Standard input: one line, a JSON object with ``argv``, ``env``, ``log``, ``grace_s``, ``scratch``,
``log_limit``; then nothing until end of file. Standard output: JSON lines, ``{"pid": …}`` or
``{"error": …}``, and ``{"exit": code}`` as soon as the engine has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_S = 0.1
_LAST_WISH_S = 1.0
SWEEP_S = 60.0
"""How long killed processes may take to go: the kernel gives back tens of GiB of a GPU before they do."""
_PROC = Path("/proc")
_SHARED = "/dev/shm"
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(**message: Any) -> None:
    # The test run may be gone: there is nobody left to tell then.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


def _wait_for_end(engine: subprocess.Popen[bytes], parent: int, log: int, log_limit: int) -> bool:
    """Wait until the engine ends (True), or the test run closes our input or disappears (False)."""
    watched: list[Any] = [sys.stdin]
    with contextlib.suppress(OSError, AttributeError):  # Linux; elsewhere its end is noticed a little later
        watched.append(os.pidfd_open(engine.pid))
    while os.getppid() == parent:
        if engine.poll() is not None:
            return True
        with contextlib.suppress(OSError):  # a log that is no file, a full disk: none of it ends the engine
            trim(log, log_limit)
        readable, _, _ = select.select(watched, [], [], _POLL_S)
        if sys.stdin in readable and not os.read(sys.stdin.fileno(), 4096):
            return False
    return False


def trim(log: int, limit: int) -> None:
    """Cut the middle out of a log that has grown beyond ``limit`` bytes; what is written to it meanwhile may
    be lost as well. The engine appends, so its next line follows the end that is left."""
    size = os.fstat(log).st_size
    if size <= limit:
        return
    head, tail = limit // 16, limit // 4
    end = os.pread(log, tail, size - tail)
    os.ftruncate(log, head)
    os.write(log, b"\n[... %d bytes of this log were left out here ...]\n" % (size - head - tail) + end)


def _family(engine: int) -> list[int]:
    """The engine's process and those that came from it, as far as that can be seen."""
    parents: dict[int, tuple[int, int]] = {}
    for entry in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            fields = entry.read_text().rpartition(")")[2].split()
            parents[int(entry.parent.name)] = int(fields[1]), int(fields[3])
    family = {engine}
    while more := {pid for pid, of in parents.items() if family.intersection(of)} - family:
        family |= more
    return sorted(family)


def _shared_memory(processes: Iterable[int]) -> set[str]:
    """The files of shared memory that these processes have mapped."""
    files = set()
    for pid in processes:
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            for line in (_PROC / str(pid) / "maps").read_text(errors="replace").splitlines():
                path = line.partition(f"{_SHARED}/")[2]
                if path and not path.endswith(" (deleted)"):
                    files.add(f"{_SHARED}/{path}")
    return files


def _forget(shared: set[str], before: set[str]) -> None:
    """Remove what an engine made and left of shared memory: what was there before it, like a model that is
    kept there, is not its own, nor is what somebody else has a name for or uses as well."""
    mine = {file for file in shared - before if _is_ours_alone(file)}
    if not mine:
        return
    living = _shared_memory(int(entry.name) for entry in _PROC.glob("[0-9]*"))
    for file in mine - living:
        with contextlib.suppress(OSError):  # the engine removed it itself
            os.unlink(file)


def _is_ours_alone(file: str) -> bool:
    try:
        state = os.lstat(file)
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid() and state.st_nlink == 1


def _listing() -> set[str]:
    return {str(path) for path in Path(_SHARED).rglob("*")}


def _stop(engine: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the engine's own process, politely first."""
    engine.terminate()
    try:
        engine.wait(grace_s)
    except subprocess.TimeoutExpired:
        engine.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel; _sweep waits as well
            engine.wait(SWEEP_S)


def _sweep(group: int) -> None:
    """Reap all that is left of the engine, and kill what does not end by itself within a moment: the process
    group, and orphans that were handed to us. Some of them tidy up after a parent that is gone."""
    began = time.monotonic()
    while (elapsed_s := time.monotonic() - began) < SWEEP_S:
        if elapsed_s > _LAST_WISH_S:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            for child in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            # On Linux all that came from the engine is ours to wait for; elsewhere its group may live on.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            return
        time.sleep(0.02)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _before_exec() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for ignored in _IGNORED:  # an ignored signal stays ignored across exec, and SIGTERM has to work
        signal.signal(ignored, signal.SIG_DFL)


def main() -> None:
    """Start, watch, stop."""
    parent = os.getppid()
    for ignored in _IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    spec = json.loads(sys.stdin.readline())
    try:
        _run(spec, parent)
    finally:
        shutil.rmtree(spec["scratch"], ignore_errors=True)


def _run(spec: dict[str, Any], parent: int) -> None:
    before = _listing()
    try:
        log = os.open(spec["log"], os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        engine = subprocess.Popen(
            spec["argv"],
            env=spec["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_before_exec,
        )
    except OSError as error:
        _say(error=f"{error.filename or spec['argv'][0]}: {error.strerror}")
        return
    _say(pid=engine.pid)
    shared: set[str] = set()
    if not _wait_for_end(engine, parent, log, spec["log_limit"]):
        shared = _shared_memory(_family(engine.pid))
        _stop(engine, spec["grace_s"])
    _say(exit=engine.returncode)  # before the sweep: what is left of the engine is not the engine
    _sweep(engine.pid)
    _forget(shared, before)


if __name__ == "__main__":
    main()
