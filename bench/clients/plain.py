"""What the plain clients share: the command line, the schedule and the file of timelines.

The part that is the same in every open-loop client that one writes with asyncio. How a request is sent and
its stream is read differs by the HTTP library (``plain_aiohttp``, ``plain_httpx``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Timeline:
    """What was seen of one request; times are CLOCK_MONOTONIC in ns."""

    id: str
    scheduled_ns: int
    sent_ns: int = 0
    first_token_ns: int = 0
    token_ns: list[int] = field(default_factory=list)
    status: int = 0
    usage: dict[str, Any] | None = None


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    url: str
    rate: float
    duration: float
    input_tokens: int
    output_tokens: int
    timelines: Path

    @property
    def body(self) -> dict[str, object]:
        return {
            "model": "truth",
            "prompt": " ".join(["word"] * self.input_tokens),
            "max_tokens": self.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


Request = Callable[[Timeline], Awaitable[None]]


def asked() -> Asked:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--duration", type=float, required=True)
    parser.add_argument("--input-tokens", type=int, required=True)
    parser.add_argument("--output-tokens", type=int, required=True)
    parser.add_argument("--timelines", type=Path, required=True)
    return Asked(**vars(parser.parse_args()))


async def drive(asked: Asked, request: Request) -> None:
    """Start each request at its time, whatever became of the others, and write what was seen."""
    began = time.perf_counter_ns()
    timelines, tasks = [], []
    for index in range(round(asked.rate * asked.duration)):
        scheduled_ns = began + round(index / asked.rate * 1e9)
        await asyncio.sleep((scheduled_ns - time.perf_counter_ns()) / 1e9)
        timeline = Timeline(f"plain-{index}", scheduled_ns)
        timelines.append(timeline)
        tasks.append(asyncio.create_task(_guarded(request, timeline)))
    await asyncio.gather(*tasks)
    with asked.timelines.open("w") as file:
        file.writelines(json.dumps(asdict(timeline)) + "\n" for timeline in timelines)


async def _guarded(request: Request, timeline: Timeline) -> None:
    try:
        await request(timeline)
    except OSError:
        timeline.status = 0


def note_line(timeline: Timeline, line: str) -> None:
    """One line of the event stream."""
    if not line.startswith("data: ") or line.startswith("data: [DONE]"):
        return
    event = json.loads(line[6:])
    if event["choices"]:
        timeline.token_ns.append(time.perf_counter_ns())
        timeline.first_token_ns = timeline.token_ns[0]
    else:
        timeline.usage = event["usage"]
