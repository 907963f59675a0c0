"""An OpenAI-compatible streaming server that knows when it wrote each token.

    python -m bench.clients.truth_server --ttft-ms 20 --itl-ms 10 --log truth.jsonl

One thread: epoll for what arrives, a heap for the tokens that are due. Every token is one ``send``, stamped
right before it, so a token that this server wrote late is late in the log as well and is no error of the
client. All times in the log are CLOCK_MONOTONIC in ns. Linux only, and nothing but the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import heapq
import json
import os
import resource
import select
import signal
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.clients.truth_answers import (
    Request,
    json_answer,
    plain_answer,
    stream_end,
    stream_start,
    token_chunks,
)

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_READ_BYTES = 64 * 1024
_ANCILLARY_BYTES = 64
_WRITES_BETWEEN_POLLS = 64


class Connection:
    """A client's connection: requests come in one after the other, bytes go out without blocking."""

    def __init__(self, accepted: socket.socket, epoll: select.epoll) -> None:
        self.socket = accepted
        self.is_answering = self.is_gone = False
        self.ends_after_flush = False
        self._epoll = epoll
        self._incoming = bytearray()
        self._backlog = bytearray()
        self._arrived_ns = self._read_ns = 0

    def send(self, data: bytes) -> None:
        """What the socket does not take now follows when it does."""
        if self._backlog:
            self._backlog += data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.is_gone = True
            return
        if sent < len(data):
            self._backlog += data[sent:]
            self._epoll.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)

    def on_writable(self) -> None:
        waiting, self._backlog = bytes(self._backlog), bytearray()
        self._epoll.modify(self.socket, select.EPOLLIN)
        Connection.send(self, waiting)

    @property
    def is_done(self) -> bool:
        return self.is_gone or (self.ends_after_flush and not self._backlog)

    def on_readable(self) -> None:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(_READ_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.is_gone = True
            return
        self._read_ns, self._arrived_ns = _read_and_arrival(ancillary)
        self._incoming += self._decoded(data)

    def next_request(self) -> Request | None:
        """The next request that was read completely, unless one is still being answered."""
        if self.is_answering or (end := self._incoming.find(b"\r\n\r\n")) < 0:
            return None
        first, *lines = self._incoming[:end].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        after = end + 4 + int(headers.get("content-length", 0))
        if len(self._incoming) < after:
            return None
        content = bytes(self._incoming[end + 4 : after])
        del self._incoming[:after]
        method, path, _ = first.split(" ")
        body = json.loads(content) if content else {}
        return Request(method, path.partition("?")[0], headers, body, self._arrived_ns, self._read_ns)

    def _decoded(self, data: bytes) -> bytes:
        return data


class TlsConnection(Connection):
    """TLS above the same reads and writes, so that the stamps mean the same."""

    def __init__(self, accepted: socket.socket, epoll: select.epoll, context: ssl.SSLContext) -> None:
        super().__init__(accepted, epoll)
        self._below, self._above = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._below, self._above, server_side=True)
        self._is_shaken = False

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        super().send(self._above.read())

    def _decoded(self, data: bytes) -> bytes:
        self._below.write(data)
        plain = b""
        try:
            if not self._is_shaken:
                self._tls.do_handshake()
                self._is_shaken = True
            while piece := self._tls.read(_READ_BYTES):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.is_gone = True
        if self._above.pending:
            super().send(self._above.read())
        return plain


def _read_and_arrival(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Now, and when the kernel received what was just read."""
    before, real, after = min(
        ((time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(3)),
        key=lambda clocks: clocks[2] - clocks[0],
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return after, (before + after) // 2 - (real - seconds * 1_000_000_000 - nanoseconds)
    return after, after


@dataclass(frozen=True)
class Settings:
    """How the server answers, and where it says what it did."""

    ttft_ms: float = 20.0
    itl_ms: float = 10.0
    log: Path | None = None
    role_event: bool = False


class Stream:
    """An answer under way."""

    __slots__ = ("connection", "events", "request", "stamp")

    def __init__(self, connection: Connection, request: Request) -> None:
        self.connection, self.request = connection, request
        self.events = iter(token_chunks(request.is_chat, request.max_tokens))
        self.stamp: Callable[[int], None] = request.token_ns.append


class Server:
    """Serves on 127.0.0.1 until it gets SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._settings, self._tls = settings, tls
        self._ttft_ns, self._itl_ns = round(settings.ttft_ms * 1e6), round(settings.itl_ms * 1e6)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit both.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._listener.setblocking(False)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(4096)
        self.port = int(self._listener.getsockname()[1])
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[int, int, Stream]] = []
        self._started = 0
        self._requests: list[Request] = []
        self._is_stopping = False

    def run(self) -> None:
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._epoll.register(wake, select.EPOLLIN)
        gc.freeze()
        gc.disable()
        while not self._is_stopping:
            self._write_due_tokens()
            self._wait()
            for descriptor, events in self._epoll.poll(0):
                if connection := self._connections.get(descriptor):
                    self._serve(connection, events)
                elif descriptor == self._listener.fileno():
                    self._accept()
        self._write_log(self._requests)

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    def _wait(self) -> None:
        """Until something arrives or a token is due. The time limit of epoll itself counts in whole ms."""
        seconds = (self._due[0][0] - time.monotonic_ns()) / 1e9 if self._due else None
        if seconds is None or seconds > 0:
            select.select((self._epoll,), (), (), seconds)

    def _write_due_tokens(self) -> None:
        due, now_ns, itl_ns = self._due, time.monotonic_ns, self._itl_ns
        for _ in range(_WRITES_BETWEEN_POLLS):
            if not due:
                return
            moment, order, stream = due[0]
            if stream.connection.is_gone:
                heapq.heappop(due)
                continue
            now = now_ns()
            if moment > now:
                return
            event = next(stream.events, None)
            if event is None:
                heapq.heappop(due)
                self._finish(stream)
                continue
            stream.stamp(now)
            stream.connection.send(event)
            # The end of a stream is due together with its last token.
            is_last = len(stream.request.token_ns) == stream.request.max_tokens
            heapq.heapreplace(due, (moment if is_last else moment + itl_ns, order, stream))

    def _finish(self, stream: Stream) -> None:
        connection = stream.connection
        connection.send(stream_end(stream.request))
        connection.is_answering = False
        self._after_answer(connection, stream.request)

    def _after_answer(self, connection: Connection, request: Request) -> None:
        connection.ends_after_flush = request.ends_connection
        if connection.is_done:
            self._close(connection)
        else:
            self._answer_next(connection)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setblocking(False)
                connection = (
                    TlsConnection(accepted, self._epoll, self._tls)
                    if self._tls
                    else Connection(accepted, self._epoll)
                )
                self._connections[accepted.fileno()] = connection
                self._epoll.register(accepted, select.EPOLLIN)

    def _serve(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            connection.on_writable()
        if events & ~select.EPOLLOUT:
            connection.on_readable()
            self._answer_next(connection)
        if connection.is_done:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.is_gone = True
        self._connections.pop(connection.socket.fileno(), None)
        connection.socket.close()

    def _answer_next(self, connection: Connection) -> None:
        if connection.is_gone or (request := connection.next_request()) is None:
            return
        if request.method == "POST" and request.body.get("stream") is True:
            self._start_stream(connection, request)
            return
        if request.path == "/log/flush":
            under_way = {id(stream.request) for _, _, stream in self._due}
            self._write_log([one for one in self._requests if id(one) not in under_way])
            self._requests = [one for one in self._requests if id(one) in under_way]
            connection.send(json_answer(request, {}))
        else:
            connection.send(plain_answer(request))
        self._after_answer(connection, request)

    def _start_stream(self, connection: Connection, request: Request) -> None:
        connection.is_answering = True
        connection.send(stream_start(request, self._settings.role_event))
        self._requests.append(request)
        self._started += 1
        entry = request.read_ns + self._ttft_ns, self._started, Stream(connection, request)
        heapq.heappush(self._due, entry)

    def _write_log(self, requests: list[Request]) -> None:
        if self._settings.log:
            with self._settings.log.open("a") as log:
                log.writelines(json.dumps(one.as_record()) + "\n" for one in requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any; it is printed; several may share one")
    parser.add_argument("--ttft-ms", type=float, default=20.0)
    parser.add_argument("--itl-ms", type=float, default=10.0)
    parser.add_argument("--log", type=Path, help="JSON lines are appended when it stops or is told to flush")
    parser.add_argument("--role-event", action="store_true", help="chat begins with an event without a token")
    parser.add_argument("--cert", type=Path, help="serve TLS with this certificate ...")
    parser.add_argument("--key", type=Path, help="... and this key")
    parser.add_argument("--pin", type=int, metavar="CORE")
    asked = parser.parse_args()
    if asked.pin is not None:
        os.sched_setaffinity(0, {asked.pin})
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    tls = None
    if asked.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(asked.cert, asked.key)
    server = Server(Settings(asked.ttft_ms, asked.itl_ms, asked.log, asked.role_event), asked.port, tls)
    print(server.port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
