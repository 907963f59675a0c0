"""Ports of 127.0.0.1 for engines, each for one engine only.

An engine binds its port itself, seconds or minutes after it was told the number. To keep it until then by
holding it bound works only with engines that ask for address re-use. So ports are taken from below the range
that the kernel hands out on its own (to whoever connects somewhere or binds port 0), and each is leased: no
test run gives out one that another has given out. What is left is a program that is told the same number.
"""

from __future__ import annotations

import os
import random
import re
import socket
from pathlib import Path

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.leases import Lease, Leases

PORTS = range(21_000, 21_512)
_HOST = "127.0.0.1"


def free_port() -> int:
    """A port that is free now, and that nobody keeps free."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def lease_port(leases: Leases, engine: str) -> tuple[int, Lease]:
    """A port that is free and stays ours. Raises :class:`EngineError` if there is none."""
    for port in random.sample(PORTS, len(PORTS)):
        if _is_free(port) and (lease := leases.take_now(f"port-{port}", engine)) is not None:
            return port, lease
    raise EngineError(f"no port from {PORTS[0]} to {PORTS[-1]} is free")


def _is_free(port: int) -> bool:
    # Without address re-use, which not every engine asks for: one with lingering connections is not free.
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def holder_of(port: int) -> str | None:
    """Who listens on a port of this machine, in words; None if nobody does, or it cannot be known."""
    inodes = {
        columns[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for columns in map(str.split, _lines(table))
        if len(columns) > 9 and columns[3] == "0A" and columns[1].endswith(f":{port:04X}")
    }
    if not inodes:
        return None
    for pid in (entry for entry in os.listdir("/proc") if entry.isdigit()):
        if any(re.fullmatch(rf"socket:\[({'|'.join(inodes)})\]", target) for target in _open_files(pid)):
            return f"pid {pid} ({_program(pid)})"
    return "a process of another user"


def _program(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "it has just ended"
    return Path(words[0].decode(errors="replace")).name


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()[1:]
    except OSError:
        return []


def _open_files(pid: str) -> list[str]:
    """What its descriptors lead to; nothing of a process that is gone, or another user's."""
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except OSError:
        return found
    return found
