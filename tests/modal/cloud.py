"""A stand-in for Modal's cloud, on 127.0.0.1, for the real client."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trustme
from aiohttp import web
from grpclib.server import Server
from modal_proto import api_pb2

from tests.modal.container import Container
from tests.modal.services import ControlPlane, Worker

T = TypeVar("T")
_PATIENCE_S = 30.0


class Cloud:
    """Runs in a thread; ``environment`` is what leads a client there and lets it trust the tunnels."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        certificate = directory / "authority.pem"
        authority.cert_pem.write_to_path(str(certificate))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        (programs := directory / "programs").mkdir()
        self.plane = ControlPlane(tls, programs)
        self.worker = Worker(self.plane)
        self.environment = {
            "MODAL_TOKEN_ID": "ak-stand-in",
            "MODAL_TOKEN_SECRET": "as-stand-in",
            "MODAL_CONFIG_PATH": str(directory / "no-modal.toml"),
            "SSL_CERT_FILE": str(certificate),
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def containers(self) -> list[Container]:
        return list(self.plane.containers.values())

    def running(self) -> list[Container]:
        return [container for container in self.containers if container.result() is None]

    def end_all(self, *, timed_out: bool = False) -> None:
        """End what runs, as Modal itself may."""
        result = api_pb2.GenericResult
        for container in self.containers:
            self._do(
                container.stop(
                    result.GENERIC_STATUS_TIMEOUT if timed_out else result.GENERIC_STATUS_TERMINATED
                )
            )

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _start(self) -> None:
        self._servers = [Server([self.plane]), Server([self.worker])]
        urls = []
        for server in self._servers:
            listening = socket.create_server(("127.0.0.1", 0))
            await server.start(sock=listening)
            urls.append(_url(listening))
        self.environment["MODAL_SERVER_URL"], self.plane.worker_url = urls
        store = web.Application(client_max_size=1 << 30)
        store.router.add_put("/{digest}", _put_blob)
        self._store = web.AppRunner(store)
        await self._store.setup()
        listening = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._store, listening).start()
        self.plane.blob_url = _url(listening)

    async def _stop(self) -> None:
        for container in self.containers:
            await container.stop(api_pb2.GenericResult.GENERIC_STATUS_TERMINATED)
        await self._store.cleanup()
        for server in self._servers:
            server.close()
            await server.wait_closed()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # what was closed just now is let go in the loop's next rounds


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


async def _put_blob(request: web.Request) -> web.Response:
    content = await request.read()
    assert hashlib.sha256(content).hexdigest() == request.match_info["digest"]
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return web.Response(headers={"ETag": f'"{etag}"'})
