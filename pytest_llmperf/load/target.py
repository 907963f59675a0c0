"""The server under load, as the streaming client sees it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pytest_llmperf.errors import EngineError


@dataclass(frozen=True)
class Target:
    """An address that was resolved once, and the parts of a request that never change."""

    family: int
    address: Any
    host: str
    prefix: str
    tls: ssl.SSLContext | None
    api_key: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str, api_key: str | None = None) -> Target:
        """Raises :class:`EngineError` if the host has no address."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise EngineError(f"{url}: {error}") from None
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(family, address, parts.netloc, parts.path.rstrip("/"), tls, api_key)

    @property
    def server_name(self) -> str:
        return (
            self.host.rsplit(":", 1)[0].strip("[]") if not self.host.endswith("]") else self.host.strip("[]")
        )

    def request(self, path: str, body: Mapping[str, object], request_id: str) -> bytes:
        """The bytes of a POST.

        The server is asked to close afterwards: then the end of a stream is the end of the connection,
        whatever the server thinks of keep-alive, and no request waits for another one's connection.
        """
        content = json.dumps(body, separators=(",", ":")).encode()
        lines = [
            f"POST {self.prefix}{path} HTTP/1.1",
            f"Host: {self.host}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(content)}",
            f"X-Request-Id: {request_id}",
            "Connection: close",
        ]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key}")
        return "\r\n".join((*lines, "", "")).encode() + content
