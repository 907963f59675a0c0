"""A worker process: takes a share of a load point, drives it, returns what came back.

It speaks in frames over its standard streams: in come a :class:`~pytest_llmperf.load.job.Job` and the moment
to start, out go ``ready``, now and then ``progress``, at last ``done`` or ``failed``. In between it may be
asked for its clock with :data:`ASK_CLOCK`, and answers ``clock``. It ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import time
from typing import IO, Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.load.job import PreparedJob

LENGTH = struct.Struct("!Q")
ASK_CLOCK = "clock"


def write_frame(stream: IO[bytes], *content: Any) -> None:
    """Write one frame; ``content`` is whatever can be pickled."""
    data = pickle.dumps(content, protocol=5)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any:
    """The next frame. Raises :class:`EOFError` when the other side is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    data = stream.read(length := LENGTH.unpack(head)[0])
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


def main() -> None:
    """Serve one job."""
    commands, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write between the frames
    try:
        (job,) = read_frame(commands)
        prepared = PreparedJob(job)
        write_frame(answers, "ready")
        while (told := read_frame(commands)[0]) == ASK_CLOCK:
            write_frame(answers, "clock", time.monotonic_ns())
        threading.Thread(target=_end_with, args=(commands,), daemon=True).start()
        outcome = prepared.run(lambda sent, ended: write_frame(answers, "progress", sent, ended), told)
        write_frame(answers, "done", outcome)
    except LlmperfError as problem:
        write_frame(answers, "failed", problem)
    except (EOFError, BrokenPipeError):
        os._exit(1)


def _end_with(commands: IO[bytes]) -> None:
    """End this process as soon as nobody can tell it anything any more."""
    os.read(commands.fileno(), 1)  # not through the buffer, whose lock the end of the interpreter needs
    os._exit(1)


if __name__ == "__main__":
    main()
