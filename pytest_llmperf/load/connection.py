"""One request on one connection, without blocking and without looking at what arrives.

Where the kernel stamps incoming segments (``SO_TIMESTAMPNS``, Linux), a read carries the moment the data
arrived, however late this process came to fetch it. A read that takes several segments carries the stamp
of the last one. Elsewhere the stamp is the moment of the read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
import struct
import sys
import time

from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.tls import Tls

KERNEL_STAMPS = sys.platform == "linux" and struct.calcsize("P") == 8
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_READ_BYTES = 32 * 1024
_ANCILLARY_BYTES = 64
_END_OF_CHUNKS = b"\r\n0\r\n\r\n"
_MAX_HEAD = 16 * 1024
# What this machine lacks is no failure of the engine.
_OUR_SHORTAGES = (errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_LENGTH = re.compile(rb"[ \t]*[0-9]{1,15}[ \t]*")


class Connection:
    """A socket's life: connect, send one request, collect stamped reads until the response ends.

    ``reads`` are triples: a stamp (real time in ns with kernel stamps, else monotonic), a monotonic time
    at which nothing had been there yet, and bytes. ``read_lags_ns`` is how long each of them had been
    there, where the kernel tells. ``failure`` is None for a response that ended, however it reads, or
    ``kind: detail``.
    """

    def __init__(self, target: Target, request: Request, limit_bytes: int) -> None:
        self.request = request
        self.due_ns = self.handed_ns = self.sent_ns = self.ended_ns = 0
        self.reads: list[tuple[int, int, bytes]] = []
        self.read_lags_ns: list[int] = []
        self.failure: str | None = None
        self.is_open = False
        self.is_ended = False
        self._limit_bytes = limit_bytes
        self._received = 0
        self._head = b""
        self._in_head = True
        self._remaining: int | None = None
        self._left_since_ns = 0
        self._outgoing = memoryview(b"")
        self._tls: Tls | None = None
        self._connected = False
        self._socket = socket.socket(target.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if KERNEL_STAMPS:
            with contextlib.suppress(OSError):  # kernels that are not Linux's own (gVisor) may lack it
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._receive = self._socket.recvmsg
        if target.tls is not None:
            self._tls = Tls(target.tls, target.server_name)
        code = self._socket.connect_ex(target.address)
        if code not in (0, errno.EINPROGRESS):
            self._fail("client" if code in _OUR_SHORTAGES else "connect", os.strerror(code))

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether the connection waits for the socket to take bytes, or to be connected."""
        return not self._connected or bool(self._outgoing)

    @property
    def has_begun(self) -> bool:
        """Whether the answer itself has come, beyond its head, or has ended in whatever way."""
        return self.is_ended or any(b"data:" in data for _, _, data in self.reads)

    def send(self) -> None:
        """Send on an open connection; what the socket does not take at once follows on readiness."""
        payload = self.request.payload
        self.sent_ns = time.monotonic_ns()
        self._queue(self._tls.encrypt(payload) if self._tls else payload)

    def on_writable(self) -> None:
        if not self._connected:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._fail("connect", os.strerror(code))
                return
            self._connected = True
            if self._tls is None:
                self.is_open = True
            else:
                self._shake_hands(b"")
        self._flush()

    def on_readable(self, since_ns: int) -> None:
        """One read; ends the connection at the end of the response. Nothing was there at ``since_ns``."""
        try:
            data, ancillary, _, _ = self._receive(_READ_BYTES, _ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail("reset" if self._connected else "connect", error.strerror or str(error))
            return
        if ancillary:
            seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
            stamp = seconds * 1_000_000_000 + nanoseconds
            self.read_lags_ns.append(time.time_ns() - stamp)
        else:
            stamp = time.time_ns() if KERNEL_STAMPS else time.monotonic_ns()
        # What a full read had to leave was there before it.
        since_ns = self._left_since_ns or since_ns
        self._left_since_ns = since_ns if len(data) == _READ_BYTES else 0
        if not data:
            self.end()
        elif self._tls is None:
            self._take(stamp, since_ns, data)
        elif not self.is_open:
            self._shake_hands(data)
        else:
            if plain := self._tls.decrypt(data):
                self._take(stamp, since_ns, plain)
            if self._tls.problem is not None:
                self._fail("tls", self._tls.problem)
            elif self._tls.is_closed:
                self.end()

    def end(self, failure: str | None = None) -> None:
        """Note the end; the first call decides how the exchange ended. The socket stays for its owner to
        :meth:`close`, who has it registered."""
        if not self.is_ended:
            self.is_ended = True
            self.failure = failure
            self.ended_ns = time.monotonic_ns()

    def close(self) -> None:
        self._socket.close()

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a 200, as far as a glance tells."""
        return self.failure is not None or self._head[9:12] != b"200"

    def _fail(self, kind: str, detail: str) -> None:
        self.end(f"{kind}: {detail}")

    def _take(self, stamp: int, since_ns: int, data: bytes) -> None:
        self.reads.append((stamp, since_ns, data))
        self._received += len(data)
        if self._in_head:
            self._look_for_length(data)
        if self._received > self._limit_bytes:
            self._fail("flood", f"more than {self._limit_bytes} bytes in one response")
        elif (data.endswith(b"\n") and self._is_last_chunk(data)) or (
            self._remaining is not None and self._received >= self._remaining
        ):
            self.end()

    def _is_last_chunk(self, data: bytes) -> bool:
        """Whether what was received ends with the end of a chunked body, however it was split."""
        missing = len(_END_OF_CHUNKS) - len(data)
        if missing > 0:
            for _, _, earlier in reversed(self.reads[:-1]):
                data = earlier[-missing:] + data
                if (missing := len(_END_OF_CHUNKS) - len(data)) <= 0:
                    break
        return data.endswith(_END_OF_CHUNKS)

    def _look_for_length(self, data: bytes) -> None:
        """A response with a Content-Length, which an error may have, ends with that many bytes."""
        self._head += data
        head, found, _ = self._head.partition(b"\r\n\r\n")
        self._in_head = not found and len(head) < _MAX_HEAD
        if found:
            for line in head.lower().split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name == b"content-length" and _LENGTH.fullmatch(value):
                    self._remaining = len(head) + len(found) + int(value)

    def _shake_hands(self, data: bytes) -> None:
        assert self._tls is not None
        try:
            self.is_open = self._tls.shake_hands(data)
        except ssl.SSLError as error:
            self._fail("tls", getattr(error, "verify_message", None) or str(error))
            return
        self._queue(self._tls.pending())

    def _queue(self, data: bytes) -> None:
        self._outgoing = memoryview(bytes(self._outgoing) + data) if self._outgoing else memoryview(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # The server may have answered before it closed: what it said is worth more than the reset.
            self._outgoing = memoryview(b"")
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                self._fail("reset", error.strerror or str(error))
