"""One request and the raw response to it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.load.request import Request


@dataclass(frozen=True)
class Exchange:
    """As it went, undecoded; all times are monotonic ns.

    ``due_ns`` is when it had to be sent, ``handed_ns`` when this process was about to, ``sent_ns`` when the
    connection was given it (either 0: never). ``reads`` are the pieces of the response with their stamps, and
    ``since_ns`` has for each of them a moment at which nothing of it had arrived. ``failure`` is
    ``kind: detail`` if the exchange broke off.
    """

    request: Request
    due_ns: int
    handed_ns: int
    sent_ns: int
    ended_ns: int
    reads: tuple[tuple[int, bytes], ...]
    since_ns: tuple[int, ...]
    failure: str | None
