"""Several processes that drive one load point together."""

from __future__ import annotations

import functools
import os
import selectors
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import pytest_llmperf
from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.answers import check_length, read_answer
from pytest_llmperf.load.job import Job, Outcome, PreparedJob
from pytest_llmperf.load.local import local_process
from pytest_llmperf.load.loop import Watch
from pytest_llmperf.load.worker import ASK_CLOCK, LENGTH, write_frame
from pytest_llmperf.places.protocol import Process, Vantage

_LEAD_NS = 150_000_000
_LISTEN_S = 0.2
_NEWS_S = 10.0
_WORKER = "pytest_llmperf.load.worker"
_CODE_ELSEWHERE = f"import sys; sys.path.insert(0, {{path!r}}); from {_WORKER} import main; main()"


class _WorkerDied(InvalidRun):
    """A worker ended before its work."""


def perform(job: Job, processes: int, watch: Watch) -> Outcome:
    """Drive a job, in this process or divided among several.

    All shares come from the one schedule and start at one moment of the common clock; each process keeps what
    it measures until it is through. Raises :class:`InvalidRun` if a process ends before
    that, what a process raises on purpose, and what ``watch`` raises.
    """
    processes = min(processes, job.width)
    if processes == 1:
        return PreparedJob(job).run(watch)
    return _divided(job, [functools.partial(local_process, _WORKER)] * processes, watch)[0]


def perform_at(vantage: Vantage, job: Job, processes: int, watch: Watch) -> Outcome:
    """The same by processes elsewhere, which have a clock of their own; the times are those of this one.

    Against each other the times are as exact as there; against this machine's, they are off by up to half of
    the time that a question and its answer take.
    """
    path = str(Path(pytest_llmperf.__file__).parent.parent)
    start = functools.partial(vantage.run, _CODE_ELSEWHERE.format(path=path))
    try:
        outcome, ahead_ns = _divided(job, [start] * min(processes, job.width), watch)
    except _WorkerDied:
        # A worker ends with its container; then whoever watches has more to say about it, if not at once.
        until = time.monotonic() + _NEWS_S
        while time.monotonic() < until:
            watch(0, 0)
            time.sleep(_LISTEN_S)
        raise
    return outcome.moved(-ahead_ns)


def _divided(job: Job, starts: Sequence[Callable[[], Process]], watch: Watch) -> tuple[Outcome, int]:
    """The outcome on the workers' clock, and by how many ns that one is ahead of this process's."""
    workers: list[_Worker] = []
    try:
        for start in starts:
            workers.append(_Worker(start()))
        for index, worker in enumerate(workers):
            worker.tell(job.share(index, len(workers)))
        _listen(workers, watch, lambda worker: worker.is_ready)
        asked_ns = time.monotonic_ns()
        workers[0].tell(ASK_CLOCK)
        _listen(workers[:1], watch, lambda worker: worker.clock_ns is not None)
        answered_ns = time.monotonic_ns()
        clock_ns = workers[0].clock_ns or 0
        # To tell a worker takes no longer than to ask one.
        start_ns = clock_ns + (1 + len(workers)) * (answered_ns - asked_ns) + _LEAD_NS
        for worker in workers:
            worker.tell(start_ns)
        _listen(workers, watch, lambda worker: worker.outcome is not None)
        outcome = Outcome.merged([worker.outcome for worker in workers if worker.outcome])
        return outcome, clock_ns - (asked_ns + answered_ns) // 2
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, process: Process) -> None:
        self.is_ready = False
        self.clock_ns: int | None = None
        self.progress = (0, 0)
        self.outcome: Outcome | None = None
        self._received = bytearray()
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands: IO[bytes] = process.stdin
        self.answers: IO[bytes] = process.stdout

    def tell(self, content: Job | int | str) -> None:
        """Its job, then the moment to start; in between what it is asked."""
        try:
            write_frame(self._commands, content)
        except BrokenPipeError:
            raise self._death() from None

    def listen(self) -> None:
        """Take what has come, without waiting for more."""
        data = os.read(self.answers.fileno(), 1 << 20)
        if not data:
            raise self._death()
        self._received += data
        while len(self._received) >= LENGTH.size:
            check_length(length := LENGTH.unpack_from(self._received)[0])
            end = LENGTH.size + length
            if len(self._received) < end:
                return
            self._take(read_answer(self._received[LENGTH.size : end]))
            del self._received[:end]

    def close(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        for stream in (self._commands, self.answers):
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what it was not told any more is of no use to anybody

    def _take(self, frame: Sequence[Any]) -> None:
        kind, *content = frame
        if kind == "ready":
            self.is_ready = True
        elif kind == "clock":
            self.clock_ns = content[0]
        elif kind == "progress":
            self.progress = (content[0], content[1])
        elif kind == "done":
            self.outcome = content[0]
        elif kind == "failed":
            raise content[0]

    def _death(self) -> _WorkerDied:
        code = self._process.wait()
        return _WorkerDied(f"a worker process of the load generator ended with exit code {code}")


def _listen(workers: Sequence[_Worker], watch: Watch, has_come_far: Callable[[_Worker], bool]) -> None:
    """Until all have come as far as that, and tell ``watch`` how far they are."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.answers, selectors.EVENT_READ, worker)
        while not all(map(has_come_far, workers)):
            for key, _ in selector.select(_LISTEN_S):
                key.data.listen()
                if has_come_far(key.data):
                    selector.unregister(key.fileobj)
            watch(sum(w.progress[0] for w in workers), sum(w.progress[1] for w in workers))
