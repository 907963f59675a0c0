"""Several processes that drive one load point together."""

from __future__ import annotations

import os
import pickle
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.job import Job, Outcome, PreparedJob
from pytest_llmperf.load.loop import Watch
from pytest_llmperf.load.worker import LENGTH, write_frame

_LEAD_NS = 150_000_000
_LISTEN_S = 0.2
_CODE = "import sys; sys.path[:] = {path!r}; from pytest_llmperf.load.worker import main; main()"


def perform(job: Job, processes: int, watch: Watch) -> Outcome:
    """Drive a job, in this process or divided among several.

    All shares come from the one schedule and start at one moment of the common clock; each process keeps what
    it measures until it is through. Raises :class:`InvalidRun` if a process ends before
    that, what a process raises on purpose, and what ``watch`` raises.
    """
    processes = min(processes, job.width)
    if processes == 1:
        return PreparedJob(job).run(watch)
    workers: list[_Worker] = []
    try:
        for _ in range(processes):
            workers.append(_Worker())
        for index, worker in enumerate(workers):
            worker.tell(job.share(index, processes))
        _listen(workers, watch, lambda worker: worker.is_ready)
        start_ns = time.monotonic_ns() + _LEAD_NS
        for worker in workers:
            worker.tell(start_ns)
        _listen(workers, watch, lambda worker: worker.outcome is not None)
        return Outcome.merged([worker.outcome for worker in workers if worker.outcome])
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self) -> None:
        self.is_ready = False
        self.progress = (0, 0)
        self.outcome: Outcome | None = None
        self._received = bytearray()
        code = _CODE.format(path=[os.path.abspath(entry) for entry in sys.path])
        # In a group of its own, so that a Ctrl-C reaches this process alone, which then ends the workers.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands: IO[bytes] = self._process.stdin
        self.answers: IO[bytes] = self._process.stdout

    def tell(self, content: Job | int) -> None:
        """Its job, then the moment to start."""
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
            end = LENGTH.size + LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                return
            self._take(pickle.loads(self._received[LENGTH.size : end]))
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
        elif kind == "progress":
            self.progress = (content[0], content[1])
        elif kind == "done":
            self.outcome = content[0]
        elif kind == "failed":
            raise content[0]

    def _death(self) -> InvalidRun:
        code = self._process.wait()
        return InvalidRun(f"a worker process of the load generator ended with exit code {code}")


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
