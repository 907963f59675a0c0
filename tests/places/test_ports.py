from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places import ports
from pytest_llmperf.places.leases import Leases
from pytest_llmperf.places.ports import PORTS, free_port, holder_of, lease_port


def test_a_free_port_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_a_leased_port_can_be_bound_and_is_given_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "PORTS", PORTS[:8])
    leased = [lease_port(Leases(tmp_path), "x") for _ in PORTS[:6]]
    numbers = [port for port, _ in leased]
    assert len(set(numbers)) == 6
    with socket.create_server(("127.0.0.1", numbers[0])):
        pass
    monkeypatch.setattr(ports, "PORTS", range(numbers[0], numbers[0] + 1))
    with pytest.raises(EngineError, match=f"no port from {numbers[0]} to {numbers[0]} is free"):
        lease_port(Leases(tmp_path), "x")
    leased[0][1].release()
    assert lease_port(Leases(tmp_path), "x")[0] == numbers[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_bound_is_not_leased(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, lease = lease_port(Leases(tmp_path), "x")
    lease.release()
    monkeypatch.setattr(ports, "PORTS", range(port, port + 1))
    with socket.create_server((host, port)), pytest.raises(EngineError, match="no port"):
        lease_port(Leases(tmp_path), "x")


def test_the_kernel_gives_them_to_nobody_on_its_own() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if (first, last) == (32768, 60999):  # as it is, unless somebody changed it
        assert PORTS[-1] < first


def test_who_listens_on_a_port_is_known() -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])"
    argv = [sys.executable, "-uc", f"{code}; sys.stdin.read()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert holder_of(port) == f"pid {process.pid} ({Path(sys.executable).name})"
        process.communicate("")
    assert holder_of(port) is None


def test_one_that_only_connects_does_not_hold_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert holder_of(client.getsockname()[1]) is None
            assert str(os.getpid()) in str(holder_of(port))
