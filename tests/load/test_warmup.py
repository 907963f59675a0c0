from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator

import httpx
import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.warmup import AGREEMENT, AGREEMENT_MS, MAX_BURSTS, WarmUp, warm_up
from tests.servers import DONE, MODEL, TruthServer, Wire, scripted_server

SHORT = Workload(input_tokens=8, output_tokens=2)
ONE = LoadPoint(concurrency=1, requests=1)


def warmed(url: str, point: LoadPoint = ONE) -> WarmUp:
    with httpx.Client(base_url=url, trust_env=False, verify=False) as control:
        description = Description(MODEL, None, token_ids=range(1000, 2000))
        client = Client(Target.of(url), control, OpenAiServer(), description, timeout_s=30.0)
        return warm_up(client, SHORT, point)


class Paced:
    """A script that takes as long for each request as the next of ``pauses_s``."""

    def __init__(self, pauses_s: Iterator[float]) -> None:
        self._pauses_s, self.count = pauses_s, 0
        self._lock = threading.Lock()

    def __call__(self, wire: Wire) -> None:
        with self._lock:
            self.count += 1
            pause_s = next(self._pauses_s)
        threading.Event().wait(pause_s)
        wire.stream(*wire.tokens(), wire.usage_event(), DONE)


def test_a_server_that_is_steady_is_warm_after_its_first_two_bursts_or_soon() -> None:
    with TruthServer(ttft_s=0.1) as server:
        result = warmed(server.url)
        assert len(server.log()) == 4 * len(result.medians_ms)
    # Latencies that are mostly a fixed wait of the server's agree within a tenth sooner or later.
    assert result.settled
    assert 2 <= len(result.medians_ms) <= MAX_BURSTS
    assert min(result.medians_ms) >= 100


def test_it_ends_with_the_first_two_medians_that_agree() -> None:
    with TruthServer(ttft_s=0.05) as server:
        medians = warmed(server.url).medians_ms
    agrees = [
        math.isclose(last, this, rel_tol=AGREEMENT, abs_tol=AGREEMENT_MS)
        for last, this in itertools.pairwise(medians)
    ]
    assert not any(agrees[:-1])
    assert agrees[-1] or len(medians) == MAX_BURSTS


def test_a_server_that_grows_ever_faster_is_not_warm_after_the_last_burst() -> None:
    pauses_s = (0.8 / 1.6**burst for burst in range(MAX_BURSTS) for _ in range(4))
    script = Paced(pauses_s)
    with scripted_server(script) as url:
        result = warmed(url, LoadPoint(concurrency=4, requests=1))
    assert not result.settled
    assert len(result.medians_ms) == MAX_BURSTS
    assert list(result.medians_ms) == sorted(result.medians_ms, reverse=True)
    assert script.count == 4 * MAX_BURSTS


@pytest.mark.parametrize(
    ("point", "at_once", "in_a_burst"),
    [
        (LoadPoint(concurrency=1, requests=1), 1, 4),
        (LoadPoint(concurrency=6, requests=1), 6, 6),
        (LoadPoint(rate=0.5, requests=1), 1, 4),
        (LoadPoint(rate=2.5, requests=1), 3, 4),
        (LoadPoint(rate=500, requests=1), 8, 8),
    ],
)
def test_a_burst_is_as_large_as_what_the_load_point_keeps_under_way(
    point: LoadPoint, at_once: int, in_a_burst: int
) -> None:
    with TruthServer(ttft_s=0.1) as server:
        result = warmed(server.url, point)
        assert server.peak() == at_once
        assert len(server.log()) == in_a_burst * len(result.medians_ms)


def test_a_server_that_fails_altogether_is_left_to_the_measurement() -> None:
    with scripted_server("server_error") as url:
        assert warmed(url) == WarmUp((), settled=False)


def test_a_server_that_begins_to_fail_ends_the_warm_up_with_what_it_had() -> None:
    pauses_s = itertools.chain([0.2] * 4, itertools.repeat(0.0))
    script = Paced(pauses_s)

    def fail_after_four(wire: Wire) -> None:
        script(wire) if script.count < 4 else wire.reset()

    with scripted_server(fail_after_four) as url:
        result = warmed(url)
    assert len(result.medians_ms) == 1
    assert not result.settled


def test_failures_among_answers_are_left_out() -> None:
    turns = itertools.count()

    def every_second(wire: Wire) -> None:
        if next(turns) % 2:
            wire.reset()
        else:
            wire.stream(*wire.tokens(), wire.usage_event(), DONE)

    with scripted_server(every_second) as url:
        result = warmed(url)
    assert len(result.medians_ms) >= 2
