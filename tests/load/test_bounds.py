from __future__ import annotations

import statistics

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.load.bounds import Bounds, Burst, bounds_of, find_bounds
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.target import Target
from tests.servers import MODEL, TruthServer, scripted_server

SHORT = Workload(input_tokens=8, output_tokens=2)


def bounds_at(url: str, patience_s: float = 60.0) -> Bounds | None:
    with httpx.Client(base_url=url, trust_env=False, verify=False) as control:
        description = Description(MODEL, None, token_ids=range(1000, 2000))
        client = Client(Target.of(url), control, OpenAiServer(), description, timeout_s=10.0)
        return find_bounds(client, SHORT, patience_s)


def test_a_server_with_four_slots_does_four_times_what_it_does_alone() -> None:
    with TruthServer(ttft_s=0.05, itl_s=0.01, slots=4) as server:
        bounds = bounds_at(server.url)
        peak = server.peak()
    assert bounds is not None
    assert bounds.latency_s >= 0.06
    assert bounds.throughput <= 1.01 * 4 / 0.06  # what is more would be impossible
    assert bounds.throughput > 1.5 / bounds.latency_s
    assert bounds.is_flat
    assert peak <= 64  # nothing is gained beyond, so nothing much larger was tried
    assert bounds.lowest < bounds.throughput < bounds.highest


def test_it_is_not_patient_for_long() -> None:
    with TruthServer(ttft_s=0.05, itl_s=0.01) as server:
        bounds = bounds_at(server.url, patience_s=0.0)
        assert server.peak() == 1
    assert bounds is not None
    assert not bounds.is_flat
    assert bounds.highest == 2 * bounds.throughput


@pytest.mark.parametrize("script", ["server_error", "hang_before_head"])
def test_a_server_that_answers_nothing_has_none(script: str) -> None:
    with scripted_server(script) as url, httpx.Client(base_url=url, trust_env=False) as control:
        description = Description(MODEL, None, token_ids=range(1000, 2000))
        client = Client(Target.of(url), control, OpenAiServer(), description, timeout_s=0.5)
        assert find_bounds(client, SHORT, 60.0) is None


def test_what_serves_one_at_a_time_is_looked_at_far_below_its_own_rate() -> None:
    alone = Bounds(latency_s=0.1, throughput=10.0, at_once=1, is_flat=True)
    assert alone.lowest == pytest.approx(1.0)
    many = Bounds(latency_s=1.0, throughput=25.0, at_once=64, is_flat=True)
    assert many.lowest == pytest.approx(1.0)


class Slots:
    """Serves so many at a time, each for ``service_s``; bursts of more than ``breaks_at`` have a failure."""

    def __init__(self, slots: int, service_s: float, breaks_at: int = 100_000) -> None:
        self.slots, self.service_s, self.breaks_at = slots, service_s, breaks_at
        self.sent: list[int] = []
        self.took_s = 0.0

    def send(self, count: int, at_once: int) -> Burst:
        self.sent.append(at_once)
        ends = [self.service_s * (1 + number // min(self.slots, at_once)) for number in range(count)]
        self.took_s += max(ends)
        failed = int(at_once > self.breaks_at)
        return Burst(statistics.median(ends[:at_once]), max(ends), count - failed, failed)


@given(st.sampled_from([4, 16, 60, 250]), st.floats(0.01, 12))
def test_long_answers_take_no_more_patience_than_their_bursts_do(slots: int, service_s: float) -> None:
    """Even where each takes 12 s, bursts go on until more at once bring no more or the time is up."""
    server = Slots(slots, service_s)
    bounds = bounds_of(server.send, 75.0)
    assert bounds is not None
    assert server.took_s <= 4 * 75
    assert bounds.throughput <= slots / service_s * 1.0001
    assert bounds.at_once >= min(slots, 16)
    if bounds.is_flat:
        assert bounds.highest > slots / service_s


def test_a_failure_says_nothing_of_what_more_at_once_would_bring() -> None:
    server = Slots(64, 1.0, breaks_at=4)
    bounds = bounds_of(server.send, 75.0)
    assert bounds is not None
    assert server.sent == [1, 1, 4, 16]
    assert not bounds.is_flat
    assert bounds.throughput == pytest.approx(15.0)
    assert bounds.at_once == 4


def test_a_few_at_once_that_bring_nothing_by_chance_are_no_bound() -> None:
    """The longest of four answers may take as long as four: that says nothing of sixteen or sixty-four."""
    server = Slots(64, 1.0)

    def send(count: int, at_once: int) -> Burst:
        burst = server.send(count, at_once)
        return Burst(burst.latency_s, 4.0, count) if at_once == 4 else burst

    bounds = bounds_of(send, 75.0)
    assert bounds is not None
    assert bounds.throughput == pytest.approx(64.0)
