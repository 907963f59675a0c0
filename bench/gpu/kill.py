"""``kill -9`` of a test run while it measures: how long until the GPU is free again."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_START_LIMIT_S, _FREE_LIMIT_S = 900.0, 60.0
_SLACK_MIB = 64


def kill_and_watch(command: Sequence[str], out: Path) -> dict[str, Any]:
    """Start the test run, kill it in the middle of its measurement, and watch the GPUs' memory.

    Raises :class:`RuntimeError` if it never came that far.
    """
    before, places_before = _used_mib(), _files()
    log = out / "kill.log"
    name, value = "BENCH_GPU_KILLED", uuid.uuid4().hex
    mark = f"{name}={value}"
    with log.open("wb") as file:
        run = subprocess.Popen(
            command,
            env={**os.environ, name: value},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_measures(run, log)
        time.sleep(3.0)
        while_measuring = _used_mib()
    finally:
        run.kill()
        killed = time.monotonic()
        run.wait()
    history = []
    while (elapsed := time.monotonic() - killed) < _FREE_LIMIT_S:
        used = _used_mib()
        history.append((round(elapsed, 2), used))
        if used <= before + _SLACK_MIB and not _marked(mark):
            break
        time.sleep(0.1)
    return {
        "used_mib_before": before,
        "used_mib_while_measuring": while_measuring,
        "used_mib_after": history[-1][1],
        "free_again_after_s": history[-1][0] if history[-1][1] <= before + _SLACK_MIB else None,
        "history": history,
        "processes_left_on_the_gpu": _gpu_processes(),
        "processes_left": _marked(mark),
        "files_left": sorted(_files() - places_before),
    }


def _wait_until_it_measures(run: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while b"measuring at" not in log.read_bytes():
        if run.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test run never measured; see {log}")
        time.sleep(0.2)


def _files() -> set[str]:
    """What is in the directories for temporary files and for shared memory."""
    directories = (Path(tempfile.gettempdir()), Path("/dev/shm"))
    return {str(path) for directory in directories if directory.is_dir() for path in directory.iterdir()}


def _marked(mark: str) -> list[str]:
    """Processes that came from the test run, by the mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text().replace("\0", " ").strip())
        except OSError:
            continue
    return found


def _used_mib() -> int:
    return sum(int(line) for line in _query("--query-gpu=memory.used"))


def _gpu_processes() -> list[str]:
    return _query("--query-compute-apps=pid,used_memory")


def _query(what: str) -> list[str]:
    command = ["nvidia-smi", what, "--format=csv,noheader,nounits"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return [line.strip() for line in output.splitlines() if line.strip()]
