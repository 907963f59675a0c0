from __future__ import annotations

import os

import pytest

from pytest_llmperf.load import capacity
from pytest_llmperf.load.capacity import processes_for, read_cost_s
from pytest_llmperf.places.machine import usable_cores


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 µs a read, 16 cores: 15 µs a token, 300 µs a request, half a core a process."""
    monkeypatch.setattr(capacity, "read_cost_s", lambda: 10e-6)
    monkeypatch.setattr(capacity, "usable_cores", lambda: 16)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("tokens_per_s", "requests_per_s", "processes"),
    [(0, 0, 1), (30_000, 10, 1), (34_000, 10, 2), (60_000, 400, 3), (10_000_000, 1, 15), (0, 2_000, 2)],
)
def test_each_process_stays_below_half_a_core(
    tokens_per_s: float, requests_per_s: float, processes: int
) -> None:
    assert processes_for(tokens_per_s, requests_per_s, is_secure=False) == processes


@pytest.mark.usefixtures("machine")
def test_handshakes_cost_more() -> None:
    assert processes_for(0, 1_000, is_secure=True) > processes_for(0, 1_000, is_secure=False)


def test_one_core_is_left_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "read_cost_s", lambda: 10e-6)
    for cores in (1, 2, 4):
        monkeypatch.setattr(capacity, "usable_cores", lambda cores=cores: cores)
        assert processes_for(1e9, 1, is_secure=False) == max(1, cores - 1)


def test_only_cores_that_this_process_may_use_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_what_a_read_costs_is_measured_once_and_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    cost = read_cost_s()
    assert 0 < cost < 0.01
    assert read_cost_s() is cost
    assert len(os.listdir("/proc/self/fd")) == before
