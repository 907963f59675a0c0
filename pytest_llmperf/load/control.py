"""The connection on which a server is asked about itself, outside of the measuring."""

from __future__ import annotations

import ssl

import httpx


def control_client(url: str, api_key: str | None) -> httpx.Client:
    """A client of the server at ``url``, which sends it the key; to be closed."""
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        timeout=30.0,
        # Some servers close connections that they promised to keep: never use one twice.
        limits=httpx.Limits(max_keepalive_connections=0),
        verify=ssl.create_default_context() if url.startswith("https:") else False,
        trust_env=False,
    )
