"""A process beside an engine in its Modal sandbox, with the streams of a local one."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import modal

_PIECE_BYTES = 1 << 20
_PATIENCE_S = 10.0
_POLL_S = 0.1


class SandboxProcess:
    """See :class:`~pytest_llmperf.places.protocol.Process`.

    It cannot be signalled from here: :meth:`kill` closes its input, with which it has to end. What it writes
    to its standard error goes to ours.
    """

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def __init__(self, sandbox: modal.Sandbox, argv: tuple[str, ...]) -> None:
        self._process: Any = sandbox.exec(*argv, text=False)
        readable, writable = os.pipe()
        self.stdin = io.BufferedWriter(_Input(self._process.stdin))
        self.stdout = os.fdopen(readable, "rb", buffering=0)
        for pump in (
            threading.Thread(target=_pump, args=(self._process.stdout, writable), daemon=True),
            threading.Thread(target=_tell, args=(self._process.stderr,), daemon=True),
        ):
            pump.start()

    def kill(self) -> None:
        import modal

        with contextlib.suppress(modal.exception.Error, OSError):
            self._process.stdin.write_eof()
            self._process.stdin.drain()

    def wait(self) -> int:
        """Its exit code; -1 if it has none in time, because its sandbox is gone, say."""
        import modal

        deadline = time.monotonic() + _PATIENCE_S
        with contextlib.suppress(modal.exception.Error, OSError):
            while time.monotonic() < deadline:
                if (code := self._process.poll()) is not None:
                    return int(code)
                time.sleep(_POLL_S)
        return -1


class _Input(io.RawIOBase):
    """The standard input of a process elsewhere."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        import modal

        piece = bytes(memoryview(data)[:_PIECE_BYTES])
        try:
            self._writer.write(piece)
            self._writer.drain()
        except (modal.exception.Error, ValueError) as error:
            raise BrokenPipeError(str(error)) from None
        return len(piece)


def _pump(stream: Any, writable: int) -> None:
    """Hand on what comes, until it ends or nobody reads any more."""
    import modal

    try:
        with contextlib.suppress(modal.exception.Error, OSError):
            for piece in stream:
                view = memoryview(piece)
                while view:
                    view = view[os.write(writable, view) :]
    finally:
        os.close(writable)


def _tell(stream: Any) -> None:
    import modal

    with contextlib.suppress(modal.exception.Error, OSError):
        for piece in stream:
            sys.stderr.write(piece.decode(errors="replace"))
