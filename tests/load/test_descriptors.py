from __future__ import annotations

import fcntl
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.load.descriptors import room_for_connections
from pytest_llmperf.load.target import Target
from tests.leftovers import open_files
from tests.load.asking import ask, driver
from tests.servers import TruthServer

INFINITY = resource.RLIM_INFINITY
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.fixture
def low() -> Iterator[int]:
    """A soft limit that is lower than usual."""
    soft, hard = limits()
    lowered = max(map(int, os.listdir("/dev/fd"))) + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    yield lowered
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_is_raised_for_a_while_and_then_as_it_was(low: int) -> None:
    hard = limits()[1]
    with room_for_connections():
        assert low < limits()[0] <= (16_384 if hard == INFINITY else hard)
        assert limits()[1] == hard
    assert limits() == (low, hard)


def test_the_limit_is_as_it_was_after_an_error_too(low: int) -> None:
    with pytest.raises(KeyboardInterrupt), room_for_connections():
        raise KeyboardInterrupt
    assert limits()[0] == low


def test_the_limit_of_a_run_is_as_it_was_afterwards(low: int) -> None:
    seen = []
    with TruthServer(ttft_s=0.5) as server:
        target = Target.of(server.url)
        watching = driver(target, watch=lambda sent, ended: seen.append(limits()[0]))
        watching.open_loop([ask(target)], [0.0])
    assert min(seen) > low
    assert limits()[0] == low


@needs_proc
def test_the_table_of_open_files_is_enlarged_beforehand_without_a_file_left_open() -> None:
    before, hard = open_files(), limits()[1]
    with room_for_connections():
        status = Path("/proc/self/status").read_text()
        size = int(status.partition("FDSize:")[2].split()[0])
        assert size >= (16_384 if hard == INFINITY else min(16_384, hard))
        assert open_files() == before
    assert open_files() == before


@pytest.mark.parametrize(
    ("soft", "hard", "limit", "last"),
    [
        (256, 4096, 4096, 4095),
        (256, 1_000_000, 16_384, 16_383),
        (256, INFINITY, 16_384, 16_383),
        (20_000, 1_000_000, 20_000, 16_383),
        (4096, 4096, 4096, 4095),
        (INFINITY, INFINITY, INFINITY, 16_383),
    ],
)
def test_no_limit_is_lowered_and_none_is_passed(
    soft: int, hard: int, limit: int, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    were_set: list[tuple[int, int]] = []
    asked: list[int] = []

    def duplicate(file: int, command: int, lowest: int) -> int:
        asked.append(lowest)
        return os.dup(file if isinstance(file, int) else file.fileno())

    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: were_set.append(both))
    monkeypatch.setattr(fcntl, "fcntl", duplicate)
    with room_for_connections():
        assert were_set == [(limit, hard)]
    assert were_set == [(limit, hard), (soft, hard)]
    assert asked == [last]
