"""Several processes that drive one load point together."""

from __future__ import annotations

import os
import pickle
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.job import Job, Outcome, PreparedJob
from pytest_llmperf.load.loop import Watch
from pytest_llmperf.load.worker import LENGTH, read_frame, write_frame

_LEAD_NS = 150_000_000
_LISTEN_S = 0.2
_CODE = "import sys; sys.path[:] = {path!r}; from pytest_llmperf.load.worker import main; main()"


def perform(job: Job, processes: int, watch: Watch) -> Outcome:
    """Drive a job, in this process or divided among several.

    All shares come from the one schedule and start at one moment of the common clock; each process keeps what
    it measures until it is through. Raises :class:`InvalidRun` if a process fails, and what ``watch`` raises.
    """
    processes = min(processes, job.width)
    if processes == 1:
        return PreparedJob(job).run(watch)
    workers: list[_Worker] = []
    try:
        for index in range(processes):
            workers.append(_Worker(job.share(index, processes)))
        for worker in workers:
            worker.wait_until_ready()
        start_ns = time.monotonic_ns() + _LEAD_NS
        for worker in workers:
            worker.start(start_ns)
        _listen(workers, watch)
        return Outcome.merged([worker.outcome for worker in workers if worker.outcome])
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, job: Job) -> None:
        self.progress = (0, 0)
        self.outcome: Outcome | None = None
        self._received = bytearray()
        code = _CODE.format(path=[os.path.abspath(entry) for entry in sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands: IO[bytes] = self._process.stdin
        self.answers: IO[bytes] = self._process.stdout
        self._tell(job)

    def wait_until_ready(self) -> None:
        """Return when its requests are built."""
        try:
            frame = read_frame(self.answers)
        except (EOFError, pickle.UnpicklingError):
            raise self._death() from None
        self._take(frame)

    def start(self, moment_ns: int) -> None:
        self._tell(moment_ns)

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
        if kind == "progress":
            self.progress = (content[0], content[1])
        elif kind == "done":
            self.outcome = content[0]
        elif kind == "failed":
            raise InvalidRun(content[0])

    def _tell(self, *content: Any) -> None:
        try:
            write_frame(self._commands, *content)
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> InvalidRun:
        code = self._process.wait()
        return InvalidRun(f"a worker process of the load generator ended with exit code {code}")


def _listen(workers: Sequence[_Worker], watch: Watch) -> None:
    """Until all are done, and tell ``watch`` how far they are."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.answers, selectors.EVENT_READ, worker)
        while any(worker.outcome is None for worker in workers):
            for key, _ in selector.select(_LISTEN_S):
                key.data.listen()
                if key.data.outcome is not None:
                    selector.unregister(key.fileobj)
            watch(sum(w.progress[0] for w in workers), sum(w.progress[1] for w in workers))
