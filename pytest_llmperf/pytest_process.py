"""A pytest process of our own: it is interrupted when we are, and ends when we do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

PARENT = "pytest_llmperf.parent"
"""The plugin that such a process, and no other, has."""
_PATIENCE_S = 60.0
_PERIOD_S = 1.0
INTERRUPTED, CRASHED, USAGE, NO_TESTS = 2, 3, 4, 5
"""Exit codes of pytest; it interrupts itself where the collection fails."""


def run_pytest(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: IO[bytes] | None,
    where: Path | None = None,
    waiting: Callable[[float], None] = lambda elapsed_s: None,
) -> int:
    """Run it to its end, in the directory ``where``; its exit code, below 0 if a signal ended it.
    ``waiting`` is told once a second for how many it has run.

    ``log`` takes what it says; None: it says it here. A :class:`KeyboardInterrupt` is passed on, and raised
    again when nothing is left of it.
    """
    theirs, ours = os.pipe()
    plugin = ("-p", PARENT, f"--parent-pipe={theirs}")
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *plugin, *arguments],
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs,),
            # Of a Ctrl-C it is told by us alone, and once.
            process_group=0,
        )
        try:
            return _wait(process, waiting)
        except KeyboardInterrupt:
            _stop(process)
            raise
    finally:
        os.close(theirs)
        os.close(ours)


def _wait(process: subprocess.Popen[bytes], waiting: Callable[[float], None]) -> int:
    began = time.monotonic()
    while True:
        try:
            return process.wait(_PERIOD_S)
        except subprocess.TimeoutExpired:
            waiting(time.monotonic() - began)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt it, so that it ends its engine; end it if it takes too long, or if we are asked again."""
    for number, patience_s in ((signal.SIGINT, _PATIENCE_S), (signal.SIGTERM, _PATIENCE_S / 4)):
        process.send_signal(number)
        try:
            process.wait(patience_s)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    process.kill()
    process.wait()


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """What would end this process interrupts it, so that it ends its engine first; what it ignores, as the
    end of the terminal under nohup, it goes on ignoring."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
