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

_PROBE_S = 5.0


@dataclass(frozen=True)
class Target:
    """An address that was resolved once, and the parts of a request that never change.

    It can be pickled; what is unpickled checks certificates by a default context of its own.
    """

    family: int
    address: Any
    host: str
    prefix: str
    tls: ssl.SSLContext | None
    api_key: str | None = field(repr=False)

    @staticmethod
    def of(url: str, api_key: str | None = None) -> Target:
        """Raises :class:`EngineError` if the host has no address. Of several the first that accepts counts:
        ``localhost`` is ::1 as well, where many servers do not listen."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise EngineError(f"{url}: {error}") from None
        choices = [(family, address) for family, _, _, _, address in found]
        family, address = choices[0]
        if len(choices) > 1:
            family, address = next((choice for choice in choices if _accepts(*choice)), choices[0])
        is_secure = parts.scheme == "https"
        return _target(family, address, parts.netloc, parts.path.rstrip("/"), is_secure, api_key)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.family, self.address, self.host, self.prefix, self.tls is not None, self.api_key)
        return _target, parts

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


def _target(
    family: int, address: Any, host: str, prefix: str, is_secure: bool, api_key: str | None
) -> Target:
    tls = ssl.create_default_context() if is_secure else None
    return Target(family, address, host, prefix, tls, api_key)


def _accepts(family: int, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_S)
            probe.connect(address)
    except OSError:
        return False
    return True
