"""How many processes a load takes on this machine."""

from __future__ import annotations

import math
import selectors
import socket
import time
from functools import cache

from pytest_llmperf.load.connection import Connection
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from pytest_llmperf.places.machine import usable_cores

TARGET_SHARE = 0.5
LOOP_FACTOR = 1.5
TOKENS_PER_REQUEST = 20
TOKENS_PER_HANDSHAKE = 100
_SAMPLES, _BATCH = 5, 100
_EVENT = b"data: " + b"x" * 250 + b"\n\n"


def processes_for(
    tokens_per_s: float, requests_per_s: float, *, is_secure: bool, cores: int | None = None
) -> int:
    """The least number of processes that keeps each below half a core at this load, on so many cores (None:
    those of this machine).

    A token costs about half as much again as its read; a request as much as 20 tokens, a TLS handshake as
    100. One core is left to whatever else there is, the engine above all.
    """
    per_request = TOKENS_PER_REQUEST + (TOKENS_PER_HANDSHAKE if is_secure else 0)
    share = (tokens_per_s + per_request * requests_per_s) * LOOP_FACTOR * read_cost_s()
    return max(1, min(math.ceil(share / TARGET_SHARE), (cores or usable_cores()) - 1))


@cache
def read_cost_s() -> float:
    """CPU seconds that it takes to notice and read one token here; measured once, in some 10 ms."""
    with socket.create_server(("127.0.0.1", 0)) as server, selectors.DefaultSelector() as selector:
        target = Target.of(f"http://127.0.0.1:{server.getsockname()[1]}")
        connection = Connection(target, Request("", b"", 1), limit_bytes=1 << 30)
        selector.register(connection, selectors.EVENT_READ)
        peer, _ = server.accept()
        try:
            with peer:
                return min(_cost_of_batch(connection, peer, selector) for _ in range(_SAMPLES))
        finally:
            connection.close()


def _cost_of_batch(connection: Connection, peer: socket.socket, selector: selectors.BaseSelector) -> float:
    spent = 0.0
    for _ in range(_BATCH):
        peer.sendall(_EVENT)
        began = time.thread_time()
        selector.select(1.0)
        connection.on_readable(time.monotonic_ns())
        spent += time.thread_time() - began
    return spent / _BATCH
