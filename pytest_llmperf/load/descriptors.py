"""Room for as many connections as a run may need."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
from collections.abc import Iterator

_ROOM = 16_384


@contextlib.contextmanager
def room_for_connections() -> Iterator[None]:
    """Let this process have as many open files as it may, without a stop when it gets there.

    Linux enlarges the table of a process' open files when number 64, 256, 1,024 … is opened, and where there
    is a second thread, that takes 10 to 25 ms: all streams stand still. So it is enlarged beforehand.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ROOM if hard == resource.RLIM_INFINITY else min(_ROOM, hard)
    limit = max(soft, wanted) if soft != resource.RLIM_INFINITY else soft
    try:
        # Some systems promise more than they give; then it is as it was.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            with open(os.devnull, "rb") as any_file:
                os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, wanted - 1))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
