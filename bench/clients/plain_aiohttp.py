"""The open-loop client that one writes with aiohttp.

The limit of 100 connections that aiohttp has by default is lifted, so that it is an open loop at all.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp

from bench.clients.plain import Timeline, asked, drive, note_line


async def main() -> None:
    options = asked()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:

        async def request(timeline: Timeline) -> None:
            headers = {"x-request-id": timeline.id}
            timeline.sent_ns = time.perf_counter_ns()
            async with session.post(
                f"{options.url}/v1/completions", json=options.body, headers=headers
            ) as response:
                timeline.status = response.status
                async for line in response.content:
                    note_line(timeline, line.decode())

        await drive(options, request)


if __name__ == "__main__":
    asyncio.run(main())
