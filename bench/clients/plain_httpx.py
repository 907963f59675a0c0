"""The open-loop client that one writes with httpx.

The limit of 100 connections that httpx has by default is lifted, so that it is an open loop at all.
"""

from __future__ import annotations

import asyncio
import time

import httpx

from bench.clients.plain import Timeline, asked, drive, note_line


async def main() -> None:
    options = asked()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:

        async def request(timeline: Timeline) -> None:
            headers = {"x-request-id": timeline.id}
            timeline.sent_ns = time.perf_counter_ns()
            async with client.stream(
                "POST", f"{options.url}/v1/completions", json=options.body, headers=headers
            ) as response:
                timeline.status = response.status_code
                async for line in response.aiter_lines():
                    note_line(timeline, line)

        await drive(options, request)


if __name__ == "__main__":
    asyncio.run(main())
