"""The process of a :class:`~pytest_llmperf.load.gauge.Gauge`: asks an engine now and then how busy it is.

On its standard input come, each a pickle after its length: the engine, the server's URL and its key; then the
number of each run with its :class:`Asking`, or with None at its end. On its standard output goes a
line of JSON for each answer: the number of the run, the monotonic time in ns, and what was told. It ends when
its input does.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import queue
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from pytest_llmperf.engines.protocol import MOMENTS
from pytest_llmperf.load.control import control_client

MOST = 120
"""The answers that are kept of a run."""
_LONGEST_PAUSE_S = 5.0
Asking = tuple[float, float]
"""The seconds from one question to the next, and the share of the time that answers may take."""
_LENGTH = struct.Struct("!I")


def write_command(pipe: int, command: bytes) -> None:
    """Raises :class:`OSError` where the pipe does not take it at once."""
    told = _LENGTH.pack(len(command)) + command
    if os.write(pipe, told) < len(told):
        raise BlockingIOError("a part of it; what follows would be taken for the rest")


def main() -> None:
    """Ask until the end of input."""
    commands, answers = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # nothing else may write between the answers
    os.nice(10)  # the load and the engine come first
    try:
        engine, url, api_key = _read(commands)
    except EOFError:
        return
    told: queue.SimpleQueue[tuple[int, Asking | None]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, told), daemon=True).start()
    with control_client(url, api_key) as control:
        for number in _due(told):
            counters = _moments(engine.counters(control))
            if counters:
                line = json.dumps([number, time.monotonic_ns(), counters])
                os.write(answers, line.encode() + b"\n")


def _read(commands: IO[bytes]) -> Any:
    head = commands.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pickle.loads(commands.read(_LENGTH.unpack(head)[0]))


def _listen(commands: IO[bytes], told: queue.SimpleQueue[tuple[int, Asking | None]]) -> None:
    """Pass on what is told, and end this process as soon as nobody can tell it anything any more."""
    try:
        while True:
            told.put(_read(commands))
    finally:
        os._exit(0)  # whatever an engine that hangs is asked just now


def _due(told: queue.SimpleQueue[tuple[int, Asking | None]]) -> Iterator[int]:
    """The number of the run that goes on, each time that the engine is to be asked."""
    number, pace = 0, None
    while True:
        wait_s = None if pace is None else max(0.0, pace.due_s - time.monotonic())
        try:
            number, asking = told.get(timeout=wait_s)
            pace = Pace(asking, time.monotonic()) if asking else None
        except queue.Empty:
            assert pace is not None, "it waits for ever between runs"
            began_s = time.monotonic()
            yield number
            pace.asked(began_s, time.monotonic())


class Pace:
    """When the engine is to be asked in a run that began at ``now_s``: at ``due_s``, in seconds of any clock.

    That is once a period, at first after half of one; less often where answers take long, and half as often
    whenever there are as many answers as are kept, of which every other one is then forgotten.
    """

    def __init__(self, asking: Asking, now_s: float) -> None:
        (self._period_s, self._share), self._kept = asking, 0
        self.due_s = now_s + self._period_s / 2

    def asked(self, began_s: float, ended_s: float) -> None:
        """It was asked, and has answered or will not."""
        self._kept += 1
        if self._kept > MOST:
            self._kept, self._period_s = len(range(0, self._kept, 2)), 2 * self._period_s
        pause_s = min((ended_s - began_s) / self._share, _LONGEST_PAUSE_S)
        self.due_s = began_s + max(self._period_s, pause_s)


def _moments(counters: Any) -> dict[str, float]:
    """Those that are numbers."""
    return {name: counters[name] for name in MOMENTS if name in counters and math.isfinite(counters[name])}


if __name__ == "__main__":
    main()
