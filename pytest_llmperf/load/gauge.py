"""How busy the engine is while load is driven, by its own word.

The process that drives the load does not ask: that would take time from it. A small process beside it does,
of low priority, which tells each answer as it comes. Nobody waits for it, and what it does not know is
missing.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.engines.protocol import MOMENTS, Engine
from pytest_llmperf.load.gauge_process import MOST, Asking, write_command
from pytest_llmperf.load.local import local_process

_USUAL_S, _SHORTEST_S, _SHORT_RUN_S = 1.0, 0.5, 10.0
_USUAL_ANSWERS = 100
_MOST_OF_THE_TIME = 0.002  # a server in Python streams nothing while it writes its page of counters
_MOST_TO_SAY = 32 * 1024  # a pipe takes 64 KiB without anybody who reads


@dataclass(frozen=True)
class Moment:
    """What the engine told at ``at_ns`` (monotonic); None: it does not tell that."""

    at_ns: int
    running: float | None
    waiting: float | None
    cache_use: float | None


class Gauge:
    """The process that asks one server, from :meth:`start` to :meth:`close`; idle between runs.

    None of this raises anything: without the process nothing is known, and that is all.
    """

    def __init__(self, engine: Engine, url: str, api_key: str | None) -> None:
        self._engine, self._url, self._api_key = engine, url, api_key
        self._process: subprocess.Popen[bytes] | None = None
        self._run = 0
        self._received = b""
        self._moments: list[Moment] = []

    def start(self) -> None:
        """Start the process; it is told the key on its standard input, where nobody else can read it."""
        try:
            said = pickle.dumps((self._engine, self._url, self._api_key), protocol=5)
        except Exception:  # an engine of somebody else's may hold anything
            return
        if len(said) > _MOST_TO_SAY:
            return
        try:
            self._process = local_process("pytest_llmperf.load.gauge_process", is_silent=True)
        except OSError:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        self._tell(said)

    def begin(self, expected_s: float | None) -> None:
        """A run begins, which takes about so long, if that is known."""
        self._run += 1
        self._moments = []
        self._tell(pickle.dumps((self._run, asking(expected_s))))

    def end(self) -> tuple[Moment, ...]:
        """The run is over; what was told until now, by time."""
        self._tell(pickle.dumps((self._run, None)))
        self._listen()
        return tuple(self._moments)

    def close(self) -> None:
        """End the process. May be called again."""
        if (process := self._process) is None:
            return
        self._process = None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    def _tell(self, command: bytes) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            try:
                write_command(self._process.stdin.fileno(), command)
            except OSError:  # it has ended, or hangs: then so be it
                self.close()

    def _listen(self) -> None:
        if self._process is None:
            return
        assert self._process.stdout is not None
        try:
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                self._received += data
        except BlockingIOError:
            pass
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            self.take(json.loads(line))

    def take(self, told: Sequence[Any]) -> None:
        """One answer of the process."""
        number, at_ns, counters = told
        if number == self._run:  # an answer that took long may be one of an earlier run
            self._moments.append(Moment(at_ns, *(counters.get(name) for name in MOMENTS)))
            if len(self._moments) > MOST:
                del self._moments[1::2]  # the process asks half as often from here on


def asking(expected_s: float | None) -> Asking:
    """How often, in a run of this length."""
    if expected_s is None:
        return _USUAL_S, _MOST_OF_THE_TIME
    shortest_s = _SHORTEST_S if expected_s < _SHORT_RUN_S else _USUAL_S
    return max(shortest_s, expected_s / _USUAL_ANSWERS), _MOST_OF_THE_TIME
