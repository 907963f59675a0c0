from __future__ import annotations

import httpx
import pytest

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.load.bounds import Bounds, find_bounds
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.target import Target
from tests.servers import MODEL, TruthServer, scripted_server

SHORT = Workload(input_tokens=8, output_tokens=2)


def bounds_of(url: str, patience_s: float = 60.0) -> Bounds | None:
    with httpx.Client(base_url=url, trust_env=False, verify=False) as control:
        description = Description(MODEL, None, token_ids=range(1000, 2000))
        client = Client(Target.of(url), control, OpenAiServer(), description, timeout_s=10.0)
        return find_bounds(client, SHORT, patience_s)


def test_a_server_with_four_slots_does_four_times_what_it_does_alone() -> None:
    with TruthServer(ttft_s=0.05, itl_s=0.01, slots=4) as server:
        bounds = bounds_of(server.url)
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
        bounds = bounds_of(server.url, patience_s=0.0)
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
