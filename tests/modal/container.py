"""What stands in for a container of Modal's: processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from modal_proto import api_pb2

from tests.leftovers import MARK

_GRACE_S = 5.0
# All that a container has of this machine's environment; the mark is how tests find what was left behind.
_INHERITED = ("HOME", "TMPDIR", MARK)


class ContainerProcess:
    """A process whose output is kept, as a container's is."""

    def __init__(self) -> None:
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.ended = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reaping: asyncio.Task[None] | None = None

    async def start(self, argv: Sequence[str], env: Mapping[str, str], path: str) -> None:
        self._process = await asyncio.create_subprocess_exec(
            shutil.which(argv[0], path=path) or argv[0],
            *argv[1:],
            env={
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                "PATH": path,
                **env,
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reaping = asyncio.create_task(self._reap())

    @property
    def exit_code(self) -> int:
        assert self._process is not None
        code = self._process.returncode
        assert code is not None
        return code if code >= 0 else 128 - code

    async def write(self, data: bytes, *, eof: bool) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(data)
            await self._process.stdin.drain()
            if eof:
                self._process.stdin.close()

    async def kill(self) -> None:
        """Politely first; returns when it is gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process is None or self.ended.is_set():
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), _GRACE_S)

    async def _reap(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        await asyncio.gather(
            _keep(self._process.stdout, self.output[1]), _keep(self._process.stderr, self.output[2])
        )
        await self._process.wait()
        self.ended.set()


async def _keep(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while piece := await stream.read(65536):
        kept += piece


class Container:
    """A sandbox: its main process, those that were started beside it, and its tunnels."""

    def __init__(
        self, number: int, definition: api_pb2.Sandbox, tags: Mapping[str, str], programs: Path
    ) -> None:
        self.path = f"{programs}:{os.environ['PATH']}"
        self.sandbox_id, self.task_id = f"sb-{number}", f"ta-{number}"
        self.definition, self.tags = definition, dict(tags)
        self.main = ContainerProcess()
        self.beside: dict[str, ContainerProcess] = {}
        self.status = api_pb2.GenericResult.GENERIC_STATUS_UNSPECIFIED
        self.tunnels: dict[int, int] = {}
        self._servers: list[asyncio.Server] = []
        self._expiry: asyncio.Task[None] | None = None

    async def start(
        self, argv: Sequence[str], env: Mapping[str, str], tls: ssl.SSLContext, lifetime_s: float
    ) -> None:
        for port in self.definition.open_ports.ports:
            server = await asyncio.start_server(_Tunnel(port.port), "127.0.0.1", 0, ssl=tls)
            self._servers.append(server)
            self.tunnels[port.port] = server.sockets[0].getsockname()[1]
        await self.main.start(argv, env, self.path)
        self._expiry = asyncio.create_task(self._expire(lifetime_s))

    async def stop(self, status: api_pb2.GenericResult.GenericStatus.ValueType) -> None:
        if not self.main.ended.is_set():
            self.status = status
        await self.main.kill()
        for process in self.beside.values():
            await process.kill()
        for server in self._servers:
            server.close()
        if self._expiry is not None and self._expiry is not asyncio.current_task():
            self._expiry.cancel()

    def result(self) -> api_pb2.GenericResult | None:
        """How it ended; None while it runs."""
        if not self.main.ended.is_set():
            return None
        code = self.main.exit_code
        if self.status != api_pb2.GenericResult.GENERIC_STATUS_UNSPECIFIED:
            return api_pb2.GenericResult(status=self.status, exitcode=code)
        success = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        failure = api_pb2.GenericResult.GENERIC_STATUS_FAILURE
        return api_pb2.GenericResult(status=failure if code else success, exitcode=code)

    async def _expire(self, lifetime_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.main.ended.wait(), lifetime_s)
            for process in self.beside.values():
                await process.kill()
            return
        await self.stop(api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT)


class _Tunnel:
    """A tunnel: takes connections whether anybody listens behind it or not."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(
                _pipe(reader, inner_writer), _pipe(inner_reader, writer), return_exceptions=True
            )
        finally:
            inner_writer.close()
            writer.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()
